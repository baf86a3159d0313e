"""python -m tests.benchmarks.scaling_latency: is the latency of grown networks predicted, and a target in ms met?

With one table of this machine (the search space's and the zoo's kernels at 224 px; others are estimated) it predicts
and measures phi = 0 to 3 of three bases, then grows EfficientNet-B0 and MobileNetV3-Large to targets between 10 and
100 ms and measures those. The third base is --network, or a point of the search space like MnasNet-A1.
"""

import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.runtimes import names
from searchspace.latency.table import LatencyTable
from searchspace.report import interval_text, ms_text, percent_text, signed_percent_text, table
from tests.benchmarks.harness import BenchmarkParser, benchmark

if TYPE_CHECKING:
    from scaling.growth import Grown
    from search.latency.interleave import Runtime
    from searchspace.template import Template

GROWN = ("efficientnet_b0", "mobilenet_v3_large")
FROM_MS, TO_MS = 10.0, 100.0


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("scaling_latency", __doc__)
    cli.add_argument("--runtime", choices=names(), default="eager", help="default: %(default)s")
    cli.count("--threads", None, "default: as torch has here")
    cli.flag("--network", None, "the third base: a name of the zoo or a spec file", type=Path, metavar="NAME")
    cli.count("--targets", 20, "networks grown to a target")
    cli.number("--seconds", 3.0, "of timing, for a network", metavar="S")
    cli.flag("--latency", None, "this table; if it is not there, it is made", type=Path, metavar="FILE")
    return cli


def _table(path: Path | None, device: "Runtime") -> LatencyTable:
    """The table in the file, or one made now, and kept there."""
    from search.latency.build import MANY_ROUNDS, MANY_S, table_for
    from searchspace import zoo
    from searchspace.files import write_atomic
    from searchspace.latency.table import read_table
    from searchspace.spaces.mnasnet import mnasnet_space

    if path is not None and path.exists():
        return read_table(path)
    began = time.perf_counter()
    networks = [zoo.get(name, resolution=224) for name in zoo.names() if not zoo.is_grown(name)]
    with tempfile.TemporaryDirectory() as cache:
        found = table_for(
            mnasnet_space(),
            cache_dir=Path(cache),
            networks=networks,
            runtime=device,
            rounds=MANY_ROUNDS,
            budget_s=MANY_S,
        )
    error = percent_text(found.relative_error)
    print(f"table: {len(found.kernels)} kernels in {time.perf_counter() - began:.0f} s, own error {error}", flush=True)
    if path is not None:
        write_atomic(path, found.to_json())
    return found


def families(network: Path | None) -> "list[tuple[str, Grown]]":
    """(title, phi = 0, 1, 2 and 3) of the three bases."""
    from scaling.formula import Coefficients
    from scaling.growth import grow

    return [
        (f"{template.name} phi {phi}", grow(template, phi=phi, coefficients=Coefficients()))
        for template in _bases(network)
        for phi in range(4)
    ]


def _bases(network: Path | None) -> "list[Template]":
    from scaling.base import base_template
    from searchspace import zoo
    from searchspace.spaces.mnasnet import KNOWN, mnasnet_space

    third = base_template(network) if network else mnasnet_space().decode(KNOWN["mnasnet_a1"])
    return [*(zoo.template(name) for name in GROWN), third]


def targets(count: int, latencies: LatencyTable) -> "list[tuple[str, Grown]]":
    """(title, network) for targets spread evenly in logarithm, the bases in turn."""
    from scaling.formula import Coefficients
    from scaling.growth import grow_to
    from searchspace import zoo
    from searchspace.graph import lower
    from searchspace.spec import NetworkSpec

    def predicted(spec: NetworkSpec) -> float:
        return latencies.predict(lower(spec)).latency_ms

    found = []
    for number_ in range(count):
        aim = FROM_MS * (TO_MS / FROM_MS) ** (number_ / max(1, count - 1))
        template = zoo.template(GROWN[number_ % len(GROWN)])
        grown = grow_to(template, cost=predicted, target=aim, coefficients=Coefficients())
        found.append((f"{template.name} to {aim:.1f} ms", grown))
    return found


def report(rows: "list[tuple[str, Grown]]", latencies: LatencyTable, device: "Runtime", seconds: float) -> str:
    """Predicted and measured, and how many agree within 10 %."""
    from search.latency.measurement import measure_specs
    from searchspace.graph import lower

    predicted = [latencies.predict(lower(grown.spec)) for _, grown in rows]
    specs = [grown.spec for _, grown in rows]
    measured = measure_specs(specs, table=latencies, seconds=seconds * len(rows), runtime=device)
    errors = [one.latency_ms / real.latency_ms - 1 for one, real in zip(predicted, measured, strict=True)]
    lines = [
        [
            title,
            str(grown.spec.resolution),
            ms_text(one.latency_ms),
            interval_text(one.low_ms, one.high_ms),
            ms_text(real.latency_ms),
            signed_percent_text(error),
            "noisy" if real.noisy else "",
        ]
        for (title, grown), one, real, error in zip(rows, predicted, measured, errors, strict=True)
    ]
    within = sum(abs(error) <= 0.1 for error in errors)
    headers = ["network", "px", "predicted ms", "90 % interval", "measured ms", "error", ""]
    text = table(headers, lines, text_columns=(0, 6))
    return f"{text}\n{within} of {len(rows)} predictions within 10 % of measured"


def run(args: Namespace) -> str:
    """Both reports."""
    from search.latency.runtimes import runtime

    device = runtime(args.runtime, threads=args.threads)
    latencies = _table(args.latency, device)
    known = report(families(args.network), latencies, device, args.seconds)
    print(known, "", sep="\n", flush=True)
    return report(targets(args.targets, latencies), latencies, device, args.seconds)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
