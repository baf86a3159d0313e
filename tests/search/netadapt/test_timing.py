"""The paired test on a device: two networks in one round, until it is decided which one is faster; and its replay."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.measurement import Measurement
from search.latency.reference import REFERENCE
from search.netadapt.history import History, RecordedTimer
from search.netadapt.records import Part
from search.netadapt.timing import FEWEST_ROUNDS, MOST_ROUNDS, DeviceTimer, ModuleTimer, Timing, key
from searchspace import zoo
from searchspace.cost import macs
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spec import NetworkSpec
from tests.search.netadapt.scripted import ScriptedTimer, start

IDENTITY = Identity(
    schema=SCHEMA,
    machine="abacus",
    runtime="eager torch",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=64,
    versions={},
)


class Machine:
    """A runtime on which a network takes as many ns as it has MACs, with some noise, times what the machine's speed
    wanders to between 1 and 2 from call to call; those named `slow` take a tenth more."""

    def __init__(self, *, noise: float = 0.01, slow: Sequence[str] = ()) -> None:
        self.made: list[str] = []
        self._noise, self._slow = noise, slow
        self._rng, self._speed = random.Random(0), 1.0

    def identity(self, resolution: int) -> Identity:
        assert resolution == IDENTITY["resolution"]
        return IDENTITY

    def network(self, spec: NetworkSpec) -> Timer:
        self.made.append(spec.fingerprint())
        ns = macs(spec) * (1.1 if spec.fingerprint() in self._slow else 1.0)

        def call() -> list[int]:
            self._speed = min(2.0, max(1.0, self._speed * self._rng.uniform(0.97, 1.03)))
            return [round(ns * self._speed * self._rng.gauss(1, 0 if spec == REFERENCE else self._noise))]

        return call

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        raise NotImplementedError

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        raise NotImplementedError

    @contextmanager
    def quiet(self) -> Iterator[None]:
        yield


BIG, SMALL, TINY = (zoo.get("mobilenet_v1", width=width, resolution=64) for width in (1.0, 0.9, 0.25))


def timer_on(machine: Machine) -> DeviceTimer:
    table = LatencyTable(machine.identity(64), macs(REFERENCE) / 1e6, {}, Correction(1.0, 0.0, 0.02))
    return DeviceTimer(table, seed=0, runtime=machine)


def test_a_smaller_network_is_found_faster_on_a_machine_that_wanders() -> None:
    machine = Machine()
    found = timer_on(machine).pair(BIG, SMALL)
    true = macs(SMALL) / macs(BIG)
    assert found.faster
    assert found.ratio == pytest.approx(true, rel=0.02)
    assert found.low <= true * 1.01
    assert found.high < 1
    assert found.before_ms == pytest.approx(macs(BIG) / 1e6, rel=0.03)  # at the reference's quiet speed
    assert found.after_ms == pytest.approx(macs(SMALL) / 1e6, rel=0.03)
    assert FEWEST_ROUNDS <= found.rounds < MOST_ROUNDS  # it is decided long before


def test_a_network_that_is_smaller_on_paper_and_slower_here_is_found_slower() -> None:
    paper = zoo.get("mobilenet_v1", width=0.98, resolution=64)
    found = timer_on(Machine(slow=[paper.fingerprint()])).pair(BIG, paper)
    assert macs(paper) <= macs(BIG)
    assert not found.faster
    assert found.low > 1


def test_what_cannot_be_told_apart_is_timed_to_the_last_round() -> None:
    found = timer_on(Machine(noise=0.05)).pair(BIG, BIG.with_resolution(64))
    assert found.rounds == MOST_ROUNDS or found.low > 1 or found.high < 1
    assert found.ratio == pytest.approx(1.0, abs=0.03)


def test_the_network_before_is_made_once_for_all_that_come_after_it() -> None:
    machine = Machine()
    timer = timer_on(machine)
    for after in (SMALL, TINY):
        timer.pair(BIG, after)
    assert machine.made.count(BIG.fingerprint()) == 1
    assert machine.made.count(REFERENCE.fingerprint()) == 1
    timer.pair(SMALL, TINY)
    assert machine.made.count(SMALL.fingerprint()) == 2


def test_one_network_alone_is_measured_as_finalists_are() -> None:
    found = timer_on(Machine()).alone(SMALL)
    assert found.latency_ms == pytest.approx(macs(SMALL) / 1e6, rel=0.02)
    assert found.rounds > 1


def test_outcomes_that_are_replayed_are_not_timed_again() -> None:
    timing = Timing(2.0, 1.0, 0.5, 0.4, 0.6, 12)
    one = Measurement(latency_ms=1.0, low_ms=0.9, high_ms=1.1, rounds=9, raw_median_ms=1.0, noisy=False)
    big, small, tiny = start(BIG), start(SMALL), start(TINY)
    asked = ScriptedTimer()
    replay = Part(1, timings={key(big.fingerprint, small.fingerprint): timing}, measured={big.fingerprint: one})
    timer = RecordedTimer(asked, History(), replay)
    assert timer.pair(big, small) == timing
    assert timer.alone(big) == one
    assert asked.pairs == []
    timer.pair(small, tiny)
    assert timer.alone(tiny) == ScriptedTimer().alone(TINY)
    assert asked.pairs == [TINY.fingerprint()]


class Modules(Machine):
    """Whose modules take as long as they say."""

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        return lambda: [round(1e6 * module.get_submodule("module").get_parameter("ms").item())]

    def network(self, spec: NetworkSpec) -> Timer:
        raise AssertionError("a pair of small modules runs without the reference, which takes as long as a hundred")


class Takes(nn.Module):
    def __init__(self, ms: float) -> None:
        super().__init__()
        self.ms = nn.Parameter(torch.tensor(ms))


def test_two_modules_are_timed_beside_each_other_alone() -> None:
    found = ModuleTimer([(3, 8, 8)], seed=0, runtime=Modules()).pair(Takes(2.0), Takes(1.5))
    assert (found.before_ms, found.after_ms, found.ratio) == pytest.approx((2.0, 1.5, 0.75))
    assert found.rounds == FEWEST_ROUNDS
