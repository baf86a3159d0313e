"""Tables for devices that run no Python.

`export` writes kernels and networks as ONNX files and a CSV to fill. `import_` makes the table of what was filled in,
`adapt_to` makes it of the networks' times alone and the table of another device. A kernel alone in a loop takes 0.47 to
0.64 of its time inside a network, so whole networks are timed as well: they give a factor for each group of kernels.
"""

import csv
import io
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search.latency.adapt import FEWEST, adapt, check_networks, networks_to_measure
from search.latency.kernels import placed_blocks, rough_cost
from search.latency.measurement import Progress
from search.latency.onnx_models import kernel
from search.latency.time_base import TimeBase
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument, InvalidSpec, InvalidTable
from searchspace.files import read_json, storage_error, write_atomic
from searchspace.graph import Layer, Signature, lower
from searchspace.latency.estimate import kind_of, layer_of
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable, read_kernel
from searchspace.nn import untrained
from searchspace.nn.onnx_model import to_onnx
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec
from searchspace.strict_json import dumps, loads

KERNELS = 500
MANIFEST, TIMES, README = "manifest.json", "times.csv", "README.md"
_README = Path(__file__).with_name("export_readme.txt")  # FOLDER stands for the exported folder
DIGIT = "[0-9]"
_FAR = 100.0  # times what the rest says: a row in another unit, not a slow kernel
_OTHER_UNIT = 200.0  # times what a core of a CPU takes: no device that runs such networks is as slow, or as fast


