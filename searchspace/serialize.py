"""Specs to and from JSON, strictly: an unknown field, kind or choice is an error that names it."""

import difflib
import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from searchspace.blocks import BLOCKS, Block
from searchspace.errors import InvalidSpec, StorageError
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions, NetworkSpec, Stage

SCHEMA_VERSION = 1


def block_to_dict(block: Block) -> dict[str, Any]:
    """A block row as a flat dict, its kind under "block"."""
    return {"block": type(block).__name__} | {f.name: getattr(block, f.name) for f in fields(block)}


def spec_to_dict(spec: NetworkSpec) -> dict[str, Any]:
    """A spec as nested dicts of JSON types. Conventions are left out where they are the default ones."""
    conventions = {} if spec.conventions == DEFAULT_CONVENTIONS else {"conventions": asdict(spec.conventions)}
    return {
        "schema": SCHEMA_VERSION,
        "name": spec.name,
        "resolution": spec.resolution,
        "in_channels": spec.in_channels,
        **conventions,
        "stages": [
            {"name": stage.name, "blocks": [block_to_dict(block) for block in stage.blocks]} for stage in spec.stages
        ],
    }


def _checked(data: object, known: dict[str, bool], where: str) -> dict[str, Any]:
    """`data` as a dict with only `known` keys (name -> required)."""
    if not isinstance(data, dict):
        raise InvalidSpec(f"{where} must be a JSON object, got {type(data).__name__}")
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise InvalidSpec(f"{where} has an unknown field {key!r}{hint}")
    for key, required in known.items():
        if required and key not in data:
            raise InvalidSpec(f"{where} lacks the field {key!r}")
    return data


def _listed(data: object, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidSpec(f"{where} must be a JSON array, got {type(data).__name__}")
    return data


def _text(data: object, where: str) -> str:
    if not isinstance(data, str):
        raise InvalidSpec(f"{where} must be a string, got {data!r}")
    return data


def block_from_dict(data: object, where: str) -> Block:
    """The block row that `block_to_dict` wrote."""
    kind = data.get("block") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise InvalidSpec(f'{where}: "block" must be one of {", ".join(BLOCKS)}; got {kind!r}')
    make = BLOCKS[kind]
    known = {f.name: f.default is MISSING for f in fields(make)}
    row = dict(_checked(data, {"block": True} | known, where))
    del row["block"]
    try:
        return make(**row)
    except InvalidSpec as error:
        raise InvalidSpec(f"{where}: {error}") from None


def spec_from_json(text: str) -> NetworkSpec:
    """A NetworkSpec from its JSON text. Raises InvalidSpec."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"a network spec must be JSON: {error}") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA_VERSION:
        raise InvalidSpec(
            f'a network spec must have "schema": {SCHEMA_VERSION}, got {data.get("schema")!r}: '
            "it is no phinas spec, or a newer phinas wrote it"
        )
    required = dict.fromkeys(("schema", "name", "resolution", "in_channels", "stages"), True)
    known = required | {"conventions": False}
    data = _checked(data, known, "the spec")
    stages = []
    for index, stage in enumerate(_listed(data["stages"], "stages")):
        where = f"stages[{index}]"
        stage = _checked(stage, {"name": True, "blocks": True}, where)
        blocks = _listed(stage["blocks"], f"{where}.blocks")
        rows = (block_from_dict(block, f"{where}.blocks[{i}]") for i, block in enumerate(blocks))
        stages.append(Stage(_text(stage["name"], f"{where}.name"), tuple(rows)))
    name = _text(data["name"], "name")
    return NetworkSpec(name, data["resolution"], tuple(stages), data["in_channels"], _conventions(data))


def _conventions(data: dict[str, Any]) -> Conventions:
    known = {field.name: False for field in fields(Conventions)}
    return Conventions(**_checked(data.get("conventions", {}), known, "conventions"))


def read_spec(path: Path) -> NetworkSpec:
    """The spec in a file; StorageError if it cannot be read, InvalidSpec (naming the file) if it is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot read the spec file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path}: a network spec must be JSON text, got binary data") from None
    try:
        return spec_from_json(text)
    except InvalidSpec as error:
        raise InvalidSpec(f"{path}: {error}") from None
