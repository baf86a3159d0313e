"""YOLO: boxes in shares of the image, splits and classes by data.yaml."""

from typing import Any

import numpy as np
import pytest

from scaling.efficientdet.detection_data import load
from searchspace.errors import InvalidData

BOX = "0 .5 .5 .2 .4\n"
IMAGES = {**{f"train/{name}": BOX for name in "abcd"}, "val/e": BOX}
NAMES = "names: [cat, dog]\n"


def test_boxes_are_read(read: Any, yolo: Any, by_name: Any) -> None:
    data = read(yolo(IMAGES | {"train/a": "1 0.5 0.25 0.5 0.1\n\n0 .5 .5 1 1\n", "train/b": "", "train/c": None}))
    assert data.classes == ("cat", "dog")
    example = by_name(data)["a"]
    np.testing.assert_allclose(example.boxes, [[8, 15, 12, 45], [0, 0, 40, 60]], atol=1e-4)
    assert example.labels.tolist() == [1, 0]
    for name in "bc":
        assert by_name(data)[name].boxes.shape == (0, 4)
    assert any("1 image without a label file: taken as images without objects" in note for note in data.notes)


def test_a_polygon_gives_its_bounds(read: Any, yolo: Any, by_name: Any) -> None:
    data = read(yolo(IMAGES | {"train/a": "1 .1 .2 .5 .1 .3 .6\n"}))
    np.testing.assert_allclose(by_name(data)["a"].boxes, [[4, 6, 24, 30]], atol=1e-4)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names: [cat, dog]", ("cat", "dog")),
        ("nc: 2\nnames: ['cat', 'dog']", ("cat", "dog")),
        ("names:\n  0: cat\n  1: dog", ("cat", "dog")),
        ("names:\n  2: dog\n  0: cat", ("cat", "dog")),
        ("nc: 2", ("0", "1")),
        ("names: [no, 1.0]", ("no", "1.0")),
        ("names: [null, 2020-01-01]", ("null", "2020-01-01")),
    ],
)
def test_class_names_are_taken_as_they_are_written(names: str, classes: tuple[str, ...], read: Any, yolo: Any) -> None:
    assert read(yolo(IMAGES, f"train: images/train\nval: images/val\n{names}\n")).classes == classes


@pytest.mark.parametrize(
    "places",
    [
        "path: .\ntrain: images/train\nval: images/val",
        "path: ../datasets/coco8\ntrain: images/train\nval: images/val",
        "train: ../images/train\nval: ../images/val",
        "train: /home/me/data/images/train\nval: /home/me/data/images/val/",
        "train: [images/train]\nval: [images/val]\ntest:",
        "train: train.txt\nval: images/val",
    ],
)
def test_folders_and_lists_are_found_wherever_they_were(places: str, read: Any, yolo: Any) -> None:
    data = read(
        yolo(IMAGES, f"{places}\n{NAMES}") | {"train.txt": "".join(f"./images/train/{x}.png\n" for x in "abcd")}
    )
    assert sorted(example.id for example in data.validation) == ["images/val/e.png"]
    assert len(data.train) + len(data.test) == 4


def test_labels_within_the_folders_of_splits_are_found(read: Any, yolo: Any) -> None:
    files = {}
    for name, content in yolo(IMAGES, f"train: ../train/images\nval: ../val/images\n{NAMES}").items():
        kind, *rest = name.split("/")
        files["/".join([rest[0], kind, rest[1]]) if rest else name] = content
    assert [example.id for example in read(files).validation] == ["val/images/e.png"]


def test_validation_on_the_images_of_train_is_no_split(read: Any, yolo: Any) -> None:
    data = read(yolo({f"train/{at}": BOX for at in range(20)}, f"train: images/train\nval: images/train\n{NAMES}"))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 3, 3]
    assert any("validation has the images of train" in note for note in data.notes)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("Images", "Labels"), ("pictures", "pictures")])
def test_labels_stand_in_labels_or_beside_their_images(images: str, labels: str, read: Any, yolo: Any) -> None:
    files = yolo(IMAGES, f"train: {images}/train\nval: {images}/val\n{NAMES}")
    data = read({name.replace("images", images).replace("labels", labels): each for name, each in files.items()})
    assert sum(len(each.labels) for part in (data.train, data.validation, data.test) for each in part) == 5


def test_the_yaml_can_be_named_and_labels_without_it_have_a_list_of_classes(folder: Any, yolo: Any) -> None:
    files = yolo(IMAGES)
    root = folder(files)
    assert load(str(root / "data.yaml")).classes == ("cat", "dog")
    del files["data.yaml"]
    other = folder(files | {"labels/classes.txt": "cat\ndog\n"}, at="other")
    data = load(str(other))
    assert data.classes == ("cat", "dog")
    assert [example.id for example in data.validation] == ["images/val/e.png"]


