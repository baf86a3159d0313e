"""JSON that is read strictly: a damaged text is told from a sound one, a wrong field is named.

An object is written with a checksum of its content as its first key, so that a digit that has changed is noticed. Texts
without one (of before, or by hand) are read all the same. So the checksum must not get lost unnoticed: a key that is
almost "checksum" is refused, and what is cut out together with it takes the key behind it along, which readers need.
"""

import difflib
import hashlib
import json
import math
import re
from operator import eq
from typing import Any

from searchspace.errors import InvalidSpec

CHECKSUM = "checksum"
_WAY_OUT = f'restore it from a copy or make it again, or, if you changed it on purpose, delete its "{CHECKSUM}"'
_LARGEST = 2**64
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class ChangedContent(ValueError):
    """Sound JSON that is not what was written, by its checksum; the message says how, and what to do."""


def dumps(content: dict[str, Any], *, indent: int | None = 1) -> str:
    """The JSON text of an object, with its checksum."""
    text = json.dumps(content, indent=indent)
    return json.dumps({CHECKSUM: checksum_of(json.loads(text)), **content}, indent=indent)


def checksum_of(data: Any) -> str:
    """16 hex digits of what a JSON text says, whatever its layout and the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def loads(text: str | bytes) -> Any:
    """The value of a JSON text; the checksum of an object is looked at and left out. Raises ValueError.

    No text of this program gives a key twice or has half a character; see `_integer` for huge numbers.
    """
    data, said = parsed(text)
    check(data, said)
    return data


def parsed(text: str | bytes) -> tuple[Any, Any]:
    """As `loads`, with the checksum beside it (None: there is none), for who names a wrong field first."""
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
        if isinstance(text, bytes) or _SURROGATE.search(text):
            json.dumps(data, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(data, dict):
        return data, None
    if (misspelt := next(filter(is_almost_checksum, data), None)) is not None:
        raise ChangedContent(f'the key {misspelt!r} is a damaged "{CHECKSUM}": {_WAY_OUT}')
    return data, data.pop(CHECKSUM, None)


def check(data: Any, said: Any) -> None:
    """Raises ChangedContent where `said` is a checksum and not that of the data."""
    if said is not None and said != checksum_of(data):
        raise ChangedContent(f'its content is not what was written, by its "{CHECKSUM}": {_WAY_OUT}')


def is_almost_checksum(key: str) -> bool:
    """Whether some of its bits or characters are others."""
    if key == CHECKSUM:
        return False
    in_place = sum(map(eq, key, CHECKSUM)) if len(key) == len(CHECKSUM) else 0
    return in_place >= len(CHECKSUM) / 2 or bool(difflib.get_close_matches(key, [CHECKSUM], cutoff=0.75))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} stands there twice")
    return found


def _integer(text: str) -> int | float:
    """An integer of more than 64 bits is read as infinite: no field may be, and each names its own rule."""
    value = int(text) if len(text) <= 21 else _LARGEST
    return value if abs(value) < _LARGEST else math.copysign(math.inf, -1 if text.startswith("-") else 1)


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
