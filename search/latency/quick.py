"""`quick_table`: a latency table for a search in some 20 seconds, of a part of the space's kernels.

The blocks that tell the most are timed (search.latency.design), and random networks, to which their sum is fitted.
Other kernels are estimated (searchspace.latency.estimate), which every interval counts. Groups of networks and blocks
are timed one after the other, each from all over the space: on a slow machine there are fewer of them. The table is
kept in a file of its own and says that it is quick. A full one (python -m search.latency build) is taken in its place
where there is one.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar

from search.latency.adapt import FEWEST, networks_to_measure
from search.latency.build import (
    BLOCKS_A_BATCH,
    LEAST_SEEN,
    NOISE,
    USUAL_ERROR,
    Medians,
    Plan,
    fit_networks,
    note_noise,
    with_kernels,
)
from search.latency.cache import Cache, Note, Unfinished, default_dir
from search.latency.design import Telling, networks_of, telling_blocks
from search.latency.groups import Group, Subject, groups, layers_of
from search.latency.interleave import Interleaver, Runtime, Timer
from search.latency.measurement import Clock, Progress
from search.latency.probe_networks import probe_networks
from search.latency.reference import REFERENCE
from search.latency.runtimes import runtime as named_runtime
from search.latency.time_base import TimeBase, time_base_of
from searchspace.errors import MissingLatency
from searchspace.graph import lower
from searchspace.latency.table import Correction, Identity, LatencyTable
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

QUICK_S = 24.0  # the last round and the fit come on top
EXTENSION_S = 8.0  # for networks of kernels that a table estimates badly
ROUNDS = 6
PLANNED_ROUNDS = 4  # that there must be time for before one more network or batch is taken
FEWEST_ROUNDS = 2
WARM_CALLS = 2
NETWORKS = 24
NETWORKS_A_BATCH = 4  # the order of what is timed: so many networks, then a batch of blocks
BATCHES = 7
NAMED = 4  # random networks that one of `networks` counts for
MORE_BLOCKS = 48  # of an extension
DOUBT = 0.05  # the relative error by estimated kernels from which on more of them are timed
USUAL_COUNT = 20  # networks that the usual error of tables counts for
LEAST_ERROR = 0.01  # of networks without an estimated kernel
T = TypeVar("T")


def quick_table(
    space: SearchSpace,
    *,
    networks: Sequence[NetworkSpec] = (),
    budget_s: float = QUICK_S,
    cache_dir: Path | None = None,
    progress: Progress = lambda *_: None,
    note: Note = lambda _: None,
    seed: int = 0,
    runtime: Runtime | None = None,
    clock: Clock = time.monotonic,
) -> LatencyTable:
    """A table that prices the networks of `space`, and `networks`, within `budget_s` seconds of measuring.

    It is read from `cache_dir` (default: $PHINAS_CACHE, else ~/.cache/phinas), the full one where there is one. A quick
    one of another space, which has none of some kind of kernels, is measured anew. Where random networks of the space,
    or `networks`, may be off by DOUBT, the kernels that tell the most are timed and added in EXTENSION_S. An
    interrupted measurement goes on with the group of subjects that it was at. The time is kept on a slow machine too:
    fewer subjects are timed there, four networks and a batch of blocks at least. `clock`: seconds. Raises StorageError
    for a cache that cannot be written.
    """
    runtime = runtime or named_runtime()
    cache = Cache(cache_dir or default_dir(), runtime.identity(space.resolution), note=note)
    quick = _Quick(cache, runtime, progress, note, seed, clock)
    table, own = cache.table() or cache.table(quick=True), fit_networks(space, seed)
    if table is None or (table.quick and _doubt(table, own) == math.inf):
        table = quick.new(space, networks, budget_s)
        cache.save(table)
        return table
    doubtful = [spec for some in (own, networks) if some and _doubt(table, some) > DOUBT for spec in some]
    if doubtful:
        table = quick.extended(table, doubtful, min(EXTENSION_S, budget_s))
        cache.save(table)
    return table


@dataclass(frozen=True)
class _Quick:
    """What measures quick tables, and adds to any."""

    cache: Cache
    runtime: Runtime
    progress: Progress
    note: Note
    seed: int
    clock: Clock

    def new(self, space: SearchSpace, networks: Sequence[NetworkSpec], budget_s: float) -> LatencyTable:
        began = self.clock()
        known = [*networks_of(space, seed=self.seed), *NAMED * list(networks)]
        telling = telling_blocks(known, count=BATCHES * BLOCKS_A_BATCH)
        specs = networks_to_measure(space, count=NETWORKS, seed=self.seed)
        subjects = _in_turn(specs, self._batches(telling))
        plan, readings = self._timed(subjects, probe_networks(space.resolution), began, budget_s, fewest=FEWEST)
        time_base = plan.time_base(self.cache, readings)
        table = _fitted(plan.medians(readings, time_base), self._identity(space), time_base)
        note_noise(table, readings, self.note)
        readings.done()
        return table

    def extended(self, table: LatencyTable, networks: Sequence[NetworkSpec], budget_s: float) -> LatencyTable:
        """With more kernels of `networks`."""
        began = self.clock()
        telling = telling_blocks(networks, known=table.kernels, count=MORE_BLOCKS)
        if not telling.blocks:
            return table
        probes = probe_networks(table.identity["resolution"], table.probe_networks_ms)
        plan, readings = self._timed(self._batches(telling), probes, began, budget_s, fewest=0)
        found = with_kernels(table, plan.medians(readings, time_base_of(table)).kernels)
        readings.done()
        return found

    def _identity(self, space: SearchSpace) -> Identity:
        return self.runtime.identity(space.resolution)

    def _batches(self, telling: Telling) -> list[Subject]:
        """The blocks in batches in which they stand in random order; the first holds all that are needed."""
        rng, first = random.Random(self.seed), max(BLOCKS_A_BATCH, telling.needed)
        starts = [0, *range(first, len(telling.blocks), BLOCKS_A_BATCH)]
        batches = [telling.blocks[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
        return [tuple(rng.sample(batch, len(batch))) for batch in batches]

    def _timed(
        self, subjects: list[Subject], probes: Sequence[NetworkSpec], began: float, budget_s: float, *, fewest: int
    ) -> tuple[Plan, Unfinished]:
        """The subjects that there was time for, and their readings.

        At least the first `fewest` networks and the first batch of blocks are timed, in FEWEST_ROUNDS.
        """
        plan = Plan(subjects, groups(subjects, probes), probes)
        readings = Unfinished(self.cache.quick_unfinished_path, plan.key(self.runtime.identity(probes[0].resolution)))
        if readings.resume():
            self.progress(0.0, "going on with an interrupted measurement of this machine")
        readings.save()
        pace = _Pace(self.clock, began - readings.spent_s, budget_s)
        turns = _Turns(self.runtime, probes, pace, readings, self.progress, self.seed)
        timed, needed = list[Group](), fewest + 1
        for part in plan.groups:
            found = turns.time(part, subjects, needed=needed)
            if not found.places:
                break
            timed.append(found)
            needed = 0
        return plan._replace(groups=timed), readings


class _Pace:
    """What making and calling timers takes here, a layer, and so whether there is time for more."""

    def __init__(self, clock: Clock, began: float, budget_s: float) -> None:
        self._clock, self._began, self.budget_s = clock, began, budget_s
        self._layers, self._making_s, self._calling_s = 0, 0.0, 0.0

    @property
    def spent_s(self) -> float:
        return self._clock() - self._began

    def timed(self, call: Callable[[], T]) -> tuple[T, float]:
        """What a call returns, and its seconds."""
        before = self._clock()
        found = call()
        return found, self._clock() - before

    def learn(self, layers: int, making_s: float, calling_s: float) -> None:
        """A timer of so many layers took so long to make, with its first calls, and to call."""
        self._layers += layers
        self._making_s += making_s
        self._calling_s += calling_s

    def has_time(self, layers: int, round_s: float) -> bool:
        """Whether a timer of so many layers can be made, and called in PLANNED_ROUNDS rounds beside others."""
        more = layers / max(1, self._layers)
        needed_s = more * self._making_s + PLANNED_ROUNDS * (round_s + more * self._calling_s)
        return self.spent_s + needed_s <= self.budget_s


class _Turns:
    """Times group after group. Timers are made as long as there is time to call them, and dropped with their group."""

    def __init__(
        self,
        runtime: Runtime,
        probes: Sequence[NetworkSpec],
        pace: _Pace,
        readings: Unfinished,
        progress: Progress,
        seed: int,
    ) -> None:
        self._runtime, self._pace, self._readings = runtime, pace, readings
        self._progress, self._seed = progress, seed
        self._interleaver: Interleaver | None = None
        self._probes, self._always = probes, list[Timer]()
        self._always_s = self._reference_s = 0.0

    def time(self, part: Group, subjects: Sequence[Subject], *, needed: int) -> Group:
        """The part of a group that there was time for; what an interrupted measurement timed is of it."""
        before = [place for place in part.places if place in self._readings.readings]
        if before:
            part, needed = part._replace(places=before), len(before)
            if self._readings.rounds(part.all_places) >= FEWEST_ROUNDS:
                return part
        with self._runtime.quiet():
            interleaver = self._begun()
            timers, round_s = list[Timer](), self._always_s
            for place in part.places:
                layers = len(layers_of(subjects[place]))
                if len(timers) >= needed and not self._pace.has_time(layers, round_s + self._reference_s):
                    break
                timer, call_s = self._ready(subjects[place])
                timers.append(timer)
                round_s += call_s + self._reference_s
            part = part._replace(places=part.places[: len(timers)])
            if timers:
                self._rounds(part, [*timers, *self._always], interleaver)
        return part

    def _begun(self) -> Interleaver:
        """What times beside the reference, with the probe networks made and warm."""
        if self._interleaver is None:
            reference = self._runtime.network(REFERENCE)
            self._interleaver = Interleaver(reference, seed=self._seed)
            self._interleaver.warm([])
            _, once_s = self._pace.timed(reference)
            self._reference_s = 2 * once_s  # of whose two calls the second counts
            ready = [self._ready(spec) for spec in self._probes]
            self._always = [timer for timer, _ in ready]
            self._always_s = self._reference_s + sum(call_s + self._reference_s for _, call_s in ready)
        return self._interleaver

    def _ready(self, subject: Subject) -> tuple[Timer, float]:
        """A timer that was called before, and the seconds of a call."""

        def make() -> Timer:
            timer = (
                self._runtime.network(subject) if isinstance(subject, NetworkSpec) else self._runtime.kernels(subject)
            )
            for _ in range(WARM_CALLS):
                timer()
            return timer

        timer, making_s = self._pace.timed(make)
        _, calling_s = self._pace.timed(timer)
        self._pace.learn(len(layers_of(subject)), making_s + calling_s, calling_s)
        return timer, calling_s

    def _rounds(self, part: Group, timers: Sequence[Timer], interleaver: Interleaver) -> None:
        readings, pace, round_s = self._readings, self._pace, 0.0
        while (done := readings.rounds(part.all_places)) < ROUNDS:
            if done >= FEWEST_ROUNDS and pace.spent_s + round_s > pace.budget_s:
                break
            found, round_s = pace.timed(lambda: interleaver.round(timers))
            readings.add(part.all_places, found)
            readings.spent_s = pace.spent_s
            readings.save()
            self._progress(min(1.0, pace.spent_s / pace.budget_s), "measuring this machine")


def _in_turn(specs: Sequence[NetworkSpec], batches: Sequence[Subject]) -> list[Subject]:
    """NETWORKS_A_BATCH networks, a batch of blocks, and so on."""
    order: list[Subject] = []
    for at in range(max(len(batches), math.ceil(len(specs) / NETWORKS_A_BATCH))):
        order += [*specs[at * NETWORKS_A_BATCH : (at + 1) * NETWORKS_A_BATCH], *batches[at : at + 1]]
    return order


def _fitted(found: Medians, identity: Identity, time_base: TimeBase) -> LatencyTable:
    """The table of some kernels; those that the networks need beside them are estimated for the fit.

    Its own error is that of networks left out of the fit, less what their estimated kernels account for: predictions
    count that by themselves. It is pooled with USUAL_ERROR for USUAL_COUNT networks, since that of few networks is
    itself uncertain.
    """
    from search.latency.fit import fit  # with numpy, which a command that only reads tables does not need

    first = LatencyTable(identity, 1.0, found.kernels, Correction(1.0, 0.0, 0.0))
    layers = {layer.signature: layer for spec in found.networks for layer in lower(spec).layers}
    every = found.kernels | {signature: first.kernel_ms(layer) for signature, layer in layers.items()}
    fitted = fit(every, found.networks, found.network_ms)
    kernels = {signature: fitted.kernels[signature] for signature in found.kernels}
    table = LatencyTable(
        identity,
        kernels=kernels,
        correction=fitted.correction,
        **time_base._asdict(),
        kernel_correction=fitted.kernel_correction,
        quick=True,
    )
    predicted = [table.cost_ms(lower(spec)) for spec in found.networks]
    scale = median(ms / own for ms, own in zip(found.network_ms, predicted, strict=True))
    estimated = fmean(
        table.estimation_error(lower(spec), ms) ** 2 for spec, ms in zip(found.networks, predicted, strict=True)
    )
    count, seen = len(predicted), (1 - NOISE) ** 2 * fitted.correction.relative_error**2
    pooled = (count * seen + USUAL_COUNT * USUAL_ERROR**2) / (count + USUAL_COUNT)
    whole = max(pooled, LEAST_SEEN**2 * seen)
    own = math.sqrt(max(LEAST_ERROR**2, whole - estimated))
    network_ms, scale = scale * fitted.correction.network_ms, scale * fitted.correction.scale
    return replace(table, correction=Correction(scale, network_ms, own))


def _doubt(table: LatencyTable, specs: Sequence[NetworkSpec]) -> float:
    """By what share estimated kernels may make the latencies of these networks wrong; infinite if one has no price."""
    graphs = [lower(spec) for spec in specs]
    try:
        return math.sqrt(fmean(table.estimation_error(graph, table.cost_ms(graph)) ** 2 for graph in graphs))
    except MissingLatency:
        return math.inf
