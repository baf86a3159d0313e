"""Checks of a row's fields, shared by all kinds. Each raises InvalidSpec with the field, its rule and the value."""

from searchspace.blocks.activations import ACTIVATIONS
from searchspace.errors import InvalidSpec

PADDINGS = ("half", "valid", "ceil")


def positive(row: object, *fields: str) -> None:
    """The fields are integers of at least 1."""
    for field in fields:
        value = getattr(row, field)
        if type(value) is not int or value < 1:
            raise InvalidSpec(f"{type(row).__name__}.{field} must be an integer of at least 1, got {value!r}")


def zero_or_positive(row: object, field: str, absent: str) -> None:
    """The field is 0, which means what `absent` says, or a positive integer."""
    value = getattr(row, field)
    if type(value) is not int or value < 0:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be 0 ({absent}) or a positive integer, got {value!r}")


def member(row: object, field: str, known: tuple[str, ...] = ACTIVATIONS) -> None:
    """The field is one of `known`."""
    value = getattr(row, field)
    if value not in known:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be one of {', '.join(known)}; got {value!r}")


def odd_kernel(row: object) -> None:
    """`kernel` and `stride` are positive, the kernel odd."""
    field = "kernel"
    positive(row, field, "stride")
    value = getattr(row, field)
    if value % 2 == 0:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be odd (symmetric padding), got {value}")


def divides(groups: int, in_channels: int, channels: int) -> None:
    """The groups of a convolution divide its input and its output channels."""
    if in_channels % groups or channels % groups:
        raise InvalidSpec(
            f"groups must divide input and output channels, got groups={groups} for {in_channels} -> {channels}"
        )
