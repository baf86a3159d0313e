"""python -m tests.benchmarks.scaling_latency: is the latency of grown networks predicted, and a target in ms met?

With one table of this machine (the search space's and the zoo's kernels at 224 px; others are estimated) it predicts
and measures phi = 0 to 3 of three bases, then grows EfficientNet-B0 and MobileNetV3-Large to targets between 10 and
100 ms and measures those. The third base is --network, or a point of the search space like MnasNet-A1.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.runtimes import names
from searchspace.command import CommandParser, integer, number
from searchspace.describe import table as columns
from searchspace.errors import PhinasError
from searchspace.latency.table import LatencyTable

if TYPE_CHECKING:
    from scaling.growth import Grown
    from search.latency.interleave import Runtime
    from searchspace.template import Template

GROWN = ("efficientnet_b0", "mobilenet_v3_large")
FROM_MS, TO_MS = 10.0, 100.0


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m tests.benchmarks.scaling_latency", description=__doc__ or "")
    cli.add_argument("--runtime", choices=names(), default="eager", help="default: %(default)s")
    cli.add_argument("--threads", type=integer, metavar="N", help="default: as torch has here")
    cli.add_argument("--network", type=Path, metavar="NAME", help="the third base")
    cli.add_argument("--targets", type=integer, default=20, metavar="N", help="default: %(default)s")
    cli.add_argument("--seconds", type=number, default=3.0, metavar="S", help="a network (default: %(default)g)")
    cli.add_argument("--latency", type=Path, metavar="FILE", help="this table; if it is not there, it is made")
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
        table = table_for(
            mnasnet_space(),
            cache_dir=Path(cache),
            networks=networks,
            runtime=device,
            rounds=MANY_ROUNDS,
            budget_s=MANY_S,
        )
    print(
        f"table: {len(table.kernels)} kernels in {time.perf_counter() - began:.0f} s, own error "
        f"{table.relative_error:.1%}",
        flush=True,
    )
    if path is not None:
        write_atomic(path, table.to_json())
    return table


def families(network: Path | None) -> "list[tuple[str, Grown]]":
    """(title, phi = 0, 1, 2 and 3) of the three bases."""
    from scaling.coefficients import Coefficients
    from scaling.growth import grow

    return [
        (f"{template.name} phi {phi}", grow(template, phi=phi, coefficients=Coefficients()))
        for template in _bases(network)
        for phi in range(4)
    ]


def _bases(network: Path | None) -> "list[Template]":
    from scaling.task import base_template
    from searchspace import zoo
    from searchspace.spaces.mnasnet import KNOWN, mnasnet_space

    third = base_template(network) if network else mnasnet_space().decode(KNOWN["mnasnet_a1"])
    return [*(zoo.template(name) for name in GROWN), third]


def targets(count: int, table: LatencyTable) -> "list[tuple[str, Grown]]":
    """(title, network) for targets spread evenly in logarithm, the bases in turn."""
    from scaling.coefficients import Coefficients
    from scaling.growth import grow_to
    from searchspace import zoo
    from searchspace.graph import lower
    from searchspace.spec import NetworkSpec

    def predicted(spec: NetworkSpec) -> float:
        return table.predict(lower(spec)).latency_ms

    found = []
    for number_ in range(count):
        aim = FROM_MS * (TO_MS / FROM_MS) ** (number_ / max(1, count - 1))
        template = zoo.template(GROWN[number_ % len(GROWN)])
        grown = grow_to(template, cost=predicted, target=aim, coefficients=Coefficients())
        found.append((f"{template.name} to {aim:.1f} ms", grown))
    return found


def report(rows: "list[tuple[str, Grown]]", table: LatencyTable, device: "Runtime", seconds: float) -> str:
    """Predicted and measured, and how many agree within 10 %."""
    from search.latency.measurement import measure_specs
    from searchspace.graph import lower

    predicted = [table.predict(lower(grown.spec)) for _, grown in rows]
    specs = [grown.spec for _, grown in rows]
    measured = measure_specs(specs, table=table, seconds=seconds * len(rows), runtime=device)
    errors = [one.latency_ms / real.latency_ms - 1 for one, real in zip(predicted, measured, strict=True)]
    lines = [
        [
            title,
            str(grown.spec.resolution),
            f"{one.latency_ms:.2f}",
            f"{one.low_ms:.2f} to {one.high_ms:.2f}",
            f"{real.latency_ms:.2f}",
            f"{error:+.1%}",
            "noisy" if real.noisy else "",
        ]
        for (title, grown), one, real, error in zip(rows, predicted, measured, errors, strict=True)
    ]
    within = sum(abs(error) <= 0.1 for error in errors)
    text = columns(["network", "px", "predicted", "90 % interval", "measured", "error", ""], lines, text_columns=(0, 6))
    return f"{text}\n{within} of {len(rows)} predictions within 10 % of measured\n"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    try:
        args = parser().parse_args(argv)
        from search.latency.runtimes import runtime

        device = runtime(args.runtime, threads=args.threads)
        table = _table(args.latency, device)
        print(report(families(args.network), table, device, args.seconds), flush=True)
        rows = targets(args.targets, table)
        print(report(rows, table, device, args.seconds), flush=True)
    except PhinasError as error:
        print(f"scaling_latency: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
