"""Tables of paths and labels in text files."""

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from search.data import Dataset
from search.data.readers.archives import ZipSource
from search.data.readers.folders import FolderSource
from search.data.readers.lists import ListSource
from search.sources import SourceText
from searchspace.errors import InvalidArgument, InvalidData

Encoded = Callable[..., bytes]
Read = Callable[..., Dataset]
Images = Callable[..., list[str]]


@pytest.fixture
def images(tmp_path: Path, encoded: Encoded) -> Images:
    """images("photos", 20): so many images below a folder of this test's; their paths from there."""

    def make(folder: str = "photos", count: int = 20, first: int = 0) -> list[str]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for at in range(first, first + count):
            (tmp_path / folder / f"img_{at}.png").write_bytes(encoded(at))
        return [f"{folder}/img_{at}.png" for at in range(first, first + count)]

    return make


def _write(path: Path, *rows: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(rows).encode(encoding))
    return path


def _labelled(paths: list[str], mark: str = ",") -> list[str]:
    return [f"{path}{mark}{'cat' if at % 2 else 'dog'}" for at, path in enumerate(paths)]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("heading", ["file_name,label", "Image,Species", None])
def test_a_table_of_paths_and_labels_is_read(
    mark: str, encoding: str, heading: str | None, images: Images, tmp_path: Path, read: Read
) -> None:
    rows = [*([heading.replace(",", mark)] if heading else []), *_labelled(images(), mark)]
    dataset = read(_write(tmp_path / "labels.csv", *rows, encoding=encoding))
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) + len(dataset.validation) + len(dataset.open_test()) == 20


@pytest.mark.parametrize(
    "form",
    ["{path}", "./{path}", "{name}", "{stem}", "/home/else/{path}", "C:\\data\\photos\\{name}", "photos\\{name}"],
)
def test_paths_are_found_beside_the_table_or_by_their_names_below_it(form: str, images: Images, tmp_path: Path) -> None:
    cells = [form.format(path=path, name=Path(path).name, stem=Path(path).stem) for path in images()]
    listing = ListSource(_write(tmp_path / "x.csv", "id,label", *_labelled(cells))).listing()
    assert [item.name for item in listing.items] == sorted(images())
    assert Counter(item.label for item in listing.items) == {"cat": 10, "dog": 10}


def test_paths_may_lead_out_of_the_tables_folder(images: Images, tmp_path: Path, read: Read) -> None:
    (tmp_path / "tables").mkdir()
    rows = _labelled([f"../{path}" for path in images()])
    assert read(_write(tmp_path / "tables" / "x.csv", *rows)).classes == ("cat", "dog")
    rows = _labelled([str(tmp_path / path) for path in images()])
    assert read(_write(tmp_path / "tables" / "y.csv", *rows)).classes == ("cat", "dog")


