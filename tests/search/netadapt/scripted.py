"""A small network with every move in it, a device of known times, a pruner of both."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search.budget import CostModel
from search.console import Progress
from search.data import Dataset
from search.latency.measurement import Measurement
from search.latency.runtimes.eager import Eager
from search.netadapt.history import History, StoredHistory
from search.netadapt.inputs import Inputs
from search.netadapt.job import Job
from search.netadapt.prunable import Prunable
from search.netadapt.pruner import Pruner
from search.netadapt.settings import Settings
from search.netadapt.short_training import Serial, ShortTraining, short_recipe
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import PairedTimer, Subject, Timing
from search.netadapt.variants import variants
from search.training.recipe import Recipe
from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import costs, layer_params_macs, macs
from searchspace.graph import lower
from searchspace.latency.table import Correction, Identity, LatencyTable
from searchspace.nn import build, network_bytes, trace
from searchspace.spec import NetworkSpec, Stage

MACS = CostModel("macs")


def tiny() -> NetworkSpec:
    """A network with every move in it, at 32 px."""
    wide = MBConv(expand_channels=24, out_channels=12, kernel=5, activation="relu", squeeze_channels=4, skip=True)
    first = MBConv(expand_channels=24, out_channels=12, stride=2, activation="relu")
    stages = (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (SeparableConv(out_channels=12, stride=2), wide, first, wide)),
        Stage("classifier", (Classifier(classes=10),)),
    )
    return NetworkSpec("tiny", 32, stages)


def start(spec: NetworkSpec | None = None) -> PrunableSpec:
    """A network with random weights, always the same."""
    return PrunableSpec(build(spec or tiny(), generator=torch.Generator().manual_seed(0)).eval())


def write_network(path: Path, spec: NetworkSpec, about: Mapping[str, object]) -> None:
    """A spec file and weights that `start` gives, beside it."""
    path.write_text(spec.to_json())
    path.with_suffix(".safetensors").write_bytes(network_bytes(start(spec).module, about))


def phone_table(spec: NetworkSpec, *, scale: float = 1.0, **identity: object) -> LatencyTable:
    """A table of a device that is not here, on which time goes with multiply-adds; `identity` overrides its own."""
    layers = [layer for each in (spec, *variants(spec, 2)) for layer in lower(each).layers]
    kernels = {layer.signature: scale * (1e-3 + 1e-6 * layer_params_macs(layer)[1]) for layer in layers}
    of_phone = Identity(**{**Eager().identity(spec.resolution), "machine": "a phone", **identity})
    return LatencyTable(of_phone, 1.0, kernels, Correction(1.0, 0.1, 0.03))


class Own(nn.Module):
    """A residual network as a user writes it."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(12, 20, 3, 1, 1, bias=False), nn.BatchNorm2d(20), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(20, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.two(self.one(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def own_module() -> nn.Module:
    """`Own` with random weights, always the same."""
    torch.manual_seed(0)
    return Own().eval()


def ms_of(subject: Subject) -> float:
    """As many ms as the network has thousands of MACs, at 32 px."""
    if isinstance(subject, NetworkSpec):
        return macs(subject) / 1e3
    return costs(trace(subject, resolution=32).graph).macs / 1e3


class ScriptedTimer:
    """A device on which networks take `ms_of` them, times `factor`.

    slower: fingerprints of specs that take half as long again as the network before; faster: those that take half of
    it. stop_at: the number of the test, from 1, at which the process is killed. pairs: the fingerprints that were
    tested.
    """

    def __init__(
        self,
        *slower: str,
        faster: tuple[str, ...] = (),
        all_slower: bool = False,
        factor: float = 1.0,
        stop_at: int = 0,
    ) -> None:
        self.slower, self.faster, self.all_slower = slower, faster, all_slower
        self.factor, self.stop_at = factor, stop_at
        self.pairs: list[str] = []

    def pair(self, before: Subject, after: Subject) -> Timing:
        name = after.fingerprint() if isinstance(after, NetworkSpec) else ""
        self.pairs.append(name)
        if len(self.pairs) == self.stop_at:
            raise Killed
        ratio = 1.5 if name in self.slower or self.all_slower else ms_of(after) / ms_of(before)
        ratio = 0.5 if name in self.faster else ratio
        return Timing(ms_of(before), ms_of(before) * ratio, ratio, ratio, ratio, 12)

    def alone(self, subject: Subject) -> Measurement:
        ms = self.factor * ms_of(subject)
        return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)


class Killed(Exception):
    """Stands for a kill."""


QUICK = Settings(network=Path("tiny"), budget_macs=1.0, step=0.1, shortlist=2, short_steps=2, validation_images=100)


class Lines(Progress):
    """Keeps the lines that would be printed."""

    def __init__(self) -> None:
        super().__init__(lambda: None, quiet=True)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def serial(images: Dataset, settings: Settings = QUICK) -> Serial:
    """Trainings of two steps."""
    recipe = short_recipe(Recipe(batch_size=16), 2, 1000)
    return Serial.on(images, recipe=recipe, validation_images=settings.validation_images)


def job_of(
    images: Dataset,
    history: History | Path,
    budget: float,
    *,
    network: Prunable | None = None,
    timer: PairedTimer | None = None,
    settings: Settings = QUICK,
    keep_all: bool = True,
    cost_model: CostModel = MACS,
    confidence: float = 0.95,
    **more: Any,
) -> Job:
    """A pruning to `budget`, in what `cost_model` counts or `timer` measures; a folder is a history on disk."""
    return Job(
        replace(settings, budget_macs=budget),
        Inputs(network=network or start(), images=images, seed=0),
        cost_model,
        timer,
        Lines(),
        Recipe(),
        history=StoredHistory(history, keep_all=keep_all) if isinstance(history, Path) else history,
        confidence=confidence,
        **more,
    )


def pruner(
    images: Dataset, history: History | Path, budget: float, *, train: ShortTraining | None = None, **job: Any
) -> tuple[Pruner, History]:
    """A pruner of `job_of`, with its history."""
    found = job_of(images, history, budget, **job)
    return Pruner(found, train or serial(images, found.settings)), found.history