@pytest.mark.parametrize("place", ["../datasets/pets", "ABSOLUTE"])
def test_a_named_yaml_may_stand_elsewhere_than_its_images(place: str, folder: Any, yolo: Any) -> None:
    root = folder({name: each for name, each in yolo(IMAGES).items() if name != "data.yaml"}, at="datasets/pets")
    place = str(root) if place == "ABSOLUTE" else place
    text = f"path: {place}\ntrain: images/train\nval: images/val\n{NAMES}"
    data = load(str(folder({"pets.yaml": text}, at="here") / "pets.yaml"))
    assert data.name == "pets"
    assert [example.id for example in data.validation] == ["images/val/e.png"]


@pytest.mark.parametrize("text", ['path: "a\\0b"\nnames: [cat]\ntrain: x\n', "- 1\n", "", "path: [1]\n", "\0"])
def test_a_named_yaml_that_is_none_is_told(text: str, folder: Any, yolo: Any) -> None:
    with pytest.raises(InvalidData):
        load(str(folder(yolo(IMAGES) | {"data.yaml": text}) / "data.yaml"))


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        ("train: images/train\nnames: [cat, cat]\n", "each class a name of its own"),
        ("train: images/train\nnames: []\n", "must have names"),
        ("train: images/train\nnames: [[cat]]\n", "must have names"),
        ("train: images/train\nnames: {a: cat}\n", "must have names"),
        ("train: images/train\nnames: [cat]\nnc: 2\n", "as many names as nc says, got 1 and nc: 2"),
        (
            "train: images/nowhere\nnames: [cat, dog]\n",
            "train must name a folder or list of images, got 'images/nowhere'",
        ),
        ("train: images/train\nnames: [cat, dog\n", "must be YAML"),
        ("names: &a [*a]\ntrain: images/train\n", "must be YAML"),
        ("train: !!python/object/apply:os.system [echo]\nnames: [cat, dog]\n", "no image is"),
    ],
)
def test_what_is_no_data_yaml_is_told(yaml: str, told: str, read: Any, yolo: Any) -> None:
    with pytest.raises(InvalidData, match=told):
        read(yolo(IMAGES, yaml))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2 .5 .5 .2 .2", "of unknown classes"),
        ("-1 .5 .5 .2 .2", "of unknown classes"),
        ("0 1.2 .5 .2 .2", "outside the image"),
        ("0 .5 -.1 .2 .2", "outside the image"),
        ("0 300 200 20 20", "outside the image"),
        ("0 .5 .5 0 .2", "of no area"),
        ("0 .5 .5 .2", "that cannot be read"),
        ("0 .5 .5 .2 .2 .9", "that cannot be read"),
        ("0.5 .5 .5 .2 .2", "that cannot be read"),
        ("cat .5 .5 .2 .2", "that cannot be read"),
        ("0 .5 nan .2 .2", "that cannot be read"),
    ],
)
def test_one_odd_line_of_many_is_skipped_and_of_few_refused(line: str, told: str, read: Any, yolo: Any) -> None:
    with pytest.raises(InvalidData, match=rf"got 1 of 6 in data: 1 box {told} \(labels/train/a.txt: line 2 "):
        read(yolo(IMAGES | {"train/a": f"{BOX}{line}\n"}))
    data = read(yolo(IMAGES | {"train/a": f"{BOX}{line}\n", "train/b": BOX * 96}))
    assert any(note.startswith(f"skipped: 1 box {told}") for note in data.notes)
    assert sum(len(each.labels) for part in (data.train, data.validation, data.test) for each in part) == 100


def test_images_without_any_label_file_are_refused(read: Any, yolo: Any) -> None:
    with pytest.raises(InvalidData, match=r"labels must stand in labels/ .* labels/train/a.txt is missing"):
        read(yolo(dict.fromkeys(IMAGES)))


def test_a_split_without_any_label_file_is_left_out(read: Any, yolo: Any) -> None:
    images = IMAGES | {"test/x": None, "test/y": None}
    data = read(yolo(images, f"train: images/train\nval: images/val\ntest: images/test\n{NAMES}"))
    assert any("test has no label file for any of its 2 images: it is left out" in note for note in data.notes)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 1, 1]
    assert any("2 images without annotations left out: images/test/x.png" in note for note in data.notes)


def test_label_files_without_their_images_are_missing_images(read: Any, yolo: Any) -> None:
    one = read(yolo(IMAGES) | {"labels/train/gone.txt": BOX})
    assert any("1 listed image missing, left out: the image of labels/train/gone.txt" in note for note in one.notes)
    with pytest.raises(InvalidData, match="got 2 of 7 in data"):
        read({"labels/train/gone too.txt": BOX})


def test_a_list_may_not_leave_the_folder(read: Any, yolo: Any, folder: Any, picture: Any) -> None:
    folder({"secret.png": picture(9)}, at="elsewhere")
    with pytest.raises(InvalidData, match="no image is"):
        read(yolo(IMAGES, f"train: train.txt\n{NAMES}") | {"train.txt": "../elsewhere/secret.png\n"})
