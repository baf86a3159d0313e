"""Few small images, drawn once."""

from pathlib import Path

import pytest

from search.data import Dataset, load
from tests.search.netadapt.scripted import tiny, write_network


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of images for all tests of pruning."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def images(cache: Path) -> Dataset:
    """Digits of 16 px."""
    return load("digits:200", resolution=16, cache_dir=cache)


@pytest.fixture
def place(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with studies of its own; decoded images are those of all tests."""
    monkeypatch.setenv("PHINAS_CACHE", str(cache))
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def best(place: Path) -> Path:
    """The files of `tiny()`, as a search writes them: tiny.json and the weights beside it."""
    about = {"trained_at_px": 16, "split_seed": 0, "classes": list("0123456789")}
    write_network(place / "tiny.json", tiny(), about)
    return place / "tiny.json"
