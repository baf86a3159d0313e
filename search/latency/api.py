"""What the commands do, as functions: `search.latency.table()` and `search.latency.measure(network)`.

Arguments are named as the flags of python -m search.latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.build import MANY_ROUNDS, MANY_S, table_for, with_holdout_error
from search.latency.cache import Cache, Note, default_dir
from search.latency.check import check, networks_to_check
from search.latency.measurement import Measurement, Progress, measure_without_table
from search.latency.reference import RESOLUTION, images_of
from search.latency.runtimes import DEFAULT, DTYPES, check_profiles_layers, runtime_info
from search.latency.runtimes import runtime as named_runtime
from searchspace import zoo
from searchspace.graph import lower
from searchspace.latency.table import UNCORRECTED, LatencyTable
from searchspace.spaces.presets import space_of
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec

if TYPE_CHECKING:
    from torch import nn

ONNX_TIMES = 2  # the time of a build of ONNX models, in times of one of eager torch
HOLDOUT_NETWORKS = 20  # that a new table is validated with
HOLDOUT_SHARE = 0.2  # of the seconds of its measurement
CLASSES = 1000
# Multiples of width and resolution at which published networks are measured beside 1.0. In eager torch one of the
# narrower forms of each is enough. In runtimes of ONNX models a kernel's time jumps from size to size (layouts,
# Winograd's blocks), so that networks at 256 px came out 16 % slow.
NARROW = ((0.65, 0.79), (0.45, 0.65))
ALL_SIZES = (*NARROW, (1.0, 1.29))


def table(
    *,
    runtime: str = DEFAULT,
    device: str = "cpu",
    dtype: str = "fp32",
    threads: int | None = None,
    resolution: int = RESOLUTION,
    classes: int = CLASSES,
    space: Path | SearchSpace | None = None,
    zoo: bool = True,
    seconds: float | None = None,
    again: bool = False,
    holdout: bool = True,
    cache_dir: Path | None = None,
    progress: Progress = lambda *_: None,
    note: Note = lambda _: None,
) -> LatencyTable:
    """This device's latency table: from the cache, with what it lacks measured now.

    `runtime`, `device`, `dtype` and `threads` (None: as many as torch uses) run the networks. The table prices every
    network of `space` (a SearchSpace, or a TOML file that changes the default one) and, with `zoo`, the published
    networks. A new table takes `seconds` (None: 80, ONNX runtimes 160); with `holdout` its error is validated with
    networks that it was not fitted to, in a fifth of that time more. `again` measures everything anew. `progress` gets
    a share and a few words, `note` a sentence about anything unusual. Raises InvalidArgument for a setting that is not
    available, StorageError for a cache that cannot be written.
    """
    check_profiles_layers(runtime)
    machine = named_runtime(runtime, threads=threads, device=device, dtype=dtype)
    if not isinstance(space, SearchSpace):
        space = space_of(space, resolution=resolution, classes=classes)
    cache = Cache(cache_dir or default_dir(), machine.identity(space.resolution), note=note)
    onnx = runtime_info(runtime).uses_onnx
    seconds = seconds or MANY_S * (ONNX_TIMES if onnx else 1)
    networks = published_networks(resolution, classes, uses_onnx=onnx) if zoo else []
    lacking = lacks_networks(cache.table(), networks)
    if lacking:
        note("this device's table knows little of the published networks: all of it is measured anew, with them")
    found = table_for(
        space,
        cache_dir=cache_dir,
        progress=progress,
        note=note,
        networks=networks,
        runtime=machine,
        rounds=MANY_ROUNDS,
        budget_s=seconds,
        anew=again or lacking,
    )
    if holdout and not found.holdout_errors:
        checked = check(
            found,
            networks_to_check(space, count=HOLDOUT_NETWORKS, seed=0),
            seconds=HOLDOUT_SHARE * seconds,
            runtime=machine,
            progress=lambda share, _: progress(share, f"measuring {HOLDOUT_NETWORKS} holdout networks"),
        )
        found = with_holdout_error(found, checked.errors, [one.standard_error for one in checked.measured])
        cache.save(found)
    return found


def measure(
    network: NetworkSpec | nn.Module | str | Path,
    *,
    runtime: str = DEFAULT,
    device: str = "cpu",
    dtype: str = "fp32",
    threads: int | None = None,
    resolution: int | None = None,
    classes: int = CLASSES,
    seconds: float = 3.0,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    note: Note = lambda _: None,
) -> Measurement:
    """The latency of a network on this device, measured in its deployed form with batch 1.

    `network` is a spec, a torch module of images (1, 3, resolution, resolution), a name of the zoo, or a spec file
    (.json). A module of your own runs in `dtype` whatever it is in, and as `fold_batch_norm` makes it. `resolution` is
    in pixels (None: the network's own, of a module that was not built from a spec 224). `classes` are those of a zoo
    network. Measure several networks side by side with `measure_without_table`. Raises InvalidArgument for a network
    that the runtime cannot run, UnsupportedModule for a module that cannot be copied, StorageError for a cache that
    cannot be written.
    """
    module = None
    if isinstance(network, NetworkSpec):
        spec = network
    elif isinstance(network, (str, Path)):
        spec = spec_named(str(network), classes=classes)
    else:
        module, spec = network, getattr(network, "spec", None) or images_of(RESOLUTION)
        _note_dtype(module, dtype, note)
    if resolution is not None:
        spec = spec.with_resolution(resolution)
    (found,), _ = measure_without_table(
        [spec],
        modules=None if module is None else [module],
        cache_dir=cache_dir,
        seconds=seconds,
        progress=progress,
        runtime=named_runtime(runtime, threads=threads, device=device, dtype=dtype),
        note=note,
    )
    return found


def _note_dtype(module: nn.Module, dtype: str, note: Note) -> None:
    own = {str(each.dtype).removeprefix("torch.") for each in module.parameters() if each.is_floating_point()}
    if own - {DTYPES.get(dtype)}:
        names = [name for name, other in DTYPES.items() if {other} == own]
        as_it_is = f"; dtype={names[0]!r} measures it as it is" if names else ""
        note(f"the {type(module).__name__} is in {', '.join(sorted(own))} and is measured in {DTYPES[dtype]}{as_it_is}")


def spec_named(name: str, *, classes: int = CLASSES, resolution: int | None = None) -> NetworkSpec:
    """A network of the zoo by name, or the spec in a file that ends in .json; at its own resolution by default."""
    if not name.endswith(".json"):
        return zoo.get(name, resolution=resolution, classes=classes)
    spec = read_spec(Path(name))
    return spec if resolution is None else spec.with_resolution(resolution)


def published_networks(resolution: int, classes: int, *, uses_onnx: bool = False) -> list[NetworkSpec]:
    """The zoo's representatives at `resolution` pixels, and at other widths and resolutions.

    Kernels of other published networks are estimated from theirs: those of all would treble a table.
    """
    return [
        zoo.get(name, width=width, resolution=max(32, round(resolution * pixels / 16) * 16), classes=classes)
        for place, name in enumerate(zoo.representatives())
        for width, pixels in ((1.0, 1.0), *(ALL_SIZES if uses_onnx else (NARROW[place % len(NARROW)],)))
    ]


def lacks_networks(table: LatencyTable | None, networks: Sequence[NetworkSpec]) -> bool:
    """Whether a table has few of the networks' kernels, so that it is better fitted to them than extended."""
    if table is None or not networks:
        return False
    needed = {layer.signature for spec in networks for layer in lower(spec).layers}
    return table.kernel_correction == UNCORRECTED or 2 * len(needed & table.kernels.keys()) < len(needed)


def published_variants(table: LatencyTable, resolution: int, classes: int) -> tuple[list[NetworkSpec], list[str]]:
    """The same networks as tables are not built with them, and names left out: `table` lacks a kind of their kernels.

    Each network is taken at more pixels, and narrower at fewer.
    """
    strides = {1.0: resolution // 32 + 1, 0.75: round(resolution * 0.86 / 32), 0.5: round(resolution * 0.72 / 32)}
    found, left_out = list[NetworkSpec](), set[str]()
    for name, (width, count) in product(zoo.representatives(), strides.items()):
        spec = zoo.get(name, width=width, resolution=32 * max(1, count), classes=classes)
        if table.prices(spec):
            found.append(spec)
        else:
            left_out.add(name)
    return found, sorted(left_out)
