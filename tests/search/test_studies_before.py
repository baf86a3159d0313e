"""A study of the version before: two trials were trained, and kill -9 came while its winner was."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import studies
from search.machinery import Machinery
from search.pipeline import run_search
from search.report import report
from search.settings import Settings
from searchspace.errors import StudyMismatch
from tests.scripted import ScriptedTrainer
from tests.small_search import WIDER, space_in

BEFORE = Path(__file__).parent / "version_1"  # written by commit 5fa4987


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the study's files."""
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    space_in(tmp_path, WIDER, resolution=64)
    shutil.copy(BEFORE / "phone.json", tmp_path)
    (tmp_path / "studies" / "before").mkdir(parents=True)
    database = sqlite3.connect(tmp_path / "studies" / "before" / "study.db")
    database.executescript((BEFORE / "study.sql").read_text().replace("{folder}", str(tmp_path)))
    database.close()
    return tmp_path


def go_on(place: Path, **changes: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "proxy_resolution": 32,
        "resolution": 64,
        "epochs": 1,
        "images": 60,
        "trials": 2,
        "space_file": str(place / "space.toml"),
        "latency": str(place / "phone.json"),
        "study": "before",
        **changes,
    }
    machinery = Machinery(trainer=ScriptedTrainer)
    return run_search(Settings(budget_ms=1000, **asked), quiet=True, machinery=machinery)


def test_a_study_of_the_version_before_is_read_goes_on_and_is_reported(place: Path) -> None:
    before = studies.load("before")
    assert list(before["status"]) == ["trained", "trained"]
    found = go_on(place)
    assert found["winner"]["trial"] == 1
    assert found["winner"]["search_accuracy"] == before["accuracy"].max()
    assert studies.best("before").finished
    assert list(studies.load("before")["fingerprint"]) == list(before["fingerprint"])
    assert "Winner of before: trial 1" in report(found)
    assert go_on(place) == found


def test_a_study_of_the_version_before_is_held_to_its_settings(place: Path) -> None:
    with pytest.raises(StudyMismatch, match="seed is 1 and was 0"):
        go_on(place, seed=1)
    table = place / "phone.json"
    table.write_text(table.read_text().replace('"reference_ms": 1.0', '"reference_ms": 2.0'))
    with pytest.raises(StudyMismatch, match="table is"):
        go_on(place)


@pytest.mark.slow
def test_a_study_of_the_version_before_varies_its_images_as_it_did(place: Path) -> None:
    with pytest.raises(StudyMismatch, match="augment is 'shift,flip' and was 'shift'"):
        go_on(place, augment="flip,shift")
    found = go_on(place)
    assert found["augmentation"] == {"augment": "shift", "why": "as this study was begun"}


def test_studies_of_before_mirrored_all_but_the_embedded_digits() -> None:
    old = Settings(budget_ms=20, data="photos").identity()
    del old["augment"]
    assert Settings(budget_ms=20, data="photos").going_on_with(old).augment == "shift,flip"
    assert Settings(budget_ms=20).going_on_with(old | {"data": None}).augment == "shift"
