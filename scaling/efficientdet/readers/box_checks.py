"""Annotated boxes as arrays inside their images; what cannot be used is counted, and refused where it is much."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scaling.efficientdet.examples import Boxes, Flags, Labels
from scaling.efficientdet.readers.annotation import Annotated, Fault, Faults
from search.data.source import some
from searchspace.errors import InvalidData

LARGEST_FAULTY_SHARE = 0.01  # of boxes; from here on it is an error
_LEAST_INSIDE = 0.5  # of a box's area; else it is another image's
_SLACK = 0.01  # of the image's side that a box may reach beyond without a word
_SAME_ASPECT = 0.02
_RELATIVE = (1, 1)


@dataclass(frozen=True, eq=False)
class Objects:
    """The usable boxes of one image, in its pixels; `clipped` of them reached out of it."""

    boxes: Boxes
    labels: Labels
    difficult: Flags
    crowd: Flags
    clipped: int


@dataclass(frozen=True)
class Frame:
    """What an annotation means by an image's pixels: height and width, and whether it is turned upright by EXIF."""

    size: tuple[int, int]
    upright: bool


def frame_of(one: Annotated, stored: tuple[int, int], upright: tuple[int, int]) -> Frame | str:
    """The pixels that boxes are in, of an image as it is stored and as EXIF turns it; else why it fits neither.

    An image of another size but the same aspect ratio is one that was resized after it was annotated.
    """
    if one.size in (None, _RELATIVE, upright):
        return Frame(upright, upright=True)
    assert one.size is not None
    if one.size == stored:
        return Frame(stored, upright=False)
    aspect = one.size[0] / one.size[1]
    for size, turned in ((upright, True), (stored, False)):
        if abs(aspect * size[1] / size[0] - 1) <= _SAME_ASPECT:
            return Frame(size, upright=turned)
    said, found = (f"{width} x {height} px" for height, width in (one.size, upright))
    return f"its annotation says {said}, the file has {found}"


def objects_of(one: Annotated, size: tuple[int, int], classes: Mapping[str, int], faults: Faults) -> Objects:
    """The boxes of an image of `size`, clipped to it."""
    said = one.size or size
    corners = np.array([row.corners for row in one.rows], np.float64).reshape(-1, 4)
    corners *= np.array([size[0] / said[0], size[1] / said[1]] * 2)
    limits = np.array([*size, *size], np.float64)
    inside = np.clip(corners, 0, limits)
    area, left = ((each[:, 2:] - each[:, :2]).clip(0).prod(1) for each in (corners, inside))
    empty = ~((corners[:, 2:] > corners[:, :2]).all(1) & (area > 0))
    outside = ~empty & (left < _LEAST_INSIDE * area)
    unknown = np.array([row.label not in classes for row in one.rows], np.bool_)
    for fault, those in (
        (Fault.UNKNOWN, unknown),
        (Fault.EMPTY, empty & ~unknown),
        (Fault.OUTSIDE, outside & ~unknown),
    ):
        for at in np.flatnonzero(those).tolist():
            faults.add(fault, f"{one.rows[at].where}{'' if fault is Fault.UNKNOWN else _shown(corners[at], size)}")
    keep = np.flatnonzero(~(empty | outside | unknown))
    rows = [one.rows[at] for at in keep.tolist()]
    return Objects(
        inside[keep].astype(np.float32),
        np.array([classes[row.label] for row in rows], np.int64),
        np.array([row.difficult for row in rows], np.bool_),
        np.array([row.crowd for row in rows], np.bool_),
        int((np.abs(inside - corners)[keep] > _SLACK * limits).any(1).sum()),
    )


def _shown(corners: Boxes, size: tuple[int, int]) -> str:
    y1, x1, y2, x2 = corners
    return f" from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) in {size[1]} x {size[0]} px"


def check_faults(faults: Faults, usable: int, name: str) -> None:
    """Raises InvalidData where no box is left, or too many cannot be used."""
    total = usable + faults.count
    if not total:
        raise InvalidData(f"{name} must have boxes to learn from, got none in its training images: annotate some")
    if faults.count >= LARGEST_FAULTY_SHARE * total:
        raise InvalidData(
            f"fewer than {LARGEST_FAULTY_SHARE:.0%} of the boxes may be unusable, got {faults.count} of {total} in "
            f"{name}: {'; '.join(_by_fault(faults))}. Mend them or take them out"
        )


def notes_of_faults(faults: Faults) -> Iterator[str]:
    """What was skipped, with the first of each kind by name."""
    for told in _by_fault(faults):
        yield f"skipped: {told}"


def _by_fault(faults: Faults) -> Iterator[str]:
    for fault in Fault:
        places = faults.found.get(fault, [])
        if places:
            yield f"{len(places)} {'box' if len(places) == 1 else 'boxes'} {fault} ({some(places, limit=3)})"
