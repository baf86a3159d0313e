"""python -m search.latency: build this machine's latency table, check it, predict with it, or measure networks."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from search.latency import flags
from search.latency.interleave import Runtime
from search.latency.reference import RESOLUTION
from search.latency.runtimes import DTYPES, Setting, check_profiles_layers, runtime, setting_of
from searchspace.command import CommandParser, run_command, show_progress
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.files import check_writable, write_atomic
from searchspace.latency.table import Identity, LatencyTable, read_table
from searchspace.spaces.presets import space_of
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from search.latency.measurement import Measurement

EXPLAINED = 3  # the worst networks of a check, whose layers are timed
ADAPT_ROUNDS = 1000  # for all of the seconds: 60 rounds are over in one session effect, which shifted every kernel


def _build(args: Namespace) -> str:
    from search.latency.api import table
    from search.latency.report import holdout_text, table_text

    _check_writable(args.out, args.cache_dir)
    asked = _setting(args) | _flags(args, "classes", "space", "zoo", "seconds", "again", "cache_dir")
    found = table(**asked, resolution=args.resolution or RESOLUTION, progress=show_progress, note=_note)
    if args.out:
        write_atomic(args.out, found.to_json())
    if args.json:
        return _json(table=found.to_dict())
    written = [f"written to {args.out}: --latency {quote(str(args.out))} uses it anywhere"] if args.out else []
    return "\n".join([table_text(found), holdout_text(found.holdout_errors), *written])


def _check(args: Namespace) -> str:
    from search.latency.api import published_variants, table
    from search.latency.check import check, networks_to_check
    from search.latency.report import check_text, plot, summary, table_text
    from studies.figure import new_figure

    figure = new_figure(args.plot) if args.plot else None  # a mistake is reported before minutes of measuring
    given = _given_table(args)
    _check_writable(None, args.cache_dir)
    device = _runtime(args, given.identity if given else None)
    resolution = args.resolution or (given.identity["resolution"] if given else RESOLUTION)
    space = space_of(args.space, resolution=resolution, classes=args.classes)
    unvalidated: dict[str, Any] = {"zoo": False, "holdout": False, "progress": show_progress, "note": _note}
    found = given or table(**_setting(args), space=space, cache_dir=args.cache_dir, **unvalidated)
    specs = networks_to_check(space, count=args.networks, seed=args.seed)
    variants, left_out = published_variants(found, resolution, args.classes) if args.zoo else ([], [])
    if left_out:
        _note(f"left out, of kinds of kernels that the table has none of: {', '.join(left_out)}")
    specs += variants
    seconds = args.seconds or 1.5 * len(specs)
    checked = check(found, specs, seconds=seconds, explained=EXPLAINED, progress=show_progress, runtime=device)
    if figure is not None:
        plot(checked, found, figure, args.plot)
    if args.json:
        return _json(table=found.to_dict(), check=summary(checked))
    return f"{table_text(found)}\n{check_text(checked)}"


def _measure(args: Namespace) -> str:
    from search.latency.report import measured_text

    _check_writable(None, args.cache_dir)
    specs, device = _specs(args), _runtime(args)
    found, time_base = _measured(args, specs, device, seconds=3.0)
    if args.json:
        return _json(**time_base._asdict(), networks=_rows(specs, [asdict(one) for one in found]))
    return measured_text(specs, found, time_base.reference_ms, device.identity(specs[0].resolution))


def _measured(args: Namespace, specs: list[NetworkSpec], device: Runtime, *, seconds: float, **more: Any) -> Any:
    from search.latency.measurement import measure_without_table

    own: dict[str, Any] = {"cache_dir": args.cache_dir, "runtime": device, "progress": show_progress, "note": _note}
    return measure_without_table(specs, seconds=args.seconds or seconds * len(specs), **own, **more)


def _predict(args: Namespace) -> str:
    specs = _specs(args)
    table = _given_table(args) or _stored_table(args)
    from search.latency.report import predicted_text

    found = [table.predict(spec) for spec in specs]
    if args.json:
        return _json(table=table.to_dict(), networks=_rows(specs, [one._asdict() for one in found]))
    return predicted_text(specs, found, table)


def _adapt(args: Namespace) -> str:
    if args.folder:
        return _adapt_to_folder(args)
    table = read_table(args.latency)
    _check_writable(args.out, args.cache_dir)
    pixels = table.identity["resolution"]
    if args.resolution not in (None, pixels):
        raise InvalidTable(
            f"--resolution must be that of the table {args.latency}, {pixels} px, got {args.resolution}: leave it out"
        )
    from search.latency.adapt import adapt, check_networks, networks_to_measure

    device = _runtime(args)
    space = space_of(args.space, resolution=pixels, classes=args.classes)
    specs = networks_to_measure(space, count=args.networks, seed=args.seed, table=table)
    check_networks(table, specs)  # a mistake is reported before anything is measured
    found, time_base = _measured(args, specs, device, seconds=6.0, rounds=ADAPT_ROUNDS)
    times = [one.latency_ms for one in found]
    new = adapt(table, specs, times, identity=device.identity(pixels), time_base=time_base)
    done = f"adapted from {args.latency} by {len(specs)} networks measured here{_noisy(found)}"
    next_step = f"search.latency check --latency {quote(str(args.out))}"
    return _written(args, new, done, next_step=next_step, networks=len(specs))


def _adapt_to_folder(args: Namespace) -> str:
    if not (args.device and args.threads):
        raise InvalidArgument("adapt --folder needs --device NAME and --threads N, for the table's identity: give both")
    for flag, default in flags.MEASURED.items():
        if getattr(args, flag.replace("-", "_")) != default:
            raise InvalidArgument(
                f"--{flag} belongs to what is measured here, adapt --folder takes what {args.folder} holds"
            )
    from search.latency.portable import adapt_to

    _check_writable(args.out, None)
    new = adapt_to(read_table(args.latency), args.folder, **_foreign_setting(args))
    return _written(args, new, f"adapted from {args.latency} by the networks of {args.folder}")


def _export(args: Namespace) -> str:
    from search.latency.portable import export

    space = space_of(args.space, resolution=args.resolution or RESOLUTION, classes=args.classes)
    _check_writable(args.folder / "README.md", None)
    asked = _flags(args, "kernels", "networks", "seed")
    kernels, networks = export(space, args.folder, **asked, progress=show_progress)
    if args.json:
        return _json(folder=str(args.folder), kernels=kernels, networks=networks)
    return (
        f"{kernels} kernels and {networks} networks as ONNX files in {args.folder}\n"
        f"next: time them on the device as {args.folder / 'README.md'} says, fill {args.folder / 'times.csv'}, then\n"
        f"  python -m search.latency import --folder {quote(str(args.folder))} --device NAME --threads N --out "
        "device.json"
    )


def _import(args: Namespace) -> str:
    from search.latency.portable import import_

    _check_writable(args.out, None)
    return _written(args, import_(args.folder, **_foreign_setting(args)), f"imported from {args.folder}")


def _written(args: Namespace, table: LatencyTable, done: str, *, next_step: str = "", **more: int) -> str:
    from search.latency.report import written_text

    write_atomic(args.out, table.to_json())
    if args.json:
        return _json(table=table.to_dict(), **more, written=str(args.out))
    return written_text(table, args.out, done, times=args.folder and args.folder / "times.csv", next_step=next_step)


def _setting(args: Namespace, identity: Identity | None = None) -> dict[str, Any]:
    """The setting that the flags ask for; where they do not say, that of the table `identity`."""
    own = (setting_of(identity) if identity else Setting())._asdict()
    own["threads"] = identity["threads"] if identity else None
    return {name: getattr(args, name) or value for name, value in own.items()}


def _runtime(args: Namespace, identity: Identity | None = None) -> Runtime:
    setting = _setting(args, identity)
    return runtime(setting.pop("runtime"), **setting)


def _foreign_setting(args: Namespace) -> dict[str, Any]:
    dtype = DTYPES[args.dtype or Setting().dtype]
    return {**_flags(args, "device", "threads"), "runtime": args.runtime or "onnx", "dtype": dtype}


def _given_table(args: Namespace) -> LatencyTable | None:
    """The table of --latency. Raises InvalidTable if it is of another setting than the flags ask for."""
    if not args.latency:
        return None
    if args.cache_dir:
        raise InvalidArgument(
            f"--cache-dir says where this device's own table lies, got {args.cache_dir} and --latency {args.latency}: "
            "leave one of them out"
        )
    table = read_table(args.latency)
    asked = {name: value for name, value in _flags(args, "runtime", "device", "dtype", "threads").items() if value}
    own: dict[str, object] = {"threads": table.identity["threads"]}
    if asked.keys() - own.keys():
        own |= setting_of(table.identity)._asdict()
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


def _stored_table(args: Namespace) -> LatencyTable:
    """This device's table for 224 px, as it is: nothing is measured."""
    check_profiles_layers(args.runtime or Setting().runtime)
    from search.latency.cache import stored_table

    return stored_table(_runtime(args).identity(RESOLUTION), cache_dir=args.cache_dir, note=_note)


def _specs(args: Namespace) -> list[NetworkSpec]:
    from search.latency.api import CLASSES, spec_named

    if args.classes != CLASSES and all(name.endswith(".json") for name in args.network):
        raise InvalidArgument(
            f"--classes is for networks of the zoo, got {args.classes} and {args.network[0]}, which says its own: "
            "leave it out"
        )
    return [spec_named(name, classes=args.classes, resolution=args.resolution) for name in args.network]


def _check_writable(out: Path | None, cache_dir: Path | None) -> None:
    """Whether files can be written there, asked before minutes of measuring. Raises StorageError."""
    for path in (out, cache_dir and cache_dir / "table.json"):
        if path:
            check_writable(path)


def _flags(args: Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names}


def _rows(specs: Sequence[NetworkSpec], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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


_RUNS = {
    "build": _build,
    "check": _check,
    "measure": _measure,
    "predict": _predict,
    "adapt": _adapt,
    "export": _export,
    "import": _import,
}


def parser() -> CommandParser:
    """The command line of search.latency."""
    return flags.parser(_RUNS)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
