"""Files that were moved or renamed are known by their content; what differs is said in the user's words."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import search
import studies
from search.accuracy import register
from search.differences import moved
from search.machinery import Machinery
from search.pipeline import run_search
from search.settings import Settings, check_same
from search.training.recipe import FineTuning
from searchspace.errors import StudyMismatch
from tests.scripted import ScriptedEstimator, ScriptedTrainer, Ticks
from tests.small_search import RESOLUTION, space_in, table_of, tiny_network

pytestmark = pytest.mark.usefixtures("one_thread")
register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, a table and a space."""
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    (tmp_path / "table.json").write_text(table_of(space_in(tmp_path)).to_json())
    return tmp_path


@pytest.fixture
def go(place: Path) -> Callable[..., dict[str, Any]]:
    """Search for one candidate, or go on with it."""

    def run(**changes: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "data": str(place / "photos"),
            "proxy_resolution": 32,
            "resolution": RESOLUTION,
            "epochs": 1,
            "trials": 1,
            "accuracy": "scripted",
            "weights": "none",
            "space_file": str(place / "space.toml"),
            "latency": str(place / "table.json"),
            "study": "s",
            **changes,
        }
        return run_search(Settings(budget_ms=1e3, **given), machinery=Machinery(trainer=ScriptedTrainer))

    return run


def packed(place: Path) -> Path:
    with tarfile.open(place / "packed.tar", "w") as tar:
        tar.add(place / "photos", "")
    return place / "packed.tar"


@pytest.mark.parametrize("setting", ["data", "data in a tar", "latency", "space_file"])
def test_what_was_moved_or_renamed_goes_on_and_a_finished_study_stays_finished(
    place: Path, go: Callable[..., dict[str, Any]], setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = go()
    if setting == "data in a tar":
        setting, new = "data", packed(place)
    else:
        old = place / {"data": "photos", "latency": "table.json", "space_file": "space.toml"}[setting]
        (place / "elsewhere").mkdir()
        new = old.rename(place / "elsewhere" / f"new-{old.name}")
    capsys.readouterr()
    again = go(**{setting: str(new)})
    assert " holds what " in " ".join(capsys.readouterr().err.split())
    assert again["settings"][setting] == str(new)
    assert again | {"settings": 0} == first | {"settings": 0}
    assert go(**{setting: str(new)}, trials=2)["trials"]["trained"] == 2
    assert studies.load("s").attrs["settings"][setting] == str(new)


def test_a_study_that_is_named_after_its_images_goes_on_where_they_were_renamed(
    place: Path, go: Callable[..., dict[str, Any]]
) -> None:
    first = go(study=None)
    assert first["study"] == "photos-1000ms"
    (place / "photos").rename(place / "pictures")
    renamed = str(place / "pictures")
    assert go(study=None, data=renamed)["study"] == "photos-1000ms"
    assert go(study=None, data=renamed, seed=1)["study"] == "pictures-1000ms"  # another search


def changed(photos: Path) -> Path:
    (photos / "a" / "00.png").write_bytes(png(100))
    (photos / "a" / "new.png").write_bytes(png(101))
    (photos / "b" / "01.png").unlink()
    return photos


WHAT_CHANGED = r"--data .* have changed: 1 added \(a/new\.png\); 1 removed \(b/01\.png\); 1 changed \(a/00\.png\)"


def test_where_images_changed_the_files_are_named(place: Path, go: Callable[..., dict[str, Any]]) -> None:
    go()
    changed(place / "photos")
    for trials in (1, 2):  # also of the finished study, which would be read back
        with pytest.raises(StudyMismatch, match=WHAT_CHANGED):
            go(trials=trials)
    (place / "photos").rename(place / "pictures")
    for trials in (1, 2):
        with pytest.raises(StudyMismatch, match=WHAT_CHANGED):
            go(data=str(place / "pictures"), trials=trials)
    (place / "pictures").rename(place / "gone")
    assert go()["trials"]["trained"] == 1  # what was found can be read without the images


def test_a_study_of_before_listings_is_refused_without_names_and_keeps_a_listing_where_it_goes_on(
    place: Path, go: Callable[..., dict[str, Any]]
) -> None:
    go()
    listing = place / "studies" / "s" / "images.json"
    kept = listing.read_text()
    listing.unlink()
    go(trials=2)
    assert listing.read_text() == kept
    listing.unlink()
    changed(place / "photos")
    with pytest.raises(StudyMismatch, match="have changed: some files are others"):
        go(trials=3)


def test_a_renamed_table_of_other_content_is_refused(place: Path, go: Callable[..., dict[str, Any]]) -> None:
    go()
    table = json.loads((place / "table.json").read_text())
    table.pop("checksum", None)
    table["kernels"][0][-1] *= 2
    (place / "other.json").write_text(json.dumps(table))
    said = (
        r"the content of --latency .*other\.json has changed: 1 of \d+ kernels take another time, the most the kernel"
    )
    for trials in (1, 2):
        with pytest.raises(StudyMismatch, match=said):
            go(latency=str(place / "other.json"), trials=trials)


def test_a_finetuning_goes_on_with_moved_images_and_names_what_changed(place: Path) -> None:
    (place / "net.json").write_text(tiny_network(place).to_json())
    recipe = FineTuning(epochs=2, batch_size=8)

    def run(data: str, stop: int = 0, study: str | None = "t") -> Any:
        reads = 0
        clock = Ticks(each=0.05)

        def now() -> float:
            nonlocal reads
            reads += 1
            if reads == stop:
                raise KeyboardInterrupt
            return clock()

        flags: dict[str, Any] = {"network": place / "net.json", "weights": "none", "minutes": 0.2, "resolution": 32}
        return search.finetune(str(place / data), now=now, study=study, recipe=recipe, quiet=True, **flags)

    with pytest.raises(KeyboardInterrupt):
        run("photos", stop=30)
    assert (place / "studies" / "t" / "finetune.json").exists()
    (place / "photos").rename(place / "pictures")
    summary = run("pictures").summary
    (place / "pictures").rename(place / "images")
    assert run("images").summary == summary
    (place / "images").rename(place / "photos")
    assert run("photos", study=None).summary == summary  # it is found by its images
    changed(place / "photos").rename(place / "pictures")
    with pytest.raises(StudyMismatch, match=WHAT_CHANGED):
        run("pictures")


BASE = Settings(budget_ms=20, data="/a/photos", weights="/w/a.pth").identity() | {
    "data_fingerprint": "1",
    "weights_sha256": ["1"],
    "device": {"machine": "x", "threads": 2},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "--seed is 3 and was 0"),
        ({"epochs": 3}, "--epochs is 3 and was not given"),
        ({"space_file": "/a/s.toml"}, "--space is '/a/s.toml' and was not given"),
        ({"data": "user/beans"}, "--data is 'user/beans' and was '/a/photos'"),
        ({"data": "gone"}, "--data is 'gone', which is not in this folder, and was '/a/photos'"),
        ({"data": "/b/photos", "data_fingerprint": "2"}, "the images of --data /b/photos have changed"),
        ({"weights": "/w/b.pth", "weights_sha256": ["2"]}, "the weights of --weights /w/b.pth have changed"),
        ({"weights": "none"}, "--weights is 'none' and was '/w/a.pth'"),
        ({"device": {"machine": "x", "threads": 1}}, r"another device or setting \(threads is 1 and was 2\)"),
        ({"kind": "netadapt"}, r"made by python -m search\.run, got search\.netadapt"),
    ],
)
def test_a_refusal_names_flags_and_data_and_no_hash(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyMismatch, match=said) as told:
        check_same("s", BASE, BASE | change)
    assert "fingerprint" not in str(told.value)
    assert "sha256" not in str(told.value)


