"""What stands among a person's images and is no class: results of this program, system folders, thumbnails."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from search.data import Dataset
from search.data.readers.archives import TarSource
from search.data.readers.folders import FolderSource
from searchspace.errors import InvalidData

Corpus = Callable[..., Path]
Encoded = Callable[..., bytes]
Read = Callable[..., Dataset]

JUNK = [
    "studies/photos-20ms/plot.png",
    "studies/photos-20ms/iterations/3/plot.png",
    "@eaDir/0000.png/SYNOPHOTO_THUMB_M.png",
    "a/@eaDir/0000.png/SYNOPHOTO_THUMB_M.png",
    "__MACOSX/a/0000.png",
    ".ipynb_checkpoints/0000-checkpoint.png",
    "a/.ipynb_checkpoints/0000-checkpoint.png",
    ".thumbnails/0000.png",
    "thumbnails/0000.png",
    "a/Thumbnails/0000.png",
    "a/thumbs/0000.png",
    ".hidden/0000.png",
    "a/._0000.png",
    "$RECYCLE.BIN/0000.png",
    "#recycle/0000.png",
    "System Volume Information/0000.png",
    "lost+found/0000.png",
    "@Recently-Snapshot/0000.png",
    "runs/detect/train/plot.png",
    "wandb/run/media/0000.png",
    "__pycache__/0000.png",
    "node_modules/logo/0000.png",
]


def _write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("path", JUNK)
def test_junk_is_no_class_and_none_of_its_images_is_read(path: str, corpus: Corpus, encoded: Encoded) -> None:
    root = corpus({"a": 3, "b": 3})
    _write(root / path, encoded(99))
    listing = FolderSource(root).listing()
    assert listing.classes == ("a", "b")
    assert len(listing.items) == 6


def test_an_archive_is_looked_through_by_the_same_rules(corpus: Corpus, encoded: Encoded, tmp_path: Path) -> None:
    root = corpus({"a": 3, "b": 3})
    for path in JUNK:
        _write(root / path, encoded(99))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(root, arcname="photos")
    listing = TarSource(tmp_path / "x.tar").listing()
    assert (listing.classes, len(listing.items)) == (("a", "b"), 6)


def test_a_study_by_another_name_is_known_by_its_files_and_told(corpus: Corpus, encoded: Encoded) -> None:
    root = corpus({"a": 3, "b": 3})
    _write(root / "results" / "photos" / "study.db")
    _write(root / "results" / "photos" / "figures" / "plot.png", encoded(99))
    _write(root / "env" / "pyvenv.cfg")
    _write(root / "env" / "lib" / "images" / "logo.png", encoded(98))
    listing = FolderSource(root).listing()
    assert listing.classes == ("a", "b")
    assert "left out, as they are results of phinas, thumbnails or programs: env, results/photos" in listing.notes


def test_a_class_may_be_called_studies_or_thumbs(corpus: Corpus) -> None:
    assert FolderSource(corpus({"studies": 3, "portraits": 3}, at="x")).listing().classes == ("portraits", "studies")
    assert FolderSource(corpus({"thumbs": 3, "fists": 3}, at="y")).listing().classes == ("fists", "thumbs")


def test_a_search_whose_results_stand_among_its_images_does_not_read_them_anew(
    corpus: Corpus, read: Read, encoded: Encoded, tmp_path: Path
) -> None:
    root = corpus({"a": 10, "b": 10})
    first = read(root)
    _write(root / "studies" / "digits-20ms" / "study.db")
    _write(root / "studies" / "digits-20ms" / "plot.png", encoded(99))
    _write(root / "plot.png", encoded(98))
    _write(root / "table.json")
    _write(root / "cache" / "images" / "x.npy")
    again = read(root)
    assert again.notes == first.notes
    assert again.fingerprint == first.fingerprint
    _write(root / "a" / "new.png", encoded(97))
    assert len(read(root).train) > len(first.train)


def test_a_folder_of_studies_alone_holds_no_images(tmp_path: Path, encoded: Encoded) -> None:
    for name in "ab":
        _write(tmp_path / "results" / name / "study.db")
        _write(tmp_path / "results" / name / "plot.png", encoded(1))
    with pytest.raises(InvalidData, match=r"has none, .*a, b \(results of this program"):
        FolderSource(tmp_path / "results").listing()
