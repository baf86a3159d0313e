"""python -m search.latency: build this machine's latency table, check it, predict with it, or measure networks."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from search.latency import flags
from search.latency.reference import RESOLUTION
from search.latency.runtimes import DTYPES, Setting, check_profiles_layers, runtime, setting_of
from searchspace.command import CommandParser, positive_integer, positive_number, run_command, show_progress
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.files import check_writable, write_atomic
from searchspace.latency.table import read_table

if TYPE_CHECKING:
    from search.latency.interleave import Runtime
    from search.latency.measurement import Measurement
    from searchspace.latency.table import Identity, LatencyTable
    from searchspace.spec import NetworkSpec

EXPLAINED = 3  # the worst networks of a check, whose layers are timed
ADAPT_ROUNDS = 1000  # for all of the seconds: 60 rounds are over in one session effect, which shifted every kernel
DEFAULT_KERNELS = 500
_KEPT = "stopped; the kernels measured so far are kept: the same command goes on"
_EPILOG = """\
examples:
  python -m search.latency build                     measure this machine, or say what was measured before
  python -m search.latency check --networks 60       predict and measure 60 random networks, and the zoo's
  python -m search.latency measure --network mobilenet_v3_large --network studies/NAME/best.json
  python -m search.latency build --out phone.json    the table as a file, for other machines
  python -m search.latency predict --network mobilenet_v2 --latency phone.json
  python -m search.latency adapt --latency eager.json --runtime onnxruntime --out ort.json    from 10 networks
  python -m search.latency export --folder phone/    ONNX files and a CSV to fill, for a device without Python
  python -m search.latency import --folder phone/ --device "my phone" --threads 4 --out phone.json
