"""The loss of a detector: focal loss of the classes, Huber or intersection-over-union loss of the boxes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scaling.efficientdet.anchors import anchor_boxes, check_count, decode, encode, flatten, flatten_level
from scaling.efficientdet.boxes import paired_ious
from scaling.efficientdet.matching import IGNORED, Objects, assign
from scaling.efficientdet.spec import DetectorSpec
from searchspace.errors import InvalidArgument

BOX_WEIGHTS = {"huber": 50.0, "giou": 1.0, "diou": 1.0}  # google/automl: box_loss_weight, iou_loss_weight
CHUNK = 2**16  # logits at a time: they and their intermediate results stay in the cache
SURE = -1e4  # a logit whose focal loss and slope are 0 for any gamma from 0.1 on


class Losses(NamedTuple):
    """Scalars; total = classes + weight * boxes."""

    total: Tensor
    classes: Tensor
    boxes: Tensor


class DetectionLoss(nn.Module):
    """Of raw outputs and the objects on each image (EfficientDet, section 5.1; constants of google/automl).

    Both parts are sums over the batch, divided by the number of anchors that should find an object, plus 1; the Huber
    loss is the mean of the four outputs. Differs from effdet: an output whose target is 0 counts too.

    Args:
        spec: Whose outputs they are.
        alpha: Weight of an anchor's true class; 1 - alpha that of all others.
        gamma: How much less what is right already counts.
        delta: Where the Huber loss becomes linear.
        box_loss: "huber" of the coded boxes, or "giou" (arXiv:1902.09630) or "diou" (arXiv:1911.08287) of the boxes.
        box_weight: 50 for "huber" and 1 for the others where not given.
        label_smoothing: Targets are so much nearer to 0.5 (0.1: 0.05 and 0.95).
    """

    anchors: Tensor

    def __init__(
        self,
        spec: DetectorSpec,
        *,
        alpha: float = 0.25,
        gamma: float = 1.5,
        delta: float = 0.1,
        box_loss: str = "huber",
        box_weight: float | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.spec = spec
        if box_loss not in BOX_WEIGHTS:
            raise InvalidArgument(f"box_loss must be one of {', '.join(BOX_WEIGHTS)}, got {box_loss!r}")
        if not 0 < alpha < 1 or gamma < 0.1 or delta <= 0 or not 0 <= label_smoothing < 1:
            raise InvalidArgument(
                "the loss needs 0 < alpha < 1, gamma >= 0.1, delta > 0 and 0 <= label_smoothing < 1, got "
                f"{alpha}, {gamma}, {delta} and {label_smoothing}"
            )
        self.box_loss, self.delta = box_loss, delta
        self.box_weight = BOX_WEIGHTS[box_loss] if box_weight is None else box_weight
        self._focal = (alpha, gamma, label_smoothing)
        self.register_buffer("anchors", anchor_boxes(spec), persistent=False)

    def forward(self, outputs: tuple[list[Tensor], list[Tensor]], objects: Sequence[Objects]) -> Losses:
        """outputs: (class outputs, box outputs) of the detector; objects: one for each image of the batch.

        Raises InvalidArgument for outputs of other sizes than the spec's, and for another number of images.
        """
        class_outputs, box_outputs = outputs
        levels = [flatten_level(each, self.spec.classes) for each in class_outputs]
        check_count(sum(each.shape[1] for each in levels), self.spec)
        if len(objects) != len(levels[0]):
            raise InvalidArgument(f"objects must be of {len(levels[0])} images, as the outputs, got {len(objects)}")
        with torch.no_grad():
            matches = torch.stack([assign(each, self.anchors) for each in objects])
            image, anchor = (matches >= 0).nonzero().unbind(1)
            starts = torch.tensor([0, *(len(each.labels) for each in objects)], device=matches.device).cumsum(0)
            index = starts[image] + matches[image, anchor]
            targets = matches.clamp(max=-1)
            targets[image, anchor] = torch.cat([each.labels for each in objects])[index]
            boxes = torch.cat([each.boxes for each in objects])[index]
        count = len(image) + 1.0
        deltas = flatten(box_outputs, 4)[image, anchor].float()
        box_part = self._boxes(deltas, boxes, self.anchors[anchor]) / count
        pieces = zip(levels, torch.split(targets, [each.shape[1] for each in levels], 1), strict=True)
        class_part = torch.stack([focal_loss(each, own, *self._focal) for each, own in pieces]).sum() / count
        return Losses(class_part + self.box_weight * box_part, class_part, box_part)

    def _boxes(self, deltas: Tensor, boxes: Tensor, anchors: Tensor) -> Tensor:
        """All (n, 4) -> the sum over n."""
        if self.box_loss == "huber":
            expected = encode(boxes, anchors)
            return nn.functional.huber_loss(deltas, expected, reduction="sum", delta=self.delta) / 4
        return iou_loss(decode(deltas, anchors), boxes, self.box_loss).sum()


def iou_loss(boxes: Tensor, expected: Tensor, kind: str) -> Tensor:
    """(n, 4), (n, 4) -> (n,) from 0 to 2. kind: "giou" or "diou"."""
    iou, union = paired_ious(boxes, expected)
    low, high = torch.minimum(boxes[:, :2], expected[:, :2]), torch.maximum(boxes[:, 2:], expected[:, 2:])
    hull = high - low
    if kind == "giou":
        area = hull.prod(-1).clamp(min=1e-9)
        return 1 - iou + (area - union) / area
    shift = (boxes[:, :2] + boxes[:, 2:] - expected[:, :2] - expected[:, 2:]) / 2
    return 1 - iou + shift.square().sum(-1) / hull.square().sum(-1).clamp(min=1e-9)


def focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float, smoothing: float = 0.0) -> Tensor:
    """Sum over (..., N, classes) logits of the sigmoid focal loss (arXiv:1708.02002).

    targets: (..., N) int64: the true class, BACKGROUND (no class is true) or IGNORED (the anchor counts nothing).
    """
    found: Tensor = _Focal.apply(logits, targets, alpha, gamma, smoothing)  # type: ignore[no-untyped-call]
    return found


class _Focal(torch.autograd.Function):
    """With its gradient in one pass: few logits are targets, so all are taken as none and these are set right.

    With f(x) = sigmoid(x)^gamma * (softplus(x) - smoothing / 2 * x) the loss is (1 - alpha) * f(x) of a class that is
    false and alpha * f(-x) of the true one.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, alpha: float, gamma: float, smoothing: float) -> Tensor:
        """See `focal_loss`."""
        slopes = logits.detach().reshape(-1, logits.shape[-1]).float().clone(memory_format=torch.contiguous_format)
        labels = targets.flatten()
        anchor = (labels >= 0).nonzero().flatten()
        true = anchor, labels[anchor]
        value, slope = _loss_and_slope(-slopes[true], gamma, smoothing)
        total = alpha * value.sum()
        slopes[true] = SURE
        slopes[(labels == IGNORED).nonzero().flatten()] = SURE
        parts = []
        for chunk in torch.split(slopes.view(-1), CHUNK):
            chunk_value, chunk_slope = _loss_and_slope(chunk, gamma, smoothing)
            parts.append(chunk_value.sum())
            torch.mul(chunk_slope, 1 - alpha, out=chunk)
        slopes[true] = -alpha * slope
        ctx.save_for_backward(slopes.view(logits.shape).to(logits.dtype))
        return total + (1 - alpha) * torch.stack(parts).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The slopes, scaled."""
        (slopes,) = ctx.saved_tensors
        return slopes * gradient, None, None, None, None


def _loss_and_slope(x: Tensor, gamma: float, smoothing: float) -> tuple[Tensor, Tensor]:
    """f(x) of `_Focal` and its derivative."""
    soft = nn.functional.softplus(x)
    power = (x - soft).mul_(gamma).exp_()  # sigmoid^gamma
    entropy = soft.sub_(x, alpha=smoothing / 2) if smoothing else soft
    sigmoid = x.sigmoid()
    slope = (1 - sigmoid).mul_(entropy).mul_(gamma).add_(sigmoid).sub_(smoothing / 2).mul_(power)
    return entropy.mul_(power), slope