def test_a_name_that_stands_in_two_folders_is_told_apart_by_the_folder(images: Images, tmp_path: Path) -> None:
    images("x/cat", 3)
    images("x/dog", 3)
    rows = [f"old/{label}/img_{at}.png,{label}" for label in ("cat", "dog") for at in range(3)]
    listing = ListSource(_write(tmp_path / "x.csv", *rows)).listing()
    assert all(f"x/{item.label}/" in item.name for item in listing.items)


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("split", "train val test", "train validation test"),
        ("Set", "Training TRAINING Holdout", "train train test"),
        ("fold", "0 1 2", "train validation test"),
        ("fold", "fold3 fold1 fold2", "test train validation"),
        ("data set", "train valid test", "train validation test"),
        ("is_train", "1 0 1", "train test train"),
        ("is_valid", "False True False", "train validation train"),
        ("whatever", "TRAIN VALIDATION TEST", "train validation test"),
    ],
)
def test_a_column_of_splits_is_read_and_told(
    column: str, values: str, parts: str, images: Images, tmp_path: Path
) -> None:
    of_row = [values.split()[at // 2 % 3] for at in range(18)]
    rows = [f"{row},{value}" for row, value in zip(_labelled(images(count=18)), of_row, strict=True)]
    listing = ListSource(_write(tmp_path / "x.csv", f"path,label,{column}", *rows)).listing()
    expected = dict(zip(values.split(), parts.split(), strict=True))
    by_name = {item.name: item.part for item in listing.items}
    assert by_name == {path: expected[value] for path, value in zip(images(count=18), of_row, strict=True)}
    assert any(note.startswith("splits by ") for note in listing.notes)


def test_the_flags_decide_about_columns(images: Images, tmp_path: Path) -> None:
    rows = [f"{path},{at % 3},{at % 2},{'a' if at < 10 else 'b'}" for at, path in enumerate(images())]
    path = _write(tmp_path / "x.csv", "path,size,colour,where", *rows)
    with pytest.raises(InvalidData, match=r"got 3 that may be it, size, colour, where: say .* --label-column"):
        ListSource(path).listing()
    chosen = ListSource(path, SourceText("", "train=a,test=b", "colour")).listing()
    assert chosen.classes == ("0", "1")
    assert Counter(item.part for item in chosen.items) == {"train": 10, "test": 10}
    with pytest.raises(InvalidArgument, match=r"--label-column must be .*got 'x'.*has size, colour, where"):
        ListSource(path, SourceText("", None, "x")).listing()
    with pytest.raises(InvalidArgument, match=r"--split-folders must name values of a column, got 'train=c'"):
        ListSource(path, SourceText("", "train=c", "size")).listing()


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False")])
def test_columns_of_which_each_row_marks_one_are_the_labels_and_told(
    yes: str, no: str, images: Images, tmp_path: Path
) -> None:
    rows = [f"{path},{at},{','.join(yes if at % 3 == n else no for n in range(3))}" for at, path in enumerate(images())]
    path = _write(tmp_path / "x.csv", "path,age,MEL,NV,BCC", *rows)
    listing = ListSource(path).listing()
    assert Counter(item.label for item in listing.items) == {"MEL": 7, "NV": 7, "BCC": 6}
    assert any("labels from the columns MEL, NV, BCC, of which each row has 1 in one" in note for note in listing.notes)
    rows[0] = f"{images()[0]},0,{yes},{yes},{no}"
    with pytest.raises(InvalidData, match="got 3 that may be it, MEL, NV, BCC: say which one"):
        ListSource(_write(tmp_path / "x.csv", "path,age,MEL,NV,BCC", *rows)).listing()


def test_a_column_in_which_no_value_is_twice_holds_no_labels(images: Images, tmp_path: Path) -> None:
    rows = [f"{at},{row}" for at, row in enumerate(_labelled(images()))]
    for heading in (",path,species", "id,path,species"):
        assert ListSource(_write(tmp_path / "x.csv", heading, *rows)).listing().classes == ("cat", "dog")


def test_the_images_of_train_csv_are_those_of_train(images: Images, tmp_path: Path) -> None:
    names = [Path(path).name for path in [*images("train"), *images("test")][:20]]
    listing = ListSource(_write(tmp_path / "train.csv", "id,label", *_labelled(names))).listing()
    assert all(item.name.startswith("train/") for item in listing.items)
    with pytest.raises(InvalidData, match=r"20 of 20 stand in several folders \(test/.*: write the folder before each"):
        ListSource(_write(tmp_path / "labels.csv", "id,label", *_labelled(names))).listing()


def test_a_line_of_excel_says_what_stands_between_cells(images: Images, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.csv", "sep=;", "path;label", *_labelled(images(), ";"))
    assert ListSource(path).listing().classes == ("cat", "dog")


def test_a_folder_of_images_and_their_metadata_is_read_as_datasets_reads_it(
    images: Images, tmp_path: Path, read: Read
) -> None:
    names = [Path(path).name for path in images()]
    _write(tmp_path / "photos" / "metadata.csv", "file_name,label", *_labelled(names))
    assert read(tmp_path / "photos").classes == ("cat", "dog")


def test_labels_that_were_written_as_3_0_are_whole_numbers(images: Images, tmp_path: Path) -> None:
    rows = [f"{path},{at % 2 + 9}.0" for at, path in enumerate(images())]
    assert ListSource(_write(tmp_path / "x.csv", "path,label", *rows)).listing().classes == ("9", "10")


def test_rows_that_cannot_serve_are_left_out_and_counted(images: Images, tmp_path: Path, encoded: Encoded) -> None:
    paths = images(count=200)
    rows = [*_labelled(paths), "photos/gone.png,cat", f"{paths[0]},cat", ""]
    rows[5] = f"{paths[5]},"
    listing = ListSource(_write(tmp_path / "x.csv", "path,label", *rows)).listing()
    assert len(listing.items) == 198
    assert "1 rows whose image is not there are left out: photos/gone.png" in listing.notes
    assert any(note.startswith("1 rows have no label") for note in listing.notes)
    assert any(note.startswith("1 images have several labels") for note in listing.notes)


def test_one_row_without_its_image_refuses_no_small_table(images: Images, tmp_path: Path) -> None:
    rows = _labelled([*images(), "photos/gone.png"])
    listing = ListSource(_write(tmp_path / "x.csv", "path,label", *rows)).listing()
    assert len(listing.items) == 20
    assert "1 rows whose image is not there are left out: photos/gone.png" in listing.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([""], "is empty"),
        (["path,label"], "has a heading alone"),
        (["path,path", "a.png,b"], "two columns 'path'"),
        (["path", "photos/img_0.png"], "column of paths to images"),
        (["name,age", "Ann,3", "Bob,4"], r"column of paths to images.*got the columns name, age with 'Ann, 3'"),
        (
            ["path,label", "photos/img_0.png,cat", "photos/no.png,dog", "photos/no2.png,dog"],
            "2 of 3 are not there, as 'photos/no.png' of line 3",
        ),
        (["path,label", "photos/img_0.png,cat,big"], r"must have 2 cells like the first, got 3 in line 2"),
        (["path,label", "photos/img_0.png,cat", "photos/img_1.png,cat"], r"at least 2 classes, got 1 \(cat\)"),
        (["path,label", '"photos/img_0.png,cat'], "must be a table with ','"),
    ],
)
def test_a_table_that_cannot_serve_is_told_in_one_sentence(
    rows: list[str], message: str, images: Images, tmp_path: Path
) -> None:
    images()
    with pytest.raises(InvalidData, match=message) as caught:
        ListSource(_write(tmp_path / "x.csv", *rows)).listing()
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidData, match="is no text"):
        ListSource(tmp_path / "x.csv").listing()


