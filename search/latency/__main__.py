"""python -m search.latency: build this machine's latency table, check it, or measure networks."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.runtimes import RUNTIMES, runtime
from searchspace.command import CommandParser, integer, number, show
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.files import write_atomic
from searchspace.latency import read_table

if TYPE_CHECKING:
    from search.latency.check import Agreement, Check
    from search.latency.measure import Measurement
    from searchspace.latency import Identity, LatencyTable, Prediction
    from searchspace.space import SearchSpace
    from searchspace.spec import NetworkSpec

TABLE_RESOLUTION = 224
WORST = 3
ACTIONS = ("build", "check", "measure", "predict", "adapt")
_EPILOG = """\
examples:
  python -m search.latency build                     measure this machine, or say what was measured before
  python -m search.latency build --zoo               and the published networks' kernels
  python -m search.latency check --networks 40       predict and measure 40 random networks
  python -m search.latency measure --network mobilenet_v3_large --network studies/NAME/best.json
  python -m search.latency build --out phone.json    the table as a file, for other machines
  python -m search.latency predict --network mobilenet_v2 --latency phone.json
  python -m search.latency adapt --latency eager.json --runtime onnxruntime --out ort.json    from 10 networks
  python -m search.latency build --threads 1         a table for one thread
  python -m search.latency check --runtime onnxruntime --networks 40
