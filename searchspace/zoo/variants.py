"""The same zoo network under the other choices of an option: where implementations disagree about one name.

MobileNetV3's inner widths (`rounding`) and MobileNetV2's ends (`fixed_ends`) differ between releases of a network
that a person calls by one name, width and depth.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from searchspace.blocks import Block
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import CATALOGUE, get
from searchspace.zoo.mobilenet_v3 import ROUNDINGS

CHOICES: dict[str, tuple[Any, ...]] = {"rounding": ROUNDINGS, "fixed_ends": (False, True)}
# The widths and depths that are looked through, 1 first.
MULTIPLIERS = (1.0, *(hundredths / 100 for hundredths in range(10, 301)))
Outline = tuple[tuple[object, ...], ...]
Layers = tuple[int | Block, ...]


def siblings(spec: NetworkSpec) -> Iterator[NetworkSpec]:
    """The networks that `spec` is under other choices of an option, if it is one of the zoo; itself is not among them.

    `spec` may have any resolution, classes, conventions and name, and any width and depth that are multiples of 0.01
    from 0.1 to 3; its siblings have the same. Several multipliers can round to one network and to different siblings.
    Takes up to a second for a network that has such an option, and no time for another.
    """
    seen = {_layers(spec)}
    for name, entry in CATALOGUE.items():
        for option in CHOICES:
            if option in entry.options and set(_outline(spec)) <= set(_outline(get(name))):
                for sibling in _under_other_choices(spec, name, option):
                    if _layers(sibling) not in seen:
                        seen.add(_layers(sibling))
                        yield sibling


def _under_other_choices(spec: NetworkSpec, name: str, option: str) -> Iterator[NetworkSpec]:
    for outlines, depth in _depths(name, option).items():
        for choice, outline in zip(CHOICES[option], outlines, strict=True):
            widths = _widths(name, depth, option, choice) if outline == _outline(spec) else {}
            for width, other in product(widths.get(_layers(spec), ()), CHOICES[option]):
                sibling = get(name, width=width, depth=depth, classes=spec.classes, **{option: other})
                sibling = sibling.with_resolution(spec.resolution).with_conventions(spec.conventions)
                yield sibling.with_name(spec.name)


@cache
def _depths(name: str, option: str) -> dict[tuple[Outline, ...], float]:
    """{the network's outline under each choice: the first depth that gives them}."""
    found: dict[tuple[Outline, ...], float] = {}
    for depth in MULTIPLIERS:
        outlines = tuple(_outline(get(name, depth=depth, **{option: choice})) for choice in CHOICES[option])
        found.setdefault(outlines, depth)
    return found


@cache
def _widths(name: str, depth: float, option: str, choice: Any) -> dict[Layers, list[float]]:
    """{the network's layers: the widths that give them}."""
    found: dict[Layers, list[float]] = defaultdict(list)
    for width in MULTIPLIERS:
        found[_layers(get(name, width=width, depth=depth, **{option: choice}))].append(width)
    return found


def _outline(spec: NetworkSpec) -> Outline:
    """What the width does not change."""
    fields = ("kernel", "stride", "activation", "gate")
    return tuple((type(block), *(getattr(block, field, None) for field in fields)) for block in spec.blocks)


def _layers(spec: NetworkSpec) -> Layers:
    return (spec.in_channels, *spec.with_classes(1).blocks)
