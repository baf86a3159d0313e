"""Scenes of digits: the same always, at any resolution, with boxes around the whole ink of every digit."""

import numpy as np
import pytest

from scaling.efficientdet.detection_data import load
from scaling.efficientdet.readers.scenes import LARGEST_COVER, Scenes
from searchspace.errors import InvalidArgument, InvalidData


def scenes(count: int = 12, *, resolution: int = 128, seed: int = 0, split: str = "train") -> Scenes:
    return Scenes(split, count=count, resolution=resolution, seed=seed)  # type: ignore[arg-type]


def test_a_scene_depends_on_seed_split_and_number_alone() -> None:
    one, again, longer = scenes()[3], scenes()[3], scenes(5000)[3]
    for other in (again, longer):
        np.testing.assert_array_equal(one.pixels(), other.pixels())
        np.testing.assert_array_equal(one.boxes, other.boxes)
    for other in (scenes(seed=1)[3], scenes(split="test")[3], scenes()[4]):
        assert not np.array_equal(one.pixels(), other.pixels())


def test_a_scene_is_drawn_once_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaling.efficientdet.readers.scenes._KEPT_BYTES", 128 * 128 * 3)
    some, first = scenes(), scenes()[0].pixels()
    for at in (0, 1):
        some[at].pixels()
    assert some[0].pixels() is some[0].pixels()
    assert some[1].pixels() is not some[1].pixels()
    np.testing.assert_array_equal(some[0].pixels(), first)
    assert some[0].id == scenes()[0].id


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_boxes_are_around_ink_and_inside_the_image(resolution: int) -> None:
    for example in scenes(4, resolution=resolution):
        image = example.pixels()
        assert image.shape == (resolution, resolution, 3) == (*example.size, 3)
        assert example.boxes.min() >= 0
        assert example.boxes.max() <= resolution
        for y1, x1, y2, x2 in example.boxes.astype(int):
            # Ink is brighter than the canvas: each edge of a box touches some.
            level = np.median(image.max(2)) + 40
            edges = (
                image[y1 : y1 + 2, x1:x2],
                image[y2 - 2 : y2, x1:x2],
                image[y1:y2, x1 : x1 + 2],
                image[y1:y2, x2 - 2 : x2],
            )
            assert all(edge.max() > level for edge in edges)


def test_a_scene_at_another_resolution_shows_the_same_digits_at_the_same_places() -> None:
    for small, large in zip(scenes(6, resolution=160), scenes(6, resolution=320), strict=True):
        assert small.labels.tolist() == large.labels.tolist()
        np.testing.assert_allclose(2 * small.boxes, large.boxes, atol=6)


def test_scenes_have_all_classes_many_sizes_and_some_overlap() -> None:
    examples = scenes(100, resolution=256)[:]
    labels = np.concatenate([example.labels for example in examples])
    boxes = np.concatenate([example.boxes for example in examples])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert set(labels) == set(range(10))
    assert np.bincount(labels).min() > len(labels) / 20
    assert sides.min() < 32
    assert sides.max() > 96
    shares = [share for example in examples for share in overlaps(example.boxes)]
    assert max(shares) > 0
    assert np.quantile(shares, 0.99) <= 2 * LARGEST_COVER
    assert 2 <= len(labels) / len(examples) <= 9


def overlaps(boxes: np.ndarray) -> list[float]:
    """Of each pair of boxes the share of the smaller one that both have."""
    sides = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    shares = np.clip(sides, 0, None).prod(2) / np.minimum(areas[:, None], areas)
    return [float(shares[i, j]) for i in range(len(boxes)) for j in range(i)]


def test_load_without_a_source_is_the_embedded_task() -> None:
    data = load(None, seed=3, resolution=128)
    assert (data.name, data.classes, data.mirrors) == ("digits", tuple("0123456789"), False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [2000, 500, 500]
    assert data.fingerprint == load("digits", seed=3, resolution=128).fingerprint
    assert len({load("digits", seed=s, resolution=r).fingerprint for s in (0, 1) for r in (128, 256)}) == 4
    few = load("digits:40")
    assert [len(part) for part in (few.train, few.validation, few.test)] == [40, 10, 10]
    assert few.train[-1].id == few.train[39].id
    with pytest.raises(IndexError):
        few.train[40]


@pytest.mark.parametrize("text", ["digits:", "digits:3", "digits:-20", "digits:2.5", "digits:x", "digits:9999999999"])
def test_a_wrong_number_of_scenes_is_told(text: str) -> None:
    with pytest.raises(InvalidData, match="digits:N draws N training scenes"):
        load(text)


def test_wrong_numbers_are_told() -> None:
    with pytest.raises(InvalidArgument, match="64 to 1024 px, got 32"):
        load(None, resolution=32)
    with pytest.raises(InvalidArgument, match="seed must be"):
        load(None, seed=-1)
