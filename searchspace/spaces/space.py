"""SearchSpace: the choices of a staged block space, and what each combination of them means.

A choice set is a flat dict: {"stage3.kernel": 5, "stage3.layers": 2, ...}. A stage with 0 layers is absent, so
its other choices mean nothing there; `canonical` drops them, and `size` does not count them. A space of several input
sizes has the choice "resolution".
"""

import difflib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any

from searchspace.blocks import BLOCKS, ClassifierRow, ConvRow, Row
from searchspace.blocks.activations import SEARCHED
from searchspace.blocks.protocol import ROWS, Value
from searchspace.errors import InvalidChoice
from searchspace.rounding import round_channels
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template

Choices = dict[str, Value]
_FIXED = ("stem", "head", "classifier")
_ALL = ("layers", "width_mult")  # choices that every kind of block has
RESOLUTION = "resolution"  # the choice of the input size


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoices:
    """One stage of the space: what is fixed (block, stride, base width) and the values of each choice.

    A layer count of 0 leaves the stage out. The stage is `round_channels(base_width * width_mult)` wide. `block` is a
    registered kind whose template row has `choices`; the fields that are not among them mean nothing. `others` has the
    values of those that are no field here.
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
    block: str = "MBConv"
    others: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        searched = [name for name, kind in BLOCKS.items() if ROWS[kind].choices is not None]
        if self.block not in searched:
            raise InvalidChoice(f"{self.name}.block must be one of {', '.join(searched)}, got {self.block!r}")
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

    @property
    def row(self) -> type[Row]:
        """The template row of the stage's block."""
        return ROWS[BLOCKS[self.block]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the stage's choices, without the stage's."""
        return (*(self.row.choices or ()), *_ALL)

    def values(self, kind: str) -> tuple[Value, ...]:
        """The values of one choice."""
        values: tuple[Value, ...] = self.others[kind] if kind in self.others else getattr(self, kind, ())
        return values

    def sizes(self) -> int:
        """Combinations of this stage's choices; one for 0 layers."""
        per_layer = math.prod(len(self.values(kind)) for kind in self.kinds if kind != "layers")
        return sum(per_layer if layers else 1 for layers in self.layers)


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


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A set of networks: stem, stages of choices, 1x1 head, classifier.

    The stem takes the first present stage's activation and the head the last one's. SE squeezes to `se_ratio` of
    the block's input (arXiv:1807.11626: a quarter); its inner activation and gate are those of the paper the activation
    comes from. `resolution` is the input size in pixels; where networks choose one of several, it is the largest, and
    `smaller_resolutions` are the others. Raises InvalidChoice for stages that are not named apart or may all be absent,
    and for sizes that are not different.
    """

    name: str
    stages: tuple[StageChoices, ...]
    stem_width: int = 32
    head_width: int = 1280
    classes: int = 1000
    resolution: int = 224
    smaller_resolutions: tuple[int, ...] = ()
    se_ratio: float = 0.25
    dropout_percent: int = 20

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not all(name.isidentifier() for name in names) or len({*names, *_FIXED}) != len(names) + len(_FIXED):
            raise InvalidChoice(f"stage names must be identifiers, all different and none of {_FIXED}, got {names}")
        if all(0 in stage.layers for stage in self.stages):
            raise InvalidChoice("at least one stage must always have layers; take 0 out of the layers of one")
        if tuple(_sizes(self.resolutions)) != self.resolutions:
            raise InvalidChoice(f"{RESOLUTION} must have the smallest size first, got {self.resolutions}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The input sizes of the space's networks in pixels, the smallest first."""
        return (*self.smaller_resolutions, self.resolution)

    @cached_property
    def _names(self) -> dict[str, dict[str, str]]:
        """{stage: {kind: the name of the choice}}."""
        return {stage.name: {kind: f"{stage.name}.{kind}" for kind in stage.kinds} for stage in self.stages}

    @cached_property
    def _known(self) -> dict[str, tuple[Value, ...]]:
        stages = zip(self.stages, self._names.values(), strict=True)
        known = {name: stage.values(kind) for stage, names in stages for kind, name in names.items()}
        return known | ({RESOLUTION: self.resolutions} if self.smaller_resolutions else {})

    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """Every choice by name with its values, in stage order; a stage's choices with one value included."""
        return dict(self._known)

    def size(self) -> int:
        """Number of distinct canonical choice sets."""
        return math.prod(stage.sizes() for stage in self.stages) * len(self.resolutions)

    def canonical(self, choices: Mapping[str, Value]) -> Choices:
        """The choices that mean something, in order. Raises InvalidChoice naming what is unknown or missing."""
        known = self._known
        for name in choices:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"stages: {', '.join(s.name for s in self.stages)}"
                raise InvalidChoice(f"{name!r} is no choice of the space {self.name!r}; {hint}")
        result: Choices = {}
        for names in self._names.values():
            layers = names["layers"]
            absent = choices.get(layers, known[layers][0]) == 0
            for name in (layers,) if absent else names.values():
                result[name] = self._value(name, known[name], choices)
        if RESOLUTION in known:
            result[RESOLUTION] = self._value(RESOLUTION, known[RESOLUTION], choices)
        return result

    @staticmethod
    def _value(name: str, values: tuple[Value, ...], choices: Mapping[str, Value]) -> Value:
        if name not in choices:
            if len(values) == 1:
                return values[0]
            raise InvalidChoice(f"the choice {name!r} is missing; give one of {values}")
        if choices[name] not in values:
            raise InvalidChoice(f"{name!r} must be one of {values}, got {choices[name]!r}")
        return values[values.index(choices[name])]  # the space's own 3 for a 3.0 that came through a table

    def decode(self, choices: Mapping[str, Value], *, name: str | None = None) -> Template:
        """The network that `choices` mean. Raises InvalidChoice for an unknown, missing or foreign value."""
        choices = self.canonical(choices)
        rows = {s.name: self.row(s, choices) for s in self.stages if choices[self._names[s.name]["layers"]]}
        activations = [getattr(row, "activation", "relu") for row in rows.values()]
        rows = {
            "stem": ConvRow(width=self.stem_width, kernel=3, stride=2, activation=activations[0]),
            **rows,
            "head": ConvRow(width=self.head_width, activation=activations[-1]),
            "classifier": ClassifierRow(classes=self.classes, dropout_percent=self.dropout_percent),
        }
        stages = tuple(StageTemplate(stage, (row,)) for stage, row in rows.items())
        px = choices.get(RESOLUTION, self.resolution)
        assert isinstance(px, int)
        return Template(name or self.name, stages, px)

    def row(self, stage: StageChoices, choices: Choices) -> Row:
        """The row that one stage's choices mean."""
        chosen: dict[str, Any] = {kind: choices[name] for kind, name in self._names[stage.name].items()}
        repeats, width_mult = chosen.pop("layers"), chosen.pop("width_mult")
        width = round_channels(stage.base_width * width_mult)
        return stage.row.from_choices(chosen, width=width, stride=stage.stride, repeats=repeats, se_ratio=self.se_ratio)

    def spec(self, choices: Mapping[str, Value], *, name: str | None = None) -> NetworkSpec:
        """`decode(choices).expand()`: the network at the resolution chosen, or the space's one."""
        return self.decode(choices, name=name).expand()

    def sample(self, rng: random.Random) -> Choices:
        """A choice set with every choice drawn evenly and independently, canonical."""
        return self.canonical({name: rng.choice(values) for name, values in self._known.items()})

    def neighbours(self, choices: Mapping[str, Value]) -> Iterator[Choices]:
        """Every choice set that differs in one choice. A stage that comes into being takes its middle values."""
        choices = self.canonical(choices)
        middle = {name: values[len(values) // 2] for name, values in self._known.items()}
        for name, values in self._known.items():
            for value in values:
                if name in choices and value != choices[name]:
                    yield self.canonical({**middle, **choices, name: value})

    def corner(self, which: str) -> Choices:
        """The "smallest" or the "largest" network: every choice at its cheapest or its dearest value."""
        if which not in ("smallest", "largest"):
            raise InvalidChoice(f'a corner is "smallest" or "largest", got {which!r}')
        pick = min if which == "smallest" else max
        choices = {name: pick(values, key=partial(_rank, values=values)) for name, values in self._known.items()}
        return self.canonical(choices)

    def with_choices(self, choices: Mapping[str, tuple[Value, ...]]) -> "SearchSpace":
        """The space with other values for some choices: {"stage3.kernel": (3, 5), "*.se": (False,)}.

        `*` stands for every stage, save where the stage's own key says otherwise. "resolution" has the input sizes, one
        or several. Narrower or wider, both are allowed; InvalidChoice names a wrong key or value.
        """
        stages = {stage.name: stage for stage in self.stages}
        *smaller, largest = _sizes(_listed(RESOLUTION, choices.get(RESOLUTION, self.resolutions)))
        own = {key: values for key, values in choices.items() if key != RESOLUTION}
        for key, values in sorted(own.items(), key=lambda item: not item[0].startswith("*")):
            stage_name, _, kind = key.partition(".")
            meant = [each for each in stages.values() if stage_name in ("*", each.name) and kind in each.kinds]
            if not meant:
                kinds = dict.fromkeys(kind for stage in self.stages for kind in stage.kinds)
                raise InvalidChoice(
                    f"{key!r} is no choice of the space {self.name!r}; write STAGE.CHOICE or *.CHOICE with "
                    f"STAGE in {', '.join(stages)} and CHOICE in {', '.join(kinds)}"
                )
            for stage in meant:
                update: dict[str, Any] = {kind: _listed(key, values)}
                if kind not in StageChoices.__dataclass_fields__:
                    update = {"others": {**stage.others, **update}}
                stages[stage.name] = replace(stage, **update)
        sizes: dict[str, Any] = {"resolution": largest, "smaller_resolutions": tuple(smaller)}
        return replace(self, stages=tuple(stages.values()), **sizes)

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON types, for a study's settings.

        A stage of MBConv does not name its block, and a space of one input size no smaller ones.
        """
        stages = []
        for stage in self.stages:
            values = {f.name: getattr(stage, f.name) for f in fields(stage) if f.name not in ("block", "others")}
            values |= stage.others
            if stage.block != "MBConv":
                values["block"] = stage.block
            stages.append({name: list(each) if isinstance(each, tuple) else each for name, each in values.items()})
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("stages", "smaller_resolutions")}
        smaller = {"smaller_resolutions": list(self.smaller_resolutions)} if self.smaller_resolutions else {}
        return own | smaller | {"stages": stages}


def _listed(key: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise InvalidChoice(f"{key!r} needs a list of values, got {values!r}")
    return tuple(values)


def _sizes(values: tuple[Any, ...]) -> list[int]:
    """The input sizes, the smallest first. Raises InvalidChoice."""
    if not values or not all(type(px) is int and px > 0 for px in values) or len(set(values)) != len(values):
        raise InvalidChoice(f"{RESOLUTION} must be integers of px above 0, at least one and none twice, got {values}")
    return sorted(values)


def _rank(value: Value, values: tuple[Value, ...]) -> float:
    """Cheaper choices first: activations in the order of their cost, other words in the order given."""
    if not isinstance(value, str):
        return value
    return (list(SEARCHED) if value in SEARCHED else values).index(value)
