"""Decoded images are kept: a second load decodes nothing, and what no longer fits is made anew."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from search.data import Dataset, load
from search.data.readers.folders import FolderSource
from search.data.source import Listing
from searchspace.errors import StorageError

Corpus = Callable[..., Path]
Encoded = Callable[..., bytes]
Read = Callable[..., Dataset]


def _cached(tmp_path: Path, suffix: str) -> Path:
    (path,) = (tmp_path / "cache").rglob(f"*{suffix}")
    return path


class _Unread(FolderSource):
    """A folder whose images must not be asked for."""

    def listing(self) -> Listing:
        raise AssertionError("the cache was not used")


def test_a_second_load_decodes_nothing(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 10, "b": 10})
    first = read(root)
    assert read(_Unread(root)).notes == first.notes


def test_a_changed_folder_is_read_anew_with_a_note(corpus: Corpus, read: Read, encoded: Encoded) -> None:
    root = corpus({"a": 10, "b": 10})
    read(root)
    (root / "a" / "new.png").write_bytes(encoded(5))
    dataset = read(root)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.open_test()) == 21
    assert any("made anew: the images have changed" in note for note in dataset.notes)
    assert not any("made anew" in note for note in read(root).notes)


@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "rubbish", "gone", "json", "json label", "json gone"])
def test_a_damaged_cache_is_made_anew_with_a_note(damage: str, corpus: Corpus, read: Read, tmp_path: Path) -> None:
    root = corpus({"a": 10, "b": 10})
    first = read(root)
    wanted = first.train.pixels.copy()
    pixels, record = _cached(tmp_path, ".npy"), _cached(tmp_path, ".json")
    content = bytearray(pixels.read_bytes())
    if damage == "cut":
        pixels.write_bytes(content[:-5])
    elif damage == "empty":
        pixels.write_bytes(b"")
    elif damage == "flip":
        content[300] ^= 1
        pixels.write_bytes(content)
    elif damage == "rubbish":
        pixels.write_bytes(b"?" * len(content))
    elif damage == "gone":
        pixels.unlink()
    elif damage == "json":
        record.write_text(record.read_text()[:-20])
    elif damage == "json label":
        stored = json.loads(record.read_text())
        stored["record"]["labels"]["train"][0] = 5
        record.write_text(json.dumps(stored))
    else:
        record.unlink()
    dataset = read(root)
    np.testing.assert_array_equal(dataset.train.pixels, wanted)
    assert dataset.fingerprint == first.fingerprint
    assert any("made anew" in note for note in dataset.notes)
    assert not any("made anew" in note for note in read(root).notes)


def test_a_cache_that_was_only_touched_is_kept(corpus: Corpus, read: Read, tmp_path: Path) -> None:
    root = corpus({"a": 10, "b": 10})
    read(root)
    os.utime(_cached(tmp_path, ".npy"))
    assert not any("made anew" in note for note in read(root).notes)


def test_the_cache_stands_where_the_environment_says(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "own"))
    load(str(corpus({"a": 5, "b": 5})), resolution=8)
    assert list((tmp_path / "own").rglob("*.npy"))


def test_a_cache_that_cannot_be_written_is_an_error_with_the_next_step(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write.*PHINAS_CACHE"):
        load(str(corpus({"a": 5, "b": 5})), resolution=8, cache_dir=tmp_path / "file")


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
def test_a_full_disk_is_an_error_and_leaves_nothing(
    call: str, corpus: Corpus, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full, raising=False)
    with pytest.raises(StorageError, match=r"No space left.*free some space.*PHINAS_CACHE"):
        read(corpus({"a": 5, "b": 5}))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_the_embedded_task_is_drawn_once_and_cached(read: Read, tmp_path: Path) -> None:
    first = read(None, resolution=16, images=50)
    stamp = _cached(tmp_path, ".npy").stat().st_mtime_ns
    again = read("digits", resolution=16, images=50)
    assert _cached(tmp_path, ".npy").stat().st_mtime_ns == stamp
    assert first.classes == tuple("0123456789")
    assert len(first.train) == 50
    np.testing.assert_array_equal(first.train.pixels, again.train.pixels)
    assert first.fingerprint == "bac84d9db86e64ed"  # as studies keep it since the first version: the task is the same
    assert int(first.train.pixels.sum()) == pytest.approx(3_197_552, rel=1e-4)  # so its pixels must be, too
    assert first.fingerprint == again.fingerprint != read(None, resolution=16, images=50, seed=1).fingerprint
