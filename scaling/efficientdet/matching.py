"""Which object each anchor should find."""

from typing import NamedTuple

import torch
from torch import Tensor

from scaling.efficientdet.boxes import areas, intersections, ious

BACKGROUND = -1
IGNORED = -2
THRESHOLD = 0.5  # effdet, google/automl


class Objects(NamedTuple):
    """What is on one image.

    Attributes:
        boxes: (n, 4) float32 as (y1, x1, y2, x2) in pixels.
        labels: (n,) int64.
        ignored: (n,) bool: crowds and difficult objects; nothing is learnt there, and nothing counted.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor

    @classmethod
    def of(cls, boxes: Tensor, labels: Tensor, ignored: Tensor | None = None) -> "Objects":
        """All of them count where `ignored` is not given."""
        return cls(boxes, labels, torch.zeros_like(labels, dtype=torch.bool) if ignored is None else ignored)


def assign(objects: Objects, anchors: Tensor, *, threshold: float = THRESHOLD) -> Tensor:
    """(N,) int64: the index of the object that each anchor should find, BACKGROUND or IGNORED.

    An anchor finds the object that it overlaps most, from an intersection over union of `threshold` on. Each object
    also gets the anchor that overlaps it most, whatever the overlap; of two with the same one, the better overlap. An
    anchor that finds none is ignored where a share of `threshold` of it lies in an ignored box.
    """
    found = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    if bool(objects.ignored.any()):
        shares = intersections(objects.boxes[objects.ignored], anchors).div_(areas(anchors))
        found[shares.amax(0) >= threshold] = IGNORED
    counted = (~objects.ignored).nonzero().flatten()
    if len(counted):
        overlaps = ious(objects.boxes[counted], anchors)
        near = (overlaps.amax(0) >= threshold).nonzero().flatten()
        found[near] = counted[overlaps[:, near].max(0).indices]
        _force_best(found, overlaps, counted)
    return found


def _force_best(found: Tensor, overlaps: Tensor, counted: Tensor) -> None:
    """Give each object its best anchor; overlaps (n, N)."""
    best, where = overlaps.max(1)
    order = best.argsort(stable=True, descending=True)
    owner: dict[int, int] = {}
    rows = zip(where[order].tolist(), counted[order].tolist(), best[order].tolist(), strict=True)
    for anchor, index, overlap in rows:
        if overlap > 0:
            owner.setdefault(anchor, index)
    found[list(owner)] = torch.tensor(list(owner.values()), dtype=found.dtype, device=found.device)
