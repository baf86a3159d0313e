"""mAP is COCO's: 1 for the objects themselves, and worked examples."""

import builtins
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.efficientdet.coco_map import coco_map
from scaling.efficientdet.matching import Objects
from scaling.efficientdet.postprocess import Detections
from searchspace.errors import InvalidArgument

NAMES = ("cat", "dog", "hen")
BOX = [10.0, 10, 50, 50]


def objects(boxes: list[list[float]], labels: list[int], ignored: list[bool] | None = None) -> Objects:
    flags = None if ignored is None else torch.tensor(ignored)
    return Objects.of(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), flags)


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


NOTHING = found([], [], [])


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4)
def test_the_objects_themselves_have_an_average_precision_of_1(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = []
    for _ in range(4):
        count = int(torch.randint(0, 6, (1,), generator=generator))
        low = 200 * torch.rand(count, 2, generator=generator)
        boxes = torch.cat((low, low + 3 + 150 * torch.rand(count, 2, generator=generator)), 1)
        truth.append(Objects.of(boxes, torch.randint(0, 3, (count,), generator=generator)))
    truth.append(objects([BOX], [1]))
    result = coco_map(
        [Detections(each.boxes, torch.ones(len(each.labels)), each.labels) for each in truth], truth, NAMES
    )
    values = [*result[:6], *result.ap50_of.values()]
    assert all(value is None or value == pytest.approx(1) for value in values)
    assert min(result.ap, result.ap50, result.ap75, result.ap50_of["dog"] or 0) == pytest.approx(1)


def test_a_box_counts_at_the_thresholds_that_its_overlap_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    """40 high, 80 wide, found 16 to the right: an overlap of .667, right at .50 to .65, four of ten thresholds."""
    result = coco_map([found([[10, 36, 50, 116]], [0.9], [0])], [objects([[10, 20, 50, 100]], [0])], NAMES)
    assert (result.ap, result.ap50, result.ap75) == pytest.approx((0.4, 1, 0))
    assert (result.ap_small, result.ap_medium, result.ap_large) == (None, pytest.approx(0.4), None)
    assert result.ap50_of == {"cat": pytest.approx(1), "dog": None, "hen": None}
    assert capsys.readouterr().out == ""


def test_a_miss_and_a_wrong_class_cost_precision() -> None:
    """Two cats: one found on the right image, one as a dog; the one hen is found after a false one."""
    truth = [objects([BOX], [0]), objects([BOX], [0]), objects([BOX], [2])]
    given_boxes = [
        found([BOX], [0.9], [0]),
        found([BOX], [0.8], [1]),
        found([[60, 60, 90, 90], BOX], [0.7, 0.6], [2, 2]),
    ]
    result = coco_map(given_boxes, truth, NAMES)
    assert result.ap50_of["cat"] == pytest.approx(51 / 101)  # recalls 0 to .50 of COCO's 101
    assert result.ap50_of["hen"] == pytest.approx(0.5)
    assert result.ap50_of["dog"] is None, "there is none"
    assert result.ap50 == pytest.approx((51 / 101 + 0.5) / 2)


def test_images_without_detections_or_objects_count_as_they_should() -> None:
    truth = [objects([], []), objects([BOX], [0])]
    right = found([BOX], [0.9], [0])
    assert coco_map([NOTHING, right], truth, NAMES).ap == pytest.approx(1)
    assert coco_map([NOTHING, NOTHING], truth, NAMES).ap == 0
    false = found([BOX], [0.95], [0])
    assert coco_map([false, right], truth, NAMES).ap == pytest.approx(0.5)


def test_what_is_found_on_ignored_objects_counts_nothing() -> None:
    truth = [objects([BOX, [60, 60, 100, 100]], [0, 0], [False, True])]
    both = found([[62, 62, 95, 95], [60, 60, 100, 100], BOX], [0.9, 0.8, 0.7], [0, 0, 0])
    assert coco_map([both], truth, NAMES).ap == pytest.approx(1)


def test_lists_of_different_lengths_and_images_without_objects_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="got 1 for 2 images"):
        coco_map([NOTHING], [objects([BOX], [0])] * 2, NAMES)
    with pytest.raises(InvalidArgument, match="none of the 2 images"):
        coco_map([NOTHING] * 2, [objects([], []), objects([BOX], [0], [True])], NAMES)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidArgument, match=r'pip install "phinas\[detection\]"'):
        coco_map([NOTHING], [objects([BOX], [0])], NAMES)
