"""What a search works with: tests and other machines put their own in its place."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from search.console import Now
from search.device import Device
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """Parts of a search that take time.

    Attributes:
        device: Measures networks.
        timer: Makes, by a table and a `seed`, what times a network against the one that it was pruned from.
        trainer: Makes what trains the winner and the baselines; see Trainer.
        now: Gives seconds, from any start.
    """

    device: Device = field(default_factory=Device)
    timer: Callable[..., PairedTimer] = DeviceTimer
    trainer: Callable[..., Trainer] = Trainer
    now: Now = time.monotonic
