"""Files of every kind, damaged: the short version of `python -m tests.fuzz --inputs 5000`."""

from pathlib import Path

import pytest

from tests.fuzz.every import subjects
from tests.fuzz.law import Subject, check

EVERY = subjects()
SLOW = (
    "study",
    "parquet of images",
    "measured networks",
    "log of",
    "in a folder",
    "boxes",
    "detector",
    "of before",
)  # to read, or alike


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "phinas"))


@pytest.mark.parametrize("subject", EVERY, ids=lambda subject: subject.name)
def test_a_damaged_file_is_refused_in_words_or_read_as_it_was_written(subject: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    check(subject, folder, 6 if any(words in subject.name for words in SLOW) else 20)


def test_every_kind_of_file_has_a_name_of_its_own() -> None:
    assert len({subject.name for subject in EVERY}) == len(EVERY)
