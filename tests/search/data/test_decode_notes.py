"""What an image has and loses when it becomes 8-bit RGB is told; only what is damaged is called corrupt."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from search.data import Dataset

Corpus = Callable[..., Path]
Read = Callable[..., Dataset]


def _frames(mode: str = "RGB") -> list[Image.Image]:
    return [Image.new(mode, (9, 9), colour) for colour in ("red", "blue")]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_images_of_several_frames_are_told(form: str, corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 9, "b": 9})
    first, second = _frames()
    first.save(root / "a" / f"two.{form.lower()}", form, save_all=True, append_images=[second])
    first.save(root / "b" / f"one.{form.lower()}", form)
    assert "of 1 image with several frames or pages the first is used" in read(root).notes


def test_the_preview_in_a_camera_s_jpeg_is_no_frame(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 9, "b": 9})
    first, second = _frames()
    first.save(root / "a" / "two.jpg", "MPO", save_all=True, append_images=[second])
    assert not any("frames" in note for note in read(root).notes)


def test_transparent_images_are_told_and_opaque_ones_with_an_alpha_are_not(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 9, "b": 9})
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(root / "a" / "opaque.png")
    assert not any("transparent" in note for note in read(root).notes)
    Image.new("RGBA", (9, 9), (1, 2, 3, 254)).save(root / "a" / "glass.png")
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([200, 0, 0])
    palette.save(root / "b" / "glass.png", transparency=0)
    assert "2 images with transparent parts: they are laid on white" in read(root).notes


def test_a_huge_image_is_left_out_and_not_called_corrupt(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 100, "b": 100})
    path = root / "a" / "0000.png"
    header = bytearray(path.read_bytes())
    header[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    path.write_bytes(header)
    dataset = read(root)
    assert dataset.skipped == ("a/0000.png",)
    (note,) = (note for note in dataset.notes if "a/0000.png" in note)
    assert note == "1 image left out, not read here: a/0000.png (more than 178,956,970 pixels: make it smaller)"