The table lies in ~/.cache/phinas (or $PHINAS_CACHE); Ctrl-C keeps what was measured, the same command goes on.
exit codes: 0 done, 2 the input is wrong, 130 interrupted."""


def parser() -> CommandParser:
    """The command line of search.latency."""
    cli = CommandParser(
        "python -m search.latency",
        description="The latency of networks on this machine: a table that predicts it, and measurements.",
        epilog=_EPILOG,
    )
    add = cli.add_argument
    add(
        "action",
        choices=ACTIONS,
        help="build: measure the kernels that the table lacks; check: predict and measure "
        "random networks; measure: time given networks, interleaved; predict: what a table says of given networks",
    )
    add("--network", action="append", metavar="NAME", help="measure, predict: a network of the zoo or a spec file "
        "(.json); give it again for more")  # fmt: skip
    add("--latency", type=Path, metavar="FILE", help="predict, check, adapt: a table that build --out wrote, of this "
        "device or another (default: this device's own)")  # fmt: skip
    add("--out", type=Path, metavar="FILE.json", help="build, adapt: write the table there, to take it along")
    add("--resolution", type=integer, metavar="PX", help="pixels of the network (default: 224; measure: its own)")
    add("--classes", type=integer, default=1000, metavar="N", help="classes of the network (default: %(default)s)")
    add("--space", type=Path, metavar="FILE", help="a TOML file that narrows or widens the default space")
    add("--runtime", choices=RUNTIMES, default="eager", help="what runs the networks (default: %(default)s torch)")
    add("--threads", type=integer, metavar="N", help="threads of the runtime (default: as torch has here)")
    add("--zoo", action="store_true", help="build: add the kernels of the published networks; check: add "
        "the networks, at three widths and resolutions")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="check: predicted against measured, as .png, .svg or .pdf")
    add("--again", action="store_true", help="build: measure everything anew (after a table made on a busy machine)")
    add("--networks", type=integer, metavar="N", help="check, adapt: how many (default: 40, adapt 10)")
    add("--seconds", type=number, metavar="S", help="time for the measurement (default: 3 a network, check 1.5)")
    add("--seed", type=integer, default=1, metavar="N", help="check: which networks (default: %(default)s)")
    add("--cache-dir", type=Path, metavar="DIR", help="where tables lie")
    add("--json", action="store_true", help="print the same as JSON")
    return cli


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    cli = parser()
    try:
        args = cli.parse_args(argv)
        for name in ("networks", "seconds", "resolution", "classes", "threads"):
            if getattr(args, name) is not None and getattr(args, name) <= 0:
                raise InvalidArgument(f"--{name} must be above 0, got {getattr(args, name)}; see {cli.prog} --help")
        _check_flags(args)
        run = {"measure": _run_measure, "predict": _run_predict, "adapt": _run_adapt}.get(args.action, _run)
        text = run(args)
    except PhinasError as error:
        print(f"search.latency: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nstopped; the kernels measured so far are kept: python -m search.latency build goes on", file=sys.stderr
        )
        return 130
    return show(text)


def _check_flags(args: argparse.Namespace) -> None:
    action, given = args.action, ", ".join(args.network or ())
    if action in ("measure", "predict") and not given:
        raise InvalidArgument(f"{action} needs at least one --network: a name of python -m searchspace.zoo or a spec")
    if action == "adapt" and not (args.latency and args.out):
        raise InvalidArgument(
            "adapt makes a table of another one: name that with --latency, and the new one with --out"
        )
    belongs = (
        ("--network", given, ("measure", "predict")),
        ("--again", args.again, ("build",)),
        ("--out", args.out, ("build", "adapt")),
        ("--plot", args.plot, ("check",)),
        ("--latency", args.latency, ("predict", "check", "adapt")),
    )
    for flag, value, actions in belongs:
        if value and action not in actions:
            raise InvalidArgument(f"{flag} belongs to {' and '.join(actions)}, got {action}; see --help")


def _run(args: argparse.Namespace) -> str:
    from search.latency.build import MANY_ROUNDS, forget, table_for
    from search.latency.check import check, networks_to_check
    from search.latency.plot import plot

    space, device = _space(args), runtime(args.runtime, threads=args.threads)
    networks = _zoo(args) if args.zoo and args.action == "build" else ()
    if args.again:
        forget(space, cache_dir=args.cache_dir, runtime=device)
    table = read_table(args.latency) if args.latency else table_for(
        space, cache_dir=args.cache_dir, progress=_show, note=_note, networks=networks, runtime=device,
        rounds=MANY_ROUNDS,
    )  # fmt: skip
    if args.out:
        write_atomic(args.out, table.to_json())
    found = None
    if args.action == "check":
        specs = networks_to_check(space, count=args.networks or 40, seed=args.seed)
        specs += _zoo_variants(args) if args.zoo else []
        seconds = args.seconds or 1.5 * len(specs)
        found = check(table, specs, seconds=seconds, blamed=WORST, progress=_show, runtime=device)
        if args.plot:
            plot(found, table, args.plot)
    _show(1.0, "")
    if args.json:
        return json.dumps({"table": table.to_dict(), "check": found and summary(found)}, indent=1)
    written = [f"written to {args.out}: --latency {args.out} uses it anywhere"] if args.out else []
    return "\n".join([_table_text(table), *([check_text(found)] if found else []), *written])


def _space(args: argparse.Namespace) -> "SearchSpace":
    from searchspace.mnasnet_space import mnasnet_space, space_from_toml

    resolution = args.resolution or TABLE_RESOLUTION
    if args.space is not None:
        return space_from_toml(args.space, classes=args.classes, resolution=resolution)
    return mnasnet_space(classes=args.classes, resolution=resolution)


def _run_measure(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    from search.latency.measure import measure_here

    seconds = args.seconds or 3.0 * len(specs)
    device = runtime(args.runtime, threads=args.threads)
    found, reference_ms = measure_here(
        specs, cache_dir=args.cache_dir, seconds=seconds, progress=_show, note=_note, runtime=device
    )
    _show(1.0, "")
    if args.json:
        rows = [{"network": spec.name, "resolution": spec.resolution, **asdict(one)}
                for spec, one in zip(specs, found, strict=True)]  # fmt: skip
        return json.dumps({"reference_ms": reference_ms, "networks": rows}, indent=1)
    return measured_text(specs, found, reference_ms, device.identity(specs[0].resolution))


def _run_predict(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    table = read_table(args.latency) if args.latency else _own_table(args)
    from searchspace.graph import lower

    found = [table.predict(lower(spec)) for spec in specs]
    if args.json:
        rows = [{"network": spec.name, "resolution": spec.resolution, **one._asdict()}
                for spec, one in zip(specs, found, strict=True)]  # fmt: skip
        return json.dumps({"table": table.to_dict(), "networks": rows}, indent=1)
    return predicted_text(specs, found, table)


def _run_adapt(args: argparse.Namespace) -> str:
    table = read_table(args.latency)
    from search.latency.adapt import NETWORKS, adapt, networks_to_measure
    from search.latency.measure import measure_here

    device = runtime(args.runtime, threads=args.threads)
    specs = networks_to_measure(_space(args), count=args.networks or NETWORKS, seed=args.seed)
    found, reference_ms = measure_here(
        specs, cache_dir=args.cache_dir, seconds=args.seconds or 3.0 * len(specs), progress=_show, note=_note,
        runtime=device,
    )  # fmt: skip
    _show(1.0, "")
    new = adapt(
        table, specs, [one.latency_ms for one in found], identity=device.identity(table.identity["resolution"]),
        reference_ms=reference_ms,
    )  # fmt: skip
    write_atomic(args.out, new.to_json())
    if args.json:
        return json.dumps({"table": new.to_dict(), "networks": len(specs)}, indent=1)
    again = f"--runtime {args.runtime}" + (f" --threads {args.threads}" if args.threads else "")
    return (
        f"{_table_text(new)}\n"
        f"adapted from {args.latency} by {len(specs)} networks measured here; written to {args.out}\n"
        f"next: python -m search.latency check --latency {args.out} {again}"
    )


def _own_table(args: argparse.Namespace) -> "LatencyTable":
    """This device's table for 224 px, as it is: nothing is measured."""
    from search.latency.cache import Cache, default_dir

    identity = runtime(args.runtime, threads=args.threads).identity(TABLE_RESOLUTION)
    table = Cache(args.cache_dir or default_dir(), identity, note=_note).table()
    if table is None:
        raise InvalidArgument(
            "this device has no latency table yet: measure it with python -m search.latency build (and the same "
            "--runtime and --threads), or name a file with --latency"
        )
    return table


