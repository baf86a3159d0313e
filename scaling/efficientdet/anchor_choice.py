"""Anchors that meet the boxes of the data: which scale to train with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.efficientdet.anchors import anchor_boxes
from scaling.efficientdet.boxes import ious
from scaling.efficientdet.examples import Example
from scaling.efficientdet.matching import THRESHOLD
from scaling.efficientdet.spec import DetectorSpec

SCALES = (4.0, 3.0, 2.5, 2.0, 1.5, 5.0, 6.0)  # the first of equally good ones is taken
EXAMPLES, BOXES = 200, 800
TIED = 0.005


class AnchorScale(NamedTuple):
    """A scale, and the share of the boxes that an anchor overlaps well with it and with the published one."""

    scale: float
    met: float
    met_as_published: float

    def sentence(self) -> str:
        """For a person."""
        if self.scale == SCALES[0]:
            return f"anchors as published: {self.met:.0%} of the boxes meet one"
        return (
            f"anchors of {self.scale:g} times their level's pixels in place of {SCALES[0]:g}: {self.met:.0%} of the "
            f"boxes meet one, not {self.met_as_published:.0%} (mean of the classes)"
        )


def choose_scale(spec: DetectorSpec, examples: Sequence[Example]) -> AnchorScale:
    """The scale whose anchors meet the most training boxes (IoU of 0.5), the mean of the classes."""
    boxes, labels = _boxes(spec, examples)
    met = {scale: _met(spec, scale, boxes, labels) for scale in SCALES} if len(labels) else {SCALES[0]: 1.0}
    best = next(scale for scale in met if met[scale] >= max(met.values()) - TIED)
    return AnchorScale(best, met[best], met[SCALES[0]])


def with_scale(spec: DetectorSpec, scale: float) -> DetectorSpec:
    """The detector with anchors of another scale."""
    return replace(spec, anchors=replace(spec.anchors, scale=scale))


def _boxes(spec: DetectorSpec, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Some boxes in the network's pixels, and their labels; the smaller classes as often as they come."""
    boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
    for one in examples[:EXAMPLES]:
        kept = ~(one.difficult | one.crowd)
        boxes.append(torch.from_numpy(one.boxes[kept]) * (spec.resolution / max(one.size)))
        labels.append(torch.from_numpy(one.labels[kept]))
    every, classes = torch.cat(boxes), torch.cat(labels)
    share = max(1, BOXES // max(1, len(set(classes.tolist()))))
    chosen = [(classes == label).nonzero().flatten()[:share] for label in range(spec.classes)]
    rows = torch.cat(chosen)
    return every[rows], classes[rows]


def _met(spec: DetectorSpec, scale: float, boxes: Tensor, labels: Tensor) -> float:
    found = ious(boxes, anchor_boxes(with_scale(spec, scale))).amax(1) >= THRESHOLD
    means = [found[labels == label].float().mean() for label in range(spec.classes) if bool((labels == label).any())]
    return float(torch.stack(means).mean())