def export(
    space: SearchSpace,
    folder: Path,
    *,
    kernels: int = KERNELS,
    networks: int = 10,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> tuple[int, int]:
    """Write the folder; (kernels, networks) in it.

    All kernels of the networks are among them, and others of the space up to `kernels`, evenly of every kind. Raises
    InvalidArgument for fewer networks than `import_` needs or if onnx is not installed, StorageError.
    """
    if networks < FEWEST:
        raise InvalidArgument(
            f"export needs at least {FEWEST} networks, for import to fit the kernels to, got {networks}: give "
            f"--networks {FEWEST} or more"
        )
    specs = networks_to_measure(space, count=networks, seed=seed)
    chosen = _choose(space, specs, kernels)
    files = {f"kernels/k{number:04}.onnx": list(signature) for number, signature in enumerate(chosen)}
    models = {f"networks/n{number:02}.onnx": spec.to_dict() for number, spec in enumerate(specs)}
    content = {"schema": SCHEMA, "resolution": space.resolution, "kernels": files, "networks": models}
    rows = "".join(f"{name},\n" for name in [*files, *models])
    filled_in = _filled_in(folder, content)
    for old in (*folder.glob(f"kernels/k{4 * DIGIT}.onnx"), *folder.glob(f"networks/n{2 * DIGIT}.onnx")):
        if old.relative_to(folder).as_posix() not in {*files, *models}:
            old.unlink()  # of an export of more: timed with the rest, it would be a row too many
    for number, (name, signature) in enumerate(zip(files, chosen, strict=True)):
        write_atomic(folder / name, kernel(layer_of(signature))[0])
        progress(number / (len(chosen) + 4 * len(specs)), "writing kernels")
    for number, (name, spec) in enumerate(zip(models, specs, strict=True)):
        write_atomic(folder / name, to_onnx(untrained(spec)).SerializeToString())
        progress((len(chosen) + 4 * number) / (len(chosen) + 4 * len(specs)), "writing networks")
    write_atomic(folder / README, _README.read_text(encoding="utf-8").replace("FOLDER", shlex.quote(str(folder))))
    if not filled_in:  # never over what a person filled in
        write_atomic(folder / TIMES, f"file,ms\n{rows}")
    write_atomic(folder / MANIFEST, dumps(content, indent=None) + "\n")
    return len(files), len(models)


def _filled_in(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether the folder holds times. Raises InvalidArgument if they are those of other networks."""
    try:
        times = (folder / TIMES).read_text(encoding="utf-8", errors="replace")
        before = (folder / MANIFEST).read_bytes()
    except OSError:
        return (folder / TIMES).exists()
    filled_in = any(line.rpartition(",")[2].strip() not in ("", "ms") for line in times.splitlines())
    if filled_in and not _says(before, manifest):
        raise InvalidArgument(
            f"{folder / TIMES} holds times of other kernels and networks than these flags name: give the flags that "
            "the folder was exported with, or another --folder"
        )
    return filled_in


def _says(text: bytes, content: dict[str, Any]) -> bool:
    """Whether a manifest has this content."""
    try:
        return bool(loads(text) == json.loads(json.dumps(content)))
    except ValueError:
        return False


def _choose(space: SearchSpace, specs: Sequence[NetworkSpec], count: int) -> list[Signature]:
    """Every kernel of the networks, then as many others as are asked for, evenly by kind and size."""
    needed = {layer.signature: layer for spec in specs for layer in lower(spec).layers}
    others = {layer.signature: layer for block in placed_blocks(space) for layer in block.layers}
    rest = sorted(
        (layer for signature, layer in others.items() if signature not in needed),
        key=lambda layer: (str(kind_of(layer)), layer.activation, layer_params_macs(layer)[1], layer.in_shape),
    )
    more = max(0, min(len(rest), count - len(needed)))
    return [*needed, *(rest[index * len(rest) // more].signature for index in range(more))]


def _exported(folder: Path) -> tuple[dict[str, Signature], dict[str, NetworkSpec], int]:
    """What a manifest says: kernels and networks by file, and their pixels."""
    manifest = read_json(folder / MANIFEST)
    try:
        resolution, sound = manifest["resolution"], manifest["schema"] == SCHEMA
        if type(resolution) is not int or resolution < 1:
            raise ValueError(f"{resolution!r} are no pixels")
        kernels = {name: read_kernel([*row, 1.0])[0] for name, row in manifest["kernels"].items()}
        specs = {name: NetworkSpec.from_json(json.dumps(row)) for name, row in manifest["networks"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, InvalidSpec) as error:
        raise InvalidTable(f"{folder / MANIFEST} is damaged ({error}): export the folder again") from None
    if not sound:
        raise InvalidTable(f"{folder / MANIFEST} must have schema {SCHEMA}: export the folder again")
    return kernels, specs, resolution


def adapt_to(
    table: LatencyTable, folder: Path, *, device: str, runtime: str, threads: int, dtype: str = "float32"
) -> LatencyTable:
    """The `table` of another device, adapted to the times of the folder's networks; those of kernels may be missing.

    Raises StorageError, InvalidTable as `import_` does and for a table of another resolution, MissingLatency for a
    table that lacks a kernel of the networks.
    """
    kernels, specs, pixels = _exported(folder)
    own = table.identity["resolution"]
    if pixels != own:
        raise InvalidTable(
            f"the networks of {folder} are of {pixels} px, the table to adapt of {own} px: give one of {pixels} px, or "
            f"export --resolution {own}"
        )
    check_networks(table, [*specs.values()])
    times = _times(folder / TIMES, {*kernels, *specs}, needed={*specs})
    _same_unit(folder / TIMES, {name: lower(spec).layers for name, spec in specs.items()}, times, what="networks")
    return _adapted(table, specs, times, _identity(device, runtime, threads, dtype, pixels))


def import_(folder: Path, *, device: str, runtime: str, threads: int, dtype: str = "float32") -> LatencyTable:
    """The table of the filled-in folder; its `reference_ms` is 1, since no reference was timed with it.

    Raises StorageError for files that cannot be read, InvalidTable for a CSV with rows that are missing, unknown, given
    twice, not above 0, or in another unit than the others.
    """
    kernels, specs, pixels = _exported(folder)
    times = _times(folder / TIMES, {*kernels, *specs}, needed={*kernels, *specs})
    layers = {name: (layer_of(signature),) for name, signature in kernels.items()}
    _same_unit(folder / TIMES, layers, times, what="kernels")
    identity = _identity(device, runtime, threads, dtype, pixels)
    alone = {signature: times[name] for name, signature in kernels.items()}
    table = LatencyTable(identity, 1.0, alone, Correction(1.0, 0.0, 0.0))
    for name, spec in specs.items():
        total = table.latency_ms(lower(spec))
        if not 1 / _FAR < total / times[name] < _FAR:
            raise InvalidTable(
                f"{folder / TIMES}: {name} takes {times[name]:g} ms and its kernels {total:.3g} ms together: give all "
                "rows in milliseconds"
            )
    return _adapted(table, specs, times, identity)


def _identity(device: str, runtime: str, threads: int, dtype: str, resolution: int) -> Identity:
    return Identity(
        schema=SCHEMA,
        machine=device,
        runtime=runtime,
        threads=threads,
        dtype=dtype,
        batch=1,
        memory_format="runtime's own",
        resolution=resolution,
        versions={},
    )


def _adapted(
    table: LatencyTable, specs: Mapping[str, NetworkSpec], times: Mapping[str, float], identity: Identity
) -> LatencyTable:
    measured = [times[name] for name in specs]
    return adapt(table, [*specs.values()], measured, identity=identity, time_base=TimeBase(1.0))


def _times(path: Path, wanted: set[str], *, needed: set[str]) -> dict[str, float]:
    """The ms of `wanted` files. Raises InvalidTable naming the first wrong row, or what is missing of the `needed`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise storage_error("read", path, error) from error
    except UnicodeDecodeError:
        raise InvalidTable(
            f"{path} must be a text file with rows file,ms, and is none: save it as CSV in UTF-8"
        ) from None
    times: dict[str, float] = {}
    for number, row in enumerate(_rows(text, path), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[:2] == ["file", "ms"]:
            continue
        name = cells[0].removeprefix("./")
        where = f"{path}, line {number}"
        if name not in wanted:
            raise InvalidTable(f"{where}: the first column must be a file of the manifest, got {name!r}")
        if name in times:
            raise InvalidTable(f"{where}: {name} stands there a second time: keep one of its rows")
        if len(cells) < 2 or not cells[1]:
            continue  # reported together below
        try:
            ms = float(cells[1])
        except ValueError:
            ms = math.nan
        if len(cells) > 2 or not 0 < ms < math.inf:
            raise InvalidTable(f"{where}: {name} needs one number of milliseconds above 0, got {','.join(cells[1:])!r}")
        times[name] = ms
    missing = sorted(needed - times.keys())
    if missing:
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        every = "file" if needed == wanted else "network"
        raise InvalidTable(
            f"{path} must have a time for every {every}, {len(missing)} of {len(needed)} are missing: {some}"
        )
    return times


def _rows(text: str, path: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise InvalidTable(f"{path} must have rows file,ms and cannot be read ({error}): write it again") from None


def _same_unit(path: Path, layers: Mapping[str, Sequence[Layer]], times: dict[str, float], *, what: str) -> None:
    """Raises InvalidTable for times in another unit: of all rows by what a CPU takes, of one row by the others."""
    ratios = {name: times[name] / sum(map(rough_cost, own)) for name, own in layers.items()}
    middle = sorted(ratios.values())[len(ratios) // 2]
    if not 1 / _OTHER_UNIT < middle < _OTHER_UNIT:
        looks = "microseconds" if middle > 1 else "seconds"
        raise InvalidTable(
            f"{path}: the {what} take {middle:.2g} times what they take on a CPU, which looks like {looks}: give all "
            "rows in milliseconds"
        )
    for name, ratio in ratios.items():
        if not 1 / _FAR < ratio / middle < _FAR:
            more = f"{ratio / middle:.0f} times more" if ratio > middle else f"{middle / ratio:.0f} times less"
            raise InvalidTable(
                f"{path}: {name} takes {times[name]:g} ms, {more} than {what} of its size do here: is the row in "
                "another unit than milliseconds?"
            )
