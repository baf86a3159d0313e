"""python -m tests.benchmarks.core_speed: how long a network takes to price, and a command to answer.

In one process, over random networks of the default space: propose, decode, fingerprint, lower and cost. In fresh
processes: --help of every command, one compound scaling, the import of searchspace. Each figure is given as the
median and as the fastest of its repeats, which is the machine's quiet speed; a limit is held against the fastest.
"""

import random
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from searchspace.cost import Costs, costs
from searchspace.graph import Signature, lower
from searchspace.latency.estimate import kind_of, layer_of
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.report import table
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, turns

COMMANDS = (
    "search.run",
    "search.latency",
    "scaling.compound",
    "searchspace.convert",
    "searchspace.export",
    "searchspace.zoo",
    "studies",
)
LOWER_LIMIT_MS = 0.3
PREDICT_LIMIT_MS = 0.05
NOWHERE = Identity(
    schema=SCHEMA,
    machine="abacus x2",
    runtime="beads",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)
HELP_LIMIT_MS = 300.0
COMPOUND_LIMIT_MS = 500.0


class Figure(NamedTuple):
    """One measured time: median and fastest of the repeats, and the limit it must stay below (None: no limit)."""

    name: str
    median_ms: float
    fastest_ms: float
    limit_ms: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the fastest repeat is above the limit."""
        return self.limit_ms is not None and self.fastest_ms > self.limit_ms


def timed(name: str, calls: Iterable[Callable[[], object]], *, repeats: int, limit_ms: float | None = None) -> Figure:
    """The middle call's median and fastest time over `repeats` rounds; the calls take turns within a round."""
    times_ms = list(zip(*turns(list(calls), fewest=repeats), strict=True))
    medians, fastest = map(statistics.median, times_ms), map(min, times_ms)
    return Figure(name, statistics.median(medians), statistics.median(fastest), limit_ms)


def in_process(*, networks: int, repeats: int) -> list[Figure]:
    """What pricing one network of the default space takes, step by step."""
    space, rng = mnasnet_space(), random.Random(0)
    choices = [space.sample(rng) for _ in range(networks)]
    specs = [space.spec(c) for c in choices]
    deepest = max(specs, key=lambda spec: len(lower(spec).layers))
    layers = len(lower(deepest).layers)
    graphs = [lower(spec) for spec in specs]
    kernels = {layer.signature: 0.1 for graph in graphs for layer in graph.layers}
    latencies = LatencyTable(NOWHERE, 1.0, kernels, Correction(1.0, 0.0, 0.02))
    poorer = every_second_kernel(latencies)

    def lower_and_cost(spec: NetworkSpec) -> Costs:
        return costs(lower(spec))

    def price() -> tuple[str, Costs]:
        spec = space.spec(space.sample(rng))
        return spec.fingerprint(), lower_and_cost(spec)

    both_limits = LOWER_LIMIT_MS + PREDICT_LIMIT_MS
    lowering = [partial(lower_and_cost, spec) for spec in specs]
    deep = [partial(lower_and_cost, deepest)] * networks
    predicting = [partial(latencies.predict, graph) for graph in graphs]
    from_specs = [partial(latencies.predict, spec) for spec in specs]
    estimating = [partial(poorer.predict, spec) for spec in specs]
    each = partial(timed, repeats=repeats)
    return [
        each("lower + all costs", lowering, limit_ms=LOWER_LIMIT_MS),
        each(f"lower + all costs, deepest ({layers} layers)", deep, limit_ms=LOWER_LIMIT_MS),
        each("sample choices", [partial(space.sample, rng)] * networks),
        each("decode + expand choices", [partial(space.spec, c) for c in choices]),
        each("predict latency and interval, lowered", predicting, limit_ms=PREDICT_LIMIT_MS),
        each("spec to latency and interval", from_specs, limit_ms=both_limits),
        timed("spec to latency and interval, half its kernels estimated now", estimating, repeats=1),
        each("spec to latency and interval, half its kernels estimated before", estimating),
        each("fingerprint", [spec.fingerprint for spec in specs]),
        each("all of it: sample to costs", [price] * networks),
    ]


def every_second_kernel(latencies: LatencyTable) -> LatencyTable:
    """The table without every second of its kernels of a kind: those are estimated from the others, each once."""
    by_kind: dict[object, list[Signature]] = {}
    for signature in latencies.kernels:
        layer = layer_of(signature)
        by_kind.setdefault((kind_of(layer), layer.activation), []).append(signature)
    kept = {signature: latencies.kernels[signature] for some in by_kind.values() for signature in some[::2]}
    return replace(latencies, kernels=kept)


def in_fresh_processes(*, repeats: int) -> list[Figure]:
    """What a person waits for: wall time of a new Python, from start to exit. The interpreter is in every figure."""

    def fresh(name: str, *arguments: str, limit_ms: float | None = None) -> Figure:
        command = [sys.executable, *arguments]
        call = partial(subprocess.run, command, check=True, capture_output=True)
        return timed(name, [call], repeats=repeats, limit_ms=limit_ms)

    return [
        fresh("bare python", "-c", "pass"),
        fresh("import searchspace", "-c", "import searchspace"),
        *(fresh(f"{command} --help", "-m", command, "--help", limit_ms=HELP_LIMIT_MS) for command in COMMANDS),
        fresh("scaling.compound --phi 3", "-m", "scaling.compound", "--phi", "3", limit_ms=COMPOUND_LIMIT_MS),
    ]


def report(figures: list[Figure]) -> Verdict:
    """The figures as a table, and whether all limits hold."""
    rows = [
        [
            figure.name,
            f"{figure.median_ms:.3g}",
            f"{figure.fastest_ms:.3g}",
            "-" if figure.limit_ms is None else f"{figure.limit_ms:g}",
            "" if figure.limit_ms is None else "MISSED" if figure.missed else "holds",
        ]
        for figure in figures
    ]
    text = table(["what", "median ms", "fastest ms", "limit ms", ""], rows, text_columns=(0, 4))
    return Verdict(text, not any(figure.missed for figure in figures))


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("core_speed", __doc__)
    cli.add_argument("--short", action="store_true", help="a few repeats: seconds instead of half a minute")
    return cli


def run(args: Namespace) -> Verdict:
    """All figures."""
    figures = in_process(networks=10 if args.short else 100, repeats=5 if args.short else 40)
    return report(figures + in_fresh_processes(repeats=3 if args.short else 12))


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