def predicted_text(specs: "list[NetworkSpec]", found: "list[Prediction]", table: "LatencyTable") -> str:
    """Predictions for people."""
    from searchspace.cost import costs
    from searchspace.describe import short
    from searchspace.describe import table as text_table
    from searchspace.graph import lower

    rows = []
    for spec, one in zip(specs, found, strict=True):
        cost, layers = costs(lower(spec)), len(lower(spec).layers)
        rows.append([
            spec.name, str(spec.resolution), short(cost.params), short(cost.macs), f"{one.latency_ms:.2f}",
            f"{one.low_ms:.2f} to {one.high_ms:.2f}", f"{len(one.estimated)} of {layers}",
        ])  # fmt: skip
    headers = ["network", "px", "params", "MACs", "ms", "in 9 of 10 networks", "layers estimated"]
    return f"{text_table(headers, rows, text_columns=(0,))}\n\n{_table_text(table)}"


def _named(name: str, args: argparse.Namespace) -> "NetworkSpec":
    from searchspace import zoo
    from searchspace.serialize import read_spec

    if not name.endswith(".json"):
        return zoo.get(name, resolution=args.resolution, classes=args.classes)
    spec = read_spec(Path(name))
    return spec if args.resolution is None else spec.with_resolution(args.resolution)


def measured_text(
    specs: "list[NetworkSpec]", found: "list[Measurement]", reference_ms: float, identity: "Identity"
) -> str:
    """Measurements for people."""
    from searchspace.cost import costs
    from searchspace.describe import short, table
    from searchspace.graph import lower

    rows = []
    for spec, one in zip(specs, found, strict=True):
        cost = costs(lower(spec))
        rows.append([
            spec.name, str(spec.resolution), short(cost.params), short(cost.macs), f"{one.latency_ms:.2f}",
            f"{one.low_ms:.2f} to {one.high_ms:.2f}", f"{one.raw_median_ms:.2f}", str(one.rounds),
            "noisy" if one.noisy else "",
        ])  # fmt: skip
    headers = ["network", "px", "params", "MACs", "ms", "95 % interval", "by the clock", "rounds", ""]
    noisy = "\nThe machine was too noisy to tell: stop what else runs, or give more --seconds."
    return (
        f"{table(headers, rows, text_columns=(0, 8))}\n\n"
        f"one image, {identity['runtime']}, {identity['threads']} threads, {identity['dtype']}, batch norm folded; ms "
        f"at the quiet speed of this device's reference network, {reference_ms:.2f} ms; by the clock: at the speed the "
        "machine had meanwhile"
        f"{noisy if any(one.noisy for one in found) else ''}"
    )


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _zoo(args: argparse.Namespace) -> "list[NetworkSpec]":
    """The networks of the zoo at the table's resolution; EfficientNet-B1 to B7 have resolutions of their own."""
    from searchspace import zoo

    own = [name for name in zoo.names() if not zoo.is_grown(name)]
    return [zoo.get(name, resolution=args.resolution or TABLE_RESOLUTION, classes=args.classes) for name in own]


