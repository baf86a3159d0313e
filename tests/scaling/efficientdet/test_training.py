"""A detector learns, goes on where it was killed, keeps its time, and is the same from its files."""

import inspect
import json
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scaling.efficientdet.__main__ import main
from scaling.efficientdet.api import find
from scaling.efficientdet.augment_boxes import Augmentation
from scaling.efficientdet.detection_data import load
from scaling.efficientdet.evaluating import detect, evaluate
from scaling.efficientdet.feeding import TrainingFeed, objects
from scaling.efficientdet.job import Settings
from scaling.efficientdet.matching import Objects
from scaling.efficientdet.module import Detector, build
from scaling.efficientdet.predicting import predict
from scaling.efficientdet.saved import WEIGHTS, load_detector, save_detector
from scaling.efficientdet.spec import DetectorSpec, write_detector
from scaling.efficientdet.train_command import parser
from scaling.efficientdet.training import DetectionRecipe, DetectorTraining
from searchspace.errors import InvalidArgument, PhinasError, StorageError, StudyMismatch
from searchspace.spec import write_spec
from tests.scaling.efficientdet.small import small, small_backbone

pytestmark = pytest.mark.usefixtures("one_thread")
pytest.importorskip("pycocotools")
RECIPE = DetectionRecipe(batch_size=4, looks=2, learning_rate=5e-3)


class Cut(Exception):
    """The process is killed."""


def fresh() -> Detector:
    return build(small(classes=10).with_resolution(64), generator=torch.Generator().manual_seed(0))


def feed(batch: int = 4) -> TrainingFeed:
    data = load("digits:20", resolution=64)
    spec = small(classes=10).with_resolution(64)
    return TrainingFeed(spec=spec, examples=data.train, how=Augmentation(), batch_size=batch, seed=0)


class CutAt:
    """Batches until a step, then the process is killed."""

    def __init__(self, feed: TrainingFeed, step: int) -> None:
        self.feed, self.step = feed, step

    def since(self, step: int) -> Generator[tuple[Tensor, list[Objects]], None, None]:
        for at, batch in enumerate(self.feed.since(step), step):
            if at == self.step:
                raise Cut
            yield batch


def test_it_learns_where_the_objects_are() -> None:
    batch = next(iter(feed().since(0)))

    class Same:
        def since(self, step: int) -> Iterator[Any]:
            while True:
                yield batch

    training = DetectorTraining(detector=fresh().train(), batches=Same(), recipe=RECIPE)  # type: ignore[arg-type]
    losses = [float(training.losses(batch).total.detach())]
    training.fit(steps=25)
    losses.append(float(training.losses(batch).total.detach()))
    assert losses[1] < 0.85 * losses[0]


