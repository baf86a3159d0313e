"""Pascal VOC: boxes, splits, difficult objects; XML that could do harm is refused."""

from pathlib import Path
from typing import Any

import pytest

from scaling.efficientdet.detection_data import load
from searchspace.errors import InvalidData

SIX = {name: [("cat", 10, 5, 30, 25)] for name in "abcdef"}
LISTS = {"train": "a\nb\nc\nd\n", "val": "e\n", "test": "f\n"}


def test_boxes_classes_and_difficult_are_read(read: Any, voc: Any, by_name: Any) -> None:
    rows = [("dog", 1.5, 2, 30, 20), ("cat", 0, 0, 60, 40, "difficult")]
    data = read(voc(SIX | {"a": rows, "b": []}, LISTS))
    assert data.classes == ("cat", "dog")
    example = by_name(data)["a"]
    assert example.boxes.tolist() == [[2, 1.5, 20, 30], [0, 0, 40, 60]]
    assert example.labels.tolist() == [1, 0]
    assert example.difficult.tolist() == [False, True]
    assert not example.crowd.any()
    assert example.pixels().shape == (40, 60, 3) == (*example.size, 3)
    empty = by_name(data)["b"]
    assert empty.boxes.shape == (0, 4)
    assert any("1 of 4 images in train have no objects" in note for note in data.notes)


def test_lists_say_the_splits(read: Any, voc: Any) -> None:
    data = read(voc(SIX | {"g": []}, LISTS | {"cat_train": "f 1\n", "trainval": "a\ng\n"}))
    ids = [sorted(Path(example.id).stem for example in part) for part in (data.train, data.validation, data.test)]
    assert ids == [["a", "b", "c", "d"], ["e"], ["f"]]
    assert any("1 annotated image" in note and "no list" in note for note in data.notes)


def test_a_list_without_any_annotation_is_no_split(read: Any, voc: Any) -> None:
    data = read(voc(SIX, LISTS | {"train": "a\nb\nc\nd\nf\n", "test": "2008_1\n2008_2\n"}))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 1, 1]


def test_folders_say_the_splits(read: Any, voc: Any) -> None:
    flat = {name.replace("Annotations/", "").replace("JPEGImages/", ""): each for name, each in voc(SIX).items()}
    part = {"e": "valid", "f": "test"}
    data = read({f"{part.get(name[0], 'train')}/{name}": content for name, content in flat.items()})
    assert [len(each) for each in (data.train, data.validation, data.test)] == [4, 1, 1]


def test_without_lists_images_are_split_by_the_seed(read: Any, voc: Any, folder: Any) -> None:
    images = {f"{at:02d}": [("cat" if at % 4 else "dog", 10, 5, 30, 25)] for at in range(40)}
    data = read(voc(images), seed=0)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [28, 6, 6]
    for part in (data.validation, data.test):
        assert {0, 1} == {label for example in part for label in example.labels}
    again, other = (load(str(folder({})), seed=seed) for seed in (0, 1))
    assert [each.id for each in data.train] == [each.id for each in again.train]
    assert {each.id for each in data.train} != {each.id for each in other.train}
    assert data.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(encoding: str, read: Any, voc: Any) -> None:
    bomb = "<!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'><!ENTITY y '&x;&x;&x;'>]><annotation><folder>&y;</folder></annotation>"
    files = voc(SIX)
    files["Annotations/c.xml"] = f'<?xml version="1.0" encoding="{encoding}"?>{bomb}'.encode(encoding)
    with pytest.raises(InvalidData, match=r"c\.xml .* declares a document type"):
        read(files)


def test_an_external_entity_reads_no_file(read: Any, voc: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = voc(SIX)
    text = str(files["Annotations/c.xml"]).replace(">cat<", ">&x;<")
    files["Annotations/c.xml"] = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>{text}'
    with pytest.raises(InvalidData, match="document type"):
        read(files)


@pytest.mark.parametrize("text", ["", "<annotation>", "no xml", "<a>" * 100_000, b"\xff\xfe\x00"])
def test_what_is_no_xml_is_named(text: Any, read: Any, voc: Any) -> None:
    with pytest.raises(InvalidData, match=r"Annotations/c\.xml of the folder .* must be an XML file"):
        read(voc(SIX) | {"Annotations/c.xml": text})


def test_parts_of_an_object_are_no_objects(read: Any, voc: Any, by_name: Any) -> None:
    files = voc(SIX, LISTS)
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    files["Annotations/a.xml"] = str(files["Annotations/a.xml"]).replace("</object>", f"{part}</object>")
    data = read(files)
    assert data.classes == ("cat",)
    assert len(by_name(data)["a"].labels) == 1


def test_a_class_of_the_test_images_alone_is_unknown(read: Any, voc: Any) -> None:
    many = {f"m{at}": [("cat", 1, 1, 9, 9)] * 20 for at in range(10)}
    lists = LISTS | {"train": LISTS["train"] + "\n".join(many)}
    data = read(voc(SIX | many | {"f": [("cat", 1, 1, 9, 9), ("ox", 1, 1, 9, 9)]}, lists))
    assert data.classes == ("cat",)
    assert len(data.test[0].labels) == 1
    assert any("1 box of unknown classes (Annotations/f.xml: box 2 'ox')" in note for note in data.notes)


ARCHIVE = Path(__file__).parents[3] / "../shared/data/bccd.tar"


@pytest.mark.skipif(not ARCHIVE.exists(), reason="for development")
def test_bccd_is_read_from_its_archive() -> None:
    data = load(str(ARCHIVE))
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [205, 87, 72]
    boxes = sum(len(example.labels) for part in (data.train, data.validation, data.test) for example in part)
    assert boxes == 4888 - 2
    assert any("2 boxes of no area" in note for note in data.notes)
