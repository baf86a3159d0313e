"""From a detector's raw outputs to boxes: the best candidates are decoded, clipped to the image and thinned out."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.efficientdet.anchors import anchor_boxes, check_count, decode, flatten, flatten_level
from scaling.efficientdet.boxes import areas, ious
from scaling.efficientdet.spec import DetectorSpec
from searchspace.errors import InvalidArgument

CANDIDATES = 5000  # (anchor, class) pairs of an image, as effdet and google/automl
IOU_THRESHOLD = 0.5
BLOCK = 256  # candidates that are compared with each other at a time


class Detections(NamedTuple):
    """What was found on one image, the highest score first.

    Attributes:
        boxes: (n, 4) float32 as (y1, x1, y2, x2) in pixels of the image that the network saw.
        scores: (n,) float32 from 0 to 1.
        labels: (n,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@torch.no_grad()
def detections(
    outputs: tuple[list[Tensor], list[Tensor]],
    spec: DetectorSpec,
    *,
    max_detections: int = 100,
    score_threshold: float = 0.001,
    iou_threshold: float = IOU_THRESHOLD,
    candidates: int = CANDIDATES,
) -> list[Detections]:
    """What each image of the batch shows; boxes without an area inside the image are left out.

    Args:
        outputs: (class outputs, box outputs) as the detector gives them.
        spec: The detector's.
        max_detections: At most so many for an image.
        score_threshold: Least score.
        iou_threshold: Of two boxes of one class that overlap more, the one with the lower score is left out.
        candidates: So many (anchor, class) pairs with the highest scores are looked at.

    Raises InvalidArgument for outputs of other sizes than the spec's and settings out of range.
    """
    if not 0 <= score_threshold < 1 or not 0 <= iou_threshold <= 1 or max_detections < 1 or candidates < 1:
        raise InvalidArgument(
            "detections need 0 <= score_threshold < 1, 0 <= iou_threshold <= 1, max_detections and candidates of at "
            f"least 1, got {score_threshold}, {iou_threshold}, {max_detections} and {candidates}"
        )
    class_outputs, box_outputs = outputs
    levels = [flatten_level(each, spec.classes) for each in class_outputs]
    best = torch.cat([each.amax(2) for each in levels], 1)  # of each anchor
    anchors = _anchors(spec).to(best.device)
    check_count(best.shape[1], spec)
    least = math.log(score_threshold / (1 - score_threshold)) if score_threshold else -math.inf
    deltas = flatten(box_outputs, 4)
    values, places = best.topk(min(candidates, len(anchors)), dim=1)
    found = []
    for image in range(len(best)):
        # A pair among the best `candidates` has an anchor among these, and is no worse than the last of these anchors.
        floor = max(least, float(values[image, -1])) if candidates < len(anchors) else least
        logits, at = _rows(levels, image, places[image][values[image] >= floor])
        row, label = (logits >= floor).nonzero().unbind(1)
        top = logits[row, label].topk(min(candidates, len(row)))
        row, label = row[top.indices], label[top.indices]
        boxes = decode(deltas[image, at[row]].float(), anchors[at[row]]).clamp_(0, spec.resolution)
        inside = areas(boxes) > 0
        boxes, label, scores = boxes[inside], label[inside], top.values[inside].float().sigmoid()
        kept = nms(boxes, scores, label, threshold=iou_threshold, most=max_detections)
        found.append(Detections(boxes[kept], scores[kept], label[kept]))
    return found


@lru_cache(maxsize=8)
def _anchors(spec: DetectorSpec) -> Tensor:
    return anchor_boxes(spec)


def _rows(levels: list[Tensor], image: int, at: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (batch, n of the level, classes), `at` (k,) counted over all levels -> (k, classes) logits.

    And `at` in their order, which is that of the levels.
    """
    places, rows, start = [], [], 0
    for level in levels:
        places.append(at[(at >= start) & (at < start + level.shape[1])])
        rows.append(level[image].index_select(0, places[-1] - start))
        start += level.shape[1]
    return torch.cat(rows), torch.cat(places)


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, *, threshold: float = IOU_THRESHOLD, most: int = 100) -> Tensor:
    """Indices of the boxes that remain by class-wise non-maximum suppression, the highest score first, at most `most`.

    A box remains unless one of its class that remains, with a higher score, overlaps it by more than `threshold`
    (intersection over union); of equal scores the first counts as higher.
    """
    waiting = scores.argsort(descending=True, stable=True)
    kept, count = [waiting[:0]], 0
    while len(waiting) and count < most:
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        own = block[_remaining(_suppresses(boxes, labels, block, block, threshold))]
        kept.append(own)
        count += len(own)
        if len(waiting) and count < most:
            waiting = waiting[~_suppresses(boxes, labels, own, waiting, threshold).any(0)]
    return torch.cat(kept)[:most]


def _suppresses(boxes: Tensor, labels: Tensor, first: Tensor, second: Tensor, threshold: float) -> Tensor:
    """(len(first), len(second)) bool: of one class, and overlapping by more than the threshold."""
    return (ious(boxes[first], boxes[second]) > threshold).logical_and_(labels[first][:, None] == labels[second])


def _remaining(suppresses: Tensor) -> Tensor:
    """(n, n) bool, rows by falling score -> (n,) bool, the greedy choice.

    Each turn takes out what those that remained in the last one suppress. The first k boxes are right after k turns,
    and nothing changes once two turns agree.
    """
    matrix = suppresses.triu(1).float()
    remains = matrix.new_ones(len(matrix))
    while True:
        following = (remains @ matrix == 0).to(matrix.dtype)
        if torch.equal(following, remains):
            return remains > 0
        remains = following
