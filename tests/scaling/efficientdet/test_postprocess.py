"""Detections are the best boxes of each class, as a plain loop says, whatever is skipped on the way to them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaling.efficientdet.anchors import anchor_boxes, decode, flatten
from scaling.efficientdet.boxes import ious
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.postprocess import detections, nms
from scaling.efficientdet.presets import get
from scaling.efficientdet.spec import Anchors
from searchspace.errors import InvalidArgument

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(get("d0", classes=3).with_resolution(128), anchors=Anchors(octaves=1))
Outputs = tuple[list[Tensor], list[Tensor]]


def random_outputs(seed: int, *, batch: int = 2, mean: float = 0.0, noise: float = 0.3) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def levels(last: int, factor: float, shift: float) -> list[Tensor]:
        sides = [128 // 2**level for level in LEVELS]
        return [shift + factor * torch.randn(batch, 3 * last, side, side, generator=generator) for side in sides]

    return levels(SPEC.classes, 2.0, mean), levels(4, noise, 0.0)


def plain_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> list[int]:
    overlaps, kept = ious(boxes, boxes).tolist(), list[int]()
    for place in sorted(range(len(boxes)), key=lambda each: -float(scores[each])):
        if all(overlaps[place][other] <= threshold or labels[place] != labels[other] for other in kept):
            kept.append(place)
    return kept


@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from((5.0, 60.0)), threshold=st.sampled_from((0.3, 0.7)))
@settings(max_examples=8)
def test_nms_is_that_of_a_plain_loop(seed: int, spread: float, threshold: float) -> None:
    """More boxes than are compared at a time; equal scores too."""
    generator = torch.Generator().manual_seed(seed)
    low = spread * torch.rand(300, 2, generator=generator)
    boxes = torch.cat((low, low + 20 + 10 * torch.rand(300, 2, generator=generator)), 1)
    scores = torch.randint(0, 100, (300,), generator=generator) / 100
    labels = torch.randint(0, 2, (300,), generator=generator)
    expected = plain_nms(boxes, scores, labels, threshold)
    assert nms(boxes, scores, labels, threshold=threshold, most=300).tolist() == expected
    assert nms(boxes, scores, labels, threshold=threshold, most=3).tolist() == expected[:3]


def test_nms_is_right_where_each_box_overlaps_the_next_alone() -> None:
    """The longest chain: every second box remains."""
    top = torch.arange(260.0)
    boxes = torch.stack((top, torch.zeros(260), top + 3, torch.ones(260)), 1)  # neighbours: 2 of 4
    kept = nms(boxes, torch.linspace(1, 0.1, 260), torch.zeros(260), threshold=0.4, most=260)
    assert kept.tolist() == list(range(0, 260, 2))


def test_nms_of_nothing_is_nothing() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0)).tolist() == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("most", "least"), [(100, 0.5), (10, 0.3), (1000, 0.9)])
def test_detections_are_those_of_a_plain_way(seed: int, most: int, least: float) -> None:
    """All boxes decoded and clipped, all pairs above the score sorted, then non-maximum suppression."""
    given_outputs = random_outputs(seed, batch=1, mean=-3.0)
    (found,) = detections(given_outputs, SPEC, max_detections=most, score_threshold=least)
    boxes = decode(flatten(given_outputs[1], 4)[0], anchor_boxes(SPEC)).clamp(0, 128)
    scores = flatten(given_outputs[0], SPEC.classes)[0].sigmoid()
    anchor, label = (scores >= least).nonzero(as_tuple=True)
    inside = ((boxes[anchor, 2:] - boxes[anchor, :2]) > 0).all(1)
    anchor, label = anchor[inside], label[inside]
    kept = plain_nms(boxes[anchor], scores[anchor, label], label, 0.5)[:most]
    torch.testing.assert_close(found.boxes, boxes[anchor][kept])
    torch.testing.assert_close(found.scores, scores[anchor, label][kept])
    assert found.labels.tolist() == label[kept].tolist()
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 128


def test_fewer_candidates_are_the_best_pairs_of_anchor_and_class() -> None:
    """Without suppression what is found is the candidates; one anchor may stand for several classes."""
    given_outputs = random_outputs(7, batch=1)
    (found,) = detections(given_outputs, SPEC, max_detections=40, iou_threshold=1.0, candidates=40)
    expected = flatten(given_outputs[0], SPEC.classes).flatten().topk(40).values.sigmoid()
    torch.testing.assert_close(found.scores, expected)


def test_where_all_anchors_are_candidates_their_second_classes_are_too() -> None:
    class_outputs, box_outputs = random_outputs(1, batch=1)
    wide = [each.unflatten(1, (3, 3)).clone() for each in class_outputs]
    for each in wide:
        each[:, :, 0], each[:, :, 1:] = 4.0, each[:, :, 1:].clamp(-3, 3)
    (found,) = detections(
        ([each.flatten(1, 2) for each in wide], box_outputs), SPEC, max_detections=5000, iou_threshold=1.0
    )
    inside = (found.labels == 0).sum()
    assert inside > 900
    assert len(found.labels) == 3 * inside


def test_fewer_candidates_change_nothing_where_enough_boxes_remain() -> None:
    given_outputs = random_outputs(5, batch=1)
    many, few = (detections(given_outputs, SPEC, max_detections=30, candidates=c)[0] for c in (5000, 200))
    assert len(few.boxes) == 30
    for one, other in zip(many, few, strict=True):
        torch.testing.assert_close(one, other)


def test_an_image_has_the_same_detections_alone_and_in_a_batch_in_any_memory_format() -> None:
    class_outputs, box_outputs = random_outputs(3, batch=3)
    together = detections((class_outputs, box_outputs), SPEC)
    last = torch.channels_last
    for image in range(3):
        (alone,) = detections(
            tuple(  # type: ignore[arg-type]
                [each[image : image + 1].contiguous(memory_format=last) for each in part]
                for part in (class_outputs, box_outputs)
            ),
            SPEC,
        )
        for one, other in zip(alone, together[image], strict=True):
            torch.testing.assert_close(one, other)


def test_nothing_is_found_below_the_least_score() -> None:
    given_outputs = random_outputs(0, mean=-20.0)
    for each in detections(given_outputs, SPEC, score_threshold=0.05):
        assert [tuple(part.shape) for part in each] == [(0, 4), (0,), (0,)]


def test_a_network_that_gives_no_numbers_finds_nothing() -> None:
    class_outputs, box_outputs = random_outputs(0, batch=1)
    wild = [torch.full_like(each, float("nan")) for each in class_outputs]
    assert len(detections((wild, box_outputs), SPEC)[0].boxes) == 0
    huge = [1e30 * each for each in box_outputs]
    assert torch.isfinite(detections((class_outputs, huge), SPEC)[0].boxes).all()


def test_outputs_of_another_resolution_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"of 4092 anchors, those of 256 px, got 1023.*with_resolution"):
        detections(random_outputs(0), SPEC.with_resolution(256))


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.0}, {"iou_threshold": -0.1}, {"max_detections": 0}, {"candidates": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=r"detections need.*got"):
        detections(random_outputs(0), SPEC, **wrong)  # type: ignore[arg-type]
