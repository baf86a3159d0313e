"""python -m search.latency: build this machine's latency table, check it, or measure networks."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from search.latency.build import MANY_S
from search.latency.flags import DEFAULT_CLASSES, DEFAULT_SEED, ONNX_TIMES, check_flags, parser
from search.latency.runtimes import DTYPES, Setting, check_profiles_layers, names, runtime, runtime_info, setting_of
from search.settings import DEFAULT_RESOLUTION
from searchspace.command import show, show_progress
from searchspace.errors import InvalidTable, PhinasError
from searchspace.files import check_writable, write_atomic
from searchspace.latency.table import UNCORRECTED, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.latency.interleave import Runtime
    from search.latency.measurement import Measurement
    from searchspace.latency.table import Identity, LatencyTable, Prediction
    from searchspace.spaces.space import SearchSpace
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


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    cli = parser()
    try:
        args = cli.parse_args(argv)
        check_flags(args)
        text = _RUN[args.action](args)
    except PhinasError as error:
        print(f"search.latency: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = args.action == "build" or (args.action == "check" and not args.latency)
        print(
            f"\nstopped{'; the kernels measured so far are kept: the same command goes on' if kept else ''}",
            file=sys.stderr,
        )
        return 130
    return show(text)


def _run_build(args: argparse.Namespace) -> str:
    from search.latency.cache import Cache, default_dir
    from search.latency.report import holdout_text, table_text

    device = _device(args)
    if args.out:
        check_writable(args.out)
    table = _measured_table(args, device)
    if not table.holdout_errors:
        table = _judged(args, table, device)
        Cache(args.cache_dir or default_dir(), table.identity, note=_note).save(table)
    if args.out:
        write_atomic(args.out, table.to_json())
    show_progress(1.0, "")
    if args.json:
        return json.dumps({"table": table.to_dict()}, indent=1)
    written = [f"written to {args.out}: --latency {quote(str(args.out))} uses it anywhere"] if args.out else []
    return "\n".join([table_text(table), holdout_text(table.holdout_errors), *written])


def _build_s(args: argparse.Namespace) -> float:
    asked: float | None = args.seconds if args.action == "build" else None
    return asked or MANY_S * (ONNX_TIMES if _of_onnx(args) else 1)


def _stored(args: argparse.Namespace, device: "Runtime") -> "LatencyTable | None":
    from search.latency.cache import Cache, default_dir

    space = _space(args, DEFAULT_RESOLUTION)
    return Cache(args.cache_dir or default_dir(), device.identity(space.resolution), note=lambda _: None).table()


def _judged(args: argparse.Namespace, table: "LatencyTable", device: "Runtime") -> "LatencyTable":
    """A table after networks that it was not fitted to."""
    from search.latency.build import with_holdout_error
    from search.latency.check import check, networks_to_check

    specs = networks_to_check(_space(args, table.identity["resolution"]), count=FRESH, seed=0)
    seconds = FRESH_SHARE * _build_s(args)
    found = check(
        table,
        specs,
        seconds=seconds,
        runtime=device,
        progress=lambda share, _: show_progress(share, f"measuring {FRESH} fresh networks"),
    )
    errors = [one.latency_ms / real.latency_ms - 1 for one, real in zip(found.predicted, found.measured, strict=True)]
    return with_holdout_error(table, errors, [real.standard_error for real in found.measured])


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
    specs = networks_to_check(_space(args, resolution), count=args.networks or 40, seed=_seed(args))
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

    check_profiles_layers(args.runtime or Setting().name)
    space = _space(args, DEFAULT_RESOLUTION)
    networks = _zoo(args) if args.zoo is not False and args.action == "build" else ()
    lacks = _lacks(networks, _stored(args, device))
    if lacks:
        _note("this device's table knows little of the published networks: all of it is measured anew, with them")
    return table_for(
        space,
        cache_dir=args.cache_dir,
        progress=show_progress,
        note=_note,
        networks=networks,
        runtime=device,
        rounds=MANY_ROUNDS,
        budget_s=_build_s(args),
        anew=args.again or lacks,
    )


def _lacks(networks: "Sequence[NetworkSpec]", table: "LatencyTable | None") -> bool:
    """Whether there is a table that has few of these networks' kernels: they are better fitted to than added."""
    from searchspace.graph import lower

    needed = {layer.signature for spec in networks for layer in lower(spec).layers}
    if table is None or not networks:
        return False
    return table.kernel_correction == UNCORRECTED or 2 * len(needed & table.kernels.keys()) < len(needed)


