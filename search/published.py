"""Published networks as candidates of a search: as they are, narrowed or grown, with the weights that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from search.parents import as_published
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidSpec, MissingLatency
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from searchspace.nn.weights.sources import Parent, Parents

NARROWED = tuple(round(0.95 - 0.05 * step, 2) for step in range(13))  # width multipliers, the widest first
GROWN = (2.0, 1.5, 1.0, 0.5)  # phi of compound scaling, depth 1.2^phi and width 1.1^phi (arXiv:1905.11946, section 3.3)
DEPTH, WIDTH = 1.2, 1.1


class Published(NamedTuple):
    """A candidate outside of the space's choices: its name for people, the network, and its parent's name."""

    name: str
    spec: NetworkSpec
    parent: str
    as_it_is: bool


def published_candidates(
    parents: Parents, *, sizes: Sequence[int], classes: int, upper_ms: Callable[[NetworkSpec], float], limit_ms: float
) -> list[Published]:
    """Each parent within the limit at each size, as it is or at its largest width there; then the largest one grown.

    Those as they are come first, then the narrowed ones. EfficientNet-Lite1 to 4 and B1 to B7 are others grown, so they
    are not narrowed. A network with kernels that the latency table has none like is left out.

    Args:
        parents: Networks with published weights.
        sizes: Input sizes in pixels.
        classes: Of the images.
        upper_ms: What a network counts against the limit.
        limit_ms: The limit.
    """

    def fits(one: Published) -> bool:
        with suppress(MissingLatency):
            return upper_ms(one.spec) <= limit_ms
        return False

    found = []
    for px in sizes:
        for parent in parents:
            forms = _forms(parent, px, classes)
            if (first := next((one for one in forms if fits(one)), None)) is not None:
                found.append(first._replace(name=f"{first.name} at {px} px") if len(sizes) > 1 else first)
    whole = [one for one in found if one.as_it_is]
    narrowed = [one for one in found if not one.as_it_is]
    grown = []
    if whole:
        largest = max(whole, key=lambda one: upper_ms(one.spec))
        parent = next(parent for parent in parents if parent.name == largest.parent)
        grown = [next((one for one in _grown(parent, largest.spec.resolution, classes) if fits(one)), None)]
    return [*whole, *narrowed, *(one for one in grown if one is not None)]


def usual_forms(parents: Iterable[Parent], *, sizes: Sequence[int], classes: int) -> list[NetworkSpec]:
    """Each parent at each size as it is and, where it can be narrowed, at a middle width: what a table is to price."""
    found = []
    for px in sizes:
        for parent in parents:
            forms = [form.spec for form in _forms(parent, px, classes)]
            found += forms[:1] + forms[1:][len(NARROWED) // 2 :][:1]
    return found


def _forms(parent: Parent, px: int, classes: int) -> Iterator[Published]:
    """The parent's network as it is, then narrower and narrower."""
    own, name = parent.network.spec, parent.network.spec.name
    with suppress(InvalidSpec):  # too few pixels for its strides
        yield Published(parent.name, own.with_resolution(px).with_classes(classes), parent.name, True)
    if not _is_whole(parent) or zoo.is_grown(name):
        return
    for width in NARROWED:
        if (spec := _scaled(parent, px, classes, width=width)) is not None:
            yield Published(f"{parent.name}, width {width:g}", spec, parent.name, False)


def _grown(parent: Parent, px: int, classes: int) -> Iterator[Published]:
    """The parent's network grown in depth and width, the largest first."""
    if not _is_whole(parent):
        return
    for phi in GROWN:
        if (spec := _scaled(parent, px, classes, width=WIDTH**phi, depth=DEPTH**phi)) is not None:
            yield Published(f"{parent.name}, grown by phi {phi:g}", spec, parent.name, False)


def _is_whole(parent: Parent) -> bool:
    """Whether the parent is a network of the zoo, which can be scaled by its table."""
    own = parent.network.spec
    return zoo.is_name(own.name) and zoo.get(own.name).has_layers_of(own)


def _scaled(parent: Parent, px: int, classes: int, *, width: float, depth: float = 1.0) -> NetworkSpec | None:
    try:
        spec = zoo.get(parent.network.spec.name, width=width, depth=depth, resolution=px, classes=classes)
    except (InvalidArgument, InvalidSpec):  # a layer would be rounded to nothing
        return None
    return as_published(spec, parent)
