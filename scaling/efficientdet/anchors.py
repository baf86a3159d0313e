"""Anchors: the boxes that a detector's outputs are relative to, in the order of these outputs.

Layout and coding are those of the published weights (google/automl, effdet): a pixel's anchors stand in its middle,
sizes in the outer and ratios in the inner order; an output (y, x, height, width) is a shift in units of the anchor's
height and width and the logarithm of the ratio of sizes, without further scaling.
"""

import torch
from torch import Tensor

from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.spec import DetectorSpec
from searchspace.errors import InvalidArgument

LARGEST_LOG = 16.0  # of a size beside its anchor: e^16 is beyond any image, and finite with its gradient


def anchor_boxes(spec: DetectorSpec) -> Tensor:
    """(N, 4) float32 boxes (y1, x1, y2, x2) in pixels, level by level, row by row, pixel by pixel.

    They reach beyond the image at its edges.
    """
    return torch.cat([_level(spec, level) for level in LEVELS])


def _level(spec: DetectorSpec, level: int) -> Tensor:
    stride, given = 2**level, spec.anchors
    sides = [given.scale * stride * 2 ** (octave / given.octaves) for octave in range(given.octaves)]
    halves = torch.tensor([(side * high / 2, side * wide / 2) for side in sides for wide, high in given.ratios])
    middles = (torch.arange(spec.level_px(level)) + 0.5) * stride
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    centres = torch.stack((y, x), -1).reshape(-1, 1, 2)
    return torch.cat((centres - halves, centres + halves), -1).reshape(-1, 4)


def check_count(count: int, spec: DetectorSpec) -> None:
    """Raises InvalidArgument for outputs of another number of anchors than the spec's."""
    expected = spec.anchor_count
    if count != expected:
        raise InvalidArgument(
            f"outputs must be of {expected} anchors, those of {spec.resolution} px, got {count}: give "
            "spec.with_resolution(...) of the images"
        )


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 4) with an area -> what the network should give for them at these anchors (..., 4)."""
    centres, sizes = _centres_sizes(boxes)
    own_centres, own_sizes = _centres_sizes(anchors)
    return torch.cat(((centres - own_centres) / own_sizes, (sizes / own_sizes).log()), -1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Outputs (..., 4) at these anchors (..., 4) -> boxes (..., 4), not clipped to the image."""
    own_centres, own_sizes = _centres_sizes(anchors)
    centres = own_centres + deltas[..., :2] * own_sizes
    halves = deltas[..., 2:].clamp(max=LARGEST_LOG).exp() * (own_sizes / 2)
    return torch.cat((centres - halves, centres + halves), -1)


def _centres_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) -> (..., 2), (..., 2)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def flatten(outputs: list[Tensor], last: int) -> Tensor:
    """Levels (batch, anchors * last, height, width) -> (batch, N, last) in the order of `anchor_boxes`."""
    return torch.cat([flatten_level(each, last) for each in outputs], 1)


def flatten_level(output: Tensor, last: int) -> Tensor:
    """(batch, anchors * last, height, width) -> (batch, height * width * anchors, last); no copy in channels-last."""
    return output.permute(0, 2, 3, 1).reshape(len(output), -1, last)
