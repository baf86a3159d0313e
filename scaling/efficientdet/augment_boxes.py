"""Images with boxes as a network's square input: letterboxed, or flipped, scaled, cropped and coloured at random.

Scale jitter and horizontal flip are EfficientDet's (arXiv:1911.09070, section 5.1); an image lies in the upper left
corner, and what it does not cover has the colour `fill`. Boxes move with their objects.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scaling.efficientdet.examples import Boxes, Example, Flags, Image, Labels

if TYPE_CHECKING:
    from PIL import Image as Pillow

Colour = tuple[int, int, int]
MEAN: Colour = (124, 116, 104)  # ImageNet's
LEAST_AREA = 0.2  # of a box, that a crop must leave
LEAST_PX = 1.0  # sides of a box in the network's pixels


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image at random.

    Attributes:
        scale: Range of the longer side in shares of the network's pixels; above 1 the image is cropped.
        flip: Probability of a horizontal flip.
        colour: Brightness, contrast and saturation change by factors of 1 - colour to 1 + colour.
    """

    scale: tuple[float, float] = (0.1, 2.0)
    flip: float = 0.5
    colour: float = 0.3


class Placement(NamedTuple):
    """Where a part of an image lies in the network's input: its upper left `height` x `width` pixels.

    The part begins at (`top`, `left`) of the image, in the image's pixels, and is `part_height` x `part_width`.
    """

    top: float
    left: float
    part_height: float
    part_width: float
    height: int
    width: int
    flipped: bool = False

    def forward(self, boxes: Boxes) -> Boxes:
        """Boxes of the image in the network's pixels, not clipped."""
        moved = (boxes - self._corner) * self._scale
        return _mirrored(moved, self.width) if self.flipped else moved

    def back(self, boxes: Boxes) -> Boxes:
        """Boxes in the network's pixels, such as detections, in the image's."""
        moved = _mirrored(boxes, self.width) if self.flipped else boxes
        found: Boxes = moved / self._scale + self._corner
        return found

    @property
    def _corner(self) -> Boxes:
        return np.array([self.top, self.left] * 2, np.float32)

    @property
    def _scale(self) -> Boxes:
        return np.array([self.height / self.part_height, self.width / self.part_width] * 2, np.float32)


@dataclass(frozen=True, eq=False)
class Placed:
    """An example as the network's input: image (resolution, resolution, 3), boxes in its pixels."""

    image: Image
    boxes: Boxes
    labels: Labels
    difficult: Flags
    crowd: Flags
    placement: Placement
    id: str


def fitting(size: tuple[int, int], resolution: int) -> Placement:
    """The whole image of `size` (height, width) as large as `resolution` pixels allow, its aspect ratio kept."""
    height, width = size
    scale = resolution / max(size)
    return Placement(0.0, 0.0, height, width, max(1, round(height * scale)), max(1, round(width * scale)))


def letterbox(image: Image, resolution: int, *, fill: Colour = MEAN) -> tuple[Image, Placement]:
    """A whole image as the network's input; `Placement.back` brings detections to the image's own pixels."""
    placement = fitting((image.shape[0], image.shape[1]), resolution)
    return place(image, placement, resolution, fill=fill), placement


def letterboxed(example: Example, resolution: int, *, fill: Colour = MEAN) -> Placed:
    """A whole example as the network's input, with all its boxes."""
    placement = fitting(example.size, resolution)
    image = place(example.pixels(resolution), placement, resolution, size=example.size, fill=fill)
    boxes = placement.forward(example.boxes)
    return Placed(image, boxes, example.labels, example.difficult, example.crowd, placement, example.id)


def augmented(
    example: Example, resolution: int, rng: np.random.Generator, how: Augmentation, *, fill: Colour = MEAN
) -> Placed:
    """A random view of an example. Boxes are clipped; one with less than a fifth of its area left is dropped."""
    flipped = bool(rng.random() < how.flip)
    placement = _random_part(example.size, resolution, rng, how)._replace(flipped=flipped)
    longer = max(example.size[0] / placement.part_height * placement.height, resolution)
    pixels = example.pixels(int(max(longer, example.size[1] / placement.part_width * placement.width)))
    image = place(pixels, placement, resolution, size=example.size, fill=fill, colour=_factors(rng, how.colour))
    boxes, keep = _visible(placement.forward(example.boxes), placement)
    flags = (example.labels[keep], example.difficult[keep], example.crowd[keep])
    return Placed(image, boxes[keep], *flags, placement, example.id)


def place(
    image: Image,
    placement: Placement,
    resolution: int,
    *,
    size: tuple[int, int] | None = None,
    fill: Colour = MEAN,
    colour: tuple[float, ...] = (),
) -> Image:
    """An image as `placement` says, bilinear with antialiasing.

    size: the height and width that the placement means, where `image` is a reduced one. colour: factors of brightness,
    contrast and saturation.
    """
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    down, across = (height / size[0], width / size[1]) if size else (1.0, 1.0)
    left, top = placement.left * across, placement.top * down
    right = min(width, left + placement.part_width * across)
    bottom = min(height, top + placement.part_height * down)
    part = Pillow.fromarray(image).resize(
        (placement.width, placement.height),
        Pillow.Resampling.BILINEAR,
        box=(left, top, right, bottom),
        reducing_gap=2.0,
    )
    if placement.flipped:
        part = part.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    canvas = np.empty((resolution, resolution, 3), np.uint8)
    canvas[placement.height :] = fill
    canvas[: placement.height, placement.width :] = fill
    canvas[: placement.height, : placement.width] = np.asarray(_coloured(part, colour))
    return canvas


def _random_part(size: tuple[int, int], resolution: int, rng: np.random.Generator, how: Augmentation) -> Placement:
    """The image scaled at random, and what of it the network's pixels hold at a random place."""
    scale = resolution * rng.uniform(*how.scale) / max(size)
    scaled = [max(1, round(side * scale)) for side in size]
    shown = [min(side, resolution) for side in scaled]
    begin = [int(rng.integers(side - part + 1)) for side, part in zip(scaled, shown, strict=True)]
    down, across = (own / side for own, side in zip(size, scaled, strict=True))
    return Placement(begin[0] * down, begin[1] * across, shown[0] * down, shown[1] * across, shown[0], shown[1])


def _visible(boxes: Boxes, placement: Placement) -> tuple[Boxes, Flags]:
    """Boxes clipped to what is shown, and which of them still show their object."""
    clipped = np.clip(boxes, 0, np.array([placement.height, placement.width] * 2, np.float32))
    sides, before = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
    keep: Flags = (sides.prod(1) >= LEAST_AREA * before.prod(1)) & (sides >= LEAST_PX).all(1)
    return clipped, keep


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    found: Boxes = boxes * np.array([1, -1, 1, -1], np.float32) + np.array([0, width, 0, width], np.float32)
    return found[:, [0, 3, 2, 1]]


def _factors(rng: np.random.Generator, strength: float) -> tuple[float, ...]:
    return tuple(rng.uniform(1 - strength, 1 + strength, 3)) if strength else ()


def _coloured(part: "Pillow.Image", factors: tuple[float, ...]) -> "Pillow.Image":
    from PIL import ImageEnhance

    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for change, factor in zip(changes, factors, strict=False):
        part = change(part).enhance(factor)
    return part
