"""python -m tests.benchmarks.core_speed: how long a network takes to price, and a command to answer.

In one process, over random networks of the default space: propose, decode, fingerprint, lower and cost. In fresh
processes: --help of every command, one compound scaling, the import of searchspace. Each figure is given as the
median and as the fastest of its repeats, which is the machine's quiet speed; a limit is held against the fastest.
"""

import importlib.util
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from searchspace.command import CommandParser
from searchspace.cost import Costs, costs
from searchspace.describe import table
from searchspace.errors import InvalidArgument
from searchspace.graph import Signature, lower
from searchspace.latency.estimate import kind_of, layer_of
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec

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


def timed(name: str, calls: Iterable[Callable[[], object]], *, repeats: int, limit_ms: float | None = None) -> Figure:
    """The middle call's median and fastest time over `repeats` rounds; the calls take turns within a round."""
    calls = list(calls)
    times_ms: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, own in zip(calls, times_ms, strict=True):
            start = time.perf_counter()
            call()
            own.append((time.perf_counter() - start) * 1e3)
    return Figure(
        name, statistics.median(map(statistics.median, times_ms)), statistics.median(map(min, times_ms)), limit_ms
    )


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
    poorer = _every_second(latencies)

    def lower_and_cost(spec: NetworkSpec) -> Costs:
        return costs(lower(spec))

    def price() -> tuple[str, Costs]:
        spec = space.spec(space.sample(rng))
        return spec.fingerprint(), lower_and_cost(spec)

    return [
        timed(
            "lower + all costs",
            [partial(lower_and_cost, spec) for spec in specs],
            repeats=repeats,
            limit_ms=LOWER_LIMIT_MS,
        ),
        timed(
            f"lower + all costs, deepest ({layers} layers)",
            [partial(lower_and_cost, deepest)] * networks,
            repeats=repeats,
            limit_ms=LOWER_LIMIT_MS,
        ),
        timed("sample choices", [partial(space.sample, rng)] * networks, repeats=repeats),
        timed("decode + expand choices", [partial(space.spec, c) for c in choices], repeats=repeats),
        timed(
            "predict latency and interval, lowered",
            [partial(latencies.predict, graph) for graph in graphs],
            repeats=repeats,
            limit_ms=PREDICT_LIMIT_MS,
        ),
        timed(
            "spec to latency and interval",
            [partial(latencies.predict, spec) for spec in specs],
            repeats=repeats,
            limit_ms=LOWER_LIMIT_MS + PREDICT_LIMIT_MS,
        ),
        timed(
            "spec to latency and interval, half its kernels estimated now",
            [partial(poorer.predict, spec) for spec in specs],
            repeats=1,
        ),
        timed(
            "spec to latency and interval, half its kernels estimated before",
            [partial(poorer.predict, spec) for spec in specs],
            repeats=repeats,
        ),
        timed("fingerprint", [spec.fingerprint for spec in specs], repeats=repeats),
        timed("all of it: sample to costs", [price] * networks, repeats=repeats),
    ]


def _every_second(latencies: LatencyTable) -> LatencyTable:
    """The table without every second of its kernels of a kind: those are estimated from the others, each once."""
    by_kind: dict[object, list[Signature]] = {}
    for signature in latencies.kernels:
        layer = layer_of(signature)
        by_kind.setdefault((kind_of(layer), layer.activation), []).append(signature)
    kept = {signature: latencies.kernels[signature] for some in by_kind.values() for signature in some[::2]}
    return replace(latencies, kernels=kept)


def fresh_process(name: str, *arguments: str, repeats: int, limit_ms: float | None = None) -> Figure:
    """Wall time of a new Python with these arguments, from start to exit."""
    command = [sys.executable, *arguments]
    return timed(
        name, [lambda: subprocess.run(command, check=True, capture_output=True)], repeats=repeats, limit_ms=limit_ms
    )


def in_fresh_processes(*, repeats: int) -> list[Figure]:
    """What a person waits for. The bare interpreter is in every figure."""
    there = [command for command in COMMANDS if importlib.util.find_spec(command)]
    return [
        fresh_process("bare python", "-c", "pass", repeats=repeats),
        fresh_process("import searchspace", "-c", "import searchspace", repeats=repeats),
        *(
            fresh_process(f"{command} --help", "-m", command, "--help", repeats=repeats, limit_ms=HELP_LIMIT_MS)
            for command in there
        ),
        fresh_process(
            "scaling.compound --phi 3",
            "-m",
            "scaling.compound",
            "--phi",
            "3",
            repeats=repeats,
            limit_ms=COMPOUND_LIMIT_MS,
        ),
    ]


def report(figures: list[Figure]) -> str:
    """The figures as an aligned table."""
    rows = [
        [
            figure.name,
            f"{figure.median_ms:.3g}",
            f"{figure.fastest_ms:.3g}",
            "-" if figure.limit_ms is None else f"{figure.limit_ms:g}",
            "" if figure.limit_ms is None else "holds" if figure.fastest_ms <= figure.limit_ms else "MISSED",
        ]
        for figure in figures
    ]
    return table(["what", "median ms", "fastest ms", "limit ms", ""], rows, text_columns=(0, 4))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code: 0 done, 1 a limit is missed, 2 the input is wrong."""
    cli = CommandParser("python -m tests.benchmarks.core_speed", description=__doc__, epilog="")
    cli.add_argument("--short", action="store_true", help="a few repeats: seconds instead of half a minute")
    try:
        args = cli.parse_args(argv)
    except InvalidArgument as error:
        print(f"core_speed: {error}", file=sys.stderr)
        return 2
    figures = in_process(networks=10 if args.short else 100, repeats=5 if args.short else 40)
    figures += in_fresh_processes(repeats=3 if args.short else 12)
    print(report(figures))
    return int(any(figure.limit_ms is not None and figure.fastest_ms > figure.limit_ms for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
