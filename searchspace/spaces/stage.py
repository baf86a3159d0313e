"""StageChoices: one stage of a search space, and the values of each of its choices."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from searchspace.blocks import BLOCKS, Row
from searchspace.blocks.activations import SEARCHED
from searchspace.blocks.protocol import ROWS, Value
from searchspace.errors import InvalidChoice

BLOCK = "block"
_ALL = ("layers", "width_mult")  # choices that every kind of block has


def row_of(block: str) -> type[Row]:
    """The template row of a kind of block."""
    return ROWS[BLOCKS[block]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoices:
    """One stage of the space: what is fixed (block, stride, base width) and the values of each choice.

    A layer count of 0 leaves the stage out. The stage is `round_channels(base_width * width_mult)` wide. `block` is a
    registered kind whose template row has `choices`; the fields that are not among them mean nothing. `others` has the
    values of those that are no field here.

    Attributes:
        block: Where it is a tuple of kinds, the stage has the choice "block" among them, the cheapest first, and the
            choices of the kind that is taken; kinds share the values of the choices that they share.
        after: The stage whose further layers these are, with choices of their own; without it there are none.
        shares: The choices that are not its own, but those of the stage `after`: "block", "width_mult".
    """

    name: str
    base_width: int
    stride: int
    expand_ratio: tuple[float, ...] = (3, 4, 6)
    kernel: tuple[int, ...] = (3, 5, 7)
    se: tuple[bool, ...] = (False, True)
    activation: tuple[str, ...] = ("relu", "h_swish", "swish")
    layers: tuple[int, ...] = (1, 2, 3, 4)
    width_mult: tuple[float, ...] = (0.75, 1.0, 1.25)
    block: str | tuple[str, ...] = "MBConv"
    others: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)
    after: str = ""
    shares: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        searched = [name for name, kind in BLOCKS.items() if ROWS[kind].choices is not None]
        for block in self.blocks:
            if block not in searched:
                raise InvalidChoice(f"{self.name}.block must be one of {', '.join(searched)}, got {block!r}")
        for kind in self.kinds:
            values = self.values(kind)
            if not isinstance(values, tuple) or not values:
                raise InvalidChoice(f"{self.name}.{kind} needs a tuple of at least one value, got {values!r}")
            for value in values:
                _check_value(f"{self.name}.{kind}", kind, value)
            if len(set(values)) != len(values):
                raise InvalidChoice(f"{self.name}.{kind} must have no value twice, got {values!r}")
        for name in ("base_width", "stride"):
            fixed = getattr(self, name)
            if type(fixed) is not int or fixed < 1:
                raise InvalidChoice(f"{self.name}.{name} must be an integer of at least 1, got {fixed!r}")
        if self.stride > 1 and 0 in self.layers:
            raise InvalidChoice(
                f"{self.name}.layers must be at least 1 where the stage has stride {self.stride}: "
                "without the stage the network would not be reduced; take 0 out"
            )
        for block in self.blocks:
            chosen = {kind: self.values(kind) for kind in row_of(block).choices or ()}
            if problem := row_of(block).check_choices(chosen, stride=self.stride):
                raise InvalidChoice(f"{self.name}.{problem}")

    @property
    def blocks(self) -> tuple[str, ...]:
        """The kinds of block that the stage may have."""
        return (self.block,) if isinstance(self.block, str) else self.block

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the stage's own choices, whatever its block, without the stage's."""
        found = dict.fromkeys(kind for block in self.blocks for kind in self.kinds_of(block) if kind not in _ALL)
        return (*found, *(kind for kind in _ALL if kind not in self.shares))

    def kinds_of(self, block: str) -> tuple[str, ...]:
        """The names of the stage's own choices where its block is of that kind."""
        whole = (*self._chosen, *(row_of(block).choices or ()), *_ALL)
        return tuple(kind for kind in whole if kind not in self.shares)

    @property
    def _chosen(self) -> tuple[str, ...]:
        return () if isinstance(self.block, str) else (BLOCK,)

    def all_of(self, block: str) -> tuple[str, ...]:
        """What the stage's row is made of where its block is of that kind: `kinds_of` and what it shares."""
        return (*(row_of(block).choices or ()), *_ALL)

    def choice(self, kind: str) -> str:
        """The name of one of its choices in choice sets: that of the stage `after`, where it shares it."""
        return f"{self.after if kind in self.shares else self.name}.{kind}"

    def values(self, kind: str) -> tuple[Value, ...]:
        """The values of one choice."""
        values: tuple[Value, ...] = self.others[kind] if kind in self.others else getattr(self, kind, ())
        return values

    def present(self, block: str) -> int:
        """Combinations of the stage's own choices with any one number of layers above 0 and that kind of block."""
        kinds = (kind for kind in self.kinds_of(block) if kind not in ("layers", BLOCK))
        return math.prod(len(self.values(kind)) for kind in kinds)

    def with_values(self, values: Mapping[str, tuple[Any, ...]]) -> "StageChoices":
        """The stage with other values of some choices."""
        own: dict[str, Any] = {kind: each for kind, each in values.items() if kind in self.__dataclass_fields__}
        others = {**self.others, **{kind: each for kind, each in values.items() if kind not in own}}
        return replace(self, **own, others=others) if values else self

    def to_dict(self) -> dict[str, Any]:
        """The stage as JSON types. One of MBConv does not name its block; what it does not share is left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (BLOCK, "others", *_LATER)}
        values |= self.others
        if self.block != "MBConv":
            values[BLOCK] = self.block
        values |= {name: value for name in _LATER if (value := getattr(self, name))}
        return {name: list(each) if isinstance(each, tuple) else each for name, each in values.items()}


_LATER = ("after", "shares")  # left out of a stage's JSON where they are empty


def _check_value(where: str, kind: str, value: object) -> None:
    integer = value if type(value) is int else -1
    number = value if type(value) is float else integer
    rules: dict[str, tuple[str, bool]] = {
        "expand_ratio": ("a number from 1 to 16", 1 <= number <= 16),
        "kernel": ("an odd integer from 1 to 15", integer in range(1, 16, 2)),
        "se": ("true or false", type(value) is bool),
        "activation": (f"one of {', '.join(SEARCHED)}", isinstance(value, str) and value in SEARCHED),
        "layers": ("an integer from 0 to 16", 0 <= integer <= 16),
        "width_mult": ("a number above 0, at most 8", 0 < number <= 8),
    }
    rule, holds = rules.get(kind, ("", True))  # a block's own choice is for its row to check
    if not holds:
        raise InvalidChoice(f"{where} must be {rule}, got {value!r}")
