"""What `--augment auto` finds out on images: whether classes are mirror images, or turned ones, of each other."""

import io
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from search.data import Split
from search.training.auto_augment import by_looks, confusion, decide
from search.training.looks import Looks
from tests.drawn import Draw, arrow, disc, drawn_images, house, ring, six, stem_and_bowl, tree
from tests.scripted import dataset_of

pytestmark = pytest.mark.usefixtures("one_thread")

CIFAR = Path(__file__).parents[4] / "shared" / "data" / "cifar10-train.tar"


@pytest.mark.parametrize("shape", [arrow, stem_and_bowl])
def test_classes_that_are_mirror_images_are_not_mirrored(shape: Draw) -> None:
    found = decide("auto", "signs", drawn_images((shape, (0,)), (shape, (-1,))))
    assert found.augment == "shift"
    assert "not mirrored, as" in found.why
    assert "are taken for the other one when mirrored (chance alone does that less than once in a million times)" in (
        found.why
    )


def test_two_mirrored_classes_among_many_are_found() -> None:
    others = [(shape, (0,)) for shape in (house, tree, disc, ring, six)]
    found = decide("auto", "signs", drawn_images((arrow, (0,)), (arrow, (-1,)), *others, count=280))
    assert found.augment == "shift"


def test_classes_that_are_turned_ones_of_each_other_are_not_turned() -> None:
    found = decide("auto", "numbers", drawn_images((six, (0,)), (six, (2,))))
    assert "rotate" not in found.augment
    assert "when turned by 180 degrees" in found.why
    found = decide("auto", "signs", drawn_images((arrow, (1,)), (arrow, (3,)), (house, (0,))))
    assert found.augment == "shift,flip"  # up and down: mirrored they are what they were
    assert "when turned by 180 degrees" in found.why


def test_things_with_an_up_and_no_left_are_mirrored_and_not_turned() -> None:
    found = decide("auto", "things", drawn_images((house, (0,)), (tree, (0,)), (disc, (0,)), count=240))
    assert found.augment == "shift,flip"
    assert "mirrored, as that makes no class look like another" in found.why


def test_things_seen_from_every_side_are_turned_too() -> None:
    every = (0, 1, 2, 3)
    found = decide("auto", "from above", drawn_images((house, every), (disc, every), (ring, every), count=400))
    assert found.augment == "shift,flip,rotate"
    assert "turned, as that loses at most" in found.why


def test_where_nothing_can_be_told_images_are_mirrored_as_usual_and_that_is_said() -> None:
    found = decide("auto", "noise", drawn_images((disc, (0,)), (disc, (0,)), count=40))
    assert found.augment == "shift,flip"
    assert "a quick look tells too little" in found.why


def test_where_classes_have_too_few_images_for_any_answer_that_is_said() -> None:
    found = decide("auto", "signs", drawn_images((arrow, (0,)), (arrow, (-1,)), (house, (0,)), (tree, (0,)), count=12))
    assert found.augment == "shift,flip"
    assert "mirrored, as is usual: so few images of each class say too little" in found.why


def test_the_embedded_digits_are_moved_alone_and_names_are_taken_as_they_are() -> None:
    some = drawn_images((disc, (0,)), (ring, (0,)), count=10)
    assert decide("auto", "digits:40", some).augment == "shift"
    assert decide("auto", None, some).augment == "shift"
    assert decide("flip,crop", "photos", some) == ("flip,crop", "as asked")


def test_the_same_images_are_decided_alike() -> None:
    one, other = (decide("auto", "signs", drawn_images((arrow, (0,)), (arrow, (-1,)))) for _ in range(2))
    assert one == other


def test_a_class_that_is_told_worse_but_taken_for_many_others_is_no_confusion() -> None:
    labels = torch.arange(8).repeat(30)
    strewn = torch.where(labels == 0, torch.arange(240) % 7 + 1, labels)
    assert confusion(Looks(labels, labels, {"mirrored": strewn}), "mirrored") is None


def test_a_few_images_that_change_sides_are_no_confusion_however_many_there_are() -> None:
    labels = torch.arange(2).repeat(500)
    few = labels.clone()
    few[:60] = 1 - few[:60]
    assert confusion(Looks(labels, labels, {"mirrored": few}), "mirrored") is None  # 6 % of both
    few[:200] = 1 - labels[:200]
    found = confusion(Looks(labels, labels, {"mirrored": few}), "mirrored")
    assert found is not None
    assert (found.classes, found.images, found.moved) == ((0, 1), 1000, 200)


def test_as_many_that_change_sides_in_both_directions_are_no_confusion() -> None:
    labels = torch.zeros(200, dtype=torch.int64)
    labels[100:] = 1
    as_is, mirrored = labels.clone(), labels.clone()
    as_is[:40], mirrored[40:80] = 1, 1
    assert confusion(Looks(labels, as_is, {"mirrored": mirrored}), "mirrored") is None
    turned = dict.fromkeys(("turned by 90 degrees",), labels)
    assert by_looks(Looks(labels, as_is, {"mirrored": mirrored, **turned}), ("a", "b")).augment == "shift,flip,rotate"


@pytest.mark.skipif(not CIFAR.exists(), reason=f"needs {CIFAR.name} of the project's shared data")
def test_photographs_are_mirrored_and_not_turned() -> None:
    with tarfile.open(CIFAR) as archive:
        members = [member for member in archive if member.name.endswith(".jpg")]
        random.Random(0).shuffle(members)
        names = sorted({member.name.split("/")[-2] for member in members})
        chosen = members[:500]
        files = [io.BytesIO(archive.extractfile(one).read()) for one in chosen]  # type: ignore[union-attr]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = np.array([names.index(one.name.split("/")[-2]) for one in chosen], np.int64)
    data = dataset_of(Split(pixels[100:], labels[100:]), Split(pixels[:100], labels[:100]), classes=10)
    assert decide("auto", "photographs", data).augment == "shift,flip"
