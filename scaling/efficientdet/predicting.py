"""Objects on image files, and pictures with their boxes."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scaling.efficientdet.evaluating import detect, example_of
from scaling.efficientdet.examples import Image
from scaling.efficientdet.saved import Saved, load_detector
from search.data.decode import decode_whole
from search.data.image_file import read_image
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#800000", "#808000", "#000075")
Row = tuple[str, float, tuple[float, ...]]


class Found(NamedTuple):
    """Objects on one image, the highest score first.

    Attributes:
        boxes: float32 (n, 4) as (y1, x1, y2, x2) in the image's pixels.
        scores: float32 (n,) from 0 to 1.
        labels: int64 (n,); label i means class i.
    """

    boxes: Any
    scores: Any
    labels: Any

    def rows(self, classes: Sequence[str]) -> list[Row]:
        """(class, score, box) of each."""
        values = zip(self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True)
        return [(classes[label], score, tuple(box)) for label, score, box in values]

    def as_dicts(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """The same as JSON types."""
        return [{"class": name, "score": score, "box": list(box)} for name, score, box in self.rows(classes)]


def predict(
    images: Iterable[str | Path | Image],
    detector: str | Path | Saved,
    *,
    score_threshold: float = 0.3,
    max_detections: int = 100,
) -> list[Found]:
    """Objects on images (files, or arrays uint8 (height, width, 3), RGB), found by a trained detector or its folder.

    Raises PhinasError for files that cannot be read.
    """
    saved = detector if isinstance(detector, Saved) else load_detector(detector)
    found = found_on(saved, images, score_threshold=score_threshold, max_detections=max_detections)
    return [each for _, _, each in found]


def found_on(
    saved: Saved, images: Iterable[str | Path | Image], *, score_threshold: float, max_detections: int
) -> Iterator[tuple[str, Image, Found]]:
    """Name, pixels and objects of each image, one after the other."""
    for number, given in enumerate(images):
        if isinstance(given, str | Path):
            name, pixels = str(given), read_image(Path(given), decode_whole)
        else:
            name, pixels = f"image {number}", _checked(given, number)
        (one,) = detect(
            saved.detector,
            [example_of(pixels, name)],
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        yield name, pixels, Found(*(each.numpy() for each in one))


def _checked(given: object, number: int) -> Image:
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InvalidArgument(
            f"image {number} must be a file or an array uint8 (height, width, 3), RGB, got {pixels.dtype} "
            f"{pixels.shape}: give pixels from 0 to 255"
        )
    return pixels


def draw(image: Image, found: Found, classes: Sequence[str], path: Path) -> Path:
    """The image with its boxes, classes and scores as a .png file. Raises StorageError."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    picture = Pillow.fromarray(image)
    pen, width = ImageDraw.Draw(picture), max(1, round(min(image.shape[:2]) / 200))
    font = ImageFont.load_default(max(10, min(image.shape[:2]) / 30))
    for name, score, (top, left, bottom, right) in reversed(found.rows(classes)):
        colour = COLOURS[classes.index(name) % len(COLOURS)]
        pen.rectangle((left, top, right, bottom), outline=colour, width=width)
        text = f"{name} {score:.0%}"
        _, _, wide, high = pen.textbbox((0, 0), text, font=font)
        corner = (left, max(0, top - high - 2))
        pen.rectangle((*corner, corner[0] + wide + 4, corner[1] + high + 2), fill=colour)
        pen.text((corner[0] + 2, corner[1]), text, fill="white", font=font)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())
    return path
