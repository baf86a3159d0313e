"""Files of every kind, damaged: the short version of `python -m tests.fuzz --inputs 5000`."""

from pathlib import Path

import pytest

from tests.fuzz.law import Subject, check
from tests.fuzz.networks import SUBJECTS as NETWORKS
from tests.fuzz.subjects import SUBJECTS

EVERY = (*SUBJECTS, *NETWORKS)
SLOW = ("study", "study that goes on", "parquet of images", "measured networks")  # to read


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "phinas"))


@pytest.mark.parametrize("subject", EVERY, ids=lambda subject: subject.name)
def test_a_damaged_file_is_refused_in_words_or_read_as_it_was_written(subject: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    check(subject, folder, 8 if subject.name in SLOW else 25)


def test_every_kind_of_file_has_a_name_of_its_own() -> None:
    assert len({subject.name for subject in EVERY}) == len(EVERY)
