"""What holds for boxes of every format: bad input is named, archives are as folders, images as they were annotated."""

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scaling.efficientdet.detection_data import load
from scaling.efficientdet.readers.scan import scan
from searchspace.errors import InvalidData

CAT = ("cat", 10, 5, 30, 25)
SIX = {name: [CAT] for name in "abcdef"}


def every(data: Any) -> list[Any]:
    return [*data.train, *data.validation, *data.test]


@pytest.mark.parametrize(
    ("box", "told"),
    [
        (("cat", 70, 5, 90, 25), "1 box outside the image .*from \\(70, 5\\) to \\(90, 25\\) in 60 x 40 px"),
        (("cat", -40, -20, -5, 25), "1 box outside the image"),
        (("cat", 30, 5, 30, 25), "1 box of no area"),
        (("cat", 30, 25, 10, 5), "1 box of no area"),
        (("cat", "x", 5, 30, 25), "1 box that cannot be read"),
        (("cat", "nan", 5, 30, 25), "1 box that cannot be read"),
        (("cat", "1e999", 5, 30, 25), "1 box that cannot be read"),
        (("", 1, 5, 30, 25), "1 box that cannot be read"),
    ],
)
def test_an_odd_box_is_refused_among_few_and_skipped_among_many(box: Any, told: str, read: Any, voc: Any) -> None:
    with pytest.raises(InvalidData, match=f"fewer than 1% of the boxes may be unusable, got 1 of 7 in data: {told}"):
        read(voc(SIX | {"a": [CAT, box]}))
    with pytest.raises(InvalidData, match="got 1 of 100 in data"):
        read(voc(SIX | {"a": [CAT] * 94 + [box]}))
    data = read(voc(SIX | {"a": [CAT] * 95 + [box]}))
    assert sum(len(example.labels) for example in every(data)) == 100
    assert any(note.startswith("skipped: 1 box") for note in data.notes)


def test_a_box_that_reaches_out_of_its_image_is_clipped(read: Any, voc: Any, by_name: Any) -> None:
    data = read(voc(SIX | {"a": [("cat", 40, -3, 70, 43)], "b": [("cat", 0, 0, 60.4, 40)]}))
    assert by_name(data)["a"].boxes.tolist() == [[0, 40, 40, 60]]
    assert by_name(data)["b"].boxes.tolist() == [[0, 0, 40, 60]]
    assert any("1 box reaches" in note and note.endswith("a.png") for note in data.notes)


def test_missing_images_are_left_out_and_many_are_refused(read: Any, voc: Any) -> None:
    files = voc(SIX)
    del files["JPEGImages/c.png"]
    data = read(files)
    assert len(every(data)) == 5
    assert any("1 listed image missing, left out: c" in note for note in data.notes)
    with pytest.raises(InvalidData, match=r"listed images may be missing, got 3 of 8 in data: c, x, y\. Put"):
        read({"Annotations/x.xml": files["Annotations/a.xml"], "Annotations/y.xml": files["Annotations/a.xml"]})


def test_corrupt_images_are_left_out_and_many_are_refused(read: Any, voc: Any) -> None:
    files = voc(SIX)
    files["JPEGImages/c.png"] = files["JPEGImages/c.png"][:2000]
    data = read(files)
    assert len(every(data)) == 5
    assert any("1 corrupt image skipped: JPEGImages/c.png" in note for note in data.notes)
    with pytest.raises(InvalidData, match="at most 5% of the images may be corrupt, got 2 or more of 6"):
        read({"JPEGImages/d.png": b""})


