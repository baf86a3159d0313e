"""The images' own size: the median shorter side, from headers, kept in the cache while the images stay."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from search.data import load, native_resolution
from searchspace.errors import InvalidData


def _photographs(root: Path, sizes: list[tuple[int, int]]) -> Path:
    for index, size in enumerate(sizes):
        folder = root / ("a", "b")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (index, 0, 0)).save(folder / f"{index}.png")
    return root


def test_it_is_the_median_shorter_side(tmp_path: Path) -> None:
    root = _photographs(tmp_path / "x", [(30, 20), (20, 50), (90, 24), (500, 400), (18, 18)])
    assert native_resolution(str(root), cache_dir=tmp_path / "cache") == 20


def test_digits_are_48_px_and_taken_as_they_are() -> None:
    assert native_resolution("digits:40") == native_resolution() == 48


def test_it_is_kept_until_the_images_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = _photographs(tmp_path / "x", [(20, 20)] * 6), tmp_path / "cache"
    assert native_resolution(str(root), cache_dir=cache) == 20
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)
        assert native_resolution(str(root), cache_dir=cache) == 20
    _photographs(root, [(40, 41)] * 8)
    assert native_resolution(str(root), cache_dir=cache) == 40
    for path in (cache / "images").glob("native-*"):
        path.write_text("{")
    assert native_resolution(str(root), cache_dir=cache) == 40


def test_a_few_corrupt_images_do_not_matter_and_nothing_else_is_an_error(
    tmp_path: Path, corpus: Callable[..., Path]
) -> None:
    root = corpus({"a": 5, "b": 5})
    (root / "a" / "0000.png").write_bytes(b"no image")
    assert native_resolution(str(root), cache_dir=tmp_path / "cache") == 10
    for path in root.rglob("*.png"):
        path.write_bytes(path.name.encode())
    with pytest.raises(InvalidData, match="corpus must hold images that can be read, got 10 of 10 that cannot"):
        native_resolution(str(root), cache_dir=tmp_path / "cache")


def test_an_empty_source_is_the_error_that_loading_it_gives(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for ask in (
        lambda: native_resolution(str(tmp_path / "empty"), cache_dir=tmp_path / "cache"),
        lambda: load(str(tmp_path / "empty"), resolution=8, cache_dir=tmp_path / "cache"),
    ):
        with pytest.raises(InvalidData, match="empty"):
            ask()
