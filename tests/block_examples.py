"""Random rows of any registered kind of block, by what their fields accept: a new kind needs no strategy of its own.

And every point of a small search space.
"""

from contextlib import suppress
from dataclasses import MISSING, fields, replace
from functools import cache
from itertools import product
from random import Random
from typing import Any

from searchspace.blocks import ACTIVATIONS, BLOCKS, GATES, PADDINGS, Block, Classifier
from searchspace.errors import InvalidSpec
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spec import NetworkSpec, Stage

WORDS = (*ACTIVATIONS, *GATES, *PADDINGS)
SMALL: dict[str, tuple[Any, ...]] = {
    "kernel": (1, 3, 5),
    "stride": (1, 1, 2),
    "groups": (1, 1, 2, 3, 4),
    "reduce_groups": (1, 1, 2, 3),
    "expand_groups": (1, 1, 2, 3),
    "project_groups": (1, 1, 2, 3),
    "kernels": (1, 2, 3, 4),
    "layers": (1, 2, 3),
    "branches": (0, 1, 2, 4),
    "squeeze_channels": (0, 0, 1, 2, 3, 4, 5),
    "hidden_features": (0, 0, 5),
    "dropout_percent": (0, 50, 99),
}
HEAD = Stage("classifier", (Classifier(classes=4),))


def kinds(*, heads: bool) -> list[type[Block]]:
    """The registered kinds that are heads, or those that are none, by name."""
    return [kind for _, kind in sorted(BLOCKS.items()) if kind.is_head == heads]


def accepts(row: Block, field: str, value: Any) -> bool:
    """Whether the row's own checks accept a value of one field."""
    try:
        replace(row, **{field: value})
    except InvalidSpec:
        return False
    return True


@cache
def accepted(kind: type[Block]) -> dict[str, tuple[Any, ...]]:
    """{field: the values that a row of the kind accepts for it}; integers up to 12."""
    plain: Any = kind(**{field.name: 4 for field in fields(kind) if field.default is MISSING})
    found = {}
    for field in fields(kind):
        value = getattr(plain, field.name)
        candidates = SMALL.get(field.name, (False, True) if type(value) is bool else range(13))
        if isinstance(value, str):
            candidates = WORDS
        elif isinstance(value, float):
            candidates = (value, value / 2, value * 2)
        found[field.name] = tuple(each for each in candidates if accepts(plain, field.name, each))
    return found


def example(kind: type[Block], in_channels: int, rng: Random) -> Block:
    """A random row of the kind that can follow `in_channels` channels; half of them keep the channels."""
    values = accepted(kind)
    for _ in range(10_000):
        chosen = {name: rng.choice(own) for name, own in values.items()}
        if "out_channels" in chosen and rng.random() < 0.5:
            chosen["out_channels"] = in_channels
        try:
            block: Block = kind(**chosen)
            block.check(in_channels)
        except InvalidSpec:
            continue
        return block
    raise AssertionError(f"no {kind.__name__} found behind {in_channels} channels")


def network_of(*blocks: Block, in_channels: int = 3, resolution: int = 16, name: str = "example") -> NetworkSpec:
    """The blocks in one stage, and a classifier if the last of them is no head."""
    head = () if blocks[-1].is_head else (HEAD,)
    return NetworkSpec(name, resolution, (Stage("body", blocks), *head), in_channels)


def at_fewest_pixels(spec: NetworkSpec, *, more: int = 0) -> NetworkSpec:
    """The network at the least of some resolutions that leaves its kernels room, and `more` pixels."""
    for resolution in (16, 24, 48, 96):
        with suppress(InvalidSpec):
            return spec.with_resolution(resolution + more)
    return spec


def all_choices(space: SearchSpace) -> list[Choices]:
    """Every canonical choice set of a (small) space, each once."""
    known = space.parameters()
    every = (space.canonical(dict(zip(known, values, strict=True))) for values in product(*known.values()))
    return list({tuple(choices.items()): choices for choices in every}.values())
