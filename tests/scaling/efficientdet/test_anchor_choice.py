"""Anchors are as large as the objects."""

import numpy as np
import pytest

from scaling.efficientdet.anchor_choice import choose_scale, with_scale
from scaling.efficientdet.examples import Example
from tests.scaling.efficientdet.small import small


def squares(side: float, count: int = 8, label: int = 0) -> Example:
    starts = np.linspace(0, 256 - side, count, dtype=np.float32)
    boxes = np.stack([starts, starts, starts + side, starts + side], 1).astype(np.float32)
    return Example(np.zeros((256, 256, 3), np.uint8), boxes, np.full(count, label, np.int64), f"{side}-{label}")


@pytest.mark.parametrize(("side", "is_published"), [(64.0, True), (40.0, False)])
def test_the_scale_meets_the_boxes_and_is_the_published_one_where_that_does(side: float, is_published: bool) -> None:
    """Boxes are given at 256 px and met at 128 px; the smallest anchor is the scale times 8 px."""
    found = choose_scale(small(), [squares(side)])
    assert (found.scale == 4.0) == is_published == ("as published" in found.sentence())
    assert found.scale <= 4.0
    assert found.met > 0.5
    assert found.met_as_published <= found.met
    assert with_scale(small(), found.scale).anchors.scale == found.scale


def test_each_class_counts_as_much() -> None:
    many = [squares(64.0, count=50) for _ in range(4)]
    assert choose_scale(small(), [*many, squares(26.0, count=3, label=1)]).scale < 4.0


def test_without_a_box_it_is_the_published_one() -> None:
    empty = Example(np.zeros((64, 64, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), "empty")
    assert choose_scale(small(), [empty]).scale == 4.0
