"""The embedded task: reproducible, balanced, without leaks between splits, and readable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data import digits
from search.data.source import Part
from searchspace.errors import InvalidArgument


@settings(max_examples=6)
@given(count=st.integers(1, 130), seed=st.integers(0, 2**40), split=st.sampled_from(["train", "validation", "test"]))
def test_the_first_images_are_the_same_whatever_the_count(count: int, seed: int, split: Part) -> None:
    pixels, labels = digits.generate(split=split, count=130, resolution=20, seed=seed)
    fewer, fewer_labels = digits.generate(split=split, count=count, resolution=20, seed=seed)
    np.testing.assert_array_equal(fewer, pixels[:count])
    np.testing.assert_array_equal(fewer_labels, labels[:count])


@pytest.mark.parametrize("resolution", [16, 33, 48, 150])
def test_images_are_uint8_of_the_resolution_asked_for(resolution: int) -> None:
    pixels, labels = digits.generate(split="train", count=12, resolution=resolution, seed=3)
    assert pixels.shape == (12, resolution, resolution, 3)
    assert pixels.dtype == np.uint8
    assert labels.shape == (12,)
    assert labels.dtype == np.int64


def test_every_ten_images_hold_each_class_once() -> None:
    _, labels = digits.generate(split="validation", count=240, resolution=16, seed=1)
    assert (np.sort(labels.reshape(-1, 10), axis=1) == np.arange(10)).all()


def test_each_split_draws_on_its_own_digits_and_all_1797_are_used() -> None:
    rows = [row for by_class in digits.source_digits().values() for part in by_class for row in part]
    assert sorted(rows) == list(range(1797))


def test_seeds_and_splits_give_other_images() -> None:
    drawn = [
        digits.generate(split=split, count=10, resolution=24, seed=seed)[0].tobytes()
        for split in ("train", "validation", "test")
        for seed in (0, 1)
    ]
    assert len(set(drawn)) == 6


def test_images_differ_from_each_other() -> None:
    pixels, _ = digits.generate(split="train", count=200, resolution=16, seed=0)
    assert len({image.tobytes() for image in pixels}) == 200


def test_the_label_can_be_read_from_another_splits_images_and_is_not_easy() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    def features(split: Part, count: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = digits.generate(split=split, count=count, resolution=24, seed=0)
        return pixels.mean(axis=3).reshape(count, 12, 2, 12, 2).mean(axis=(2, 4)).reshape(count, -1), labels

    model = KNeighborsClassifier(5).fit(*features("train", 1500))
    accuracy = model.score(*features("validation", 300))
    assert 0.25 < accuracy < 0.9


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"count": 0}, "count"), ({"resolution": 8}, "resolution"), ({"seed": -1}, "seed"), ({"split": "tset"}, "split")],
)
def test_a_wrong_argument_is_named(wrong: dict[str, object], named: str) -> None:
    arguments: dict[str, object] = {"split": "train", "count": 1, "resolution": 16, "seed": 0, **wrong}
    with pytest.raises(InvalidArgument, match=named):
        digits.generate(**arguments)  # type: ignore[arg-type]
