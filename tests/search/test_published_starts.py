"""A whole search with published weights: what starts from them, and where they are the winner, or missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image

import studies
from search.accuracy import register
from search.machinery import Machinery
from search.pipeline import run_search
from search.report import report
from search.training.finetune import FineTuner
from searchspace.cost import params
from searchspace.errors import InvalidArgument, StudyMismatch
from searchspace.nn import build, read_about
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.preprocessing import Preprocessing
from searchspace.spaces.space import SearchSpace
from searchspace.spec import read_spec
from tests.scripted import ScriptedEstimator, ScriptedTrainer
from tests.small_search import RESOLUTION, scripted_settings, space_in, with_table

pytestmark = pytest.mark.usefixtures("one_thread")
register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return space_in(tmp_path)


class Published:
    """Stands for what finds weights: one network of the space, with weights of its own and a scale of its own."""

    def __init__(self, space: SearchSpace, *, sha256: str = "1") -> None:
        scale = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
        spec = space.spec(space.corner("largest")).with_classes(7).with_preprocessing(scale)
        network = build(spec, generator=torch.Generator().manual_seed(5)).eval()
        self.parents = Parents([Parent("lite", network, "a test", "Apache-2.0", 75.1, sha256)])
        self.asked: list[str] = []

    def __call__(self, weights: str, *, ema: bool | None, note: Callable[[str], None]) -> Parents | None:
        self.asked.append(weights)
        return None if weights == "none" else self.parents


class AnyTuner(FineTuner):
    """Leaves modules as they are."""

    def fit(self, module: Any, **_: Any) -> Any:
        module.eval()
        return SimpleNamespace(accuracy=0.7, epochs=1, seconds=1.0)


class ScriptedTuner(AnyTuner):
    """Without a time limit it is asked for as long as four trainings of candidates."""

    def fit(self, module: Any, *, images: int | None = None, **how: Any) -> Any:
        assert images == 4 * 60
        return super().fit(module, **how)


def test_with_published_weights_candidates_and_the_winner_start_from_them_and_their_scale_goes_with_the_result(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    with_table(tmp_path, space)
    published = Published(space)
    machinery = Machinery(weights=published, tuner=ScriptedTuner)

    def run(**more: Any) -> dict[str, Any]:
        return run_search(
            scripted_settings(tmp_path, 1e3, **{"weights": "lite", "accuracy": "auto", **more}), machinery=machinery
        )

    found = run()
    assert "weights: lite (a test, licence Apache-2.0); RGB, float32" in capsys.readouterr().err
    stored = studies.load("s").attrs["settings"]
    assert (stored["weights"], stored["accuracy"], stored["weights_sha256"]) == ("lite", "frozen", ["1"])
    winner, spec = found["winner"], read_spec(Path(found["folder"]) / "best.json")
    assert (winner["parent"], winner["accuracy_at_training_px"]) == ("lite", 0.7)
    assert (winner["trained_at_px"], winner["tested_at_px"]) == (RESOLUTION, RESOLUTION)
    assert spec.preprocessing == Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    assert found["preprocessing"] == read_about(Path(found["folder"]) / "best.safetensors")["preprocessing"]
    printed = " ".join(report(found).split())
    assert "weights lite (a test, licence Apache-2.0), fine-tuned" in printed
    assert "--weights lite" in printed
    assert run(trials=3)["times_tested"] == 2  # it goes on with what it began with
    assert published.asked == ["lite", "lite"]
    published.parents = Published(space, sha256="2").parents
    with pytest.raises(StudyMismatch, match=r"the weights of --weights lite have changed"):
        run(trials=4)
    with pytest.raises(StudyMismatch, match="weights is 'none' and was 'lite'"):
        run(trials=4, weights="none", accuracy="frozen")


class ContestTuner(AnyTuner):
    """Says that the published network is the better one; writes down how far each was trained."""

    asked: ClassVar[list[tuple[float | None, str]]] = []

    def fit(self, module: Any, *, until: float | None = None, state_file: Path | None = None, **_: Any) -> Any:
        module.eval()
        self.asked.append((until, "" if state_file is None else state_file.name))
        return SimpleNamespace(accuracy=0.7 + params(module.spec) / 1e9, epochs=1, seconds=1.0)


def test_a_published_network_is_a_candidate_and_where_it_wins_the_contest_it_is_the_winner(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    register("equal")(lambda _: ScriptedEstimator(lambda _: 0.8))
    machinery = Machinery(weights=Published(space), tuner=ContestTuner)
    ContestTuner.asked.clear()
    found = run_search(
        scripted_settings(tmp_path, 1e3, weights="lite", accuracy="equal", trials=3), quiet=True, machinery=machinery
    )
    trials = studies.load("s")
    assert list(trials["network"].dropna()) == ["lite"]
    assert found["winner"]["network"] == "lite"
    assert found["contest"]["decided_by"].startswith("lite was the best")
    assert len(found["contest"]["tied"]) == 3
    *contest, last = ContestTuner.asked
    assert {until for until, _ in contest} == {0.08}
    assert last[0] is None
    assert found["published"] == {"network": "lite", "trial": 0, "is_winner": True}
    printed = " ".join(report(found).split())
    assert "lite was the best after equal images" in printed
    assert "the published network lite is the winner" in printed
    assert last[1] in {name for _, name in contest}  # the winner's training goes on with what the contest left


def test_without_published_weights_the_automatic_estimator_trains_from_scratch(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    asked = scripted_settings(tmp_path, 1e3, weights="auto", accuracy="auto", trials=1)
    machinery = Machinery(weights=lambda weights, **_: None, trainer=ScriptedTrainer)
    found = run_search(asked, quiet=True, machinery=machinery)
    assert (found["settings"]["weights"], found["settings"]["accuracy"]) == ("none", "training")
    assert (found["weights"], found["winner"]["parent"]) == (None, None)


def test_auto_takes_published_weights_for_images_of_ones_own_but_not_for_the_embedded_task(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    for label in ("a", "b"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (8, 8), (number, 5 * number, 40 * (label == "a"))).save(
                tmp_path / "own" / label / f"{number}.png"
            )
    for source, weights in (("digits:60", "none"), (str(tmp_path / "own"), "lite")):
        asked = scripted_settings(tmp_path, 1e3, weights="auto", trials=1, data=source, study=f"of-{weights}")
        machinery = Machinery(weights=Published(space), trainer=ScriptedTrainer, tuner=AnyTuner)
        assert run_search(asked, quiet=True, machinery=machinery)["settings"]["weights"] == weights


def test_fine_tuning_from_no_weights_is_refused_before_any_work(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    with pytest.raises(InvalidArgument, match="--accuracy finetune needs published weights"):
        run_search(scripted_settings(tmp_path, 1e3, accuracy="finetune"), quiet=True)
    assert "s" not in studies.names()
