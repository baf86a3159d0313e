"""What a detector finds on images, and how good that is."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from scaling.efficientdet.batches import evaluation_batches
from scaling.efficientdet.coco_map import CocoMap, check_installed, coco_map
from scaling.efficientdet.examples import Example, Image, Labels
from scaling.efficientdet.feeding import check_channels, fill_of, objects, tensors
from scaling.efficientdet.module import Detector
from scaling.efficientdet.postprocess import Detections, detections
from search.training.evaluate import autocast, device_for
from searchspace.errors import InvalidArgument

BATCH = 8
OnProgress = Callable[[float, str], None]


@torch.inference_mode()
def detect(
    detector: Detector,
    examples: Sequence[Example],
    *,
    score_threshold: float = 0.001,
    max_detections: int = 100,
    device: str | None = None,
    on_progress: OnProgress | None = None,
) -> list[Detections]:
    """What the detector, in eval mode, finds on each image, in the image's own pixels.

    device: where it looks (None: CUDA if there is one); the detector is then where it was before.
    """
    check_channels(detector.spec)
    before = next(detector.parameters()).device
    detector.to(device_for(device)).eval()
    try:
        return _found(detector, examples, score_threshold, max_detections, on_progress)
    finally:
        detector.to(before)


def _found(
    detector: Detector,
    examples: Sequence[Example],
    score_threshold: float,
    max_detections: int,
    on_progress: OnProgress | None,
) -> list[Detections]:
    where, spec, found = next(detector.parameters()).device, detector.spec, list[Detections]()
    for batch in evaluation_batches(examples, resolution=spec.resolution, batch=BATCH, fill=fill_of(spec)):
        images, _ = tensors(batch, spec)
        with autocast(where):
            raw = detector(images.to(where))
        rows = detections(raw, spec, score_threshold=score_threshold, max_detections=max_detections)
        for one, placed in zip(rows, batch.placed, strict=True):
            boxes = torch.from_numpy(placed.placement.back(one.boxes.float().cpu().numpy()))
            found.append(Detections(_inside(boxes, examples[len(found)].size), one.scores.cpu(), one.labels.cpu()))
        if on_progress:
            on_progress(len(found) / len(examples), "looking for objects")
    return found


def evaluate(
    detector: Detector,
    examples: Sequence[Example],
    classes: Sequence[str],
    *,
    device: str | None = None,
    on_progress: OnProgress | None = None,
) -> CocoMap:
    """COCO's average precision on the examples. Raises InvalidArgument without pycocotools or objects."""
    found = detect(detector, examples, device=device, on_progress=on_progress)
    return coco_map(found, [objects(each) for each in examples], classes)


def counts(example: Example) -> bool:
    """Whether it has an object that is found or missed."""
    return bool((~(example.difficult | example.crowd)).any())


def check_measurable(examples: Sequence[Example], what: str) -> None:
    """Raises InvalidArgument where average precision cannot be told of them: no object, or no pycocotools."""
    check_installed()
    if not any(counts(each) for each in examples):
        raise InvalidArgument(
            f"at least one of {what} must have an object that counts, got none in {len(examples)}: add some, or give "
            "the data other splits"
        )


def example_of(image: Image, name: str) -> Example:
    """An image of which nothing is known."""
    return Example(image, np.zeros((0, 4), np.float32), _no_labels(), name)


def _no_labels() -> Labels:
    return np.zeros(0, np.int64)


def _inside(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    return boxes.clamp_(min=0).minimum(torch.tensor([height, width, height, width], dtype=boxes.dtype))
