"""Example: one image with the boxes of its objects. Data for a detector, split into train, validation and test.

Boxes are (y1, x1, y2, x2) in pixels: the edges of an object, where the first pixel reaches from 0 to 1. No torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(height, width, 3), RGB."""
Boxes = NDArray[np.float32]
"""(n, 4)."""
Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]
Reader = Callable[[int], Image]
"""Called with pixels; gives the image, perhaps reduced, its longer side at least so many."""


def _no_flags() -> Flags:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class Example:
    """An image and its objects; an image without objects is an example of background.

    Attributes:
        image: The image itself, or what reads it.
        boxes: One for each object, inside the image.
        labels: One for each object; label i means `classes[i]`.
        id: The image's path in its source; no other example has it.
        size: Height and width in pixels. Boxes are in these pixels, also where the image is read reduced.
        difficult: Objects that count neither as found nor as missed (Pascal VOC). Default: none.
        crowd: Boxes around many objects, which no single prediction can match (COCO). Default: none.
    """

    image: Image | Reader = field(repr=False)
    boxes: Boxes
    labels: Labels
    id: str
    size: tuple[int, int] = (0, 0)
    difficult: Flags = field(default_factory=_no_flags, repr=False)
    crowd: Flags = field(default_factory=_no_flags, repr=False)

    def __post_init__(self) -> None:
        count = len(self.labels)
        if isinstance(self.image, np.ndarray):
            object.__setattr__(self, "size", self.image.shape[:2])
        for name in ("difficult", "crowd"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(count, np.bool_))
        if self.boxes.shape != (count, 4) or len(self.difficult) != count or len(self.crowd) != count:
            raise ValueError(f"{self.id}: {count} labels with boxes {self.boxes.shape}")

    def pixels(self, longer: int = 0) -> Image:
        """The image; where `longer` is given perhaps reduced, its longer side at least `longer`. Raises InvalidData."""
        if isinstance(self.image, np.ndarray):
            return self.image
        return self.image(longer or max(self.size))


@dataclass(frozen=True, eq=False)
class DetectionData:
    """Examples of one task. The test examples are for the detector that was chosen, once.

    Attributes:
        name: Short, for people.
        classes: Their names, by label.
        train: Examples to learn from; every beginning holds the classes in about their proportions.
        validation: Examples to choose by.
        test: Examples for the last figure.
        notes: What a person should know: how it was split, what was left out.
        fingerprint: Of images, boxes, classes and splits, not of their place on disk.
        mirrors: Whether mirrored images are as good (not of digits).
        sizes: Training images are shown so much smaller and larger; narrow where they show all sizes by themselves.
        contents: The digest of each image's file by its id; empty for drawn images.
    """

    name: str
    classes: tuple[str, ...]
    train: Sequence[Example] = field(repr=False)
    validation: Sequence[Example] = field(repr=False)
    test: Sequence[Example] = field(repr=False)
    notes: tuple[str, ...]
    fingerprint: str
    mirrors: bool = True
    sizes: tuple[float, float] = (0.5, 1.5)
    contents: Mapping[str, str] = field(default_factory=dict, repr=False)
