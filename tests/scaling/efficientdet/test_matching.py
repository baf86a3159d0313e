"""An anchor finds the object that it overlaps most, as a plain loop says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaling.efficientdet.boxes import ious
from scaling.efficientdet.matching import BACKGROUND, IGNORED, Objects, assign

pytestmark = pytest.mark.usefixtures("one_thread")


def random_boxes(count: int, generator: torch.Generator, *, side: float = 100.0) -> Tensor:
    low = torch.rand(count, 2, generator=generator) * side * 0.7
    return torch.cat((low, low + 2 + torch.rand(count, 2, generator=generator) * side * 0.4), 1)


def plain_iou(one: list[float], other: list[float]) -> float:
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return height * width / (both - height * width)


def plain_assign(objects: Objects, anchors: Tensor, threshold: float) -> list[int]:
    boxes, rows = objects.boxes.tolist(), anchors.tolist()
    counted = [index for index, ignored in enumerate(objects.ignored.tolist()) if not ignored]
    found = []
    for anchor in rows:
        overlaps = [plain_iou(boxes[index], anchor) for index in counted]
        best = max(range(len(counted)), key=overlaps.__getitem__, default=None)
        found.append(counted[best] if best is not None and overlaps[best] >= threshold else BACKGROUND)
        for index, ignored in enumerate(objects.ignored.tolist()):
            top, left, bottom, right = anchor
            box = boxes[index]
            shared = max(0.0, min(bottom, box[2]) - max(top, box[0])) * max(0.0, min(right, box[3]) - max(left, box[1]))
            if ignored and found[-1] == BACKGROUND and shared >= threshold * (bottom - top) * (right - left):
                found[-1] = IGNORED
    best_of = {}
    for index in counted:
        overlaps = [plain_iou(boxes[index], anchor) for anchor in rows]
        place = max(range(len(rows)), key=overlaps.__getitem__)
        if overlaps[place] > 0 and best_of.get(place, (0.0, 0))[0] < overlaps[place]:
            best_of[place] = (overlaps[place], index)
    for place, (_, index) in best_of.items():
        found[place] = index
    return found


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 6), threshold=st.sampled_from((0.3, 0.5)))
@settings(max_examples=25)
def test_matching_is_that_of_a_plain_loop(seed: int, count: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes, anchors = (random_boxes(n, generator).double() for n in (count, 40))
    ignored = torch.rand(count, generator=generator) < 0.3
    objects = Objects(boxes, torch.zeros(count, dtype=torch.int64), ignored)
    assert assign(objects, anchors, threshold=threshold).tolist() == plain_assign(objects, anchors, threshold)


def test_each_object_has_an_anchor_even_if_it_overlaps_none_well() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 100, 10, 110], [0, 200, 10, 210]])
    boxes = torch.tensor([[0.0, 102, 2, 104], [0, 0, 10, 10]])
    assert assign(Objects.of(boxes, torch.tensor([7, 8])), anchors).tolist() == [1, 0, BACKGROUND]


def test_of_two_objects_with_the_same_best_anchor_the_better_one_has_it() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 5, 5], [0, 0, 5, 6], [0, 0, 5, 6]])
    assert assign(Objects.of(boxes, torch.zeros(3, dtype=torch.int64)), anchors).tolist() == [1]


@pytest.mark.parametrize(
    "box", [[50.0, 50, 50, 60], [60, 50, 50, 60], [500, 500, 510, 510]], ids=["flat", "upside down", "far away"]
)
def test_a_box_that_overlaps_no_anchor_is_found_by_none(box: list[float]) -> None:
    anchors = torch.tensor([[0.0, 0, 100, 100], [0, 0, 20, 20]])
    assert assign(Objects.of(torch.tensor([box]), torch.tensor([0])), anchors).tolist() == [BACKGROUND] * 2


def test_an_anchor_inside_a_crowd_is_ignored_unless_it_finds_an_object() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [95, 0, 115, 10], [200, 200, 210, 210]])
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 10, 9]])
    objects = Objects(boxes, torch.tensor([0, 1]), torch.tensor([True, False]))
    assert assign(objects, anchors).tolist() == [1, IGNORED, BACKGROUND, BACKGROUND]


def test_overlaps_of_boxes_without_an_area_are_0() -> None:
    flat = torch.tensor([[5.0, 5, 5, 5], [9, 9, 3, 3], [0, 0, 10, 10]])
    assert ious(flat, flat).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