PRUNING: dict[str, Any] = {
    "kind": "netadapt",
    "data": "/a/photos",
    "data_fingerprint": "1",
    "network": "0" * 16,
    "weights": "0" * 16,
    "table": "1",
    "unit": "ms",
    "budgets": [9.0],
    "step": 0.05,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "a" * 16}, "--network is another network, or for other pixels"),
        ({"weights": "a" * 16}, "--weights holds other weights"),
        ({"table": "2"}, "the content of --latency has changed"),
        ({"table": None}, "--latency is not given and was"),
        ({"budgets": [9.0, 7.0]}, r"--budgets is 9\.0,7\.0 and was 9\.0"),
        ({"data": "/b/photos", "data_fingerprint": "2"}, "the images of --data /b/photos have changed"),
        ({"step": 0.1}, r"--step is 0\.1 and was 0\.05"),
    ],
)
def test_a_pruning_is_refused_in_words_too(change: dict[str, Any], said: str) -> None:
    check_same("s", PRUNING, PRUNING | {"data": "/b/elsewhere"})
    with pytest.raises(StudyMismatch, match=said) as told:
        check_same("s", PRUNING, PRUNING | change)
    assert not any(part in str(told.value) for part in ("'1'", "0000", "aaaa"))


@pytest.mark.parametrize(
    "change", [{"data": "/b/other"}, {"weights": "/x/b.pth"}, {"data": "/b/x", "weights": "/y/a.pth"}]
)
def test_files_elsewhere_with_the_same_content_are_no_difference(change: dict[str, Any]) -> None:
    check_same("s", BASE, BASE | change)
    assert moved(BASE, BASE | change).keys() == change.keys()
