"""Anchors lie where the published weights expect them, and coding a box can be undone."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.efficientdet.anchors import anchor_boxes, check_count, decode, encode, flatten
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.presets import get
from scaling.efficientdet.spec import Anchors

pytestmark = pytest.mark.usefixtures("one_thread")
D0 = get("d0", classes=2)


def test_there_are_nine_anchors_at_each_pixel_of_each_level() -> None:
    for resolution in (128, 320, 512):
        spec = D0.with_resolution(resolution)
        boxes = anchor_boxes(spec)
        assert boxes.shape == (sum(math.ceil(resolution / 2**level) ** 2 * 9 for level in LEVELS), 4)
        check_count(len(boxes), spec)
        assert boxes.dtype == torch.float32


def test_anchors_are_those_of_the_published_detectors() -> None:
    """google/automl: sizes outside, ratios inside; (1.4, 0.7) is wide; middles at half a stride; D7 has larger ones."""
    boxes = anchor_boxes(D0)
    assert boxes[0].tolist() == pytest.approx([4 - 16, 4 - 16, 4 + 16, 4 + 16])
    assert boxes[1].tolist() == pytest.approx([4 - 11.2, 4 - 22.4, 4 + 11.2, 4 + 22.4])
    assert boxes[2].tolist() == pytest.approx([4 - 22.4, 4 - 11.2, 4 + 22.4, 4 + 11.2])
    assert boxes[3, 0].item() == pytest.approx(4 - 16 * 2 ** (1 / 3))
    assert boxes[9].tolist() == pytest.approx([4 - 16, 12 - 16, 4 + 16, 12 + 16]), "the next pixel is to the right"
    assert boxes[9 * 64].tolist() == pytest.approx([12 - 16, 4 - 16, 12 + 16, 4 + 16]), "then the next row"
    assert boxes[9 * 64**2].tolist() == pytest.approx([8 - 32, 8 - 32, 8 + 32, 8 + 32]), "then the next level"
    assert anchor_boxes(get("d7"))[0].tolist() == pytest.approx([4 - 20, 4 - 20, 4 + 20, 4 + 20])


def test_other_anchors_are_a_field_of_the_spec() -> None:
    spec = replace(D0.with_resolution(128), anchors=Anchors(scale=2.0, octaves=1, ratios=((2.0, 1.0),)))
    boxes = anchor_boxes(spec)
    assert boxes.shape == (sum((128 // 2**level) ** 2 for level in LEVELS), 4)
    assert boxes[0].tolist() == [4 - 8, 4 - 16, 4 + 8, 4 + 16]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_decoding_undoes_encoding(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(2, 50, 2, generator=generator) * 800 - 200
    sides = 0.5 * 1000 ** torch.rand(2, 50, 2, generator=generator)
    boxes, anchors = torch.cat((low, low + sides), -1)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=1e-4, atol=2e-2)


def test_the_code_is_shift_and_log_size_in_units_of_the_anchor() -> None:
    anchor = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    box = torch.tensor([[5.0, 10.0, 25.0, 50.0]])  # middle (15, 30): 10 below, 20 to the right; twice as large
    assert encode(box, anchor)[0].tolist() == pytest.approx([1.0, 1.0, 0.6931472, 0.6931472])


def test_outputs_are_flattened_in_the_order_of_the_anchors() -> None:
    """The value says where it comes from: level, y, x, anchor, place."""
    sides = (4, 2)
    levels = [torch.zeros(2, 3 * 5, side, side) for side in sides]
    for number, (level, side) in enumerate(zip(levels, sides, strict=True)):
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        for anchor in range(3):
            for place in range(5):
                level[:, anchor * 5 + place] = 1e4 * number + 1e3 * y + 100 * x + 10 * anchor + place
    for given_levels in (levels, [each.contiguous(memory_format=torch.channels_last) for each in levels]):
        flat = flatten(given_levels, 5)
        assert flat.shape == (2, (16 + 4) * 3, 5)
        assert flat[1].flatten().tolist() == sorted(flat[1].flatten().tolist())
