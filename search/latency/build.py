"""`table_for`: the latency table of a search space on this machine, from the cache or measured now.

Every kernel of the space is timed inside loose blocks, with a few of wider networks at more pixels, and a sample of
whole networks in the same rounds; the sum of kernels is then fitted to the networks.
"""

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from search.latency.cache import Cache, Note, Unfinished, default_dir
from search.latency.groups import Subject, Timers, groups, layers_of, turns_of
from search.latency.interleave import Interleaver, Runtime, Timer
from search.latency.kernels import PlacedBlock, bags, blocks_of, cover, placed_blocks, signatures
from search.latency.probe_networks import Beside, anchors, moments, settled, together
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
MANY_S = 80.0  # so that `build`, with its timers, its fit and its fresh networks, takes 2 minutes
FEWEST_ROUNDS = 4
FIT_NETWORKS = 18  # whose errors when left out are the table's own: of fewer it is itself uncertain
FIT_SHALLOW = 8  # without them the constant of a network is not seen: networks of 4 to 10 ms came out 4 % low
# What networks grow to, as multiples of width and resolution. Without such kernels, larger ones were estimated from
# smaller ones alone: ONNX Runtime met 11 targets of 20, not 19. Not larger: behind activations of some 25 MB the next
# kernels of a bag took three to five times as long in eager torch as in a network.
GROWN = ((1.1, 1.15), (1.1, 1.3), (1.2, 1.3), (1.2, 1.4), (1.3, 1.5))
# And smaller ones, which the table is also fitted to: they have as many kernels in less time, so that what a kernel
# costs apart from its work is seen.
SHRUNK = ((0.5, 0.57), (0.65, 0.72), (0.8, 0.79), (0.6, 1.0))
FEWEST_PIXELS = 32  # the total stride
PREPARED = 0.1  # of the progress, what making the timers takes
BLOCKS_A_BAG = 24
USUAL_ERROR = 0.018  # of four tables on 60 networks each that they were not fitted to, here: 1.5 to 2.1 %
USUAL_COUNT = 60
NOISE = 0.2
MOST = 0.9
ROUGH = 0.1  # own error of a table from which on a person is told to measure again
Progress = Callable[[float, str], None]


def _silent(*_: object) -> None:
    return None


