"""Boxes stay on their objects, whatever becomes of the image."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaling.efficientdet.augment_boxes import (
    LEAST_AREA,
    Augmentation,
    Placed,
    Placement,
    augmented,
    fitting,
    letterbox,
    letterboxed,
)
from scaling.efficientdet.batches import evaluation_batches, made_ahead, training_batches
from scaling.efficientdet.examples import Boxes, Example
from search.data.decode import decode_whole

SIZES = st.tuples(st.integers(40, 300), st.integers(40, 300))
SEEDS = st.integers(0, 2**32 - 1)


def boxes_within(size: tuple[int, int], count: int, rng: np.random.Generator) -> Boxes:
    corners = rng.uniform(0, 1, (2, count, 2)) * size
    return np.concatenate([corners.min(0), corners.max(0) + 1], axis=1).astype(np.float32)


def one_rectangle(size: tuple[int, int], rng: np.random.Generator) -> Example:
    """A black image with one white rectangle, and its box."""
    height, width = (rng.integers(side // 4, side // 2 + 1) for side in size)
    top, left = rng.integers(0, size[0] - height + 1), rng.integers(0, size[1] - width + 1)
    image = np.zeros((*size, 3), np.uint8)
    image[top : top + height, left : left + width] = 255
    boxes = np.array([[top, left, top + height, left + width]], np.float32)
    return Example(image, boxes, np.array([3]), "rectangle")


def bounds_of(image: np.ndarray) -> np.ndarray:
    """The box of what is brighter than half."""
    bright = image.mean(2) > 127.5
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def still_on_it(placed: Placed) -> bool:
    return bool(np.abs(bounds_of(placed.image) - placed.boxes[0]).max() <= 1)


@given(size=SIZES, resolution=st.sampled_from((64, 128, 320)), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_letterboxed_box_stays_on_its_object_and_comes_back(
    size: tuple[int, int], resolution: int, seed: int
) -> None:
    example = one_rectangle(size, np.random.default_rng(seed))
    placed = letterboxed(example, resolution, fill=(0, 0, 0))
    assert placed.image.shape == (resolution, resolution, 3)
    assert still_on_it(placed)
    np.testing.assert_allclose(placed.placement.back(placed.boxes), example.boxes, atol=1e-3)


@given(size=SIZES, resolution=st.sampled_from((64, 128, 320)), seed=SEEDS, flip=st.sampled_from((0.0, 1.0)))
@settings(max_examples=40, deadline=None)
def test_an_augmented_box_stays_on_its_object(size: tuple[int, int], resolution: int, seed: int, flip: float) -> None:
    rng = np.random.default_rng(seed)
    example = one_rectangle(size, rng)
    how = Augmentation(scale=(0.3, 2.0), flip=flip, colour=0.2)
    placed = augmented(example, resolution, rng, how, fill=(0, 0, 0))
    assert placed.placement.flipped == bool(flip)
    if len(placed.boxes):
        assert still_on_it(placed)
        assert placed.labels.tolist() == [3]
        y1, x1, y2, x2 = placed.boxes[0]
        assert 0 <= y1 < y2 <= resolution
        assert 0 <= x1 < x2 <= resolution
    else:
        forward = placed.placement.forward(example.boxes)[0]
        shown = np.clip(forward, 0, [placed.placement.height, placed.placement.width] * 2)
        assert np.prod(shown[2:] - shown[:2]) < LEAST_AREA * np.prod(forward[2:] - forward[:2])


@given(seed=SEEDS, scale=st.floats(0.1, 0.5), flip=st.sampled_from((0.0, 1.0)))
@settings(max_examples=15, deadline=None)
def test_a_box_stays_on_its_object_in_a_photograph_that_is_read_reduced(seed: int, scale: float, flip: float) -> None:
    rng = np.random.default_rng(seed)
    whole = one_rectangle((601, 803), rng)
    buffer = io.BytesIO()
    Image.fromarray(whole.pixels()).save(buffer, "JPEG", quality=95)
    read: list[int] = []

    def reader(longer: int) -> np.ndarray:
        image = decode_whole(buffer.getvalue(), longer=longer)
        read.append(image.shape[1])
        return image

    example = Example(reader, whole.boxes, whole.labels, "", whole.size)
    placed = augmented(example, 256, rng, Augmentation(scale=(scale, scale), flip=flip, colour=0), fill=(0, 0, 0))
    assert read[0] < 803
    assert still_on_it(placed)


@given(seed=SEEDS, width=st.integers(1, 4000))
@settings(max_examples=50)
def test_flipping_twice_is_the_identity(seed: int, width: int) -> None:
    boxes = np.rint(boxes_within((100, width), 5, np.random.default_rng(seed)))
    flip = Placement(0, 0, 100, width, 100, width, flipped=True)
    assert not np.array_equal(flip.forward(boxes), boxes) or np.allclose(boxes[:, 1] + boxes[:, 3], width)
    np.testing.assert_array_equal(flip.forward(flip.forward(boxes)), boxes)


@given(seed=SEEDS, flipped=st.booleans())
@settings(max_examples=50)
def test_back_is_the_inverse_of_forward(seed: int, flipped: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes = boxes_within((480, 640), 8, rng)
    placement = Placement(*rng.uniform(0, 50, 2), *rng.uniform(100, 500, 2), 256, 192, flipped)
    np.testing.assert_allclose(placement.back(placement.forward(boxes)), boxes, atol=0.01)


def test_a_letterboxed_image_keeps_its_aspect_ratio_in_the_upper_left_corner() -> None:
    image, placement = letterbox(np.full((60, 120, 3), 200, np.uint8), 128, fill=(1, 2, 3))
    assert placement == (0, 0, 60, 120, 64, 128, False)
    assert (image[:64] == 200).all()
    assert (image[64:] == (1, 2, 3)).all()
    assert fitting((120, 60), 128)[4:6] == (128, 64)


def test_a_box_with_less_than_a_fifth_of_its_area_left_is_dropped() -> None:
    # At twice the size, 100 of 200 px are shown: boxes of 40 px that begin 81 px before the edge keep more or less.
    image = np.zeros((100, 100, 3), np.uint8)
    boxes = np.array([[0, left, 20, left + 20] for left in range(-0, 80)], np.float32)
    example = Example(image, boxes, np.arange(80), "row")
    placed = augmented(example, 100, np.random.default_rng(1), Augmentation(scale=(2.0, 2.0), flip=0, colour=0))
    top, left = placed.placement.top, placed.placement.left
    shown = (min(20, 50 + top) - max(0, top)) * np.clip(
        np.minimum(boxes[:, 3], left + 50) - np.maximum(boxes[:, 1], left), 0, None
    )
    assert placed.labels.tolist() == np.flatnonzero(shown >= 0.2 * 400).tolist()
    assert 0 < len(placed.labels) < 80


def test_flags_and_labels_stay_with_their_boxes() -> None:
    rng = np.random.default_rng(0)
    boxes, labels = boxes_within((200, 200), 30, rng), np.arange(30)
    example = Example(
        np.zeros((200, 200, 3), np.uint8), boxes, labels, "", difficult=labels % 2 == 0, crowd=labels % 3 == 0
    )
    placed = augmented(example, 128, rng, Augmentation(scale=(1.5, 2.0)))
    assert 0 < len(placed.labels) < 30
    assert placed.difficult.tolist() == (placed.labels % 2 == 0).tolist()
    assert placed.crowd.tolist() == (placed.labels % 3 == 0).tolist()


def examples_of(count: int) -> list[Example]:
    rng = np.random.default_rng(4)
    return [
        Example(
            rng.integers(0, 256, (30, 40, 3), np.uint8), boxes_within((30, 40), at % 3, rng), np.arange(at % 3), str(at)
        )
        for at in range(count)
    ]


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    examples = examples_of(10)

    def epoch(number: int, skip: int = 0) -> list[tuple[tuple[str, ...], bytes]]:
        made = training_batches(examples, Augmentation(), resolution=32, batch=4, seed=1, epoch=number, skip=skip)
        return [(tuple(each.id for each in batch.placed), batch.images.tobytes()) for batch in made]

    assert epoch(0) == epoch(0) != epoch(1)
    assert epoch(0, skip=1) == epoch(0)[1:]
    assert [len(ids) for ids, _ in epoch(0)] == [4, 4]
    assert len({one for ids, _ in epoch(0) for one in ids}) == 8


def test_few_examples_are_one_small_batch() -> None:
    made = list(training_batches(examples_of(3), Augmentation(), resolution=32, batch=8, seed=0, epoch=0))
    assert [len(batch) for batch in made] == [3]


def test_evaluation_takes_every_example_in_order() -> None:
    made = list(evaluation_batches(examples_of(7), resolution=32, batch=3))
    assert [each.id for batch in made for each in batch.placed] == list("0123456")


def test_an_error_while_a_batch_is_made_ahead_reaches_the_one_who_takes_it() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise KeyError("2")
        return number

    made = made_ahead(make, range(5))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(KeyError):
        next(made)