def test_a_changed_image_or_table_is_read_anew(images: Images, tmp_path: Path, read: Read, encoded: Encoded) -> None:
    path = _write(tmp_path / "x.csv", *_labelled(images()))
    first = read(path)
    assert read(path).notes == first.notes
    (tmp_path / "photos" / "img_3.png").write_bytes(encoded(77))
    assert read(path).fingerprint != first.fingerprint


@pytest.mark.parametrize("name", ["photos", "photos.zip", "digits"])
def test_a_column_of_labels_is_refused_where_there_are_no_columns(
    name: str, images: Images, tmp_path: Path, read: Read
) -> None:
    images()
    (tmp_path / "photos.zip").write_bytes(b"")
    place = name if name == "digits" else str(tmp_path / name)
    with pytest.raises(InvalidArgument, match=r"--label-column is for a source that has columns, got .*: leave it out"):
        read(f"{place}?label-column=x")
    for choice in ("none", ""):
        with pytest.raises(InvalidArgument, match=r"--split-folders is for a source that has folders"):
            read(f"digits?split-folders={choice}")


def test_a_folder_without_class_folders_points_to_its_table_of_labels(images: Images, tmp_path: Path) -> None:
    images("train")
    images("test", first=50)
    _write(tmp_path / "labels.csv", "path,label")
    with pytest.raises(InvalidData, match=r"look like splits.*if labels.csv says the labels, give it as --data"):
        FolderSource(tmp_path).listing()


def test_a_metadata_jsonl_of_datasets_is_read_like_a_csv(images: Images, tmp_path: Path, read: Read) -> None:
    rows = [
        json.dumps({"file_name": path, "label": at % 2, "split": "train" if at < 12 else "test", "box": [1, 2]})
        for at, path in enumerate(images())
    ]
    path = _write(tmp_path / "metadata.jsonl", *rows, "")
    listing = ListSource(path).listing()
    assert listing.classes == ("0", "1")
    assert Counter(item.part for item in listing.items) == {"train": 12, "test": 8}
    assert any(note.startswith("splits by the column split: train is train; test is test") for note in listing.notes)
    assert read(path).classes == ("0", "1")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([""], r"metadata\.jsonl must have a line for each image and is empty"),
        (['{"file_name": "a.png"', ""], r"must hold JSON in each line, not so line 1 \("),
        (['["a.png", "cat"]'], "must hold an object in each line, as .*, not so line 1: write it so"),
        (["[" * 100_000], "must hold JSON in each line, not so line 1"),
    ],
)
def test_a_metadata_jsonl_that_is_none_is_told_in_one_sentence(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=message):
        ListSource(_write(tmp_path / "metadata.jsonl", *rows)).listing()


def test_images_in_no_class_folders_point_to_the_tables_that_may_say_their_labels(
    images: Images, tmp_path: Path, encoded: Encoded
) -> None:
    for part in ("train", "test"):
        images(f"set/{part}")
        _write(tmp_path / "set" / part / "metadata.jsonl", "{}")
    with pytest.raises(InvalidData, match=r"if test/metadata\.jsonl, train/metadata\.jsonl say .* a column of splits"):
        FolderSource(tmp_path / "set").listing()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("photos/1.png", encoded(0))
        archive.writestr("labels.csv", "path,label")
    with pytest.raises(InvalidData, match=r"if labels\.csv says the labels, unpack the archive and give it as --data"):
        ZipSource(tmp_path / "x.zip").listing()


def test_images_in_no_class_folders_whose_names_begin_with_words_are_told_what_may_be_the_classes(
    images: Images, tmp_path: Path, encoded: Encoded
) -> None:
    (tmp_path / "x" / "train").mkdir(parents=True)
    for at in range(4):
        (tmp_path / "x" / "train" / f"{'cat' if at % 2 else 'great dane'}.{at}.jpg").write_bytes(encoded(at))
    with pytest.raises(
        InvalidData, match=r"; if cat, great dane at the beginning of names are the classes, give each a"
    ):
        FolderSource(tmp_path / "x").listing()
    images()
    with pytest.raises(InvalidData, match="at least 2 classes") as caught:
        FolderSource(tmp_path / "photos").listing()  # img_0, img_1: one word
    assert "beginning of names" not in str(caught.value)
