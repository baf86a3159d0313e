"""The paired test: is the cheaper network really not slower than the one before it, on this device?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from search.latency.interleave import Interleaver, Reading, Runtime, Timer
from search.latency.measurement import Measurement, measure_specs, measure_without_table
from search.latency.reference import REFERENCE, RESOLUTION, images_of
from search.latency.robust import median_interval, weighted_median
from search.latency.runtimes import runtime as named_runtime
from search.latency.runtimes import runtime_of
from search.latency.time_base import time_base_of
from searchspace.errors import InvalidArgument
from searchspace.latency.table import LatencyTable
from searchspace.nn.copies import first_line
from searchspace.spec import NetworkSpec

FEWEST_ROUNDS = 12
MOST_ROUNDS = 60
Subject = NetworkSpec | nn.Module


class Timing(NamedTuple):
    """The outcome of a paired test: ms at the reference's quiet speed, whatever the session does to both networks.

    ratio: after / before, the weighted median over rounds; low, high: its 95 % interval.
    """

    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def faster(self) -> bool:
        """Not slower than before: the ratio's median is at most 1."""
        return self.ratio <= 1.0


class PairedTimer(Protocol):
    """Times networks on a device: those of specs with fresh weights, or modules."""

    def pair(self, before: Subject, after: Subject) -> Timing:
        """Two against each other."""

    def alone(self, subject: Subject) -> Measurement:
        """One, as carefully as a search measures its finalists."""


class DeviceTimer:
    """Times on this machine. `table` is of this machine, and `runtime` the table's own where none is given.

    Weights decide no time: a spec stands for a fresh network. Modules take images of 3 channels of `resolution` px,
    by default those of the table.
    """

    def __init__(
        self, table: LatencyTable, *, seed: int, resolution: int | None = None, runtime: Runtime | None = None
    ) -> None:
        self._table, self._seed = table, seed
        self._runtime = runtime or runtime_of(table.identity)
        self._time_base = time_base_of(table)
        self._image = images_of(resolution or table.identity["resolution"])
        self._reference: Timer | None = None
        self._before: tuple[Subject, Timer] | None = None

    def alone(self, subject: Subject) -> Measurement:
        """See PairedTimer. Raises InvalidArgument for a module that the table's runtime cannot run."""
        if isinstance(subject, NetworkSpec):
            return measure_specs([subject], table=self._table, runtime=self._runtime)[0]
        return measure_specs([self._image], modules=[subject], table=self._table, runtime=self._runtime)[0]

    def pair(self, before: Subject, after: Subject) -> Timing:
        """See PairedTimer.

        Both run in each round, in random order, beside the reference, until the interval of their ratio lies on one
        side of 1 or MOST_ROUNDS are done.
        """
        if self._before is None or self._before[0] != before:
            self._before = before, self._timer(before)
        return self._time([self._before[1], self._timer(after)])

    def _timer(self, subject: Subject) -> Timer:
        if isinstance(subject, NetworkSpec):
            return self._runtime.network(subject)
        return self._runtime.module(subject, self._image)

    def _time(self, timers: Sequence[Timer]) -> Timing:
        interleaver = Interleaver(self._beside(timers), seed=self._seed)
        rounds: list[tuple[Reading, Reading]] = []
        with self._runtime.quiet():
            interleaver.warm(timers)
            interleaver.round(timers)
            while len(rounds) < MOST_ROUNDS and not _decided(rounds):
                first, second = interleaver.round(timers)
                rounds.append((first, second))
        before, after = (
            weighted_median([(self._ms(pair[side]), pair[side].weight) for pair in rounds]) for side in (0, 1)
        )
        ratios = _ratios(rounds)
        return Timing(before, after, weighted_median(ratios), *median_interval(ratios), len(rounds))

    def _beside(self, timers: Sequence[Timer]) -> Timer:
        """What runs between the two."""
        self._reference = self._reference or self._runtime.network(REFERENCE)
        return self._reference

    def _ms(self, reading: Reading) -> float:
        return self._time_base.ms(reading)[0]


class ModuleTimer(DeviceTimer):
    """Times users' modules on this machine without a table, on inputs of these shapes (without the batch).

    A pair runs beside the first of the two, not beside the reference, which may take a hundred times as long as a
    small module; its ms are those of this session.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        *,
        seed: int,
        threads: int | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._seed, self._shapes = seed, shapes
        self._runtime = runtime or named_runtime(threads=threads)
        self._image = images_of(RESOLUTION)  # the module has inputs of its own
        self._before: tuple[Subject, Timer] | None = None

    def alone(self, subject: Subject) -> Measurement:
        """See PairedTimer. Raises InvalidArgument for a module that does not run here."""
        assert isinstance(subject, nn.Module)
        modules = [_OnInputs(subject, self._shapes)]
        with self._named(subject):
            (found,), _ = measure_without_table([self._image], modules=modules, runtime=self._runtime)
        return found

    def _beside(self, timers: Sequence[Timer]) -> Timer:
        return timers[0]

    def _ms(self, reading: Reading) -> float:
        return reading.ratios[0] * reading.reference_ns / 1e6

    def _timer(self, subject: Subject) -> Timer:
        assert isinstance(subject, nn.Module)
        with self._named(subject):
            return self._runtime.module(_OnInputs(subject, self._shapes), self._image)

    @contextmanager
    def _named(self, module: nn.Module) -> Iterator[None]:
        try:
            yield
        except InvalidArgument as error:
            raise InvalidArgument(
                f"the {type(module).__name__} must run on inputs {self._shapes} in float32 to be timed, and does not: "
                f"{first_line(error)}; give a budget in MACs or parameters"
            ) from error


class _OnInputs(nn.Module):
    """A module that runs on inputs of its own, whatever image it is given."""

    def __init__(self, module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.module = module
        generator = torch.Generator().manual_seed(0)
        for place, shape in enumerate(shapes):
            self.register_buffer(f"input{place}", torch.randn(1, *shape, generator=generator))

    def forward(self, image: Tensor) -> object:
        """What the module gives for its own inputs."""
        return self.module(*(tensor for name, tensor in self._buffers.items() if name.startswith("input")))


def _ratios(rounds: list[tuple[Reading, Reading]]) -> list[tuple[float, float]]:
    return [
        (second.ratios[0] / first.ratios[0], 1 / (1 / first.weight + 1 / second.weight)) for first, second in rounds
    ]


def _decided(rounds: list[tuple[Reading, Reading]]) -> bool:
    if len(rounds) < FEWEST_ROUNDS:
        return False
    low, high = median_interval(_ratios(rounds))
    return high < 1.0 or low > 1.0


def key(before: str, after: str) -> str:
    """The name of a test of two networks, by their fingerprints."""
    return f"{before} {after}"