def _zoo_variants(args: argparse.Namespace) -> "list[NetworkSpec]":
    """The networks of the zoo, each also narrower at fewer pixels."""
    from searchspace import zoo

    full = args.resolution or TABLE_RESOLUTION
    return [
        zoo.get(name, width=width, resolution=round(full * pixels / 32) * 32, classes=args.classes)
        for name in zoo.names()
        if not zoo.is_grown(name)
        for width, pixels in ((1.0, 1.0), (0.75, 0.86), (0.5, 0.72))
    ]


def _show(fraction: float, what: str) -> None:
    """One line that is written over; nothing where nobody watches."""
    if sys.stderr.isatty():
        text = f"{what} {fraction:.0%}" if what else ""
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _table_text(table: "LatencyTable") -> str:
    from searchspace.latency import describe

    scale, network_ms, error = table.correction
    return (
        f"latency table: {describe(table.identity)}\n"
        f"{len(table.kernels)} kernels; ms at the reference's quiet speed of {table.reference_ms:.2f} ms; "
        f"network = {network_ms:.2f} ms + {scale:.3f} x sum of kernels; own error {error:.1%}"
    )


def summary(found: "Check") -> dict[str, object]:
    """A check as JSON types."""
    rows = zip(found.specs, found.predicted, found.measured, strict=True)
    return {
        "table": asdict(found.table),
        "macs_alone": asdict(found.macs_alone),
        "coverage": found.coverage,
        "networks": [
            {
                "network": spec.name, "resolution": spec.resolution, "fingerprint": spec.fingerprint(),
                "predicted_ms": predicted.latency_ms, "predicted_low_ms": predicted.low_ms,
                "predicted_high_ms": predicted.high_ms, "estimated_layers": len(predicted.estimated),
                **asdict(measured),
            }
            for spec, predicted, measured in rows
        ],
        "worst": {place: [layer._asdict() for layer in layers] for place, layers in found.worst.items()},
    }  # fmt: skip


def check_text(found: "Check") -> str:
    """A check for people."""
    rounds = min(one.rounds for one in found.measured)
    real = [one.latency_ms for one in found.measured]
    noisy = sum(one.noisy for one in found.measured)
    lines = [
        f"{len(found.specs)} networks, {min(real):.1f} to {max(real):.1f} ms, {rounds} interleaved rounds, "
        f"{noisy} of them too noisy to tell within 10 %",
        "               within 10 %  within 5 %  mean error    bias   worst  Spearman",
        f"this table     {_row(found.table)}",
        f"MACs alone     {_row(found.macs_alone)}",
        f"{found.coverage:.0%} measure within their interval, which is made for 90 %",
    ]
    for place, layers in found.worst.items():
        spec, predicted = found.specs[place], found.predicted[place]
        lines.append(
            f"off by {predicted.latency_ms / real[place] - 1:+.1%}: {spec.name} at {spec.resolution} px, predicted "
            f"{predicted.latency_ms:.2f} ms, measured {real[place]:.2f} ms; most wrong: "
            + ", ".join(f"{one.layer} ({one.predicted_ms:.2f} for {one.measured_ms:.2f})" for one in layers)
        )
    return "\n".join(lines)


def _row(one: "Agreement") -> str:
    return (
        f"{one.within_10_percent:10.0%} {one.within_5_percent:11.0%} {one.mape:11.1%} {one.bias:+7.1%} "
        f"{one.worst:7.1%} {one.spearman:9.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