def _space(args: argparse.Namespace, resolution: int) -> "SearchSpace":
    """The space that the flags describe, at --resolution or else `resolution` pixels."""
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.spaces.toml import space_from_toml

    resolution = args.resolution or resolution
    if args.space is not None:
        return space_from_toml(args.space, classes=_classes(args), resolution=resolution)
    return mnasnet_space(classes=_classes(args), resolution=resolution)


def _run_measure(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    from search.latency.measurement import measure_without_table
    from search.latency.report import measured_text

    seconds = args.seconds or 3.0 * len(specs)
    device = _device(args)
    found, time_base = measure_without_table(
        specs, cache_dir=args.cache_dir, seconds=seconds, progress=show_progress, note=_note, runtime=device
    )
    show_progress(1.0, "")
    if args.json:
        rows = [
            {"network": spec.name, "resolution": spec.resolution, **asdict(one)}
            for spec, one in zip(specs, found, strict=True)
        ]
        return json.dumps({**time_base._asdict(), "networks": rows}, indent=1)
    return measured_text(specs, found, time_base.reference_ms, device.identity(specs[0].resolution))


def _run_predict(args: argparse.Namespace) -> str:
    specs = [_named(name, args) for name in args.network]
    table = _given_table(args) or _own_table(args)
    from search.latency.report import predicted_text
    from searchspace.graph import lower

    found = [table.predict(lower(spec)) for spec in specs]
    if args.json:
        rows = [
            {"network": spec.name, "resolution": spec.resolution, **one._asdict()}
            for spec, one in zip(specs, found, strict=True)
        ]
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
    from search.latency.measurement import measure_without_table

    device = _device(args)
    specs = networks_to_measure(_space(args, pixels), count=args.networks or NETWORKS, seed=_seed(args), table=table)
    check_networks(table, specs)  # a mistake is told before anything is measured
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
    show_progress(1.0, "")
    new = adapt(table, specs, [one.latency_ms for one in found], identity=device.identity(pixels), time_base=time_base)
    what = f"adapted from {args.latency} by {len(specs)} networks measured here{_noisy(found)}"
    return _written(args, new, what, next_step=f"check --latency {quote(str(args.out))}", networks=len(specs))


def _adapted_to_folder(args: argparse.Namespace, table: "LatencyTable") -> str:
    """The table of a device that runs no Python, from the times of its networks alone."""
    from search.latency.portable import adapt_to

    new = adapt_to(table, args.folder, **_elsewhere(args))
    return _written(args, new, f"adapted from {args.latency} by the networks of {args.folder}")


def _elsewhere(args: argparse.Namespace) -> dict[str, Any]:
    """What --folder's files were timed with."""
    dtype = DTYPES[args.dtype or Setting().dtype]
    return {"device": args.device, "runtime": args.runtime or "onnx", "threads": args.threads, "dtype": dtype}


def _written(
    args: argparse.Namespace, table: "LatencyTable", what: str, *, next_step: str | None = None, **more: int
) -> str:
    """Write a table to --out, and say what it is and what to do with it."""
    from search.latency.report import table_text

    write_atomic(args.out, table.to_json())
    if args.json:
        return json.dumps({"table": table.to_dict(), **more, "written": str(args.out)}, indent=1)
    lines = [table_text(table), f"{what}; written to {args.out}"]
    example = None if next_step else _example(table)
    if example:
        name, found = example
        lines.append(
            f"by it {name} takes {found.latency_ms:.3g} ms ({found.low_ms:.3g} to {found.high_ms:.3g}): if that is far "
            f"from what you know of the device, {args.folder / 'times.csv'} is in another unit than milliseconds"
        )
        next_step = f"predict --network {name} --latency {quote(str(args.out))}"
    searched = f"search.run --latency {quote(str(args.out))} --resolution {table.identity['resolution']} --budget-ms MS"
    return "\n".join([*lines, f"next: python -m {f'search.latency {next_step}' if next_step else searched}"])


def _example(table: "LatencyTable") -> "tuple[str, Prediction] | None":
    """A published network and what the table says of it: the first that it has kernels like."""
    from searchspace import zoo
    from searchspace.errors import MissingLatency

    pixels = table.identity["resolution"]
    for name in ("mobilenet_v3_large", "mnasnet_a1", *zoo.names()):
        try:
            return name, table.predict(zoo.get(name, resolution=pixels))
        except MissingLatency:
            continue
    return None


def _noisy(found: "Sequence[Measurement]") -> str:
    count = sum(one.noisy for one in found)
    return f", {count} of them on a machine too noisy to tell (stop what else runs, adapt again)" if count else ""


def _run_export(args: argparse.Namespace) -> str:
    space = _space(args, DEFAULT_RESOLUTION)
    from search.latency.portable import KERNELS, export

    kernels, networks = export(
        space,
        args.folder,
        kernels=args.kernels or KERNELS,
        networks=args.networks or 10,
        seed=_seed(args),
        progress=show_progress,
    )
    show_progress(1.0, "")
    if args.json:
        return json.dumps({"folder": str(args.folder), "kernels": kernels, "networks": networks}, indent=1)
    folder = quote(str(args.folder))
    return (
        f"{kernels} kernels and {networks} networks as ONNX files in {args.folder}\n"
        f"next: time them on the device as {args.folder / 'README.md'} says, fill {args.folder / 'times.csv'}, then\n"
        f"  python -m search.latency import --folder {folder} --device NAME --threads N --out device.json"
    )


def _run_import(args: argparse.Namespace) -> str:
    from search.latency.portable import import_

    table = import_(args.folder, **_elsewhere(args))
    return _written(args, table, f"imported from {args.folder}")


def _seed(args: argparse.Namespace) -> int:
    return DEFAULT_SEED if args.seed is None else int(args.seed)


def _classes(args: argparse.Namespace) -> int:
    return DEFAULT_CLASSES if args.classes is None else int(args.classes)


def _own_table(args: argparse.Namespace) -> "LatencyTable":
    """This device's table for 224 px, as it is: nothing is measured."""
    check_profiles_layers(args.runtime or Setting().name)
    from search.latency.cache import stored_table

    return stored_table(_device(args).identity(DEFAULT_RESOLUTION), cache_dir=args.cache_dir, note=_note)


def _named(name: str, args: argparse.Namespace) -> "NetworkSpec":
    from searchspace import zoo
    from searchspace.serialize import read_spec

    if not name.endswith(".json"):
        return zoo.get(name, resolution=args.resolution, classes=_classes(args))
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
        zoo.get(
            name,
            width=width,
            resolution=max(32, round(full * pixels / 16) * 16),
            classes=_classes(args),
        )
        for place, name in enumerate(name for name in zoo.names() if not zoo.is_grown(name))
        for width, pixels in ((1.0, 1.0), *(OTHERS if _of_onnx(args) else (NARROW[place % len(NARROW)],)))
    ]


def _of_onnx(args: argparse.Namespace) -> bool:
    name = args.runtime or Setting().name
    return name in names() and runtime_info(name).uses_onnx


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
            spec = zoo.get(name, width=width, resolution=32 * max(1, pixels), classes=_classes(args))
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
    "build": _run_build,
    "check": _run_check,
    "measure": _run_measure,
    "predict": _run_predict,
    "adapt": _run_adapt,
    "export": _run_export,
    "import": _run_import,
}

if __name__ == "__main__":
    sys.exit(main())
