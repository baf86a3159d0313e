"""The command that fine-tunes: its files, its limit, going on, and what it refuses."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import search
from search.data import load
from search.finetune import finetune, main, report
from search.training.evaluate import evaluate
from search.training.recipe import FineTuning
from searchspace.errors import InvalidArgument, StudyMismatch
from searchspace.nn import build, network_bytes
from tests.scripted import Ticks, unbalanced_photos
from tests.small_search import tiny_network

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = FineTuning(batch_size=8, epochs=3)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network's file; studies and cache stand in the test's own folder."""
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.json"
    path.write_text(tiny_network(tmp_path).to_json())
    return path


def test_it_writes_what_a_search_writes_and_reads_a_finished_one_back(spec: Path) -> None:
    clock = Ticks(each=0.05)
    found = finetune(
        "digits:40", network=spec, weights="none", minutes=0.2, resolution=32, recipe=RECIPE, now=clock, quiet=True
    )
    assert clock.now < 12 * 1.03
    assert found.summary["resolution"] == found.spec.resolution == 32
    assert found.spec.classes == 10
    test = load("digits:40", resolution=32).open_test()
    assert found.summary["test_images"] == len(test)
    assert found.summary["test_accuracy"] == evaluate(found.module, test, pixels=32)
    assert {path.name for path in found.folder.iterdir()} >= {"best.json", "best.safetensors", "summary.json"}
    again = finetune(
        "digits:40", network=spec, weights="none", minutes=0.2, resolution=32, recipe=RECIPE, now=clock, quiet=True
    )
    assert again.summary == found.summary
    assert "fine-tuned" in again.report()
    assert again.report() == report(found.summary)
    with pytest.raises(InvalidArgument, match="has no trials"):
        _ = again.study
    (found.folder / "best.json").unlink()
    with pytest.raises(StudyMismatch, match=r"is finished and its network cannot be read .* --fresh to fine-tune anew"):
        finetune(
            "digits:40", network=spec, weights="none", minutes=0.2, resolution=32, recipe=RECIPE, now=clock, quiet=True
        )


def test_help_of_the_function_names_its_keywords() -> None:
    keywords = inspect.signature(search.finetune).parameters
    assert {"network", "minutes", "weights", "resolution", "seed"} < keywords.keys()
    with pytest.raises(TypeError, match="unexpected keyword"):
        search.finetune("digits:40", minuets=1)


def test_a_stopped_one_goes_on_within_the_same_minutes(spec: Path) -> None:
    clock, lines = Ticks(each=0.05), 0

    def stopping() -> float:
        nonlocal lines
        lines += 1
        if lines == 150:
            raise KeyboardInterrupt
        return clock()

    flags = {"network": spec, "weights": "none", "minutes": 0.2, "resolution": 32, "recipe": RECIPE, "quiet": True}
    with pytest.raises(KeyboardInterrupt):
        finetune("digits:40", now=stopping, **flags)  # type: ignore[arg-type]
    later = Ticks(each=0.05)
    found = finetune("digits:40", now=later, **flags)  # type: ignore[arg-type]
    assert found.summary["images_seen"] > 0
    assert later.now < 12


def test_another_job_in_the_same_folder_is_refused(spec: Path) -> None:
    flags = {"network": spec, "weights": "none", "resolution": 32, "recipe": RECIPE, "quiet": True, "study": "one"}
    finetune("digits:40", minutes=0.1, now=Ticks(each=0.05), **flags)  # type: ignore[arg-type]
    with pytest.raises(StudyMismatch, match=r"--minutes is 0\.2 and was 0\.1.*--fresh"):
        finetune("digits:40", minutes=0.2, now=Ticks(each=0.05), **flags)  # type: ignore[arg-type]


