"""Sizes and overlaps of boxes: float tensors (..., 4) as (y1, x1, y2, x2) in pixels."""

import torch
from torch import Tensor

TINY = 1e-9  # square pixels: keeps 0 / 0 out


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) square pixels; 0 where a box ends before it begins."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, 4), (m, 4) -> (n, m) square pixels that a pair shares."""
    top, left, bottom, right = others.T.contiguous()
    rows = boxes[:, None]
    height = torch.minimum(rows[..., 2], bottom).sub_(torch.maximum(rows[..., 0], top)).clamp_(min=0)
    width = torch.minimum(rows[..., 3], right).sub_(torch.maximum(rows[..., 1], left)).clamp_(min=0)
    return height.mul_(width)


def ious(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, 4), (m, 4) -> (n, m) intersection over union; 0 for boxes without an area."""
    shared = intersections(boxes, others)
    union = (areas(boxes)[:, None] + areas(others)).sub_(shared).clamp_(min=TINY)
    return shared.div_(union)


def paired_ious(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 4), (n, 4) -> (n,) intersection over union and (n,) union of each pair, with gradients."""
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (areas(boxes) + areas(others) - shared).clamp(min=TINY)
    return shared / union, union