python -m search.latency COMMAND --help says more of each.
Tables lie in ~/.cache/phinas (or $PHINAS_CACHE); Ctrl-C keeps what was measured, the same command goes on.
exit codes: 0 done, 2 the input is wrong, 130 interrupted."""


def parser() -> CommandParser:
    """The command line of search.latency."""
    cli = CommandParser(
        "python -m search.latency",
        description="The latency of networks on this machine: a table that predicts it, and measurements.",
        epilog=_EPILOG,
    )
    build = cli.subcommand("build", run=_build, stopped=_KEPT, help="measure the kernels that the table lacks")
    build.add_argument("--out", type=Path, metavar="FILE.json", help="write the table there, too, to take it along")
    build.add_argument(
        "--again", action="store_true", help="measure everything anew (after a table made on a busy machine)"
    )
    flags.add_zoo(build, "measure the published networks' kernels, and narrower ones', too")
    _add_seconds(build, "80 in all, ONNX Runtime and OpenVINO 160; at least 4 readings of each kernel")
    flags.add_space(build)
    flags.add_sizes(build, default=str(RESOLUTION))
    flags.add_setting(build)

    check = cli.subcommand("check", run=_check, stopped=_KEPT, help="predict and measure networks, and compare")
    _add_latency(check, "default: this device's own, measured where it lacks something")
    flags.add_sample(check, networks=40)
    flags.add_zoo(check, "add the published networks at three other widths and resolutions")
    check.add_argument("--plot", type=Path, metavar="FILE", help="predicted against measured, as .png, .svg or .pdf")
    _add_seconds(check, "1.5 a network")
    flags.add_space(check)
    flags.add_sizes(check, default=flags.OF_THE_TABLE)
    flags.add_setting(check, default=f"{flags.OF_THE_TABLE}, else that of build")

    measure = cli.subcommand("measure", run=_measure, help="time given networks, interleaved")
    flags.add_networks(measure)
    _add_seconds(measure, "3 a network")
    flags.add_sizes(measure, default="their own")
    flags.add_setting(measure)

    predict = cli.subcommand("predict", run=_predict, help="what a table says of given networks")
    flags.add_networks(predict)
    _add_latency(predict, "default: this device's own")
    flags.add_sizes(predict, default="their own")
    flags.add_setting(predict, default=f"{flags.OF_THE_TABLE}, else that of build")

    _add_adapt(cli)

    export = cli.subcommand("export", run=_export, help="ONNX files to time on a device that runs no Python")
    export.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where to write")
    export.add_argument(
        "--kernels",
        type=positive_integer,
        default=DEFAULT_KERNELS,
        metavar="N",
        help="kernels, those of the networks at least; others are estimated (default: %(default)s)",
    )
    flags.add_sample(export, networks=10)
    flags.add_space(export)
    flags.add_sizes(export, default=str(RESOLUTION))

    import_ = cli.subcommand("import", run=_import, help="a table of the times that were filled in after export")
    flags.add_foreign_setting(import_)
    _add_out(import_)
    for command in (build, check, measure, predict, export, import_):
        flags.add_json(command)
    return cli


def _add_adapt(cli: CommandParser) -> None:
    adapt = cli.subcommand(
        "adapt",
        run=_adapt,
        help="a table made of another device's, by a few networks measured here or timed as --folder says",
    )
    _add_latency(adapt, "the table to adapt", required=True)
    _add_out(adapt)
    adapt.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="a folder that export wrote, of which only the networks' times are needed; --device then names the device "
        "in the table, and --runtime, --dtype and --threads say what the networks were timed with",
    )
    flags.add_sample(adapt, networks=10)
    _add_seconds(adapt, "6 a network")
    flags.add_space(adapt)
    flags.add_sizes(adapt, default=flags.OF_THE_TABLE)
    flags.add_setting(adapt)
    measured = ("networks", "seconds", "resolution", "space", "classes", "seed", "cache_dir")
    adapt.set_defaults(of_measuring={name: adapt.get_default(name) for name in measured})
    flags.add_json(adapt)


def _add_latency(cli: CommandParser, help: str, *, required: bool = False) -> None:
    cli.add_argument(
        "--latency",
        type=Path,
        metavar="FILE",
        required=required,
        help=f"a table that build --out wrote ({help})" if not required else help,
    )


def _add_out(cli: CommandParser) -> None:
    cli.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="write the table there")


def _add_seconds(cli: CommandParser, default: str) -> None:
    cli.add_argument("--seconds", type=positive_number, metavar="S", help=f"time of measuring (default: {default})")


def _build(args: argparse.Namespace) -> str:
    from search.latency.api import table
    from search.latency.report import holdout_text, table_text

    if args.out:
        check_writable(args.out)
    found = table(
        **_setting(args),
        resolution=args.resolution or RESOLUTION,
        classes=args.classes,
        space=args.space,
        zoo=args.zoo,
        seconds=args.seconds,
        again=args.again,
        cache_dir=args.cache_dir,
        progress=show_progress,
        note=_note,
    )
    if args.out:
        write_atomic(args.out, found.to_json())
    if args.json:
        return _json(table=found.to_dict())
    written = [f"written to {args.out}: --latency {quote(str(args.out))} uses it anywhere"] if args.out else []
    return "\n".join([table_text(found), holdout_text(found.holdout_errors), *written])


def _check(args: argparse.Namespace) -> str:
    from search.latency.api import space_of, table
    from search.latency.check import check, networks_to_check
    from search.latency.plot import plot
    from search.latency.published import published_variants
    from search.latency.report import check_text, summary, table_text
    from studies.figure import new_figure

    figure = new_figure(args.plot) if args.plot else None  # a mistake is reported before minutes of measuring
    found = _given_table(args)
    device = _runtime(args, found.identity if found else None)
    resolution = args.resolution or (found.identity["resolution"] if found else RESOLUTION)
    space = space_of(args.space, resolution=resolution, classes=args.classes)
    if found is None:
        measured = {"space": space, "zoo": False, "holdout": False, "cache_dir": args.cache_dir}
        found = table(**_setting(args), **measured, progress=show_progress, note=_note)
    specs = networks_to_check(space, count=args.networks, seed=args.seed)
    if args.zoo:
        variants, left_out = published_variants(found, resolution, args.classes)
        specs += variants
        if left_out:
            _note(f"left out, of kinds of kernels that the table has none of: {', '.join(left_out)}")
    seconds = args.seconds or 1.5 * len(specs)
    checked = check(found, specs, seconds=seconds, explained=EXPLAINED, progress=show_progress, runtime=device)
    if figure is not None:
        plot(checked, found, figure, args.plot)
    if args.json:
        return _json(table=found.to_dict(), check=summary(checked))
    return f"{table_text(found)}\n{check_text(checked)}"


def _measure(args: argparse.Namespace) -> str:
    specs = _specs(args)
    from search.latency.measurement import measure_without_table
    from search.latency.report import measured_text

    device = _runtime(args)
    found, time_base = measure_without_table(
        specs,
        cache_dir=args.cache_dir,
        seconds=args.seconds or 3.0 * len(specs),
        progress=show_progress,
        note=_note,
        runtime=device,
    )
    if args.json:
        return _json(**time_base._asdict(), networks=_rows(specs, [asdict(one) for one in found]))
    return measured_text(specs, found, time_base.reference_ms, device.identity(specs[0].resolution))


def _predict(args: argparse.Namespace) -> str:
    specs = _specs(args)
    table = _given_table(args) or _stored_table(args)
    from search.latency.report import predicted_text

    found = [table.predict(spec) for spec in specs]
    if args.json:
        return _json(table=table.to_dict(), networks=_rows(specs, [one._asdict() for one in found]))
    return predicted_text(specs, found, table)


def _adapt(args: argparse.Namespace) -> str:
    if args.folder:
        return _adapt_to_folder(args)
    table = read_table(args.latency)
    pixels = table.identity["resolution"]
    if args.resolution not in (None, pixels):
        raise InvalidTable(f"--resolution must be that of the table {args.latency}, {pixels} px, got {args.resolution}")
    from search.latency.adapt import adapt, check_networks, networks_to_measure
    from search.latency.api import space_of
    from search.latency.measurement import measure_without_table

    device = _runtime(args)
    space = space_of(args.space, resolution=pixels, classes=args.classes)
    specs = networks_to_measure(space, count=args.networks, seed=args.seed, table=table)
    check_networks(table, specs)  # a mistake is reported before anything is measured
    check_writable(args.out)
    found, time_base = measure_without_table(
        specs,
        cache_dir=args.cache_dir,
        seconds=args.seconds or 6.0 * len(specs),
        progress=show_progress,
        note=_note,
        runtime=device,
        rounds=ADAPT_ROUNDS,
    )
    times = [one.latency_ms for one in found]
    new = adapt(table, specs, times, identity=device.identity(pixels), time_base=time_base)
    done = f"adapted from {args.latency} by {len(specs)} networks measured here{_noisy(found)}"
    next_step = f"search.latency check --latency {quote(str(args.out))}"
    return _written(args, new, done, next_step=next_step, networks=len(specs))


def _adapt_to_folder(args: argparse.Namespace) -> str:
    """Adapt a table to a device that runs no Python, by the times of its networks alone."""
    if not (args.device and args.threads):
        raise InvalidArgument("adapt --folder needs --device NAME and --threads N, for the table's identity")
    for name, default in args.of_measuring.items():
        if getattr(args, name) != default:
            raise InvalidArgument(
                f"--{name.replace('_', '-')} belongs to what is measured here, adapt --folder takes what {args.folder} "
                "holds"
            )
    from search.latency.portable import adapt_to

    new = adapt_to(read_table(args.latency), args.folder, **_foreign_setting(args))
    return _written(args, new, f"adapted from {args.latency} by the networks of {args.folder}")


def _export(args: argparse.Namespace) -> str:
    from search.latency.api import space_of
    from search.latency.portable import export

    kernels, networks = export(
        space_of(args.space, resolution=args.resolution or RESOLUTION, classes=args.classes),
        args.folder,
        kernels=args.kernels,
        networks=args.networks,
        seed=args.seed,
        progress=show_progress,
    )
    if args.json:
        return _json(folder=str(args.folder), kernels=kernels, networks=networks)
    return (
        f"{kernels} kernels and {networks} networks as ONNX files in {args.folder}\n"
        f"next: time them on the device as {args.folder / 'README.md'} says, fill {args.folder / 'times.csv'}, then\n"
        f"  python -m search.latency import --folder {quote(str(args.folder))} --device NAME --threads N --out "
        "device.json"
    )


def _import(args: argparse.Namespace) -> str:
    from search.latency.portable import import_

    return _written(args, import_(args.folder, **_foreign_setting(args)), f"imported from {args.folder}")


def _written(args: argparse.Namespace, table: "LatencyTable", done: str, *, next_step: str = "", **more: int) -> str:
    """Write a table to --out, and say what it is and what to do with it."""
    from search.latency.report import written_text

    write_atomic(args.out, table.to_json())
    if args.json:
        return _json(table=table.to_dict(), **more, written=str(args.out))
    return written_text(table, args.out, done, times=args.folder and args.folder / "times.csv", next_step=next_step)


def _setting(args: argparse.Namespace) -> dict[str, Any]:
    default = Setting()
    return {
        "runtime": args.runtime or default.name,
        "device": args.device or default.device,
        "dtype": args.dtype or default.dtype,
        "threads": args.threads,
    }


def _foreign_setting(args: argparse.Namespace) -> dict[str, Any]:
    dtype = DTYPES[args.dtype or Setting().dtype]
    return {"device": args.device, "runtime": args.runtime or "onnx", "threads": args.threads, "dtype": dtype}


def _runtime(args: argparse.Namespace, identity: "Identity | None" = None) -> "Runtime":
    """The runtime that the flags ask for; where they do not say, that of the table `identity`."""
    setting = _setting(args)
    if identity:
        setting = dict(zip(("runtime", "device", "dtype"), setting_of(identity), strict=True))
        setting |= {"threads": identity["threads"]}
        setting |= {name: getattr(args, name) for name in setting if getattr(args, name)}
    return runtime(setting.pop("runtime"), **setting)


def _given_table(args: argparse.Namespace) -> "LatencyTable | None":
    """The table of --latency. Raises InvalidTable if it is of another setting than the flags ask for."""
    if not args.latency:
        return None
    table = read_table(args.latency)
    asked = {name: getattr(args, name) for name in ("runtime", "device", "dtype", "threads") if getattr(args, name)}
    own: dict[str, object] = {"threads": table.identity["threads"]}
    if asked.keys() - own.keys():
        own |= zip(("runtime", "device", "dtype"), setting_of(table.identity), strict=True)
    for flag, value in asked.items():
        if own[flag] != value:
            raise InvalidTable(
                f"{args.latency} is a table of {flag} {own[flag]}, got --{flag} {value}: measure one for that with "
                f"python -m search.latency build --{flag} {value}"
            )
    pixels = table.identity["resolution"]
    if args.resolution not in (None, pixels):
        _note(f"the table is of {pixels} px: its kernels at {args.resolution} px are estimated")
    return table


def _stored_table(args: argparse.Namespace) -> "LatencyTable":
    """This device's table for 224 px, as it is: nothing is measured."""
    check_profiles_layers(args.runtime or Setting().name)
    from search.latency.cache import stored_table

    return stored_table(_runtime(args).identity(RESOLUTION), cache_dir=args.cache_dir, note=_note)


def _specs(args: argparse.Namespace) -> "list[NetworkSpec]":
    from search.latency.api import spec_named

    return [spec_named(name, classes=args.classes, resolution=args.resolution) for name in args.network]


def _rows(specs: "Sequence[NetworkSpec]", found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"network": spec.name, "resolution": spec.resolution, **one} for spec, one in zip(specs, found, strict=True)
    ]


def _noisy(found: "Sequence[Measurement]") -> str:
    count = sum(one.noisy for one in found)
    return f", {count} of them on a machine too noisy to tell (stop what else runs, adapt again)" if count else ""


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _json(**content: object) -> str:
    return json.dumps(content, indent=1)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
