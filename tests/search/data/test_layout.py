"""Which paths are images of which class and split."""

import random

import pytest

from search.data.readers.choice import parse_choice
from search.data.readers.layout import File, arrange
from search.data.source import Listing
from searchspace.errors import InvalidData


def _arrange(*paths: str, folders: tuple[str, ...] = (), split_folders: str | None = None) -> Listing:
    files = [File(path, 5, 0) for path in paths]
    return arrange(files, folders, where="the folder x", choice=parse_choice(split_folders))


def _labels(listing: Listing) -> dict[str, tuple[str | None, str]]:
    return {item.name: (item.part, item.label) for item in listing.items}


def test_class_folders_are_the_classes_in_the_order_of_their_names() -> None:
    listing = _arrange("dogs/1.jpg", "cats/2.PNG", "cats/deep/er/3.webp")
    assert listing.classes == ("cats", "dogs")
    assert _labels(listing) == {
        "cats/2.PNG": (None, "cats"),
        "cats/deep/er/3.webp": (None, "cats"),
        "dogs/1.jpg": (None, "dogs"),
    }


@pytest.mark.parametrize("wrapper", ["photos", "photos/of/2026", "train", "test"])
def test_folders_that_only_wrap_are_passed_through(wrapper: str) -> None:
    listing = _arrange(f"{wrapper}/cats/1.jpg", f"{wrapper}/dogs/1.jpg")
    assert listing.classes == ("cats", "dogs")
    assert {item.part for item in listing.items} == {None}


@pytest.mark.parametrize("wrapper", ["", "data/"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_train_val_test_on_top_are_the_splits(wrapper: str, validation: str) -> None:
    paths = [f"{wrapper}{top}/{label}/1.jpg" for top in ("train", validation, "test") for label in ("a", "b")]
    labels = _labels(_arrange(*paths))
    assert labels[f"{wrapper}{validation}/a/1.jpg"] == ("validation", "a")
    assert labels[f"{wrapper}test/b/1.jpg"] == ("test", "b")


def test_a_class_may_be_called_train() -> None:
    listing = _arrange("bus/1.jpg", "car/1.jpg", "train/1.jpg")
    assert listing.classes == ("bus", "car", "train")
    assert _arrange("test/1.jpg", "train/1.jpg", split_folders="none").classes == ("test", "train")


def test_the_order_of_files_changes_nothing() -> None:
    paths = [f"{top}/{label}/{index}.jpg" for top in ("train", "test") for label in "abc" for index in range(9)]
    shuffled = random.Random(0).sample(paths, len(paths))
    assert _arrange(*shuffled) == _arrange(*paths)


def test_hidden_and_system_files_are_passed_over_silently() -> None:
    listing = _arrange(
        "a/1.jpg",
        "b/1.jpg",
        "a/.DS_Store",
        "__MACOSX/a/._1.jpg",
        ".git/x/1.jpg",
        "b/._1.jpg",
        "b/Thumbs.db",
        folders=(".git", "a", "b"),
    )
    assert len(listing.items) == 2
    assert listing.notes == ()


def test_files_that_are_no_images_by_their_names_are_left_out_and_told() -> None:
    listing = _arrange("a/1.jpg", "b/1.jpg", "README.md", "a/2.heic", "a/3.heic", "b/LICENSE")
    assert len(listing.items) == 2
    assert listing.notes == (
        "images of kinds that are not read are left out: 2 x .heic; save images of other kinds as .jpg or .png",
        "files whose names are no images' are left out: 1 x .md, 1 x no extension",
    )


def test_archives_and_kinds_that_are_not_read_are_told_with_what_to_do() -> None:
    with pytest.raises(InvalidData, match=r"archives in it are not looked into: unpack test\.zip, train\.zip$"):
        _arrange("train.zip", "test.zip", "sample.csv")
    with pytest.raises(InvalidData, match=r"only 2 x \.cr2: .*; save images of other kinds as \.jpg or \.png$"):
        _arrange("a/1.cr2", "b/2.CR2")


def test_folders_within_classes_are_taken_together_and_told() -> None:
    listing = _arrange("animals/cat/1.jpg", "animals/dog/1.jpg", "cars/1.jpg", "cars/2.jpg")
    assert listing.classes == ("animals", "cars")
    assert any("within a class are taken together: animals (cat, dog); if those" in note for note in listing.notes)
    assert not _arrange("a/images/1.jpg", "b/images/1.jpg").notes


def test_images_without_a_class_and_empty_folders_are_told() -> None:
    listing = _arrange("a/1.jpg", "b/1.jpg", "logo.png", folders=("a", "b", "c"))
    assert listing.classes == ("a", "b")
    assert any("1 images outside class folders" in note and "logo.png" in note for note in listing.notes)
    assert any(note == "folders without images are left out: c" for note in listing.notes)


def test_unlabelled_test_images_are_left_out_and_told() -> None:
    listing = _arrange("train/a/1.jpg", "train/b/1.jpg", "test/1.jpg", "test/2.jpg")
    assert {item.part for item in listing.items} == {"train"}
    assert any("2 images outside class folders" in note for note in listing.notes)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "is empty"),
        ((".hidden/1.jpg",), "is empty"),
        (("a/readme.txt", "b/x.heic"), r"has none, only 1 x \.heic, 1 x \.txt"),
        (("a/1.jpg", "a/2.jpg"), r"at least 2 classes, got 1 \(a\)"),
        (("photos/a/1.jpg",), r"at least 2 classes, got 1 \(a\)"),
        (("1.jpg", "2.jpg"), "at least 2 classes, got none"),
        (("test/a/1.jpg", "test/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg"), "class folders in train, got test, val"),
        (("train/a/1.jpg", "test/a/1.jpg", "extra/a/1.jpg"), "train.*beside extra"),
    ],
)
def test_a_layout_that_cannot_be_used_is_an_error_with_rule_and_value(paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        _arrange(*paths)
    assert "the folder x" in str(caught.value)
    assert ": " in str(caught.value)


def test_a_lone_split_with_one_class_is_one_class() -> None:
    with pytest.raises(InvalidData, match="at least 2 classes"):
        _arrange("train/a/1.jpg", folders=("train", "train/a", "train/b"))
