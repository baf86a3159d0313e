"""The smallest search: four networks, a few digits at 32 px, a latency table that nobody measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.device import Device
from search.latency import Measurement
from search.latency.kernels import placed_blocks, rough_cost
from search.netadapt.timing import Timing
from search.settings import Settings
from searchspace.graph import lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.toml import space_from_toml
from searchspace.spec import NetworkSpec

TOML = """\
[choices]
"*.activation" = ["relu"]
"*.se" = [false]
"*.kernel" = [3]
"*.layers" = [1]
"*.expand_ratio" = [3]
"*.width_mult" = [0.25]
"stage1.expand_ratio" = [1]
"stage2.kernel" = [3, 5]
"stage3.layers" = [1, 2]
"""
WIDER = TOML.replace("[0.25]", "[0.75]")  # at 64 px some channels fewer save some percent
RESOLUTION = 32  # that of the trainings: nothing is adapted to another size
PHONE = Identity(
    schema=SCHEMA,
    machine="a phone",
    runtime="TFLite",
    threads=1,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=RESOLUTION,
    versions={},
)
FLAGS = ("--budget-ms", "1000", *["--data", "digits:60", "--proxy-resolution", "32", "--epochs", "1"])
FLAGS += ("--weights", "none")


def space_in(folder: Path, toml: str = TOML, *, resolution: int | tuple[int, ...] = RESOLUTION) -> SearchSpace:
    """The space, whose file is written to the folder."""
    (folder / "space.toml").write_text(toml)
    return space_from_toml(folder / "space.toml", classes=10, resolution=resolution)


def table_of(space: SearchSpace, identity: Identity = PHONE) -> LatencyTable:
    """A table of about what kernels of the space take."""
    kernels = {layer.signature: rough_cost(layer) for block in placed_blocks(space) for layer in block.layers}
    return LatencyTable(identity, 1.0, kernels, Correction(1.0, 0.1, 0.03))


def flags(folder: Path, *more: str, identity: Identity = PHONE) -> list[str]:
    """The command line of a search in the folder, by a table of the device `identity`."""
    table, path = table_of(space_in(folder), identity), folder / f"{identity['runtime'].replace(' ', '-')}.json"
    path.write_text(table.to_json())
    return [*FLAGS, "--space", str(folder / "space.toml"), "--latency", str(path), *more]


def with_table(folder: Path, space: SearchSpace) -> LatencyTable:
    """The table of the space, whose file is written to the folder."""
    table = table_of(space, {**PHONE, "resolution": space.resolution})
    (folder / "table.json").write_text(table.to_json())
    return table


def scripted_settings(folder: Path, budget_ms: float, **more: Any) -> Settings:
    """A search whose networks are not trained (the accuracy "scripted"), by the space and the table in the folder."""
    given = {
        "data": "digits:60",
        "proxy_resolution": 32,
        "resolution": RESOLUTION,
        "epochs": 1,
        "trials": 2,
        "accuracy": "scripted",
        "weights": "none",
        "space_file": str(folder / "space.toml"),
        "latency": str(folder / "table.json"),
        "study": "s",
        **more,
    }
    return Settings(budget_ms=budget_ms, **given)


def tiny_network(folder: Path) -> NetworkSpec:
    """The first blocks of the space's smallest network, to be trained for real: a step takes some milliseconds."""
    space = space_in(folder)
    spec = space.spec(space.corner("smallest"), name="tiny")
    return replace(spec, stages=(*spec.stages[:3], spec.stages[-1]))


class TableDevice(Device):
    """Networks measure what the table predicts, with random weights `factor` times that."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def is_of(self, table: LatencyTable) -> bool:
        return True

    def measure(
        self, specs: Sequence[NetworkSpec], *, modules: Any = None, table: LatencyTable, **_: Any
    ) -> list[Measurement]:
        factor = self.factor if modules is None else 1.0
        return [measurement(factor * table.predict(spec).latency_ms) for spec in specs]


def measurement(ms: float) -> Measurement:
    """A sure one."""
    return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)


class TableTimer:
    """A PairedTimer of a device on which every network takes what the table says."""

    def __init__(self, table: LatencyTable, *, seed: int) -> None:
        self.table = table

    def alone(self, spec: NetworkSpec) -> Measurement:
        return measurement(self.table.predict(lower(spec)).latency_ms)

    def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
        first, second = self.alone(before).latency_ms, self.alone(after).latency_ms
        return Timing(first, second, second / first, second / first, second / first, 12)
