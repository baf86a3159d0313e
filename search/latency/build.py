"""`table_for`: the latency table of a search space on this machine, from the cache or measured now."""

import hashlib
import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from search.latency.cache import Cache, Note, Unfinished, default_dir
from search.latency.groups import GROUP_KERNELS, Group, Readings, Subject, Timers, groups, layers_of, turns_of
from search.latency.interleave import Interleaver, Runtime, Timer
from search.latency.kernels import PlacedBlock, block_batches, blocks_of, cover, placed_blocks, signatures
from search.latency.measurement import Clock, Progress, stretch
from search.latency.probe_networks import merged, probe_networks, session_effects, without_effects
from search.latency.reference import REFERENCE
from search.latency.robust import Weighted, quantile, weighted_median
from search.latency.runtimes import runtime as named_runtime
from search.latency.time_base import BUSY, TimeBase, time_base_of
from searchspace.graph import Signature
from searchspace.latency.table import Identity, LatencyTable
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

ROUNDS = 10  # of a search, which measures its finalists anyway
MANY_ROUNDS = 40  # of a table that is made to be kept, where MANY_S allow
MANY_S = 80.0  # so that `build`, with its timers, its fit and its holdout networks, takes 2 minutes
FEWEST_ROUNDS = 4
FIT_NETWORKS = 18  # whose leave-one-out errors are the table's own error: of fewer it is itself uncertain
FIT_SHALLOW = 8  # without them the constant of a network is not seen: networks of 4 to 10 ms came out 4 % low
# Multiples of width and resolution, for kernels of networks that have grown. Estimated from smaller kernels alone they
# were less exact: ONNX Runtime met 19 targets of 20 with them and 11 without. Not larger: behind activations of some
# 25 MB the next kernels of a batch took three to five times as long in eager torch as in a network.
GROWN = ((1.1, 1.15), (1.1, 1.3), (1.2, 1.3), (1.2, 1.4), (1.3, 1.5))
# Smaller networks, which the table is also fitted to: they have as many kernels in less time, so that what a kernel
# costs apart from its work is seen.
SHRUNK = ((0.5, 0.57), (0.65, 0.72), (0.8, 0.79), (0.6, 1.0))
FEWEST_PIXELS = 32  # the total stride
PREPARED = 0.1  # the share of progress for making the timers
BLOCKS_A_BATCH = 24
USUAL_ERROR = 0.018  # of four tables, each on 60 networks that it was not fitted to: 1.5 to 2.1 %
USUAL_COUNT = 60  # networks that the usual error counts for
NOISE = 0.2  # the share of the leave-one-out errors that comes from measuring those networks for a shorter time
LEAST_SEEN = 0.9  # the share of the seen error that counts at least
ROUGH = 0.1  # own error of a table from which on the user is advised to measure again


def table_for(
    space: SearchSpace,
    *,
    cache_dir: Path | None = None,
    progress: Progress = lambda *_: None,
    note: Note = lambda _: None,
    seed: int = 0,
    budget_s: float | None = None,
    runtime: Runtime | None = None,
    networks: Sequence[NetworkSpec] = (),
    rounds: int = ROUNDS,
    anew: bool = False,
    clock: Clock = time.monotonic,
    group_kernels: int = GROUP_KERNELS,
) -> LatencyTable:
    """The table that prices every network of `space` and `networks` on this machine.

    Its kernels are timed inside isolated blocks, with some of smaller and larger networks, from which others are
    estimated. Their sum is fitted to whole networks that are timed in the same rounds: a sample of the space, and
    `networks` if it is measured for them from the start. It is read from `cache_dir`
    (default: $PHINAS_CACHE, else ~/.cache/phinas); kernels that it lacks are measured and added. An interrupted
    measurement goes on at its last round.

    `runtime`: eager torch if none is given. `rounds`: readings of every kernel. `budget_s` cuts the rounds, not the
    kernels; the time of an interrupted measurement counts. `anew` measures everything; the old table stays until that
    is done. `progress` gets a share and a few words, `note` a sentence about a damaged file or a noisy machine.
    `clock`: seconds. Raises StorageError for a cache that cannot be written.
    """
    runtime = runtime or named_runtime()
    identity = runtime.identity(space.resolution)
    cache = Cache(cache_dir or default_dir(), identity, note=note)
    shrunk, grown = _resized(space, SHRUNK), _resized(space, GROWN)
    blocks = [*placed_blocks(space), *_blocks([*networks, *shrunk])]
    larger = _blocks(grown)
    table = None if anew else cache.table()
    missing = signatures([*blocks, *larger]) - set(table.kernels if table else ())
    if table is not None and not missing:
        return table
    subjects: list[Subject] = [*block_batches(cover(blocks, missing), size=BLOCKS_A_BATCH, seed=seed)]
    if table is None:
        subjects += [*fit_networks(space, seed), *shrunk, *networks]
    apart = len(subjects)  # in rounds of their own: no kernel of the space is timed behind one of twice its pixels
    subjects += block_batches(cover(larger, missing - signatures(blocks)), size=BLOCKS_A_BATCH, seed=seed)
    probes = probe_networks(space.resolution, table.probe_networks_ms if table else None)
    plan = Plan(subjects, groups(subjects, probes, apart=apart, most_kernels=group_kernels), probes)
    path = cache.unfinished_path if table is None else cache.additions_path  # neither takes the other's place
    unfinished = Unfinished(path, plan.key(identity, anew=anew))
    if unfinished.resume():
        progress(0.0, "going on with an interrupted measurement of this machine")
    unfinished.save()
    _measure(plan, runtime, unfinished, progress, seed=seed, budget_s=budget_s, rounds=rounds, clock=clock)
    table = _add(table, identity, cache, plan, unfinished)
    cache.save(table)
    unfinished.done()
    note_noise(table, unfinished, note)
    return table


