"""The report before a search says what a search will find: the same splits, the same notes, the same refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import Dataset, inspect
from search.data.__main__ import main
from searchspace.errors import InvalidArgument, InvalidData

Corpus = Callable[..., Path]
Read = Callable[..., Dataset]


def _found_by_load(dataset: Dataset) -> dict[str, dict[str, int]]:
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.open_test()}
    return {
        label: {part: int((own.labels == at).sum()) for part, own in parts.items()}
        for at, label in enumerate(dataset.classes)
    }


def _spoil(root: Path) -> None:
    """A label conflict, a copy, a corrupt and an animated image, and one of 12 bits."""
    shutil.copy(root / "a" / "0000.png", root / "b" / "same.png")
    shutil.copy(root / "a" / "0001.png", root / "a" / "copy.png")
    (root / "b" / "0007.png").write_bytes((root / "b" / "0007.png").read_bytes()[:120])
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(root / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.arange(81, dtype=np.uint16).reshape(9, 9) * 50).save(root / "a" / "deep.png")


@pytest.mark.parametrize("seed", [0, 3])
def test_counts_and_notes_are_those_of_a_search(seed: int, corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 90, "b": 130})
    _spoil(root)
    found, dataset = inspect(str(root), seed=seed), read(root, seed=seed)
    assert found.counts == _found_by_load(dataset)
    assert set(dataset.notes) <= set(found.notes)
    assert tuple(found.unusable) == dataset.skipped == ("b/0007.png",)
    assert found.refused == []


def test_given_splits_are_counted_as_a_search_takes_them(corpus: Corpus, read: Read, tmp_path: Path) -> None:
    for part, count in (("train", 30), ("val", 8), ("test", 9)):
        corpus({"a": count, "b": count}, at=f"x/{part}")
    shutil.copy(tmp_path / "x" / "test" / "a" / "0000.png", tmp_path / "x" / "train" / "a" / "seen.png")
    found, dataset = inspect(str(tmp_path / "x")), read(tmp_path / "x")
    assert found.counts == _found_by_load(dataset)
    assert found.between_splits == [["test/a/0000.png", "train/a/seen.png"]]
    assert any("copy of images of another split" in note and "train/a/seen.png" in note for note in dataset.notes)


def test_copies_and_label_conflicts_are_named(corpus: Corpus) -> None:
    root = corpus({"a": 20, "b": 20})
    shutil.copy(root / "a" / "0000.png", root / "b" / "same.png")
    shutil.copy(root / "a" / "0001.png", root / "a" / "copy.png")
    found = inspect(str(root))
    assert found.between_classes == [["a/0000.png", "b/same.png"]]
    assert (found.copies, found.between_splits) == (2, [])
    assert any("a/0000.png = b/same.png; keep each in the class that it shows" in note for note in found.notes)


def test_what_a_search_refuses_is_still_reported(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 20, "b": 2})
    with pytest.raises(InvalidData) as refusal:
        read(root)
    found = inspect(str(root))
    assert found.refused == [str(refusal.value)]
    assert found.counts == {"a": {"images": 20}, "b": {"images": 2}}
    assert found.small_classes == {"b": 2}


def test_classes_of_one_split_only_are_named_refused_by_a_search_and_still_counted(
    corpus: Corpus, read: Read, tmp_path: Path
) -> None:
    corpus({"cat": 9, "dog": 9, "emu": 4}, at="x/train")
    corpus({"cat": 3, "dog": 3, "fox": 2}, at="x/val")
    with pytest.raises(InvalidData, match="train has no image of fox and validation has no image of emu") as refusal:
        read(tmp_path / "x")
    found = inspect(str(tmp_path / "x"))
    assert found.refused == [str(refusal.value)]
    assert found.counts["emu"] == {"train": 4, "validation": 0}
    assert found.counts["fox"] == {"train": 0, "validation": 2}
    assert main([str(tmp_path / "x")]) == 0


def test_too_many_corrupt_images_are_reported_with_all_names(corpus: Corpus) -> None:
    root = corpus({"a": 20, "b": 20})
    for index in range(5):
        (root / "a" / f"{index:04d}.png").write_text(f"no image {index}")
    found = inspect(str(root))
    assert len(found.unusable) == 5
    assert found.totals == {"a": 15, "b": 20}
    (refused,) = found.refused
    assert refused.startswith("at most 5% of the images may be corrupt, got 5 or more of 40 ")


def test_no_readable_image_at_all_is_an_error(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "x" / label).mkdir(parents=True)
        for index in range(4):
            (tmp_path / "x" / label / f"{index}.jpg").write_text(f"text {index}")
    with pytest.raises(InvalidData, match=r"none of 8 can, as a/0\.jpg \(no image of a known format\): mend them"):
        inspect(str(tmp_path / "x"))


def test_sizes_and_kinds_of_files_are_counted(corpus: Corpus) -> None:
    root = corpus({"a": 10, "b": 10})  # 10 wide, 12 high
    Image.new("L", (64, 30), 7).save(root / "a" / "wide.jpg")
    found = inspect(str(root))
    assert (tuple(found.width), tuple(found.height), tuple(found.shorter_side)) == (
        (10, 10, 64),
        (12, 12, 30),
        (10, 10, 30),
    )
    assert found.kinds == {"PNG RGB": 20, "JPEG L": 1}
    assert found.size_bytes == sum(path.stat().st_size for path in root.rglob("*.*"))


def test_images_that_show_nothing_are_told(corpus: Corpus) -> None:
    root = corpus({"a": 10, "b": 10})
    Image.new("RGBA", (9, 9), (255, 255, 255, 0)).save(root / "a" / "white.png")
    assert any(note.startswith("1 image of one colour only, once read: a/white.png") for note in inspect(root).notes)


def test_the_embedded_task_is_counted_and_drawn(tmp_path: Path) -> None:
    found = inspect("digits:20", picture=tmp_path / "sheet.png", cache_dir=tmp_path)
    assert found.images == 20 + 24 + 12
    assert {tuple(counts) for counts in found.counts.values()} == {("train", "validation", "test")}
    assert Image.open(tmp_path / "sheet.png").width > 500


def test_the_picture_shows_training_images_of_each_class(tmp_path: Path) -> None:
    colours = {"a": (200, 0, 0), "b": (0, 0, 200)}
    for label, colour in colours.items():
        (tmp_path / "x" / label).mkdir(parents=True)
        for index in range(20):
            shade = tuple(min(255, each + index) for each in colour)
            Image.new("RGB", (16, 16), shade).save(tmp_path / "x" / label / f"{index}.png")
    inspect(tmp_path / "x", picture=tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    upper, lower = sheet[: len(sheet) // 2, 200:], sheet[len(sheet) // 2 :, 200:]
    assert (upper[..., 0] - upper[..., 2] > 150).mean() > 0.8
    assert (lower[..., 2] - lower[..., 0] > 150).mean() > 0.8


def test_the_same_images_give_the_same_report_and_picture(corpus: Corpus, tmp_path: Path) -> None:
    root = corpus({"a": 12, "b": 30})
    _spoil(root)
    assert inspect(root, picture=tmp_path / "1.png") == inspect(root, picture=tmp_path / "2.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_progress_counts_up_to_all_images(corpus: Corpus) -> None:
    calls: list[tuple[int, int]] = []
    inspect(corpus({"a": 100, "b": 100}), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (200, 200)
    assert calls == sorted(calls)


def test_the_command_prints_a_table_and_all_notes(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    root = corpus({"cats": 40, "dogs": 8})
    assert main([str(root)]) == 0
    told = capsys.readouterr().out
    assert "cats has 5.0 times the images of dogs; who always says cats is right in 83.3%" in told
    assert "1 of 2 classes has fewer than 10 images: dogs (8)" in " ".join(told.split())
    assert [row.split() for row in told.splitlines() if row.startswith("cats ")] == [
        ["cats", "28", "6", "6", "40", "83.3%"]
    ]


def test_the_command_prints_the_same_as_json(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    root = corpus({"a": 20, "b": 2})
    assert main([str(root), "--json", "--seed", "1"]) == 0
    told, errors = capsys.readouterr()
    assert json.loads(told) == inspect(root, seed=1).to_dict()
    assert errors == ""


def test_a_hundred_classes_are_shown_by_their_largest_and_smallest(
    corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    root = corpus({f"c{number:03d}": 3 + number % 5 for number in range(100)})
    assert main([str(root)]) == 0
    told = capsys.readouterr().out
    assert "The 20 largest and the 20 smallest of 100 classes" in told
    assert sum(row.startswith("c0") for row in told.splitlines()) == 40


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["nowhere"], "there is no file or folder 'nowhere'"),
        (["{root}", "--seed", "-1"], "argument --seed: must be an integer from 0 to 2147483647, got '-1'"),
        (["{root}", "--seed", "x"], "argument --seed: must be an integer"),
        (["{root}", "--picture", "sheet.jpg"], "the picture of examples is written as a .png, got sheet.jpg"),
        (["{root}", "--picture", "{root}/a/0000.png/sheet.png"], "sheet.png"),
        (["{root}", "{root}"], "unrecognized arguments"),
    ],
)
def test_a_wrong_flag_is_one_sentence_and_exit_code_2(
    arguments: list[str], wanted: str, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    root = corpus({"a": 4, "b": 4})
    assert main([argument.format(root=root) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line


def test_arguments_out_of_range_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"at least 0, got -1"):
        inspect("digits:20", seed=-1)


def test_split_folders_are_read_as_every_command_reads_them(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("fruit", 30), ("eaten", 9)):
        corpus({"a": count, "b": count}, at=f"x/{part}")
    root = corpus({}, at="x")
    assert main([str(root), "--split-folders", "train=fruit,test=eaten", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["a"]["test"] == 9