@pytest.mark.parametrize("at", [1, 3])
def test_one_that_is_killed_ends_in_the_same_weights(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaling.efficientdet.training.KEEP_S", 0.0)
    whole = DetectorTraining(detector=fresh(), batches=feed(), recipe=RECIPE)
    whole.fit(steps=5)
    file = tmp_path / "training.ckpt"
    with pytest.raises(Cut):
        DetectorTraining(detector=fresh(), batches=CutAt(feed(), at), recipe=RECIPE, state_file=file).fit(steps=5)
    rest = DetectorTraining(detector=fresh(), batches=feed(), recipe=RECIPE, state_file=file)
    assert rest.fit(steps=5).total == 5
    state, expected = rest.detector.state_dict(), whole.detector.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_damaged_state_file_or_one_of_another_training_is_left_out_and_told(tmp_path: Path) -> None:
    file, lines = tmp_path / "training.ckpt", list[str]()
    how: dict[str, Any] = {"batches": feed(), "state_file": file, "on_line": lines.append}
    DetectorTraining(detector=fresh(), recipe=RECIPE, **how).fit(steps=1)
    DetectorTraining(detector=fresh(), recipe=replace(RECIPE, learning_rate=1e-3), **how).fit(steps=1)
    assert "of another training" in lines[0]
    file.write_bytes(file.read_bytes()[:-100])
    DetectorTraining(detector=fresh(), recipe=RECIPE, **how).fit(steps=1)
    assert "begins anew" in lines[1]


def test_by_the_clock_the_steps_are_planned_and_a_slower_machine_ends_in_time() -> None:
    now = [0.0]
    slow = [1.0]

    class Timed(DetectorTraining):
        def losses(self, batch: Any) -> Any:
            now[0] += slow[0]
            return super().losses(batch)

    def run(later: float) -> Any:
        now[0], slow[0] = 0.0, 1.0
        training = Timed(detector=fresh(), batches=feed(), recipe=RECIPE, clock=lambda: now[0])
        training.on_progress = lambda share, what: slow.__setitem__(0, later if share > 0.2 else 1.0)
        return training.fit(seconds=20.0)

    steady, slower = run(1.0), run(3.0)
    assert 14 <= steady.total <= 17  # 18.8 s less three that are timed
    assert slower.total < steady.total
    assert slower.seconds <= 20 + 3


def test_a_detector_is_the_same_from_its_files_and_others_weights_are_refused(tmp_path: Path) -> None:
    detector = fresh().eval()
    save_detector(tmp_path / "a", detector, tuple("0123456789"), {})
    saved = load_detector(tmp_path / "a")
    assert saved.classes == tuple("0123456789")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(saved.detector(image)[0][0], detector(image)[0][0])
    save_detector(tmp_path / "b", build(small(classes=10, head_depth=2)), tuple("0123456789"), {})
    (tmp_path / "b" / WEIGHTS).write_bytes((tmp_path / "a" / WEIGHTS).read_bytes())
    with pytest.raises(InvalidArgument, match="weights of"):
        load_detector(tmp_path / "b")
    with pytest.raises(StorageError, match="no trained detector"):
        load_detector(tmp_path / "absent")


def test_detections_are_in_the_images_own_pixels_and_the_truth_scores_one() -> None:
    data = load("digits:20", resolution=128)
    rows = detect(fresh(), data.test[:3], score_threshold=0.0)
    assert all(((each.boxes >= 0) & (each.boxes <= 128)).all() for each in rows)
    assert len(rows) == 3
    assert 0 <= evaluate(fresh(), data.test[:3], data.classes).ap50 <= 1
    assert objects(data.test[0]).boxes.shape == (len(data.test[0].labels), 4)


def test_the_commands_train_go_on_evaluate_draw_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_spec(Path("backbone.json"), small_backbone())
    job = ["train", "--data", "digits:20", "--backbone", "backbone.json", "--weights", "none", "--resolution", "64"]
    job += ["--batch-size", "4", "--steps"]
    assert main([*job, "2", "--out", "d"]) == 0
    first = capsys.readouterr().out
    assert "AP50" in first
    assert "predict IMAGE" in first
    weights = Path("d", WEIGHTS).read_bytes()
    assert main([*job, "2", "--out", "d"]) == 0
    assert capsys.readouterr().out == first
    assert Path("d", WEIGHTS).read_bytes() == weights
    assert main([*job, "3", "--out", "d"]) == 2
    assert "--steps 2 (now 3)" in capsys.readouterr().err
    assert main(["evaluate", "--detector", "d", "--data", "digits:20", "--split", "validation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == len(load("digits:20").validation)
    from PIL import Image

    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("photo.png")
    assert main(["predict", "photo.png", "--detector", "d", "--out", "drawn", "--score", "0", "--most", "3"]) == 0
    assert Image.open("drawn/photo.png").size == (60, 40)
    assert len(predict(["photo.png", np.zeros((40, 60, 3), np.uint8)], "d", score_threshold=0)) == 2
    assert main(["predict", "absent.png", "--detector", "d"]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert main(["predict", "drawn", "--detector", "d"]) == 2
    assert "name those in that folder: drawn/*" in capsys.readouterr().err


def test_the_detector_of_a_trained_folder_is_trained_again_from_its_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights beside it are a detector's, and no backbone's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scaling.efficientdet.starting.resolve", lambda weights, note: asked.append(weights))
    asked: list[str] = []
    save_detector(Path("d"), fresh(), tuple("0123456789"), {})
    flags = ["--data", "digits:20", "--batch-size", "4", "--steps", "1", "--out", "again"]
    assert main(["train", "--detector", "d/detector.json", *flags]) == 0
    assert asked == ["auto"]
    assert load_detector("again").detector.spec.neck == fresh().spec.neck


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--resolution", "300"], "multiple of 32"),
        (["--minutes", "1", "--steps", "2"], "leave one out"),
        (["--phi", "9"], "--phi must be an integer from 0 to 7"),
        (["--backbone", "squeezenet1_1"], "strides 8, 16 and 32"),
        (["--data", "absent/"], "absent"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_line(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "digits:20", "--weights", "none", "--resolution", "64", *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len([line for line in err.splitlines() if "error: " in line]) == 1


def test_an_error_is_a_phinas_error() -> None:
    with pytest.raises(PhinasError):
        load_detector("nowhere")


def test_find_takes_what_the_command_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = set(vars(parser().parse_args([])))
    assert set(inspect.signature(find).parameters) == flags | {"budget_ms", "threads", "quiet"}
    monkeypatch.chdir(tmp_path)
    write_detector(tmp_path / "small.json", small(classes=2))
    found = find(
        data="digits:20",
        detector="small.json",
        weights="none",
        resolution=64,
        steps=1,
        batch_size=2,
        learning_rate=1e-3,
        quiet=True,
    )
    assert found.detector.spec.neck == small().neck
    assert (found.summary["settings"]["batch_size"], found.summary["settings"]["learning_rate"]) == (2, 1e-3)
    with pytest.raises(InvalidArgument, match="budget_ms finds phi and pixels"):
        find(data="digits:20", detector="small.json", budget_ms=5.0)


def test_scenes_and_photographs_have_the_pixels_that_suit_them() -> None:
    assert [Settings(data=data).spec(2).resolution for data in (None, "digits:40", "photos.tar")] == [160, 160, 320]
    assert Settings(resolution=128).spec(2).resolution == 128


def test_a_folder_of_one_budget_is_not_handed_over_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def within(budget_ms: float, *_: object) -> DetectorSpec:
        measured.append(budget_ms)
        return small(classes=2).with_resolution(64)

    monkeypatch.setattr("scaling.efficientdet.api._within", within)
    how: dict[str, Any] = {"data": "digits:20", "weights": "none", "steps": 1, "batch_size": 2, "out": tmp_path / "d"}
    for _ in range(2):
        find(budget_ms=5.0, quiet=True, **how)
    with pytest.raises(StudyMismatch, match="was begun with --detector"):
        find(budget_ms=4.0, quiet=True, **how)
    assert measured == [5.0, 4.0]