def note_noise(table: LatencyTable, unfinished: Readings, note: Note) -> None:
    """Say so where a table was measured while other work ran."""
    around = [reading.reference_ns / 1e6 for readings in unfinished.readings.values() for reading in readings]
    slower, again = quantile(around, 0.5) / table.reference_ms, "python -m search.latency build --again, same flags"
    if table.relative_error > ROUGH:
        note(
            f"the latency table is rough, its own error is {table.relative_error:.0%}: other work ran meanwhile. Stop "
            f"it and measure again: {again}"
        )
    elif slower > BUSY:
        note(
            f"the machine took {slower:.1f} times its quiet time while the table was measured: other work ran, and "
            f"what is short looks fast then. Stop it and measure again: {again}"
        )


def with_holdout_error(
    table: LatencyTable, holdout_errors: Sequence[float], noise: Sequence[float] = ()
) -> LatencyTable:
    """A built table, its own error estimated again with networks that it was not fitted to.

    `holdout_errors` are their predicted / measured - 1, `noise` the standard errors of their measurements, which are
    taken out. They are pooled with the leave-one-out errors of the fit and with USUAL_ERROR for USUAL_COUNT networks:
    alone, the 26 networks left out tell little of one table (they gave 2.4 to 4.6 % for twelve tables, whose random
    networks were off by 2.1 to 3.2 % all the same). At least LEAST_SEEN of the error that was seen counts, so that the
    usual one does not hide a bad table.
    """
    left_out, errors = FIT_NETWORKS + FIT_SHALLOW - 2, math.fsum(error * error for error in holdout_errors)
    squares = (1 - NOISE) ** 2 * table.relative_error**2 * left_out
    squares += max(errors / 4, errors - math.fsum(error * error for error in noise))
    count = left_out + len(holdout_errors)
    pooled = math.sqrt((squares + USUAL_ERROR**2 * USUAL_COUNT) / (count + USUAL_COUNT))
    error = max(pooled, LEAST_SEEN * math.sqrt(squares / count))
    return replace(
        table, correction=table.correction._replace(relative_error=error), holdout_errors=tuple(holdout_errors)
    )


def shallow(space: SearchSpace) -> SearchSpace:
    """The networks of a space with the fewest layers in every stage."""
    return space.with_choices({f"{stage.name}.layers": (min(stage.layers),) for stage in space.stages})


def fit_networks(space: SearchSpace, seed: int) -> list[NetworkSpec]:
    """The networks of a space that its table is fitted to."""
    rng = random.Random(f"networks to fit {seed}")
    spaces = [space] * FIT_NETWORKS + [shallow(space)] * FIT_SHALLOW
    return [one.spec(one.sample(rng)) for one in spaces]


def _resized(space: SearchSpace, sizes: Sequence[tuple[float, float]]) -> list[NetworkSpec]:
    """Networks of a space at multiples of width and resolution, the same ones in every call."""
    rng = random.Random("networks that have grown")
    return [
        space.decode(space.sample(rng)).expand(
            width=width, resolution=max(FEWEST_PIXELS, round(space.resolution * pixels / 8) * 8)
        )
        for width, pixels in sizes
    ]


def _blocks(specs: Iterable[NetworkSpec]) -> list[PlacedBlock]:
    return [block for spec in specs for block in blocks_of(spec)]


