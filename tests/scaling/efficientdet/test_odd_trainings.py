"""What a training or a drawing cannot use is told in one sentence, and nothing is lost by it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scaling.efficientdet.__main__ import main
from scaling.efficientdet.augment_boxes import Augmentation
from scaling.efficientdet.binding import JOB
from scaling.efficientdet.detection_data import load
from scaling.efficientdet.feeding import TrainingFeed
from scaling.efficientdet.module import build
from scaling.efficientdet.predicting import predict
from scaling.efficientdet.saved import WEIGHTS, Saved, save_detector
from scaling.efficientdet.training import DetectionRecipe, DetectorTraining
from search.session import locked
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.spec import write_spec
from tests.scaling.efficientdet.small import small, small_backbone

pytestmark = pytest.mark.usefixtures("one_thread")
pytest.importorskip("pycocotools")
BOXES = [(1, 5, 6, 20, 20), (2, 30, 5, 20, 30)]
Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """said("train", ...): exit code and stderr of a command in an empty folder that has backbone.json."""
    monkeypatch.chdir(tmp_path)
    write_spec(Path("backbone.json"), small_backbone())

    def run(*words: object) -> tuple[int, str]:
        job = ["--backbone", "backbone.json", "--weights", "none", "--resolution", "64", "--steps", "1"]
        given = [*map(str, words), *(job if words[0] == "train" else [])]
        return main(given), capsys.readouterr().err

    return run


def test_changed_images_boxes_or_network_are_refused_by_name(
    said: Said, coco: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    files = coco(dict.fromkeys("abcdef", BOXES))
    command = ("train", "--data", folder(files), "--out", "out")
    assert said(*command)[0] == 0
    kept = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    folder({"images/a.png": coco({"z": BOXES}, part="z")["z/z.png"]})
    code, told = said(*command)
    assert code == 2
    assert "1 changed (images/a.png)" in told
    folder(files)
    folder({"annotations/instances_all.json": str(files["annotations/instances_all.json"]).replace("[5, 6", "[6, 6")})
    code, told = said(*command)
    assert code == 2
    assert "begun with other images" in told
    folder(files)
    network = Path("backbone.json").read_text()
    write_spec(Path("backbone.json"), zoo.get("mobilenet_v2", width=0.5))
    code, told = said(*command)
    assert code == 2
    assert "another network" in told
    Path("backbone.json").write_text(network)
    assert said(*command)[0] == 0
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == kept


@pytest.mark.parametrize(
    ("without", "code", "told"),
    [
        ("test", 2, "the test images must have an object"),
        ("train", 2, "the train images"),
        ("val", 0, "before the end"),
    ],
)
def test_a_split_without_objects_is_told_before_the_training(
    without: str, code: int, told: str, said: Said, coco: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    for part in ("train", "val", "test"):
        boxes = [] if part == without else BOXES
        data = folder(coco({f"{part}{number}": boxes for number in range(2)}, part=part))
    found, err = said("train", "--data", data, "--out", "out")
    assert found == code
    assert told in err
    assert Path("out", JOB).exists() == (code == 0)


def test_a_small_source_has_no_note_about_a_class_without_a_name(
    coco: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    notes = load(str(folder(coco(dict.fromkeys("abcde", BOXES))))).notes
    assert any("cat (3)" in note for note in notes)
    assert not any(": (" in note.replace("  ", " ") for note in notes)


def test_one_image_in_a_batch_whose_smallest_maps_are_one_pixel_is_refused(said: Said) -> None:
    code, err = said("train", "--data", "digits:20", "--batch-size", 1, "--out", "out")
    assert code == 2
    assert "at least 2 images at 64 px" in err


@pytest.mark.parametrize("channels", [1, 4])
def test_a_backbone_of_other_channels_is_refused_before_images_are_read(channels: int, said: Said) -> None:
    write_spec(Path("backbone.json"), replace(small_backbone(), in_channels=channels))
    code, err = said("train", "--data", "absent/", "--out", "out")
    assert code == 2
    assert f"takes {channels}: give another backbone" in err


def test_a_folder_in_use_names_its_own_flag(said: Said) -> None:
    with locked(Path("out")):
        code, err = said("train", "--data", "digits:20", "--out", "out")
    assert code == 2
    assert "give another --out" in err


def test_a_finished_folder_that_lost_a_file_gets_the_same_one_again(said: Said) -> None:
    command = ("train", "--data", "digits:20", "--batch-size", 2, "--out", "out")
    assert said(*command)[0] == 0
    kept = Path("out", WEIGHTS).read_bytes()
    Path("out", WEIGHTS).unlink()
    assert said(*command)[0] == 0
    assert Path("out", WEIGHTS).read_bytes() == kept


def test_a_file_that_is_no_state_is_told_without_torchs_advice(tmp_path: Path) -> None:
    (tmp_path / "training.ckpt").write_bytes(b"[]")
    spec = small(classes=10).with_resolution(64)
    data = load("digits:20", resolution=64)
    feed = TrainingFeed(spec=spec, examples=data.train, how=Augmentation(), batch_size=2, seed=0)
    training = DetectorTraining(detector=build(spec), batches=feed, state_file=tmp_path / "training.ckpt")
    lines = list[str]()
    training.on_line = lines.append
    training.fit(steps=1)
    assert "begins anew: it cannot be read" in lines[0]


@pytest.mark.parametrize("part", ["optimizer", "average", "state"])
def test_a_state_that_loads_only_in_part_leaves_nothing_behind(part: str, tmp_path: Path) -> None:
    data = load("digits:20", resolution=64)
    spec = small(classes=10).with_resolution(64)

    def training() -> DetectorTraining:
        feed = TrainingFeed(spec=spec, examples=data.train, how=Augmentation(), batch_size=2, seed=0)
        detector = build(spec, generator=torch.Generator().manual_seed(0))
        return DetectorTraining(
            detector=detector, batches=feed, recipe=DetectionRecipe(batch_size=2), state_file=tmp_path / "training.ckpt"
        )

    whole = training()
    whole.fit(steps=1)
    content = torch.load(tmp_path / "training.ckpt", weights_only=True)
    torch.save(content | {part: {"average": [torch.zeros(1)]}.get(part, {"step": -1})}, tmp_path / "training.ckpt")
    again, lines = training(), list[str]()
    again.on_line = lines.append
    assert again.fit(steps=1).step == 1
    assert "begins anew" in lines[0]
    state, expected = again.detector.state_dict(), whole.detector.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 4), (0, 60, 3), (40, 60, 3)])
def test_an_array_that_is_no_image_is_refused_not_cut_to_bytes(shape: tuple[int, ...]) -> None:
    saved = Saved(build(small(classes=2)).eval(), ("cat", "dog"))
    dtype = np.float32 if shape == (40, 60, 3) else np.uint8
    with pytest.raises(InvalidArgument, match="image 0 must be"):
        predict([np.zeros(shape, dtype)], saved)


def test_pictures_of_one_name_are_drawn_apart_and_never_replace_an_image(
    said: Said, picture: Callable[..., bytes]
) -> None:
    save_detector(Path("d"), build(small(classes=2)).eval(), ("a cat", "dog, 犬"), {})
    for number, name in enumerate(("one", "two")):
        Path(name).mkdir()
        Path(name, "0.png").write_bytes(picture(number))
    images = ("one/0.png", "two/0.png")
    assert said("predict", *images, "--detector", "d", "--out", "drawn")[0] == 0
    assert {path.name for path in Path("drawn").iterdir()} == {"0.png", "0-2.png"}
    code, err = said("predict", *images, "--detector", "d", "--out", "one")
    assert code == 2
    assert "must not replace" in err
    assert Path("one/0.png").read_bytes() == picture(0)
