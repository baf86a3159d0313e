"""python -m search.latency: build this machine's latency table, check it, or measure networks."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.build import MANY_S
from search.latency.runtimes import DTYPES, KNOWN, RUNTIMES, Setting, check_kernels, runtime, setting_of
from search.settings import DEFAULT_RESOLUTION
from searchspace.command import CommandParser, integer, number, show, show_progress
from searchspace.errors import InvalidArgument, InvalidTable, PhinasError
from searchspace.files import check_writable, write_atomic
from searchspace.latency import AS_THEY_ARE, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.latency.interleave import Runtime
    from search.latency.measure import Measurement
    from searchspace.latency import Identity, LatencyTable
    from searchspace.space import SearchSpace
    from searchspace.spec import NetworkSpec

WORST = 3
ADAPT_ROUNDS = 1000  # for all of the seconds: 60 rounds are over in one mood of the machine, and shifted every kernel
FRESH = 20  # networks that a new table is checked by
FRESH_SHARE = 0.2  # of the seconds of its measurement
# Times width and resolution: what `build` measures of the published networks beside them as they are. In eager torch
# one of the narrower forms of each is enough; in runtimes of ONNX models a kernel's time jumps from size to size
# (layouts, Winograd's blocks), so that networks at 256 px came out 16 % slow.
NARROW = ((0.65, 0.79), (0.45, 0.65))
OTHERS = (*NARROW, (1.0, 1.29))
ONNX_TIMES = 2  # the seconds of a build there
ACTIONS = ("build", "check", "measure", "predict", "adapt", "export", "import")
_EPILOG = """\
examples:
  python -m search.latency build                     measure this machine, or say what was measured before
  python -m search.latency build --no-zoo            without the published networks' kernels
  python -m search.latency check --networks 60       predict and measure 60 random networks, and the zoo's
  python -m search.latency measure --network mobilenet_v3_large --network studies/NAME/best.json
  python -m search.latency build --out phone.json          the table as a file, for other machines
  python -m search.latency predict --network mobilenet_v2 --latency phone.json
  python -m search.latency adapt --latency eager.json --runtime onnxruntime --out ort.json    from 10 networks
  python -m search.latency export --folder phone/    ONNX files and a CSV to fill, for a device without Python
  python -m search.latency import --folder phone/ --device "my phone" --threads 4 --out phone.json
  python -m search.latency adapt --latency phone.json --folder tv/ --device "my TV" --threads 4 --out tv.json
                                                     the same from the times of networks/ alone
  python -m search.latency build --threads 1         a table for one thread
  python -m search.latency build --device cuda       and for a GPU, timed by its own events
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
    add("action", choices=ACTIONS, help="build: measure the kernels that the table lacks; check: predict and measure "
        "random networks; measure: time given networks, interleaved; predict: what a table says of given networks; "
        "adapt: make of another device's table one for this, by a few networks measured here, or for the device whose "
        "times of networks stand in --folder; export, import: a table of a device that runs no Python")  # fmt: skip
    add("--network", action="append", metavar="NAME", help="measure, predict: a network of the zoo or a spec file "
        "(.json); give it again for more")  # fmt: skip
    add("--latency", type=Path, metavar="FILE", help="predict, check, adapt: a table that build --out wrote "
        "(default: this device's own; adapt: needed)")  # fmt: skip
    add(
        "--folder",
        type=Path,
        metavar="DIR",
        help="export: where to write; import: what was exported and filled in; "
        "adapt: the same, of which only the networks' times are needed",
    )
    add("--kernels", type=integer, metavar="N", help="export: so many kernels, those of the networks at least; others "
        "are estimated (default: 500)")  # fmt: skip
    add("--device", metavar="NAME", help="what eager torch computes on: cpu, cuda or mps (default: cpu; check "
        "--latency: the table's); import, adapt --folder: what the device is called in the table")  # fmt: skip
    add("--out", type=Path, metavar="FILE.json", help="build, adapt, import: write the table there, to take it along")
    add("--resolution", type=integer, metavar="PX", help="pixels of the networks (default: 224, or --latency's; "
        "measure, predict: their own)")  # fmt: skip
    add("--classes", type=integer, default=1000, metavar="N", help="classes of the network (default: %(default)s)")
    add("--space", type=Path, metavar="FILE", help="a TOML file that narrows or widens the default space")
    add(
        "--runtime",
        metavar="NAME",
        help=f"what runs the networks: {', '.join(RUNTIMES)} (default: eager; check --latency: the table's); import, "
        "adapt --folder: what ran them there, any name",
    )
    add("--dtype", choices=DTYPES, help="what the runtime computes in; not every one has each (default: fp32; check "
        "--latency: the table's)")  # fmt: skip
    add("--threads", type=integer, metavar="N", help="threads of the runtime (default: as torch has here; check "
        "--latency: the table's)")  # fmt: skip
    add("--zoo", action=argparse.BooleanOptionalAction, help="build: measure the published networks' kernels, too, "
        "and narrower ones'; check: add the networks at three other widths and resolutions (default: yes)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="check: predicted against measured, as .png, .svg or .pdf")
    add("--again", action="store_true", help="build: measure everything anew (after a table made on a busy machine)")
    add("--networks", type=integer, metavar="N", help="check: how many random ones (default: 40); adapt, export: how "
        "many (default: 10)")  # fmt: skip
    add("--seconds", type=number, metavar="S", help="time for it (default: 3 a network, adapt 6, check 1.5, "
        f"build {MANY_S:g} in all, ONNX Runtime and OpenVINO {ONNX_TIMES * MANY_S:g}; at least 4 readings of each "
        "kernel, even if that takes longer)")  # fmt: skip
    add("--seed", type=integer, default=1, metavar="N", help="check, adapt: which networks (default: %(default)s)")
    add("--cache-dir", type=Path, metavar="DIR", help="where tables lie")
    add("--json", action="store_true", help="print the same as JSON")
    return cli


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    cli = parser()
    try:
        args = cli.parse_args(argv)
        for name in ("networks", "seconds", "resolution", "classes", "threads", "kernels"):
            if getattr(args, name) is not None and getattr(args, name) <= 0:
                raise InvalidArgument(f"--{name} must be above 0, got {getattr(args, name)}; see {cli.prog} --help")
        _check_flags(args)
        text = _RUN[args.action](args)
    except PhinasError as error:
        print(f"search.latency: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = args.action == "build" or (args.action == "check" and not args.latency)
        print(f"\nstopped{'; the kernels measured so far are kept: the same command goes on' if kept else ''}",
              file=sys.stderr)  # fmt: skip
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
    if action in ("export", "import") and not args.folder:
        raise InvalidArgument(f"{action} needs --folder, the place of the ONNX files")
    if action == "import" and not (args.out and args.device and args.threads):
        raise InvalidArgument("import needs --device NAME, --threads N and --out FILE.json, for the table's identity")
    if action == "adapt" and args.folder:
        _check_folder_flags(args)
    belongs = (
        ("--network", given, ("measure", "predict")),
        ("--again", args.again, ("build",)),
        ("--out", args.out, ("build", "adapt", "import")),
        ("--folder", args.folder, ("adapt", "export", "import")),
        ("--kernels", args.kernels, ("export",)),
        ("--dtype", args.dtype, tuple(action for action in ACTIONS if action not in ("export", "import"))),
        ("--device", args.device, tuple(action for action in ACTIONS if action != "export")),
        ("--runtime", args.runtime, tuple(action for action in ACTIONS if action != "export")),
        ("--threads", args.threads, tuple(action for action in ACTIONS if action != "export")),
        ("--plot", args.plot, ("check",)),
        ("--seconds", args.seconds, ("build", "check", "measure", "adapt")),
        ("--zoo", args.zoo is not None, ("build", "check")),
        ("--latency", args.latency, ("predict", "check", "adapt")),
    )
    for flag, value, actions in belongs:
        if value and action not in actions:
            raise InvalidArgument(f"{flag} belongs to {_listed(actions)}, got {action}; see --help")


def _check_folder_flags(args: argparse.Namespace) -> None:
    if not (args.device and args.threads):
        raise InvalidArgument("adapt --folder needs --device NAME and --threads N, for the table's identity")
    for name in ("networks", "seconds", "dtype", "resolution", "space"):
        if getattr(args, name):
            raise InvalidArgument(
                f"--{name} belongs to what is measured here, adapt --folder takes what {args.folder} holds"
            )


def _listed(actions: tuple[str, ...]) -> str:
    *first, last = actions
    return f"{', '.join(first)} and {last}" if first else last


def _run_build(args: argparse.Namespace) -> str:
    from search.latency.cache import Cache, default_dir
    from search.latency.report import fresh_text, table_text

    device = _device(args)
    if args.out:
        check_writable(args.out)
    table = _measured_table(args, device)
    if not table.fresh:
        table = _judged(args, table, device)
        Cache(args.cache_dir or default_dir(), table.identity, note=_note).save(table)
    if args.out:
        write_atomic(args.out, table.to_json())
    show_progress(1.0, "")
    if args.json:
        return json.dumps({"table": table.to_dict()}, indent=1)
    written = [f"written to {args.out}: --latency {args.out} uses it anywhere"] if args.out else []
    return "\n".join([table_text(table), fresh_text(table.fresh), *written])


def _build_s(args: argparse.Namespace) -> float:
    asked: float | None = args.seconds if args.action == "build" else None
    return asked or MANY_S * (ONNX_TIMES if _of_onnx(args) else 1)


def _stored(args: argparse.Namespace, device: "Runtime") -> "LatencyTable | None":
    from search.latency.cache import Cache, default_dir

    space = _space(args, DEFAULT_RESOLUTION)
    return Cache(args.cache_dir or default_dir(), device.identity(space.resolution), note=lambda _: None).table()


def _judged(args: argparse.Namespace, table: "LatencyTable", device: "Runtime") -> "LatencyTable":
    """A table after networks that it was not fitted to."""
    from search.latency.build import judged
    from search.latency.check import check, networks_to_check

    specs = networks_to_check(_space(args, table.identity["resolution"]), count=FRESH, seed=0)
    seconds = FRESH_SHARE * _build_s(args)
    found = check(
        table, specs, seconds=seconds, runtime=device,
        progress=lambda share, _: show_progress(share, f"measuring {FRESH} fresh networks"),
    )  # fmt: skip
    errors = [one.latency_ms / real.latency_ms - 1 for one, real in zip(found.predicted, found.measured, strict=True)]
    return judged(table, errors, [real.standard_error for real in found.measured])


def _run_check(args: argparse.Namespace) -> str:
    from search.latency.check import check, networks_to_check
    from search.latency.plot import plot
    from search.latency.report import check_text, summary, table_text
    from studies.figure import new_figure

    figure = new_figure(args.plot) if args.plot else None  # a mistake is told before minutes of measuring
    given = _given_table(args)
    device = _device(args, given.identity if given else None)
    table = given or _measured_table(args, device)
    resolution = table.identity["resolution"]
    specs = networks_to_check(_space(args, resolution), count=args.networks or 40, seed=args.seed)
    specs += _zoo_variants(args, table) if args.zoo is not False else []
    seconds = args.seconds or 1.5 * len(specs)
    found = check(table, specs, seconds=seconds, blamed=WORST, progress=show_progress, runtime=device)
    show_progress(1.0, "")
    if figure is not None:
        plot(found, table, figure, args.plot)
    if args.json:
        return json.dumps({"table": table.to_dict(), "check": summary(found)}, indent=1)
    return f"{table_text(table)}\n{check_text(found)}"


def _device(args: argparse.Namespace, identity: "Identity | None" = None) -> "Runtime":
    """The runtime that the flags ask for; where they do not say, that of the table `identity`."""
    name, device, dtype = setting_of(identity) if identity else Setting()
    threads = identity["threads"] if identity else None
    return runtime(
        args.runtime or name, threads=args.threads or threads, device=args.device or device, dtype=args.dtype or dtype
    )


def _given_table(args: argparse.Namespace) -> "LatencyTable | None":
    """The table of --latency, if it is given. Raises InvalidTable for one of another setting than the flags ask for."""
    if not args.latency:
        return None
    table = read_table(args.latency)
    asked = {"runtime": args.runtime, "device": args.device, "dtype": args.dtype, "threads": args.threads}
    asked = {flag: value for flag, value in asked.items() if value}
    own: dict[str, object] = {"threads": table.identity["threads"]}
    if asked:
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


def _measured_table(args: argparse.Namespace, device: "Runtime") -> "LatencyTable":
    """This device's table: from the cache, or what it lacks measured now."""
    from search.latency.build import MANY_ROUNDS, table_for

    check_kernels(args.runtime or Setting().name)
    space = _space(args, DEFAULT_RESOLUTION)
    networks = _zoo(args) if args.zoo is not False and args.action == "build" else ()
    lacks = _lacks(networks, _stored(args, device))
    if lacks:
        _note("this device's table knows little of the published networks: all of it is measured anew, with them")
    return table_for(
        space, cache_dir=args.cache_dir, progress=show_progress, note=_note, networks=networks, runtime=device,
        rounds=MANY_ROUNDS, budget_s=_build_s(args), anew=args.again or lacks,
    )  # fmt: skip


def _lacks(networks: "Sequence[NetworkSpec]", table: "LatencyTable | None") -> bool:
    """Whether there is a table that has few of these networks' kernels: they are better fitted to than added."""
    from searchspace.graph import lower

    needed = {layer.signature for spec in networks for layer in lower(spec).layers}
    if table is None or not networks:
        return False
    return table.loose == AS_THEY_ARE or 2 * len(needed & table.kernels.keys()) < len(needed)


def _space(args: argparse.Namespace, resolution: int) -> "SearchSpace":
    """The space that the flags describe, at --resolution or else `resolution` pixels."""
    from searchspace.mnasnet_space import mnasnet_space, space_from_toml

    resolution = args.resolution or resolution
    if args.space is not None:
        return space_from_toml(args.space, classes=args.classes, resolution=resolution)
    return mnasnet_space(classes=args.classes, resolution=resolution)


def _run_measure(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    from search.latency.measure import measure_here
    from search.latency.report import measured_text

    seconds = args.seconds or 3.0 * len(specs)
    device = _device(args)
    found, pace = measure_here(
        specs, cache_dir=args.cache_dir, seconds=seconds, progress=show_progress, note=_note, runtime=device
    )
    show_progress(1.0, "")
    if args.json:
        rows = [{"network": spec.name, "resolution": spec.resolution, **asdict(one)}
                for spec, one in zip(specs, found, strict=True)]  # fmt: skip
        return json.dumps({**pace._asdict(), "networks": rows}, indent=1)
    return measured_text(specs, found, pace.reference_ms, device.identity(specs[0].resolution))


def _run_predict(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    table = _given_table(args) or _own_table(args)
    from search.latency.report import predicted_text
    from searchspace.graph import lower

    found = [table.predict(lower(spec)) for spec in specs]
    if args.json:
        rows = [{"network": spec.name, "resolution": spec.resolution, **one._asdict()}
                for spec, one in zip(specs, found, strict=True)]  # fmt: skip
        return json.dumps({"table": table.to_dict(), "networks": rows}, indent=1)
    return predicted_text(specs, found, table)


def _run_adapt(args: argparse.Namespace) -> str:
    table = read_table(args.latency)
    pixels = table.identity["resolution"]
    if args.resolution not in (None, pixels):
        raise InvalidTable(f"--resolution must be that of the table {args.latency}, {pixels} px, got {args.resolution}")
    if args.folder:
        return _adapted_to_folder(args, table)
    from search.latency.adapt import NETWORKS, adapt, check_networks, networks_to_measure
    from search.latency.measure import measure_here
    from search.latency.report import table_text

    device = _device(args)
    specs = networks_to_measure(_space(args, pixels), count=args.networks or NETWORKS, seed=args.seed, table=table)
    check_networks(table, specs)  # a mistake is told before anything is measured
    check_writable(args.out)
    found, pace = measure_here(
        specs, cache_dir=args.cache_dir, seconds=args.seconds or 6.0 * len(specs), progress=show_progress, note=_note,
        runtime=device, rounds=ADAPT_ROUNDS,
    )  # fmt: skip
    show_progress(1.0, "")
    new = adapt(
        table, specs, [one.latency_ms for one in found], identity=device.identity(table.identity["resolution"]),
        pace=pace,
    )  # fmt: skip
    write_atomic(args.out, new.to_json())
    if args.json:
        return json.dumps({"table": new.to_dict(), "networks": len(specs), "written": str(args.out)}, indent=1)
    return (
        f"{table_text(new)}\n"
        f"adapted from {args.latency} by {len(specs)} networks measured here{_noisy(found)}; written to {args.out}\n"
        f"next: python -m search.latency check --latency {args.out}"
    )


def _adapted_to_folder(args: argparse.Namespace, table: "LatencyTable") -> str:
    """The table of a device that runs no Python, from the times of its networks alone."""
    from search.latency.portable import adapt_to
    from search.latency.report import table_text

    new = adapt_to(table, args.folder, device=args.device, runtime=args.runtime or "onnx", threads=args.threads)
    write_atomic(args.out, new.to_json())
    if args.json:
        return json.dumps({"table": new.to_dict(), "written": str(args.out)}, indent=1)
    return (
        f"{table_text(new)}\nadapted from {args.latency} by the networks of {args.folder}; written to {args.out}\n"
        f"next: python -m search.latency predict --network mobilenet_v2 --latency {args.out}"
    )


def _noisy(found: "Sequence[Measurement]") -> str:
    count = sum(one.noisy for one in found)
    return f", {count} of them on a machine too noisy to tell (stop what else runs, adapt again)" if count else ""


def _run_export(args: argparse.Namespace) -> str:
    space = _space(args, DEFAULT_RESOLUTION)
    from search.latency.portable import KERNELS, export

    kernels, networks = export(
        space, args.folder, kernels=args.kernels or KERNELS, networks=args.networks or 10, seed=args.seed,
        progress=show_progress,
    )  # fmt: skip
    show_progress(1.0, "")
    if args.json:
        return json.dumps({"folder": str(args.folder), "kernels": kernels, "networks": networks}, indent=1)
    return (
        f"{kernels} kernels and {networks} networks as ONNX files in {args.folder}\n"
        f"next: time them on the device as {args.folder / 'README.md'} says, fill {args.folder / 'times.csv'}, then\n"
        f"  python -m search.latency import --folder {args.folder} --device NAME --threads N --out device.json"
    )


def _run_import(args: argparse.Namespace) -> str:
    from search.latency.portable import import_
    from search.latency.report import table_text

    table = import_(args.folder, device=args.device, runtime=args.runtime or "onnx", threads=args.threads)
    write_atomic(args.out, table.to_json())
    if args.json:
        return json.dumps({"table": table.to_dict(), "written": str(args.out)}, indent=1)
    return (
        f"{table_text(table)}\nwritten to {args.out}\n"
        f"next: python -m search.latency predict --network mobilenet_v2 --latency {args.out}"
    )


def _own_table(args: argparse.Namespace) -> "LatencyTable":
    """This device's table for 224 px, as it is: nothing is measured."""
    check_kernels(args.runtime or Setting().name)
    from search.latency.cache import stored_table

    return stored_table(_device(args).identity(DEFAULT_RESOLUTION), cache_dir=args.cache_dir, note=_note)


def _named(name: str, args: argparse.Namespace) -> "NetworkSpec":
    from searchspace import zoo
    from searchspace.serialize import read_spec

    if not name.endswith(".json"):
        return zoo.get(name, resolution=args.resolution, classes=args.classes)
    spec = read_spec(Path(name))
    return spec if args.resolution is None else spec.with_resolution(args.resolution)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _zoo(args: argparse.Namespace) -> "list[NetworkSpec]":
    """The networks of the zoo at the table's resolution, and narrower ones at fewer pixels; EfficientNet-B1 to B7 have
    resolutions of their own."""
    from searchspace import zoo

    full = args.resolution or DEFAULT_RESOLUTION
    return [
        zoo.get(name, width=width, resolution=max(32, round(full * pixels / 16) * 16), classes=args.classes)
        for place, name in enumerate(name for name in zoo.names() if not zoo.is_grown(name))
        for width, pixels in ((1.0, 1.0), *(OTHERS if _of_onnx(args) else (NARROW[place % len(NARROW)],)))
    ]


def _of_onnx(args: argparse.Namespace) -> bool:
    known = KNOWN.get(args.runtime or Setting().name)
    return known is not None and known.of_models


def _zoo_variants(args: argparse.Namespace, table: "LatencyTable") -> "list[NetworkSpec]":
    """The networks of the zoo as `build` does not measure them: at more pixels, and narrower at fewer. Those of kinds
    of kernels that the table has none of are left out."""
    from searchspace import zoo
    from searchspace.errors import MissingLatency
    from searchspace.graph import lower

    full, found, unknown = args.resolution or table.identity["resolution"], [], set()
    for name in zoo.names():
        if zoo.is_grown(name):
            continue
        for width, pixels in ((1.0, full // 32 + 1), (0.75, round(full * 0.86 / 32)), (0.5, round(full * 0.72 / 32))):
            spec = zoo.get(name, width=width, resolution=32 * max(1, pixels), classes=args.classes)
            try:
                table.predict(lower(spec))
            except MissingLatency:
                unknown.add(name)
            else:
                found.append(spec)
    if unknown:
        _note(f"left out, of kinds of kernels that the table has none of: {', '.join(sorted(unknown))}")
    return found


_RUN = {
    "build": _run_build, "check": _run_check, "measure": _run_measure, "predict": _run_predict, "adapt": _run_adapt,
    "export": _run_export, "import": _run_import,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