def table_for(
    space: SearchSpace,
    *,
    cache_dir: Path | None = None,
    progress: Progress = _silent,
    note: Note = _silent,
    seed: int = 0,
    budget_s: float | None = None,
    runtime: Runtime | None = None,
    networks: Sequence[NetworkSpec] = (),
    rounds: int = ROUNDS,
    anew: bool = False,
) -> LatencyTable:
    """The table that prices every network of `space`, and `networks`, on this machine with `runtime` (default: eager
    torch).

    It also holds kernels of smaller and larger networks, from which those of others are estimated, and is fitted to
    whole networks of the space, `networks` among them where it is measured for them from the start. It is read from
    `cache_dir` (default: $PHINAS_CACHE, else ~/.cache/phinas). What is missing is measured and added; an interrupted
    measurement goes on at its last round. `rounds`: readings of every kernel; `budget_s` cuts the rounds, not the
    kernels, and what an interrupted measurement has taken counts; `anew` measures all of it, and what was there before
    stays until that is done. `progress` gets a share and a few words, `note` a sentence about a damaged file. Raises
    StorageError for a cache that cannot be written.
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
    subjects: list[Subject] = [*bags(cover(blocks, missing), size=BLOCKS_A_BAG, seed=seed)]
    if table is None:
        subjects += [*_networks(space, seed), *shrunk, *networks]
    apart = len(subjects)  # in rounds of their own: no kernel of the space is timed behind one of twice its pixels
    subjects += bags(cover(larger, missing - signatures(blocks)), size=BLOCKS_A_BAG, seed=seed)
    beside = anchors(space.resolution, table.anchors if table else None)
    parts = _parts(subjects, apart, beside)
    path = cache.unfinished_path if table is None else cache.additions_path  # neither takes the other's place
    unfinished = Unfinished(path, _plan(identity, [*subjects, *parts], anew))
    if unfinished.resume():
        progress(0.0, "going on with an interrupted measurement of this machine")
    unfinished.save()
    _measure(
        subjects, parts, beside, runtime, unfinished, progress=progress, seed=seed, budget_s=budget_s, rounds=rounds
    )
    table = _add(table, identity, cache, subjects, parts, unfinished)
    cache.save(table)
    unfinished.done()
    _tell_of_noise(table, unfinished, note)
    return table


def _tell_of_noise(table: LatencyTable, unfinished: Unfinished, note: Note) -> None:
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


def judged(table: LatencyTable, fresh: Sequence[float], noise: Sequence[float] = ()) -> LatencyTable:
    """A built table after networks that it was not fitted to: their errors (predicted / measured - 1), less the
    standard errors `noise` of their measurements, count for its own as those of the networks that were left out of the
    fit do, and what is usual counts for USUAL_COUNT networks.

    Alone, the 26 left out tell little of one table: they said 2.4 to 4.6 % of twelve, and random networks were off by
    2.1 to 3.2 %, whatever they said. A part of what they say (NOISE) is that they were measured for a shorter time
    than networks are that a table is held to. What is usual does not hide that a table is worse: at least MOST of what
    is seen counts.
    """
    left_out, errors = FIT_NETWORKS + FIT_SHALLOW - 2, math.fsum(error * error for error in fresh)
    squares = (1 - NOISE) ** 2 * table.relative_error**2 * left_out
    squares += max(errors / 4, errors - math.fsum(error * error for error in noise))
    count = left_out + len(fresh)
    shrunk = math.sqrt((squares + USUAL_ERROR**2 * USUAL_COUNT) / (count + USUAL_COUNT))
    error = max(shrunk, MOST * math.sqrt(squares / count))
    return replace(table, correction=table.correction._replace(relative_error=error), fresh=tuple(fresh))


def shallow(space: SearchSpace) -> SearchSpace:
    """The networks of a space with the fewest layers in every stage."""
    return space.with_choices({f"{stage.name}.layers": (min(stage.layers),) for stage in space.stages})


def _networks(space: SearchSpace, seed: int) -> list[NetworkSpec]:
    """The whole networks that the sum of kernels is fitted to."""
    rng = random.Random(f"networks to fit {seed}")
    spaces = [space] * FIT_NETWORKS + [shallow(space)] * FIT_SHALLOW
    return [one.spec(one.sample(rng)) for one in spaces]


def _resized(space: SearchSpace, sizes: Sequence[tuple[float, float]]) -> list[NetworkSpec]:
    """Networks of a space at so many times its width and resolution, the same ones in every call."""
    rng = random.Random("networks that have grown")
    return [
        space.decode(space.sample(rng)).expand(
            width=width, resolution=max(FEWEST_PIXELS, round(space.resolution * pixels / 8) * 8)
        )
        for width, pixels in sizes
    ]


def _blocks(specs: Iterable[NetworkSpec]) -> list[PlacedBlock]:
    return [block for spec in specs for block in blocks_of(spec)]


class _Part(NamedTuple):
    """What is timed in turn: the places of subjects; the anchors beside them, and from which place on, behind those of
    all subjects, their readings have theirs."""

    places: list[int]
    anchors: tuple[str, ...]
    first: int

    @property
    def all(self) -> list[int]:
        """The places of every reading of a round."""
        return [*self.places, *range(self.first, self.first + len(self.anchors))]

    def beside(self, unfinished: Unfinished) -> Beside:
        """The readings of the anchors."""
        return {name: unfinished.readings[self.first + at] for at, name in enumerate(self.anchors)}


def _parts(subjects: Sequence[Subject], apart: int, beside: Sequence[NetworkSpec]) -> list[_Part]:
    names = tuple(spec.name for spec in beside)
    return [
        _Part(group, names, len(subjects) + number * len(names)) for number, group in enumerate(groups(subjects, apart))
    ]


def _plan(identity: Identity, subjects: Sequence[Subject | _Part], anew: bool) -> str:
    """A hash that two measurements share exactly when they measure the same subjects in the same setting, and both or
    neither of them anew."""
    return hashlib.sha256(repr((sorted(identity.items()), subjects, REFERENCE, anew)).encode()).hexdigest()


def _measure(
    subjects: Sequence[Subject],
    parts: Sequence[_Part],
    beside: Sequence[NetworkSpec],
    runtime: Runtime,
    unfinished: Unfinished,
    *,
    progress: Progress,
    seed: int,
    budget_s: float | None,
    rounds: int,
) -> None:
    """Take `rounds` readings of every subject, or as many as the budget allows, at least FEWEST_ROUNDS, and as many of
    the anchors `beside` those of each group. What an interrupted measurement has taken before counts. A group has the
    time of its share of the layers."""
    turns = turns_of(parts)
    layers = [sum(len(layers_of(subjects[index])) for index in part.places) for part, _ in turns]
    made, reference = Timers(subjects, lambda index: _timer(runtime, subjects[index])), runtime.network(REFERENCE)
    always: list[Timer] = []
    started, before = time.monotonic() - unfinished.spent_s, 0.0
    for (part, asked), own in zip(turns, layers, strict=True):
        share = own / sum(layers)
        deadline = math.inf if budget_s is None else started + budget_s * (before + share)

        def enough(part: _Part = part, deadline: float = deadline, asked: float = asked) -> bool:
            done = unfinished.rounds(part.all)
            return done >= asked * rounds or (done >= asked * FEWEST_ROUNDS and time.monotonic() > deadline)

        def report(fraction: float, what: str, *, before: float = before, share: float = share) -> None:
            progress(before + fraction * share, what)

        def prepared(fraction: float, *, report: Progress = report) -> None:
            report(PREPARED * fraction, "preparing to measure this machine")

        before += share
        if enough():
            continue
        always = always or [runtime.network(spec) for spec in beside]
        timers = [*made.of(part.places, prepared), *always]
        interleaver = Interleaver(reference, seed=seed + unfinished.rounds(part.all))
        began = time.monotonic()
        with runtime.quiet():
            interleaver.warm(timers)
            while not enough():
                unfinished.add(part.all, interleaver.round(timers), time.monotonic() - started)
                passed = (time.monotonic() - began) / max(1e-9, deadline - began)
                share_done = max(unfinished.rounds(part.all) / rounds, min(1.0, passed))
                report(PREPARED + (1 - PREPARED) * share_done, "measuring this machine")


def _timer(runtime: Runtime, subject: Subject) -> Timer:
    return runtime.network(subject) if isinstance(subject, NetworkSpec) else runtime.kernels(subject)


def _add(
    table: LatencyTable | None,
    identity: Identity,
    cache: Cache,
    subjects: Sequence[Subject],
    parts: Sequence[_Part],
    unfinished: Unfinished,
) -> LatencyTable:
    """The table with the measured kernels added; a new one with the fit to whole networks."""
    pace = time_base_of(table) if table else _pace(cache, subjects, parts, unfinished)
    found: dict[int, list[float]] = {}
    for part in parts:
        found |= dict.fromkeys(part.places, moments(part.beside(unfinished), pace))
    samples: dict[Signature, list[Weighted]] = {}
    networks: list[tuple[NetworkSpec, float]] = []
    for index, subject in enumerate(subjects):
        readings = settled(unfinished.readings[index], found[index])
        if isinstance(subject, NetworkSpec):
            networks.append((subject, weighted_median([(pace.ms(each)[0], each.weight) for each in readings])))
            continue
        layers = [layer.signature for block in subject for layer in block.layers]
        for reading in readings:
            for signature, ms in zip(layers, pace.ms(reading), strict=True):
                samples.setdefault(signature, []).append((ms, reading.weight))
    measured = {signature: weighted_median(values) for signature, values in samples.items()}
    if table is not None:
        more = {signature: table.loose.inside_ms(signature, ms) for signature, ms in measured.items()}
        return replace(table, kernels={**more, **table.kernels})
    from search.latency.fit import fit  # with numpy, which a command that only reads tables does not need

    specs, times = zip(*networks, strict=True)
    fitted = fit(measured, specs, times, judged=FIT_NETWORKS + FIT_SHALLOW)
    return LatencyTable(identity, pace.reference_ms, *fitted, pace.drift, anchors=pace.anchors)


def _pace(cache: Cache, subjects: Sequence[Subject], parts: Sequence[_Part], unfinished: Unfinished) -> TimeBase:
    """The quiet speed by all readings, the drift by those of networks: loose blocks have less of it."""
    readings = unfinished.readings
    in_turn = [[readings[place] for place in part.places] for part in parts]
    whole = [[readings[place] for place in part.places if isinstance(subjects[place], NetworkSpec)] for part in parts]
    return cache.pace(in_turn, whole, together(part.beside(unfinished) for part in parts))
