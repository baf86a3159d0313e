"""The rules of a row's fields, by their types and names: every kind is checked alike, where a row is made.

An integer is from 1 to a million, or 0 where 0 is its default and means "none". A kernel is odd; one that may be left
out is called NAME_kernel, and 0 is none. A word is a known one.
"""

import reprlib
from collections.abc import Callable, Container
from dataclasses import Field, fields
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from searchspace.blocks.activations import ACTIVATIONS, GATES
from searchspace.errors import InvalidSpec

LARGEST_COUNT = 1_000_000
PADDINGS = ("half", "valid", "ceil")
COUNT = f"an integer from 1 to {LARGEST_COUNT:,},"
_ABSENT = {"squeeze_channels": "no SE", "hidden_features": "no hidden layer"}


class _Rule(NamedTuple):
    """A value is of exactly this type, and one of those allowed; `text` says so in a message."""

    type: type
    allowed: Container[Any]
    text: str


@cache
def shared_fields(source: Any, target: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], list[Any]]:
    """The fields of one dataclass that another has too: names, what gets a source's values, the target's defaults."""
    shared = [field for field in fields(target) if field.name in source.__dataclass_fields__]
    names = tuple(field.name for field in shared)
    several = len(names) > 1  # attrgetter of one name gives no tuple
    values = attrgetter(*names) if several else lambda row: tuple(getattr(row, name) for name in names)
    return names, values, [field.default for field in shared]


def check_fields(row: Any) -> None:
    """Raises InvalidSpec with the kind and field, the rule and the value, for the first field that breaks its rule."""
    kind = row.__class__
    values = shared_fields(kind, kind)[1](row)
    try:
        _check(kind, *values)
    except TypeError:  # a value that cannot be hashed breaks its rule too
        _check.__wrapped__(kind, *values)


@lru_cache(maxsize=4096, typed=True)  # a search makes the same rows again and again
def _check(kind: Any, *values: Any) -> None:
    for (name, rule), value in zip(_rules(kind).items(), values, strict=True):
        if rule and (type(value) is not rule.type or value not in rule.allowed):
            raise InvalidSpec(
                f"{kind.__name__}.{name} must be {rule.text} got {reprlib.repr(value)}: choose another value"
            )


@cache
def _rules(kind: Any) -> dict[str, _Rule | None]:
    return {field.name: _rule(kind, field) for field in fields(kind)}


def _rule(kind: Any, field: Field[Any]) -> _Rule | None:
    if field.name == "kernel":
        return _Rule(int, range(1, LARGEST_COUNT, 2), "an odd integer from 1 to 999,999 (symmetric padding),")
    if field.name.endswith("_kernel"):
        return _Rule(int, (0, *range(1, 100, 2)), "0 (none) or an odd integer from 1 to 99 (symmetric padding),")
    if field.name == "dropout_percent":
        return _Rule(int, range(100), "0 to 99,")
    if field.type is bool:
        return _Rule(bool, (False, True), "true or false,")
    if field.type is int and field.default == 0:
        return _Rule(int, range(LARGEST_COUNT + 1), f"0 ({_ABSENT.get(field.name, 'none')}) or {COUNT}")
    if field.type is int:
        return _Rule(int, range(1, LARGEST_COUNT + 1), COUNT)
    if field.type is str:
        words = {"gate": GATES, "padding": kind.paddings}.get(field.name, ACTIVATIONS)
        return _Rule(str, words, f"one of {', '.join(words)};")
    return None


def check_groups(groups: int, in_channels: int, channels: int) -> None:
    """Raises InvalidSpec where the groups of a convolution do not divide its input and its output channels."""
    if in_channels % groups or channels % groups:
        raise InvalidSpec(
            f"groups must divide input and output channels, got groups={groups} for {in_channels} -> {channels}"
        )
