"""Trainings of a reference set from weights, and by the clock."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from search.budget import CostModel
from search.console import Progress
from search.validate import main
from search.validation.files import ReferenceFiles, Trained
from search.validation.networks import members
from search.validation.reference import ReferenceTraining, halves
from search.validation.settings import Settings
from searchspace.cost import macs
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec, read_spec
from tests.scripted import Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

MINUTES = 0.5


def test_a_published_network_is_trained_from_its_own_weights_and_others_from_its(
    command: Callable[..., list[str]], tmp_path: Path, smallest: Callable[[Path, dict[str, object]], None]
) -> None:
    smallest(tmp_path / "parent.json", {})
    spec = read_spec(tmp_path / "parent.json").with_resolution(32)
    flags = command("--networks", "3", "--twice", "0", "--weights", str(tmp_path / "parent.safetensors"))
    assert main([*flags, "--budget-macs", str(macs(spec)), "--accuracy", "frozen,training"]) == 0
    files = ReferenceFiles.named(tmp_path / "set.csv")
    first, *others = files.trained()
    assert first.kind == "published"
    assert NetworkSpec.from_json(first.spec).fingerprint() == first.fingerprint
    assert first.choices == ""
    assert {row.kind for row in others} == {"random"}
    assert {row.parent for row in (first, *others)} == {first.network}
    assert {row.images for row in (first, *others)} == {32}
    about = json.loads((tmp_path / "set.json").read_text())
    assert about["recipe"]["stops_early"] is False
    assert list(about["weights_sha256"]) == [first.network]
    judged = {score.estimator for score in files.scores() if score.score is not None}
    assert {"frozen", "training"} <= judged


@pytest.mark.parametrize(("from_weights", "tick_s"), [(True, 0.4), (False, 0.5)])
def test_a_training_by_the_clock_takes_its_minutes(from_weights: bool, tick_s: float, tmp_path: Path) -> None:
    space = mnasnet_space(classes=2, resolution=32).with_choices({"*.layers": (1,), "*.width_mult": (0.75,)})
    spec = space.spec(space.corner("smallest"))
    parents = Parents([Parent("parent", build(spec), "here", None, None, "0")]) if from_weights else None
    settings = Settings(budget_macs=macs(spec), resolution=32, networks=3, twice=0, minutes_each=MINUTES)
    images = halves(dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1)), judged=20)
    chosen = members(space, CostModel("macs"), settings.budget, count=3, seed=0, parents=parents)
    files = ReferenceFiles.named(tmp_path / "set.csv")
    with Progress(lambda: None, quiet=True) as progress:
        ReferenceTraining(
            settings=settings,
            images=images,
            parents=parents,
            files=files,
            progress=progress,
            augment="none",
            clock=Ticks(each=tick_s),
        ).run(chosen[:1])
    (row,) = files.trained()
    assert 0.5 * 60 * MINUTES < row.seconds <= 60 * MINUTES * 1.02
    assert row.images > 64
    assert row.judged == 20
    assert not files.state_path.exists()


def test_rows_of_failed_trainings_have_no_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from search.training.errors import TrainingDiverged
    from search.training.trainer import Trainer

    def diverge(*_: object, **__: object) -> None:
        raise TrainingDiverged("the loss must stay finite")

    monkeypatch.setattr(Trainer, "fit", diverge)
    space = mnasnet_space(classes=2, resolution=32)
    settings = Settings(budget_macs=4e6, resolution=32, networks=3, twice=0, images_each=32)
    images = halves(dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1)), judged=20)
    files = ReferenceFiles.named(tmp_path / "set.csv")
    chosen = members(space, CostModel("macs"), settings.budget, count=3, seed=0, parents=None)
    with Progress(lambda: None, quiet=True) as progress:
        ReferenceTraining(
            settings=settings, images=images, parents=None, files=files, progress=progress, augment="none"
        ).run(chosen)
    rows: list[Trained] = list(files.trained())
    assert [row.failed for row in rows] == ["the loss must stay finite"] * 3
    assert [row.accuracy for row in rows] == [None] * 3
