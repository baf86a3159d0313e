"""COCO: boxes, crowds, ids with gaps, one file or one for each split."""

import json
from pathlib import Path
from typing import Any

import pytest

from scaling.efficientdet.detection_data import load
from searchspace.errors import InvalidData

BOX = (1, 5, 6, 10, 20)
SIX = {name: [BOX] for name in "abcdef"}
FILE = "annotations/instances_all.json"


def changed(files: dict[str, Any], change: Any) -> dict[str, Any]:
    """The same files, after `change(content)` of the JSON."""
    content = json.loads(files[FILE])
    change(content)
    return files | {FILE: json.dumps(content)}


def test_boxes_and_crowds_are_read(read: Any, coco: Any, by_name: Any) -> None:
    data = read(coco(SIX | {"a": [(2, 5, 6.5, 10, 20), (1, 0, 0, 60, 40, "crowd")], "b": []}))
    assert data.classes == ("cat", "dog")
    example = by_name(data)["a"]
    assert example.boxes.tolist() == [[6.5, 5, 26.5, 15], [0, 0, 40, 60]]
    assert example.labels.tolist() == [1, 0]
    assert example.crowd.tolist() == [False, True]
    assert not example.difficult.any()
    assert example.pixels().shape == (40, 60, 3)
    assert by_name(data)["b"].labels.tolist() == []


def test_ids_with_gaps_become_labels_in_their_order(read: Any, coco: Any, by_name: Any) -> None:
    categories = {90: "toothbrush", 1: "person", 13: "stop sign"}
    data = read(
        coco({"a": [(90, 1, 1, 9, 9), (13, 1, 1, 9, 9)], **{x: [(1, 1, 1, 9, 9)] for x in "bcdef"}}, categories)
    )
    assert data.classes == ("person", "stop sign", "toothbrush")
    assert by_name(data)["a"].labels.tolist() == [2, 1]


def test_files_say_the_splits(read: Any, coco: Any) -> None:
    files = coco(SIX, part="train2017") | coco({"a": [BOX]}, part="val2017") | coco({"b": [BOX]}, part="test")
    data = read(files | {"annotations/captions_train2017.json": files["annotations/instances_train2017.json"]})
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 1, 1]
    assert data.validation[0].id == "val2017/a.png"  # not the file of the same name in train2017


def test_folders_with_a_file_each_say_the_splits(read: Any, coco: Any) -> None:
    files: dict[str, Any] = {}
    for part in ("train", "valid", "test"):
        made = coco(SIX, part=part)
        files[f"{part}/_annotations.coco.json"] = made.pop(f"annotations/instances_{part}.json")
        files |= made
    data = read(files)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 6, 6]
    for part, name in ((data.train, "train"), (data.validation, "valid"), (data.test, "test")):
        assert {each.id.split("/")[0] for each in part} == {name}


def test_a_group_of_categories_is_no_class(read: Any, coco: Any) -> None:
    categories = [
        {"id": 0, "name": "cells", "supercategory": "none"},
        {"id": 1, "name": "RBC", "supercategory": "cells"},
        {"id": 2, "name": "person", "supercategory": "person"},
    ]
    assert read(coco(SIX) | {}).classes == ("cat", "dog")
    assert read(changed(coco(SIX), lambda content: content.update(categories=categories))).classes == ("RBC", "person")


def test_a_file_without_its_images_is_left_out(read: Any, coco: Any) -> None:
    train = {name: each for name, each in coco(SIX, part="train2017").items() if name.endswith(".json")}
    data = read(train | coco({f"{at}": [BOX] for at in range(10)}, part="val2017"))
    assert any("instances_train2017.json is left out" in note for note in data.notes)
    assert any("only images of validation are there" in note for note in data.notes)
    assert len(data.train) + len(data.validation) + len(data.test) == 10


def test_folders_of_whoever_annotated_do_not_matter(read: Any, coco: Any) -> None:
    def change(content: Any) -> None:
        for image in content["images"]:
            image["file_name"] = f"C:\\pictures\\{image['file_name']}"

    assert len(read(changed(coco(SIX), change)).train) == 4


def test_one_file_can_be_named(folder: Any, coco: Any) -> None:
    root = folder(coco(SIX))
    (root / "one.json").write_bytes((root / FILE).read_bytes())
    assert len(load(str(root / "one.json")).train) == 4


def test_a_file_of_no_split_beside_those_of_splits_is_refused(read: Any, coco: Any) -> None:
    with pytest.raises(InvalidData, match=r"instances_all\.json names none"):
        read(coco(SIX) | coco(SIX, part="train"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content.pop("categories") and content.update(categories={}), "must have lists of objects"),
        (lambda content: content["images"].append(7), "must have lists of objects"),
        (lambda content: content["images"][2].pop("file_name"), "must have an id and a file_name"),
        (lambda content: content["images"][2].update(id=[1]), "must have an id and a file_name"),
        (lambda content: content["images"][2].update(id=1), "images must have an id of its own, got 1 twice"),
        (lambda content: content["categories"][1].update(name="cat"), "each category a name of its own"),
        (lambda content: content["annotations"].clear(), "must have boxes to learn from"),
    ],
)
def test_what_is_no_coco_is_told(change: Any, told: str, read: Any, coco: Any) -> None:
    with pytest.raises(InvalidData, match=told):
        read(changed(coco(SIX), change))


@pytest.mark.parametrize(
    "text", ['{"images": [], "annotations": [], "categories": [', '"images""annotations""categories"']
)
def test_a_damaged_file_is_named(text: str, read: Any, coco: Any) -> None:
    with pytest.raises(InvalidData, match=r"instances_all\.json of the folder .* must be JSON"):
        read(coco(SIX) | {FILE: text})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("category_id", 7, "of unknown classes"),
        ("category_id", [1], "of unknown classes"),
        ("image_id", 99, "of images that are not listed"),
        ("bbox", [1, 2, 3], "that cannot be read"),
        ("bbox", [1, 2, "3", 4], "that cannot be read"),
        ("bbox", [1, 2, float("nan"), 4], "that cannot be read"),
        ("bbox", [1, 2, float("inf"), 4], "that cannot be read"),
        ("bbox", None, "that cannot be read"),
        ("bbox", [10, 10, 0, 5], "of no area"),
        ("bbox", [10, 10, -5, 5], "of no area"),
        ("bbox", [100, 10, 5, 5], "outside the image"),
        ("bbox", [-30, 10, 40, 5], "outside the image"),
    ],
)
def test_one_odd_box_of_many_is_skipped_and_of_few_refused(
    key: str, value: object, told: str, read: Any, coco: Any
) -> None:
    def change(content: Any) -> None:
        content["annotations"][-1][key] = value

    with pytest.raises(InvalidData, match=rf"got 1 of 6 in data: 1 box {told} \(annotations/instances_all.json: annot"):
        read(changed(coco(SIX), change))
    data = read(changed(coco(SIX | {"e": [BOX] * 96}), change))
    assert any(note.startswith(f"skipped: 1 box {told}") for note in data.notes)
    examples = (*data.train, *data.validation, *data.test)
    assert sum(len(example.labels) for example in examples) == 100
    assert sorted(Path(example.id).stem for example in examples) == list("abcdef")
