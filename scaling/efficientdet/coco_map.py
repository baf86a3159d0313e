"""Mean average precision as COCO counts it, by pycocotools (`pip install "phinas[detection]"`)."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from scaling.efficientdet.matching import Objects
from scaling.efficientdet.postprocess import Detections
from searchspace.errors import InvalidArgument


class CocoMap(NamedTuple):
    """Average precision from 0 to 1, the mean over classes; None where there are no such objects.

    Attributes:
        ap: The mean over thresholds .50, .55, ... .95 of the intersection over union.
        ap50: At .50 alone.
        ap75: At .75 alone.
        ap_small: `ap` of objects below 32 x 32 pixels of their boxes' image.
        ap_medium: Up to 96 x 96.
        ap_large: Above.
        ap50_of: `ap50` of each class.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ap50_of: dict[str, float | None]


def coco_map(
    found: Sequence[Detections], truth: Sequence[Objects], classes: Sequence[str], *, max_detections: int = 100
) -> CocoMap:
    """Of the detections and the objects on each image, both in the pixels of one image.

    What is found on an ignored object counts neither as right nor as wrong (COCO's crowds).

    Args:
        found: One for each image.
        truth: One for each image, in the same order.
        classes: Names by label.
        max_detections: So many with the highest scores count of each image and class.

    Raises InvalidArgument without pycocotools, for lists of different lengths, and where no object counts.
    """
    if len(found) != len(truth):
        raise InvalidArgument(f"there must be detections for each image, got {len(found)} for {len(truth)} images")
    if not any(bool((~each.ignored).any()) for each in truth):
        raise InvalidArgument(
            f"mAP needs objects: none of the {len(truth)} images has one that counts; give other images"
        )
    precision = _precision(found, truth, len(classes), max_detections)
    return CocoMap(
        ap=_mean(precision[..., 0]) or 0.0,
        ap50=_mean(precision[0, ..., 0]) or 0.0,
        ap75=_mean(precision[5, ..., 0]) or 0.0,
        ap_small=_mean(precision[..., 1]),
        ap_medium=_mean(precision[..., 2]),
        ap_large=_mean(precision[..., 3]),
        ap50_of={name: _mean(precision[0, :, place, 0]) for place, name in enumerate(classes)},
    )


def check_installed() -> None:
    """Raises InvalidArgument without pycocotools."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError:
        raise InvalidArgument(
            'mAP needs the optional package pycocotools, which is not installed: pip install "phinas[detection]" (in '
            'a clone of the project: pip install -e ".[detection]")'
        ) from None


def _mean(precision: Any) -> float | None:
    """Of what is not -1, which stands where there are no objects."""
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else None


def _precision(found: Sequence[Detections], truth: Sequence[Objects], classes: int, most: int) -> Any:
    """An array (10 thresholds, 101 recalls, classes, areas: all, small, medium, large)."""
    check_installed()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [
        [_rows(each.boxes, each.labels, iscrowd=each.ignored.int().tolist()) for each in truth],
        [_rows(each.boxes, each.labels, score=each.scores.tolist(), iscrowd=[0] * len(each.labels)) for each in found],
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        sets = []
        for images in rows:
            one = COCO()
            one.dataset = {
                "images": [{"id": image} for image in range(len(images))],
                "categories": [{"id": label} for label in range(classes)],
                # A match is kept by the object's id, and 0 means none.
                "annotations": [
                    row | {"image_id": image, "id": 1 + image + number * len(images)}
                    for image, own in enumerate(images)
                    for number, row in enumerate(own)
                ],
            }
            one.createIndex()
            sets.append(one)
        judge = COCOeval(*sets, iouType="bbox")
        judge.params.maxDets = [most]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][..., 0]


def _rows(boxes: Any, labels: Any, **more: list[Any]) -> list[dict[str, Any]]:
    """One annotation for each box."""
    found = []
    values = zip(boxes.tolist(), labels.tolist(), *more.values(), strict=True)
    for (top, left, bottom, right), label, *others in values:
        sides = right - left, bottom - top
        own = {"category_id": label, "bbox": [left, top, *sides], "area": sides[0] * sides[1]}
        found.append(own | dict(zip(more, others, strict=True)))
    return found
