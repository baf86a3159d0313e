"""SearchSpace: the choices of a staged block space, and what each combination of them means.

A choice set is a flat dict: {"stage3.kernel": 5, "stage3.layers": 2, ...}. Choices that mean nothing are dropped by
`canonical`, and `size` does not count them: those of a stage with 0 layers, which is absent, and of the layers after
it; those of kinds of blocks that the stage does not have. A space of several input sizes has the choice "resolution",
one of several heads "head.width" or "classifier.hidden_width".
"""

import difflib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from itertools import product
from typing import Any, NamedTuple

from searchspace.blocks import ClassifierRow, ConvRow, Row
from searchspace.blocks.activations import SEARCHED
from searchspace.blocks.protocol import Value
from searchspace.errors import InvalidChoice
from searchspace.rounding import round_channels
from searchspace.spaces.stage import BLOCK, StageChoices, row_of
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template

Choices = dict[str, Value]
_FIXED = ("stem", "head", "classifier")
RESOLUTION = "resolution"  # the choice of the input size
_ENDS = {"head.width": "head_width", "classifier.hidden_width": "hidden_width"}  # choices of the last layers' widths


class _Names(NamedTuple):
    """The names of a stage's choices.

    Attributes:
        layers: How many there are; `after` is that of the stage whose further layers they are, "" for none.
        block: The kind of block; "" where it is fixed.
        own: {kind of block: its own choices, in order}.
        row: {kind of block: {choice of its row: the name}}, shared ones included.
    """

    layers: str
    after: str
    block: str
    own: dict[str, tuple[str, ...]]
    row: dict[str, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A set of networks: stem, stages of choices, 1x1 head, classifier.

    The stem takes the first present stage's activation and the head the last one's. SE squeezes to `se_ratio` of
    the block's input (arXiv:1807.11626: a quarter); its inner activation and gate are those of the paper the activation
    comes from. `resolution` is the input size in pixels; where networks choose one of several, it is the largest, and
    `smaller_resolutions` are the others. `head_width` and `hidden_width` may be several, of which networks choose one;
    the hidden layer is MobileNetV4's, linear with batch norm between pooling and classifier, and 0 means none. What a
    stage shares with the one it is after is given by that one. Raises InvalidChoice for stages that are not named apart
    or may all be absent, that come after none, and for sizes that are not different.
    """

    name: str
    stages: tuple[StageChoices, ...]
    stem_width: int = 32
    head_width: int | tuple[int, ...] = 1280
    hidden_width: int | tuple[int, ...] = 0
    classes: int = 1000
    resolution: int = 224
    smaller_resolutions: tuple[int, ...] = ()
    se_ratio: float = 0.25
    dropout_percent: int = 20

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not all(name.isidentifier() for name in names) or len({*names, *_FIXED}) != len(names) + len(_FIXED):
            raise InvalidChoice(f"stage names must be identifiers, all different and none of {_FIXED}, got {names}")
        if all(0 in stage.layers or stage.after for stage in self.stages):
            raise InvalidChoice("at least one stage must always have layers; take 0 out of the layers of one")
        for name, least in (("head_width", 1), ("hidden_width", 0)):
            _check_widths(name, getattr(self, name), least=least)
        object.__setattr__(self, "stages", _with_shared(self.stages))
        if tuple(_sizes(self.resolutions)) != self.resolutions:
            raise InvalidChoice(f"{RESOLUTION} must have the smallest size first, got {self.resolutions}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The input sizes of the space's networks in pixels, the smallest first."""
        return (*self.smaller_resolutions, self.resolution)

    @cached_property
    def _names(self) -> dict[str, _Names]:
        found: dict[str, _Names] = {}
        for stage in self.stages:
            found[stage.name] = _Names(
                layers=stage.choice("layers"),
                after=f"{stage.after}.layers" if stage.after else "",
                block="" if isinstance(stage.block, str) else stage.choice(BLOCK),
                own={block: tuple(map(stage.choice, stage.kinds_of(block))) for block in stage.blocks},
                row={block: {kind: stage.choice(kind) for kind in stage.all_of(block)} for block in stage.blocks},
            )
        return found

    @cached_property
    def _known(self) -> dict[str, tuple[Value, ...]]:
        known = {f"{stage.name}.{kind}": stage.values(kind) for stage in self.stages for kind in stage.kinds}
        widths = {name: getattr(self, field) for name, field in _ENDS.items()}
        known |= {name: values for name, values in widths.items() if isinstance(values, tuple)}
        return known | ({RESOLUTION: self.resolutions} if self.smaller_resolutions else {})

    def parameters(self) -> dict[str, tuple[Value, ...]]:
        """Every choice by name with its values, in stage order; a stage's choices with one value included."""
        return dict(self._known)

    def size(self) -> int:
        """Number of distinct canonical choice sets."""
        ends = [name for name in (*_ENDS, RESOLUTION) if name in self._known]
        leading = [self._combinations(stage) for stage in self.stages if not stage.after]
        return math.prod(leading) * math.prod(len(self._known[name]) for name in ends)

    def _combinations(self, stage: StageChoices, given: str = "") -> int:
        """Of a stage's choices and of the layers after it; `given` is the block of a stage that shares it."""
        present = 0
        for block in (given,) if given else stage.blocks:
            after = (f for f in self.stages if f.after == stage.name)
            further = (self._combinations(f, block if BLOCK in f.shares else "") for f in after)
            present += stage.present(block) * math.prod(further)
        return sum(present if layers else 1 for layers in stage.layers)

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
            if names.after and not result.get(names.after):
                continue
            layers = names.layers
            absent = choices.get(layers, known[layers][0]) == 0
            for name in (layers,) if absent else names.own[self._block(names, choices)]:
                result[name] = self._value(name, known[name], choices)
        for name in (*_ENDS, RESOLUTION):
            if name in known:
                result[name] = self._value(name, known[name], choices)
        return result

    def _block(self, names: _Names, choices: Mapping[str, Value]) -> str:
        """The kind of block of a stage that is there."""
        return (
            str(self._value(names.block, self._known[names.block], choices)) if names.block else next(iter(names.own))
        )

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
        rows: dict[str, list[Row]] = {}
        for stage, names in zip(self.stages, self._names.values(), strict=True):
            if choices.get(names.layers):
                rows.setdefault(stage.after or stage.name, []).append(self.row(stage, choices))
        given = [getattr(row, "activation", "relu") for own in rows.values() for row in own]
        stages = (
            StageTemplate("stem", (ConvRow(width=self.stem_width, kernel=3, stride=2, activation=given[0]),)),
            *(StageTemplate(stage, tuple(own)) for stage, own in rows.items()),
            *self._last(given[-1], *(choices.get(end, getattr(self, field)) for end, field in _ENDS.items())),
        )
        px = choices.get(RESOLUTION, self.resolution)
        assert isinstance(px, int)
        return Template(name or self.name, stages, px)

    def row(self, stage: StageChoices, choices: Choices) -> Row:
        """The row that one stage's choices mean."""
        names = self._names[stage.name]
        block = self._block(names, choices)
        chosen: dict[str, Any] = {kind: choices[name] for kind, name in names.row[block].items()}
        repeats, width_mult = chosen.pop("layers"), chosen.pop("width_mult")
        given = {"width": round_channels(stage.base_width * width_mult), "stride": stage.stride, "repeats": repeats}
        return row_of(block).from_choices(chosen, **given, se_ratio=self.se_ratio)

    def rows(self, stage: StageChoices) -> Iterator[tuple[Choices, Row]]:
        """Every row of a stage but for the number of its layers, each with the choices (shared ones too) that mean it.

        The stage, and the one that it is after, have two layers, or as many as show a repeated one.
        """
        names, leader = self._names[stage.name], next((s for s in self.stages if s.name == stage.after), stage)
        layers: Choices = {f"{each.name}.layers": few_layers(each) for each in (leader, stage)}
        for block, row in names.row.items():
            kinds = dict.fromkeys(name for kind, name in row.items() if kind != "layers")
            for values in product(*(self._known[name] for name in kinds)):
                choices = {**layers, **dict(zip(kinds, values, strict=True))}
                if names.block:
                    choices[names.block] = block
                yield choices, self.row(stage, choices)

    def choice_names(self, stage: StageChoices, block: str) -> dict[str, str]:
        """{choice: its name in choice sets} of a stage with that kind of block, what it shares included."""
        names = self._names[stage.name]
        return names.row[block] | ({BLOCK: names.block} if names.block else {})

    def ends(self, activation: str) -> Iterator[tuple[Choices, tuple[StageTemplate, StageTemplate]]]:
        """Every (head, classifier) behind a last stage with that activation, each with the choices that mean it."""
        widths = ((each if isinstance(each, tuple) else (each,)) for each in (self.head_width, self.hidden_width))
        for each in product(*widths):
            named = zip(_ENDS, each, strict=True)
            choices: Choices = {name: width for name, width in named if name in self._known}
            yield choices, self._last(activation, *each)

    def _last(self, activation: str, head_width: Any, hidden_width: Any) -> tuple[StageTemplate, StageTemplate]:
        hidden = {"hidden_activation": activation, "hidden_norm": True} if hidden_width else {}
        end: dict[str, Any] = {"hidden_width": hidden_width, **hidden}
        classifier = ClassifierRow(classes=self.classes, dropout_percent=self.dropout_percent, **end)
        head = ConvRow(width=head_width, activation=activation)
        return StageTemplate("head", (head,)), StageTemplate("classifier", (classifier,))

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
        given: dict[str, dict[str, tuple[Any, ...]]] = {stage.name: {} for stage in self.stages}
        *smaller, largest = _sizes(_listed(RESOLUTION, choices.get(RESOLUTION, self.resolutions)))
        changes: dict[str, Any] = {"resolution": largest, "smaller_resolutions": tuple(smaller)}
        for key, values in sorted(choices.items(), key=lambda item: not item[0].startswith("*")):
            if key == RESOLUTION:
                continue
            if key in _ENDS and key in self._known:
                changes[_ENDS[key]] = _listed(key, values)
                continue
            stage_name, _, kind = key.partition(".")
            # What the space has a choice of, though another key may have taken the kind of block out that it is of.
            meant = [each.name for each in self.stages if stage_name in ("*", each.name) and kind in each.kinds]
            if not meant:
                kinds = dict.fromkeys(kind for stage in self.stages for kind in stage.kinds)
                raise InvalidChoice(
                    f"{key!r} is no choice of the space {self.name!r}; write STAGE.CHOICE or *.CHOICE with "
                    f"STAGE in {', '.join(given)} and CHOICE in {', '.join(kinds)}"
                )
            for name in meant:
                given[name][kind] = _listed(key, values)
        return replace(self, stages=tuple(stage.with_values(given[stage.name]) for stage in self.stages), **changes)

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON types, for a study's settings.

        A space of one input size has no smaller ones, one without a hidden layer no width of it.
        """
        optional = ("smaller_resolutions", "hidden_width")
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("stages", *optional)}
        own |= {name: value for name in optional if (value := getattr(self, name))}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        return listed | {"stages": [stage.to_dict() for stage in self.stages]}


def few_layers(stage: StageChoices) -> int:
    """A layer count that shows the stage's first block and, if it can have one, a repeated block."""
    return min((layers for layers in stage.layers if layers > 1), default=max(stage.layers))


def _with_shared(stages: tuple[StageChoices, ...]) -> tuple[StageChoices, ...]:
    """The stages, those that share choices with the values of the stage they are after. Raises InvalidChoice."""
    found: dict[str, StageChoices] = {}
    for stage in stages:
        leader = found.get(stage.after)
        if (stage.after or stage.shares) and (leader is None or leader.after):
            raise InvalidChoice(
                f"{stage.name}.after must be a stage before it that is after none itself, got {stage.after!r}"
            )
        for kind in stage.shares:
            values = leader.values(kind) if leader else ()
            if kind == "layers" or not isinstance(values, tuple) or not values:
                raise InvalidChoice(
                    f"{stage.name}.shares must be choices of {stage.after}, not its layers, got {kind!r}"
                )
            lacking = [block for block in leader.blocks if kind not in (BLOCK, *leader.all_of(block))] if leader else []
            if lacking and BLOCK not in stage.shares:
                raise InvalidChoice(
                    f"{stage.name}.shares must be choices of every kind of block of {stage.after}, got {kind!r}, which "
                    f"{lacking[0]} has not: share {BLOCK!r} too"
                )
            if stage.values(kind) != values:
                stage = stage.with_values({kind: values})
        found[stage.name] = stage
    return tuple(found.values())


def _check_widths(name: str, given: Any, *, least: int) -> None:
    values = given if isinstance(given, tuple) else (given,)
    if not values or len(set(values)) != len(values) or not all(type(v) is int and v >= least for v in values):
        raise InvalidChoice(f"{name} must be an integer of at least {least}, or several different ones, got {given!r}")


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
