"""Reading JSON strictly: an unknown or missing field, or another type, is an InvalidSpec that names it."""

import difflib
from typing import Any

from searchspace.errors import InvalidSpec


def checked(data: object, known: dict[str, bool], where: str) -> dict[str, Any]:
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


def listed(data: object, where: str) -> list[Any]:
    """`data` as a list."""
    if not isinstance(data, list):
        raise InvalidSpec(f"{where} must be a JSON array, got {type(data).__name__}")
    return data


def text_of(data: object, where: str) -> str:
    """`data` as a string."""
    if not isinstance(data, str):
        raise InvalidSpec(f"{where} must be a string, got {data!r}")
    return data
