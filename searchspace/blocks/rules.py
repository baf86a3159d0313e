"""The rules of a row's fields, by their types and names: every kind is checked alike, where a row is made.

An integer is at least 1, or 0 where 0 is its default and means "none". A kernel is odd. A word is one of those known.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from searchspace.blocks.activations import ACTIVATIONS, GATES
from searchspace.errors import InvalidSpec

PADDINGS = ("half", "valid", "ceil")
_ABSENT = {"squeeze_channels": "no SE", "hidden_features": "no hidden layer"}


class _Rule(NamedTuple):
    field: str
    text: str
    holds: Callable[[Any], bool]


def check_fields(row: Any) -> None:
    """Raises InvalidSpec with the kind and field, the rule and the value, for the first field that breaks its rule."""
    rules, values = _rules_and_values(row.__class__)
    for (field, text, holds), value in zip(rules, values(row), strict=True):
        if not holds(value):
            raise InvalidSpec(f"{type(row).__name__}.{field} must be {text} got {value!r}")


@cache
def _rules_and_values(kind: Any) -> tuple[tuple[_Rule, ...], Callable[[Any], tuple[Any, ...]]]:
    """The rules, and what gets the value for each."""
    rules = tuple(_rules(kind))
    names = [rule.field for rule in rules]
    return rules, attrgetter(*names) if len(names) > 1 else lambda row: tuple(getattr(row, name) for name in names)


def _rules(kind: Any) -> Iterator[_Rule]:
    for field in fields(kind):
        name = field.name
        if name == "dropout_percent":
            yield _Rule(name, "0 to 99,", lambda value: type(value) is int and 0 <= value < 100)
        elif field.type is bool:
            yield _Rule(name, "true or false,", lambda value: type(value) is bool)
        elif field.type is int and field.default == 0:
            absent = _ABSENT.get(name, "none")
            yield _Rule(name, f"0 ({absent}) or a positive integer,", lambda value: type(value) is int and value >= 0)
        elif field.type is int:
            yield _Rule(name, "an integer of at least 1,", lambda value: type(value) is int and value > 0)
        elif field.type is str:
            words = {"gate": GATES, "padding": kind.paddings}.get(name, ACTIVATIONS)
            yield _Rule(name, f"one of {', '.join(words)};", words.__contains__)
        if name == "kernel":
            yield _Rule(name, "odd (symmetric padding),", lambda value: value % 2 == 1)


def check_groups(groups: int, in_channels: int, channels: int) -> None:
    """Raises InvalidSpec where the groups of a convolution do not divide its input and its output channels."""
    if in_channels % groups or channels % groups:
        raise InvalidSpec(
            f"groups must divide input and output channels, got groups={groups} for {in_channels} -> {channels}"
        )
