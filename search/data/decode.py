"""From a file's bytes to a square uint8 image, and many of them in parallel.

Shorter side to the resolution, then the centre: the field's standard for evaluation (ResNet, EfficientNet), which
keeps the aspect ratio. Both are one bicubic, antialiased resampling of the largest centred square.
"""

import hashlib
import io
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.cores import available_cores
from search.data.cache import PixelFile
from search.data.source import Content, one_line

if TYPE_CHECKING:
    from PIL import Image

# Named, because some of Pillow's other readers start programs (EPS) or take almost anything (TGA).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112  # EXIF
_BATCH_IMAGES = 64
_BATCH_BYTES = 16 * 2**20
_MAX_WORKERS = 16


def decode_square(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """The image's largest centred square as (resolution, resolution, 3) RGB, upright by its EXIF orientation.

    Of several frames the first is taken. Transparency lies on white. 16 bits become 8. Raises whatever Pillow raises
    on a corrupt file, and its DecompressionBombError above 179 million pixels.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        if image.format == "JPEG":
            # Decode at 1/2, 1/4 or 1/8 where that is still twice the size wanted.
            image.draft(None, (2 * resolution, 2 * resolution))
        image.load()
        turn = _TURNS.get(_orientation(image))
        rgb = _rgb(image)
    width, height = rgb.size
    side = min(width, height)
    if (width, height) != (resolution, resolution):
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        rgb = rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    if turn is not None:
        rgb = rgb.transpose(Image.Transpose[turn])
    return np.asarray(rgb)


def decode_all(
    contents: Iterable[Content],
    rows: Mapping[str, int],
    resolution: int,
    pixels: PixelFile,
    *,
    stop_above: int,
    progress: Callable[[int], None],
) -> tuple[dict[str, str], dict[str, str]]:
    """Decode every image into its row of `pixels`, on all cores; stops early above `stop_above` corrupt ones.

    Returns, by image name, the digests of good images' content and why the others are corrupt.
    """
    digests: dict[str, str] = {}
    corrupt: dict[str, str] = {}
    workers = min(_MAX_WORKERS, available_cores())
    _formats()  # once, before threads could do it at the same time
    from PIL import UnidentifiedImageError

    def decode(batch: Sequence[Content]) -> None:
        for item, data in batch:
            try:
                if isinstance(data, Exception):
                    raise data
                if not data:
                    raise OSError("an empty file")
                square = decode_square(data, resolution)
            except UnidentifiedImageError:
                corrupt[item.name] = "no image of a known format"
            except Exception as error:  # Pillow's readers raise almost any type on a corrupt file
                corrupt[item.name] = one_line(error)
            else:
                pixels.put(rows[item.name], square)
                digests[item.name] = content_digest(data)

    def wait(decoded: Future[None]) -> None:
        decoded.result()
        progress(len(digests) + len(corrupt))

    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, one for each image
        waiting: deque[Future[None]] = deque()
        for batch in _batches(contents):
            waiting.append(pool.submit(decode, batch))
            if len(waiting) > 2 * workers:
                wait(waiting.popleft())
            if len(corrupt) > stop_above:
                break
        while waiting:
            wait(waiting.popleft())
    return digests, corrupt


def shorter_side(data: bytes) -> int | None:
    """An image's pixels along its shorter side, from its header alone; None where the beginning is no image's."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            return min(image.size)
    except Exception:  # Pillow's readers raise almost any type on a corrupt file
        return None


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def content_digest(data: bytes) -> str:
    """What byte-identical images share."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _batches(contents: Iterable[Content]) -> Iterator[list[Content]]:
    batch: list[Content] = []
    size_bytes = 0
    for item, data in contents:
        batch.append((item, data))
        size_bytes += len(data) if isinstance(data, bytes) else 0
        if len(batch) >= _BATCH_IMAGES or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


# By EXIF orientation: what makes the image upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def _orientation(image: "Image.Image") -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # odd metadata makes no image corrupt
        return 1


def _rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: "Image.Image") -> "Image.Image":
    """16-bit grey by its full range; other depths, which have no agreed white, from darkest to brightest."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16") and image.format not in ("PNG", "PPM"):
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