def test_a_truncated_jpeg_is_noticed_before_training(read: Any, voc: Any, picture: Any) -> None:
    whole = picture(3, form="JPEG", size=(400, 600))
    files = {**voc(SIX, size="600 400"), **{f"JPEGImages/{name}.png": b"" for name in ""}}
    for at, name in enumerate("abcdef"):
        del files[f"JPEGImages/{name}.png"]
        files[f"JPEGImages/{name}.jpg"] = picture(at, form="JPEG", size=(400, 600))
    data = read(files | {"JPEGImages/c.jpg": whole[: len(whole) // 2]})
    assert any("1 corrupt image skipped: JPEGImages/c.jpg" in note for note in data.notes)


def test_an_image_that_vanishes_later_is_told(read: Any, voc: Any, tmp_path: Path) -> None:
    data = read(voc(SIX))
    os.remove(tmp_path / "data" / data.train[0].id)
    with pytest.raises(InvalidData, match="cannot be read now"):
        data.train[0].pixels()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_an_archive_is_as_its_folder(kind: str, folder: Any, voc: Any, tmp_path: Path) -> None:
    root = folder(voc(SIX))
    archive = tmp_path / f"boxes.{kind}"
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in paths:
                zipped.write(path, path.relative_to(root))
    else:
        with tarfile.open(archive, f"w:{kind.partition('.')[2]}") as tar:
            tar.add(root, arcname=".")
    packed, flat = load(str(archive)), load(str(root))
    assert packed.fingerprint == flat.fingerprint
    assert packed.contents == flat.contents
    for one, other in zip(every(packed), every(flat), strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.pixels(), other.pixels())


def test_a_damaged_archive_is_told(folder: Any, voc: Any, tmp_path: Path) -> None:
    archive = tmp_path / "boxes.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder(voc(SIX)), arcname=".")
    archive.write_bytes(archive.read_bytes()[:9000])
    with pytest.raises(InvalidData, match="must be a whole archive"):
        load(str(archive))


@pytest.mark.parametrize(("said", "boxes"), [("60 40", [[5, 10, 25, 30]]), ("40 60", [[5, 10, 25, 30]])])
def test_exif_turns_an_image_as_its_annotation_saw_it(said: str, boxes: Any, read: Any, voc: Any, by_name: Any) -> None:
    # Stored 40 px high and 60 px wide; upright it is 60 px high.
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    example = by_name(read(voc(SIX, size=said) | {"JPEGImages/a.png": buffer.getvalue()} | others(said)))["a"]
    assert example.boxes.tolist() == boxes
    expected = pixels if said == "60 40" else np.rot90(pixels, -1)
    np.testing.assert_array_equal(example.pixels(), expected)
    assert example.size == expected.shape[:2]


def others(said: str) -> dict[str, bytes]:
    """Images of the size that annotations say, for all but the first."""
    width, height = map(int, said.split())
    found = {}
    for at, name in enumerate("bcdef"):
        buffer = io.BytesIO()
        Image.fromarray(np.full((height, width, 3), at, np.uint8)).save(buffer, "PNG")
        found[f"JPEGImages/{name}.png"] = buffer.getvalue()
    return found


def test_boxes_of_an_image_that_was_resized_are_scaled(read: Any, voc: Any, by_name: Any) -> None:
    data = read(voc({name: [("cat", 20, 10, 60, 50)] for name in "abcdef"}, size="120 80"))
    assert by_name(data)["a"].boxes.tolist() == [[5, 10, 25, 30]]


def test_an_image_of_another_shape_than_its_annotation_is_left_out(read: Any, voc: Any) -> None:
    data = read(voc(SIX) | {"Annotations/b.xml": voc({"b": [CAT]}, size="60 50")["Annotations/b.xml"]})
    assert any("its annotation says 60 x 50 px, the file has 60 x 40 px" in note for note in data.notes)
    assert len(every(data)) == 5


def test_deep_images_share_one_scale(read: Any, voc: Any, by_name: Any) -> None:
    files = voc(SIX)
    for at, name in enumerate("abcdef"):
        buffer = io.BytesIO()
        Image.fromarray(np.full((40, 60), 100 * (at + 1), np.uint16)).save(buffer, "PNG")
        files[f"JPEGImages/{name}.png"] = buffer.getvalue()
    data = read(files, seed=0)
    assert any("6 images of more than 8 bits" in note for note in data.notes)
    found = [int(by_name(data)[name].pixels()[0, 0, 0]) for name in "abcdef"]
    assert found == sorted(found)
    assert found[0] < found[4] / 3


def test_reduced_images_keep_their_boxes_pixels(read: Any, voc: Any, picture: Any) -> None:
    files = voc({name: [("cat", 10, 5, 300, 250)] for name in "abcdef"}, size="600 400")
    for at, name in enumerate("abcdef"):
        del files[f"JPEGImages/{name}.png"]
        files[f"JPEGImages/{name}.jpeg"] = picture(at, form="JPEG", size=(400, 600))
    example = read(files).train[0]
    assert example.size == (400, 600)
    assert example.pixels().shape == (400, 600, 3)
    assert example.pixels(300).shape == (200, 300, 3)
    assert example.pixels(301).shape == (400, 600, 3)


def test_byte_identical_images_are_in_one_split(read: Any, voc: Any, picture: Any) -> None:
    images = {f"{at:02d}": [CAT] for at in range(30)}
    files = voc(images) | {f"JPEGImages/{at:02d}.png": picture(at // 3) for at in range(30)}
    data = read(files)
    groups = [{int(Path(each.id).stem) // 3 for each in part} for part in (data.train, data.validation, data.test)]
    assert sum(map(len, groups)) == 10


def test_changed_boxes_images_and_splits_change_the_fingerprint_and_places_do_not(folder: Any, voc: Any) -> None:
    lists = {"train": "a\nb\nc\nd\n", "val": "e\n", "test": "f\n"}
    moved = {name: each for name, each in voc(SIX | {"a": [("cat", 10, 5, 30, 26)]}, lists).items() if "a.xml" in name}
    ways = [{}, {}, moved, {"JPEGImages/a.png": voc(SIX)["JPEGImages/b.png"][:-1]}, {"ImageSets/Main/val.txt": "d\n"}]
    prints = [load(str(folder(voc(SIX, lists) | way, at=f"at{at}"))).fingerprint for at, way in enumerate(ways)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "must hold images and their boxes, got no image"),
        ({"a.txt": "x"}, "must hold images and their boxes, got no image"),
    ],
)
def test_what_has_no_images_is_told(files: Any, told: str, folder: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InvalidData, match=told):
        load(str(folder(files)))


def test_what_has_no_boxes_is_told(read: Any, picture: Any) -> None:
    with pytest.raises(InvalidData, match=r"1 image are, got neither a data\.yaml"):
        read({"a.png": picture()})


@pytest.mark.parametrize("text", ["", "/nowhere/at/all", "a\0b", "README.md", "x" * 5000])
def test_what_is_no_source_is_told(text: str) -> None:
    with pytest.raises(InvalidData, match="give"):
        load(text)


def test_images_are_looked_at_once_until_a_file_changes(
    folder: Any, voc: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(voc(SIX) | {"JPEGImages/g.png": picture(7)})
    looked: list[int] = []
    monkeypatch.setattr(
        "scaling.efficientdet.readers.examples_of.scan", lambda *args: (looked.append(1), scan(*args))[1]
    )
    first, again = load(str(place)), load(str(place))
    assert (len(looked), again.fingerprint, again.notes) == (1, first.fingerprint, first.notes)
    assert [each.size for each in every(again)] == [(40, 60)] * 6
    (place / "JPEGImages" / "b.png").write_bytes(picture(8))
    assert load(str(place)).fingerprint != first.fingerprint
    (kept,) = (place.parent / "cache" / "images").glob("scan-*.json")
    kept.write_bytes(kept.read_bytes()[:-20])
    load(str(place))
    assert len(looked) == 3


@pytest.mark.parametrize(
    ("kind", "told"), [("corrupt", "1 corrupt image"), ("deep", "more than 8 bits"), ("clear", "transparent parts")]
)
def test_what_was_found_on_images_is_told_again_from_the_kept_scan(kind: str, told: str, folder: Any, voc: Any) -> None:
    files, odd = voc({f"{at:02d}": [CAT] for at in range(24)}), "JPEGImages/00.png"
    if kind == "corrupt":
        files[odd] = files[odd][:2000]
    else:
        shape, values = ((40, 60), np.uint16) if kind == "deep" else ((40, 60, 4), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.arange(np.prod(shape)).reshape(shape).astype(values)).save(buffer, "PNG")
        files[odd] = buffer.getvalue()
    place = folder(files)
    first, again = load(str(place)), load(str(place))
    assert any(told in note for note in first.notes)
    assert again.notes == first.notes
