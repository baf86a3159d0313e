"""Examples of each class in one picture, a row for each class."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchspace.files import write_atomic
from searchspace.report import shortened

EXAMPLES = 8
EXAMPLE_PX = 96
_ROWS = 60  # of more classes the first and the last are drawn
_GAP_PX = 4
_LABEL_PX = 190
_LABEL_CHARACTERS = 22


class Row(NamedTuple):
    """A class, how many training images it has, and some of them, uint8 (h, w, 3)."""

    label: str
    images: int
    examples: Sequence[NDArray[np.uint8]]


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Write the examples as a PNG. Raises StorageError."""
    from PIL import Image, ImageDraw

    drawn = rows if len(rows) <= _ROWS else [*rows[: _ROWS // 2], *rows[-_ROWS // 2 :]]
    step = EXAMPLE_PX + _GAP_PX
    sheet = Image.new("RGB", (_LABEL_PX + EXAMPLES * step, len(drawn) * step + _GAP_PX), "white")
    pen = ImageDraw.Draw(sheet)
    for at, row in enumerate(drawn):
        top = _GAP_PX + at * step
        pen.text((_GAP_PX, top + EXAMPLE_PX // 3), shortened(row.label, _LABEL_CHARACTERS), fill="black")
        pen.text((_GAP_PX, top + EXAMPLE_PX // 2), f"{row.images} to train", fill="dimgrey")
        for column, pixels in enumerate(row.examples):
            image = Image.fromarray(np.ascontiguousarray(pixels)).resize((EXAMPLE_PX, EXAMPLE_PX))
            sheet.paste(image, (_LABEL_PX + column * step, top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())