def test_without_weights_it_says_what_to_do(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.finetune_job.resolve", lambda weights, ema, note: None)
    with pytest.raises(InvalidArgument, match=r"pip install \"phinas\[weights\]\".*--weights FILE"):
        finetune("digits:40", network=spec, minutes=0.1, resolution=32, quiet=True)


def test_of_a_file_with_averaged_weights_one_kind_is_chosen_by_a_flag(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = build(tiny_network(tmp_path)).state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "both.pth")
    torch.save(state, tmp_path / "plain.pth")
    words = ["--data", "digits:40", "--network", str(spec), "--minutes", "0.03", "--resolution", "32", "--json"]
    (tmp_path / "both.json").write_text(spec.read_text())
    (tmp_path / "plain.json").write_text(spec.read_text())
    weights = str(tmp_path / "both.pth")
    assert main([*words, "--weights", weights]) == 2
    assert "give --ema" in capsys.readouterr().err
    assert main([*words, "--weights", weights, "--ema", "--study", "averaged"]) == 0
    assert main([*words, "--weights", str(tmp_path / "plain.pth"), "--ema"]) == 2
    assert main([*words, "--weights", "none", "--ema"]) == 2


def test_weights_that_changed_since_it_began_are_refused(spec: Path, tmp_path: Path) -> None:
    def save(seed: int) -> None:
        module = build(tiny_network(tmp_path), generator=torch.Generator().manual_seed(seed))
        (tmp_path / "a.safetensors").write_bytes(network_bytes(module, {}))

    clock, lines = Ticks(each=0.05), 0

    def stopping() -> float:
        nonlocal lines
        lines += 1
        if lines == 150:
            raise KeyboardInterrupt
        return clock()

    flags = {"network": spec, "weights": tmp_path / "a.safetensors", "minutes": 0.2, "resolution": 32}
    save(0)
    with pytest.raises(KeyboardInterrupt):
        finetune("digits:40", now=stopping, recipe=RECIPE, quiet=True, **flags)  # type: ignore[arg-type]
    save(1)
    with pytest.raises(StudyMismatch, match=r"began with other weights of .*a\.safetensors.*--fresh"):
        finetune("digits:40", now=Ticks(each=0.05), recipe=RECIPE, quiet=True, **flags)  # type: ignore[arg-type]


def test_the_command_prints_a_report_and_json(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "digits:40", "--network", str(spec), "--weights", "none", "--minutes", "0.05"]
    words += ["--resolution", "32", "--study", "two"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("accuracy", "95 % interval", "at 32 px", "studies", "search.netadapt"))
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "two"
    assert main(["--minutes", "0"]) == 2


def test_the_module_is_called_like_the_function() -> None:
    assert callable(search.finetune)
    assert torch.is_grad_enabled()


def test_how_images_are_varied_is_decided_once_said_and_kept(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags: dict[str, Any] = {"network": spec, "weights": "none", "minutes": 0.05, "resolution": 32, "study": "one"}
    found = finetune("digits:40", now=Ticks(each=0.05), augment="flip,crop", **flags)
    assert found.summary["augmentation"] == {"augment": "flip,crop", "why": "as asked"}
    assert (found.summary["recipe"]["flip"], found.summary["recipe"]["shift"]) == (True, 0)
    assert "varied" in found.report()
    assert "augmentation: flip,crop: as asked" in capsys.readouterr().err
    with pytest.raises(StudyMismatch, match="--augment is 'auto' and was 'flip,crop'"):
        finetune("digits:40", **flags)
    own = finetune("digits:40", recipe=RECIPE, now=Ticks(each=0.05), quiet=True, **flags | {"study": "own"})
    assert own.summary["augmentation"]["why"] == "as the given recipe says"
    assert main(["--data", "digits:40", "--network", str(spec), "--augment", "mirror"]) == 2


def test_a_fine_tuning_of_the_version_before_goes_on_with_mirrored_images(spec: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for label in ("a", "b"):
        (photos / label).mkdir(parents=True)
        for number in range(8):
            noise = np.random.default_rng([ord(label), number]).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(photos / label / f"{number}.png")
    flags: dict[str, Any] = {"network": spec, "weights": "none", "minutes": 0.05, "resolution": 32, "study": "old"}
    found = finetune(photos, now=Ticks(each=0.05), augment="none", quiet=True, **flags)
    (found.folder / "summary.json").unlink()
    job = json.loads((found.folder / "finetune.json").read_text())
    del job["settings"]["augment"], job["augmentation"], job["checksum"]
    recipe = {"epochs": 10, "flip": True, "shift": 0.06}
    job["recipe"] |= recipe  # as FineTuning.for_data made it
    (found.folder / "finetune.json").write_text(json.dumps(job))
    with pytest.raises(StudyMismatch, match="--augment is 'none' and was 'shift,flip'"):
        finetune(photos, augment="none", quiet=True, **flags)
    again = finetune(photos, now=Ticks(each=0.05), quiet=True, **flags)
    assert again.summary["augmentation"] == {"augment": "shift,flip", "why": "as this fine-tuning was begun"}


def test_where_classes_are_of_very_different_sizes_balanced_accuracy_stands_beside_accuracy(
    spec: Path, tmp_path: Path
) -> None:
    photos = unbalanced_photos(tmp_path / "photos")
    flags: dict[str, Any] = {"network": spec, "weights": "none", "minutes": 0.05, "resolution": 32, "quiet": True}
    found = finetune(photos, now=Ticks(each=0.05), class_weights="balanced", **flags)
    assert found.summary["recipe"]["class_weights"] == "balanced"
    assert 0 <= found.summary["test_balanced_accuracy"] <= 1
    assert found.summary["largest_class"][0] == "many"
    assert "the mean over the classes, of which 'many' has" in found.report()
    with pytest.raises(StudyMismatch, match="--class-weights is 'none' and was 'balanced'"):
        finetune(photos, **flags)
