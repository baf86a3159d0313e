"""python -m tests.benchmarks.latency_session_effect: what does a moment of the machine do to measured networks?

Networks of the default space and of the zoo are timed in turn beside the reference, again and again, among them the
probe networks (search.latency.probe_networks). The time is cut into windows, and a network's latency in each is stated
in three ways: as its ratio to the reference; with the drift taken out; with the session effect, what probe networks and
reference together took more than usual, taken off besides. The figures are by how much latencies then differ from
window to window: what all networks share, and each network. They say nothing on a machine on which nothing else
happens, and one hour is unlike the next.
"""

import json
import math
import random
import sys
from argparse import Namespace
from collections.abc import Sequence
from statistics import fmean, median, pstdev

from search.latency.time_base import USUAL
from searchspace.files import write_atomic
from searchspace.report import interval_text, percent_text, table
from tests.benchmarks.harness import BenchmarkParser, benchmark, device_rounds

ZOO = ("mobilenet_v1", "mnasnet_a1", "mobilenet_v3_small", "shufflenet_v1")
WINDOWS = (5.0, 20.0, 60.0)
FEWEST = 4  # rounds that make a window

Round = tuple[float, list[tuple[float, float]]]  # seconds since the start; each network's reference ns and ratio


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("latency_session_effect", __doc__)
    cli.number("--seconds", 420.0, "of timing", metavar="S")
    cli.count("--networks", 9, "random ones of the space")
    cli.flag("--runtime", "eager", "which times", metavar="NAME")
    cli.count("--threads", None, "default: as many as torch uses")
    cli.count("--resolution", 224, "of the images", metavar="PX")
    cli.json("keep every reading there")
    return cli


def run(args: Namespace) -> str:
    """Time the networks; what was found, for people."""
    from search.latency.probe_networks import NAMES, probe_networks
    from search.latency.runtimes import runtime as named
    from searchspace import zoo
    from searchspace.spaces.mnasnet import mnasnet_space

    space, rng = mnasnet_space(resolution=args.resolution), random.Random(7)
    specs = [space.spec(space.sample(rng)) for _ in range(args.networks)]
    specs += [zoo.get(name, resolution=args.resolution) for name in ZOO]
    specs += probe_networks(args.resolution)
    runtime = named(args.runtime, threads=args.threads)
    rounds: list[Round] = [
        (at, [(one.reference_ns, one.ratios[0]) for one in readings])
        for at, readings in device_rounds([runtime.network(spec) for spec in specs], runtime, args.seconds)
    ]
    names = [f"random {place}" for place in range(args.networks)] + [*ZOO, *NAMES]
    if args.json:
        write_atomic(args.json, json.dumps({"networks": names, "rounds": rounds}))
    return report(rounds, probes=len(NAMES))


def windows(rounds: Sequence[Round], seconds: float) -> list[tuple[float, list[float]]]:
    """Of each window: the log of the reference's time, and the log of each network's ratio to it."""
    cut: dict[int, list[Round]] = {}
    for each in rounds:
        cut.setdefault(int(each[0] / seconds), []).append(each)
    found = []
    for own in cut.values():
        if len(own) >= FEWEST:
            speed = median(math.log(ns) for _, readings in own for ns, _ in readings)
            columns = zip(*(readings for _, readings in own), strict=True)
            found.append((speed, [median(math.log(ratio) for _, ratio in column) for column in columns]))
    return found


def shares(found: Sequence[tuple[float, list[float]]], probes: int) -> dict[str, tuple[float, float]]:
    """By way of stating latencies: how they deviate from window to window.

    The deviation of what networks share, and the mean deviation of each. The last `probes` are the probe networks.
    """
    speed = fmean(speed for speed, _ in found)
    drifted = [[ratio + USUAL * (own - speed) for ratio in ratios] for own, ratios in found]
    usual = [fmean(column) for column in zip(*drifted, strict=True)]
    effects = [
        fmean([*(ratio - mean for ratio, mean in zip(row[-probes:], usual[-probes:], strict=True)), 0.0])
        for row in drifted
    ]
    ways = {
        "beside the reference": [ratios for _, ratios in found],
        f"and a drift of {USUAL:g} out": drifted,
        "and the session effect of the probe networks off": [
            [ratio - effect for ratio in row] for row, effect in zip(drifted, effects, strict=True)
        ],
    }
    return {way: _spread([row[:-probes] for row in rows]) for way, rows in ways.items()}


def _spread(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    usual = [fmean(column) for column in zip(*rows, strict=True)]
    shared = [fmean(ratio - mean for ratio, mean in zip(row, usual, strict=True)) for row in rows]
    return pstdev(shared), fmean(pstdev(column) for column in zip(*rows, strict=True))


def report(rounds: Sequence[Round], *, probes: int) -> str:
    """The figures for people."""
    reference_ms = [median(ns for ns, _ in readings) / 1e6 for _, readings in rounds]
    rows = []
    for seconds in WINDOWS:
        found = windows(rounds, seconds)
        if len(found) < 2:
            rows.append([f"{seconds:g} s", "too few windows: give more --seconds", "", ""])
            continue
        for way, (shared, each) in shares(found, probes).items():
            rows.append([f"{seconds:g} s", way, percent_text(shared, 2), percent_text(each, 2)])
    took = interval_text(min(reference_ms), max(reference_ms))
    title = f"{len(rounds)} rounds; the reference took {took} ms"
    return table(["window", "latency stated", "shared", "each"], rows, text_columns=(1,), title=title)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
