"""Small corpora of noise images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import Dataset, load
from search.data.source import Source


def _encoded(seed: int, *, side: tuple[int, int] = (12, 10), form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """encoded(seed): the bytes of a small noise image, another for each seed."""
    return _encoded


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """corpus({"cats": 10, "dogs": 12}): a folder of class folders with so many different images."""

    def make(counts: dict[str, int], *, at: str = "corpus") -> Path:
        root = tmp_path / at
        seed = sum(map(ord, at))
        for label, count in counts.items():
            (root / label).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                seed += 1
                (root / label / f"{index:04d}.png").write_bytes(_encoded(seed))
        return root

    return make


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    """load() with a cache of this test's own, at 8 px."""

    def run(
        source: Path | str | Source | None, resolution: int = 8, seed: int = 0, images: int | None = None
    ) -> Dataset:
        source = str(source) if isinstance(source, Path) else source
        return load(source, resolution=resolution, seed=seed, images=images, cache_dir=tmp_path / "cache")

    return run
