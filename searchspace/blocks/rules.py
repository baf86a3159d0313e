"""The rules of a row's fields, by their types and names: every kind is checked alike, where a row is made.

An integer is from 1 to a million, or 0 where 0 is its default and means "none". A kernel is odd. A word is a known one.
"""

import reprlib
from collections.abc import Callable, Container, Iterator
from dataclasses import fields
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
    field: str
    text: str


def check_fields(row: Any) -> None:
    """Raises InvalidSpec with the kind and field, the rule and the value, for the first field that breaks its rule."""
    kind = row.__class__
    values = _VALUES[kind](row)
    try:
        _check(kind, *values)
    except TypeError:  # a value that cannot be hashed breaks its rule too
        _check.__wrapped__(kind, *values)


@lru_cache(maxsize=4096, typed=True)  # a search makes the same rows again and again
def _check(kind: Any, *values: Any) -> None:
    for (expected, allowed, field, text), value in zip(_rules(kind), values, strict=True):
        if type(value) is not expected or value not in allowed:
            raise InvalidSpec(f"{kind.__name__}.{field} must be {text} got {reprlib.repr(value)}")


class _Getters(dict[Any, Callable[[Any], tuple[Any, ...]]]):
    """{kind: what gets the value for each of its rules}, made when first asked for."""

    def __missing__(self, kind: Any) -> Callable[[Any], tuple[Any, ...]]:
        names = [rule.field for rule in _rules(kind)]
        several = len(names) > 1  # attrgetter of one name gives no tuple
        self[kind] = attrgetter(*names) if several else lambda row: tuple(getattr(row, name) for name in names)
        return self[kind]


_VALUES = _Getters()


@cache
def _rules(kind: Any) -> tuple[_Rule, ...]:
    return tuple(_each_rule(kind))


def _each_rule(kind: Any) -> Iterator[_Rule]:
    for field in fields(kind):
        name = field.name
        if name == "kernel":
            yield _Rule(int, range(1, LARGEST_COUNT, 2), name, "an odd integer from 1 to 999,999 (symmetric padding),")
        elif name == "dropout_percent":
            yield _Rule(int, range(100), name, "0 to 99,")
        elif field.type is bool:
            yield _Rule(bool, (False, True), name, "true or false,")
        elif field.type is int and field.default == 0:
            yield _Rule(int, range(LARGEST_COUNT + 1), name, f"0 ({_ABSENT.get(name, 'none')}) or {COUNT}")
        elif field.type is int:
            yield _Rule(int, range(1, LARGEST_COUNT + 1), name, COUNT)
        elif field.type is str:
            words = {"gate": GATES, "padding": kind.paddings}.get(name, ACTIVATIONS)
            yield _Rule(str, words, name, f"one of {', '.join(words)};")


def check_groups(groups: int, in_channels: int, channels: int) -> None:
    """Raises InvalidSpec where the groups of a convolution do not divide its input and its output channels."""
    if in_channels % groups or channels % groups:
        raise InvalidSpec(
            f"groups must divide input and output channels, got groups={groups} for {in_channels} -> {channels}"
        )
