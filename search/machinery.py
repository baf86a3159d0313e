"""What a search works with and tests exchange: the device, the trainers, the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from search.console import Now
from search.cores import are_cores_held
from search.device import Device
from search.exported import export_onnx
from search.latency.rough import rough_ms
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.training.finetune import FineTuner
from search.training.trainer import Trainer
from searchspace.nn.weights.sources import Parents, resolve


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """Parts of a search that take time.

    Attributes:
        device: Measures networks.
        timer: Makes, by a table and a `seed`, what times a network against the one that it was pruned from.
        trainer: Makes what trains the winner and the baselines from scratch; see Trainer.
        tuner: Makes what fine-tunes them; see FineTuner.
        weights: Finds published weights; see searchspace.nn.weights.sources.resolve.
        are_cores_held: Says whether other processes hold the cores now.
        rough_ms: Says about how long a small network takes; see search.latency.rough.
        export: Writes a finished network of several as an ONNX model; see search.exported.
        now: Gives seconds, from any start.
    """

    device: Device = field(default_factory=Device)
    timer: Callable[..., PairedTimer] = DeviceTimer
    trainer: Callable[..., Trainer] = Trainer
    tuner: Callable[..., FineTuner] = FineTuner
    weights: Callable[..., Parents | None] = resolve
    are_cores_held: Callable[[], bool] = are_cores_held
    rough_ms: Callable[..., float] = rough_ms
    export: Callable[[Path], str | None] = export_onnx
    now: Now = time.monotonic