class Plan(NamedTuple):
    """What a measurement times: subjects in groups, with probe networks."""

    subjects: list[Subject]
    groups: list[Group]
    probes: Sequence[NetworkSpec]

    def key(self, identity: Identity, *, anew: bool = False) -> str:
        """A hash that two measurements share exactly when they measure the same subjects in the same setting."""
        content = (sorted(identity.items()), self.subjects, self.groups, REFERENCE, anew)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def time_base(self, cache: Cache, readings: Readings) -> TimeBase:
        """The quiet speed by all readings, the drift by those of networks: isolated blocks have less of it."""
        networks = {place for place, subject in enumerate(self.subjects) if isinstance(subject, NetworkSpec)}
        whole = [[readings.readings[place] for place in part.places if place in networks] for part in self.groups]
        probes = merged(part.probe_readings(readings) for part in self.groups)
        return cache.time_base([part.own(readings) for part in self.groups], whole, probes)

    def medians(self, readings: Readings, time_base: TimeBase) -> "Medians":
        """What the subjects of all groups took, without the session effects."""
        samples: dict[Signature, list[Weighted]] = {}
        specs, times = list[NetworkSpec](), list[float]()
        for part in self.groups:
            effects = session_effects(part.probe_readings(readings), time_base)
            for place in part.places:
                subject, own = self.subjects[place], without_effects(readings.readings[place], effects)
                if isinstance(subject, NetworkSpec):
                    specs.append(subject)
                    times.append(weighted_median([(time_base.ms(each)[0], each.weight) for each in own]))
                    continue
                for reading in own:
                    for layer, ms in zip(layers_of(subject), time_base.ms(reading), strict=True):
                        samples.setdefault(layer.signature, []).append((ms, reading.weight))
        return Medians({signature: weighted_median(values) for signature, values in samples.items()}, specs, times)


class Medians(NamedTuple):
    """Median ms: of kernels in isolated blocks, and of whole networks."""

    kernels: dict[Signature, float]
    networks: list[NetworkSpec]
    network_ms: list[float]


def _measure(
    plan: Plan,
    runtime: Runtime,
    unfinished: Unfinished,
    progress: Progress,
    *,
    seed: int,
    budget_s: float | None,
    rounds: int,
    clock: Clock,
) -> None:
    """Take `rounds` readings of every subject and probe network, or as many as the budget allows.

    At least FEWEST_ROUNDS are taken; those of an interrupted measurement count. A group has the share of the time that
    it has of the layers.
    """
    subjects, turns = plan.subjects, turns_of(plan.groups)
    layers = [sum(len(layers_of(subjects[place])) for place in part.places) for part, _ in turns]

    def make(place: int) -> Timer:
        subject = subjects[place]
        return runtime.network(subject) if isinstance(subject, NetworkSpec) else runtime.kernels(subject)

    made, reference = Timers(subjects, make), runtime.network(REFERENCE)
    always: list[Timer] = []
    started, done = clock() - unfinished.spent_s, 0.0
    for (part, of_rounds), own in zip(turns, layers, strict=True):
        before, share, places = done, own / sum(layers), part.all_places
        done += share
        deadline = math.inf if budget_s is None else started + budget_s * done
        fewest, most = of_rounds * FEWEST_ROUNDS, of_rounds * rounds
        if not _wants_round(unfinished.rounds(places), fewest, most, clock() > deadline):
            continue
        always = always or [runtime.network(spec) for spec in plan.probes]
        timers = [*made.of(part.places, stretch(progress, before, PREPARED * share)), *always]
        interleaver = Interleaver(reference, seed=seed + unfinished.rounds(places))
        report, began = stretch(progress, before + PREPARED * share, (1 - PREPARED) * share), clock()
        with runtime.quiet():
            interleaver.warm(timers)
            while _wants_round(unfinished.rounds(places), fewest, most, clock() > deadline):
                unfinished.add(places, interleaver.round(timers))
                unfinished.spent_s = clock() - started
                unfinished.save()
                passed = (clock() - began) / max(1e-9, deadline - began)
                report(max(unfinished.rounds(places) / rounds, min(1.0, passed)), "measuring this machine")


def _wants_round(done: int, fewest: float, most: float, late: bool) -> bool:
    return done < most and (done < fewest or not late)


def _add(
    table: LatencyTable | None, identity: Identity, cache: Cache, plan: Plan, unfinished: Unfinished
) -> LatencyTable:
    """The table with the measured kernels added; a new one with the fit to whole networks."""
    time_base = time_base_of(table) if table else plan.time_base(cache, unfinished)
    found = plan.medians(unfinished, time_base)
    if table is not None:
        return with_kernels(table, found.kernels)
    from search.latency.fit import fit  # with numpy, which a command that only reads tables does not need

    fitted = fit(found.kernels, found.networks, found.network_ms, validated=FIT_NETWORKS + FIT_SHALLOW)
    return LatencyTable(identity=identity, **fitted._asdict(), **time_base._asdict())


def with_kernels(table: LatencyTable, isolated_ms: Mapping[Signature, float]) -> LatencyTable:
    """A table with more kernels, timed in isolated blocks; those that it has stay."""
    in_network_ms = table.kernel_correction.in_network_ms
    more = {signature: in_network_ms(signature, ms) for signature, ms in isolated_ms.items()}
    return replace(table, kernels={**more, **table.kernels})
