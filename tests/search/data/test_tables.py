"""Parquet files and datasets of the hub, the hub played by a fake."""

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.data import load
from search.data.readers.registry import open_source
from search.data.readers.tables import HubSource, ParquetSource
from search.data.source import Listing
from search.sources import SourceText
from searchspace.errors import InvalidArgument, InvalidData

Encoded = Callable[..., bytes]


def _features(*names: str) -> datasets.Features:
    return datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})


def _table(encoded: Encoded, labels: list[int], names: tuple[str, ...], first: int = 0) -> datasets.Dataset:
    images = [{"bytes": encoded(first + at), "path": f"{at}.png"} for at in range(len(labels))]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=_features(*names))


class _Hub:
    """A hub that answers every name with a dataset, or raises; `calls` are those made."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    def source(self, name: str, kind: type[HubSource] = HubSource) -> HubSource:
        return kind(name, load_dataset=self._load_dataset, reachable=lambda: True)

    def _load_dataset(self, *args: Any) -> Any:
        self.calls.append(args)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("name", ["photos.v2", "csv.v2", "a.b/c.d", "parquet.folder:x.y"])
def test_a_name_with_dots_that_is_nowhere_is_refused_in_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.data.readers.tables.hub_answers", lambda: False)
    with pytest.raises(InvalidData, match=f"there is no file or folder '{name}' here, .* Give the path of"):
        open_source(name).signature()


def test_class_names_come_from_the_hugging_face_features(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "x.parquet"
    _table(encoded, [1, 0] * 10, ("zebra", "ant")).to_parquet(path)
    listing = ParquetSource(path).listing()
    assert listing.classes == ("zebra", "ant")
    assert [item.label for item in listing.items[:3]] == ["ant", "zebra", "ant"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a"] * 10, ("a", "b")),
        ([10, 9] * 10, ("9", "10")),
        ([True, False] * 10, ("False", "True")),
        ([2.0, 1.0] * 10, ("1", "2")),
        (pa.array(["b", "a"] * 10).dictionary_encode(), ("a", "b")),
    ],
)
@pytest.mark.parametrize("struct", [False, True])
def test_plain_columns_serve_too(
    labels: list[Any], classes: tuple[str, ...], struct: bool, tmp_path: Path, encoded: Encoded
) -> None:
    cells: list[Any] = [encoded(at) for at in range(20)]
    if struct:
        cells = [{"bytes": cell, "path": None} for cell in cells]
    pq.write_table(pa.table({"img": cells, "label": labels, "other": labels}), tmp_path / "x.parquet")
    loaded = load(str(tmp_path / "x.parquet"), resolution=8, cache_dir=tmp_path)
    assert loaded.classes == classes
    assert [len(loaded.train), len(loaded.validation), len(loaded.open_test())] == [12, 4, 4]


@pytest.mark.parametrize(("image", "label"), [("Image", "Label"), ("IMG", "CLASS")])
def test_the_names_of_columns_are_read_whatever_their_case(
    image: str, label: str, tmp_path: Path, encoded: Encoded
) -> None:
    cells = [encoded(at) for at in range(4)]
    pq.write_table(pa.table({image: cells, label: ["b", "a"] * 2, "Size": [1] * 4}), tmp_path / "x.parquet")
    assert ParquetSource(tmp_path / "x.parquet").listing().classes == ("a", "b")


def test_missing_labels_among_whole_numbers_are_told_and_other_numbers_are_refused(
    tmp_path: Path, encoded: Encoded
) -> None:
    cells = [encoded(at) for at in range(4)]
    pq.write_table(pa.table({"image": cells, "label": [1.0, 0.0, None, float("nan")]}), tmp_path / "x.parquet")
    listing = ParquetSource(tmp_path / "x.parquet").listing()
    assert (listing.classes, len(listing.items)) == (("0", "1"), 2)
    pq.write_table(pa.table({"image": cells, "label": [1.0, 0.37, 2.0, 3.0]}), tmp_path / "y.parquet")
    with pytest.raises(InvalidData, match=r"names or whole numbers, got 0\.37 in the column label: .*--label-column"):
        ParquetSource(tmp_path / "y.parquet").listing()


def test_the_number_of_a_row_is_no_label(tmp_path: Path, encoded: Encoded) -> None:
    columns = {"image": [encoded(at) for at in range(4)], "species": ["b", "a"] * 2, "__index_level_0__": [3, 2, 1, 0]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert ParquetSource(tmp_path / "x.parquet").listing().classes == ("a", "b")


def test_rows_without_a_label_and_unused_classes_are_told(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "x.parquet"
    _table(encoded, [0, 2, -1] * 5, ("a", "b", "c")).to_parquet(path)
    listing = ParquetSource(path).listing()
    assert listing.classes == ("a", "c")
    assert len(listing.items) == 10
    assert any(note.startswith("5 rows") for note in listing.notes)
    assert any("b" in note and "without images" in note for note in listing.notes)


def test_the_finer_of_two_label_columns_is_told(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "x.parquet"
    table = _table(encoded, [0, 1] * 5, ("a", "b")).rename_column("label", "fine_label")
    table.add_column("coarse_label", [0] * 10).to_parquet(path)
    plain = ParquetSource(path).listing()
    assert plain.classes == ("a", "b")


def test_a_path_in_a_parquet_file_is_never_opened(tmp_path: Path, encoded: Encoded) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(0))
    cells = [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 6
    pq.write_table(
        pa.table(
            {"image": cells, "label": [0, 1] * 3},
            schema=pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()}),
        ),
        tmp_path / "x.parquet",
    )
    with pytest.raises(InvalidData, match="the cell holds no image bytes"):
        load(str(tmp_path / "x.parquet"), resolution=8, cache_dir=tmp_path)


@pytest.mark.parametrize("columns", [{"image": [b"x"]}, {"label": [1]}, {"picture": [1.5], "label": [1.5]}])
def test_missing_columns_are_named(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InvalidData, match=f"must have a column.*got {next(iter(columns))}.*rename or add"):
        ParquetSource(tmp_path / "x.parquet").listing()


def _wide(tmp_path: Path, encoded: Encoded, columns: int = 40, **more: list[Any]) -> Path:
    """A parquet file of images with many columns of whole numbers, and `more`."""
    cells = [encoded(at) for at in range(20)]
    attributes = {f"attribute {at}": [(index >> at % 4) & 1 for index in range(20)] for at in range(columns - 1)}
    pq.write_table(pa.table({"image": cells, **attributes, **more}), tmp_path / "wide.parquet")
    return tmp_path / "wide.parquet"


def test_a_table_of_40_columns_that_may_be_labels_is_told_in_one_sentence(tmp_path: Path, encoded: Encoded) -> None:
    path = _wide(tmp_path, encoded)
    with pytest.raises(InvalidData, match=r"got 40 columns, image .*and 32 more.*--label-column NAME") as caught:
        ParquetSource(path).listing()
    assert len(str(caught.value)) < 600


def test_the_column_of_labels_is_said_by_a_flag(tmp_path: Path, encoded: Encoded) -> None:
    path = _wide(tmp_path, encoded)
    loaded = load(f"{path}?label-column=attribute 2", resolution=8, cache_dir=tmp_path / "cache")
    assert loaded.classes == ("0", "1")
    assert any("labels from attribute 2" in note for note in loaded.notes)
    with pytest.raises(InvalidArgument, match=r"--label-column must be a column .*got 'size'; .*has attribute 0"):
        load(f"{path}?label-column=size", resolution=8, cache_dir=tmp_path / "cache")


def test_the_label_is_found_among_40_columns_and_the_others_are_told(tmp_path: Path, encoded: Encoded) -> None:
    listing = ParquetSource(_wide(tmp_path, encoded, label=["a", "b"] * 10, photo_size=[1] * 20)).listing()
    assert listing.classes == ("a", "b")


def test_the_only_column_besides_the_images_holds_the_labels(tmp_path: Path, encoded: Encoded) -> None:
    cells = [encoded(at) for at in range(6)]
    pq.write_table(pa.table({"jpg": cells, "species": ["a", "b"] * 3}), tmp_path / "x.parquet")
    listing = ParquetSource(tmp_path / "x.parquet").listing()
    assert listing.classes == ("a", "b")
    assert listing.notes == ("images from the column jpg, labels from species",)


@pytest.mark.parametrize("columns", [{"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, {}])
def test_a_parquet_file_without_rows_is_told(columns: dict[str, Any], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InvalidData, match=r"x\.parquet must hold a row for each image and has no rows"):
        ParquetSource(tmp_path / "x.parquet").listing()
    (tmp_path / "empty.parquet").write_bytes(b"")
    with pytest.raises(InvalidData, match=r"empty\.parquet .*0 bytes"):
        ParquetSource(tmp_path / "empty.parquet").listing()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00002.parquet train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
        (
            "data/train-00000-of-00002-0123456789abcdef.parquet data/train-00001-of-00002-fedcba9876543210.parquet",
            "data/test-00000-of-00001-0123456789abcdef.parquet",
        ),
        ("default/train/0000.parquet default/train/0001.parquet", "default/test/0000.parquet"),
        ("Training.parquet", "Testing.parquet"),
        ("fold_1.parquet fold_2.parquet", "holdout.parquet"),
    ],
)
def test_a_folder_of_parquet_shards_is_read_with_its_splits(
    train: str, test: str, tmp_path: Path, encoded: Encoded
) -> None:
    first = 0
    for name in [*train.split(), *test.split()]:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        _table(encoded, [0, 1] * 10, ("a", "b"), first).to_parquet(tmp_path / "x" / name)
        first += 20
    loaded = load(str(tmp_path / "x"), resolution=8, cache_dir=tmp_path / "cache")
    assert loaded.classes == ("a", "b")
    assert len(loaded.open_test()) == 20 * len(test.split())
    assert len(loaded.train) + len(loaded.validation) == 20 * len(train.split())


def test_shards_without_splits_are_one_pool(tmp_path: Path, encoded: Encoded) -> None:
    (tmp_path / "x").mkdir()
    for at in range(3):
        _table(encoded, [0, 1] * 10, ("a", "b"), 20 * at).to_parquet(tmp_path / "x" / f"part-{at:05d}.parquet")
    loaded = load(str(tmp_path / "x"), resolution=8, cache_dir=tmp_path / "cache")
    assert len(loaded.train) + len(loaded.validation) + len(loaded.open_test()) == 60
    assert any(note.startswith("split 70/15/15") for note in loaded.notes)
    whole = load(f"{tmp_path / 'x'}?split-folders=none", resolution=8, cache_dir=tmp_path / "cache")
    assert whole.fingerprint == loaded.fingerprint


def test_an_empty_shard_among_others_is_passed_over(tmp_path: Path, encoded: Encoded) -> None:
    (tmp_path / "x").mkdir()
    _table(encoded, [0, 1] * 10, ("a", "b")).to_parquet(tmp_path / "x" / "train-00000-of-00002.parquet")
    _table(encoded, [], ("a", "b")).to_parquet(tmp_path / "x" / "train-00001-of-00002.parquet")
    loaded = load(str(tmp_path / "x"), resolution=8, cache_dir=tmp_path / "cache")
    assert len(loaded.train) + len(loaded.validation) + len(loaded.open_test()) == 20


def test_shards_of_different_columns_are_told(tmp_path: Path, encoded: Encoded) -> None:
    (tmp_path / "x").mkdir()
    _table(encoded, [0, 1], ("a", "b")).to_parquet(tmp_path / "x" / "train.parquet")
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "x" / "users.parquet")
    with pytest.raises(
        InvalidData, match=r"same columns; .*train.parquet has image, label, and .*users.parquet has id"
    ):
        load(str(tmp_path / "x"), resolution=8, cache_dir=tmp_path / "cache")


def test_shards_may_have_their_columns_in_another_order_and_not_of_another_kind(
    tmp_path: Path, encoded: Encoded
) -> None:
    cells = [encoded(at) for at in range(4)]
    for name, label in (("a", [0, 1]), ("b", [1.0, 0.0]), ("c", ["cat", "dog"])):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"image": cells[:2], "label": [0, 1]}), tmp_path / name / "1.parquet")
        pq.write_table(pa.table({"label": label, "image": cells[2:]}), tmp_path / name / "2.parquet")
    for name in "ab":
        listing = ParquetSource(tmp_path / name, files=("1.parquet", "2.parquet")).listing()
        assert (listing.classes, len(listing.items)) == (("0", "1"), 4)
    with pytest.raises(InvalidData, match=r"1\.parquet has label \(numbers\), and .*2\.parquet has label \(names\)"):
        ParquetSource(tmp_path / "c", files=("1.parquet", "2.parquet")).listing()


def test_a_split_of_the_hub_by_another_name_is_recognised_told_or_chosen(tmp_path: Path, encoded: Encoded) -> None:
    tables = {
        name: _table(encoded, [0, 1] * 10, ("a", "b"), 20 * at) for at, name in enumerate(("training", "eval", "x"))
    }
    listing = _Hub(datasets.DatasetDict(tables)).source("name").listing()
    assert {item.part for item in listing.items} == {"train", "validation"}
    assert any(note.startswith("splits by folders: train is training; validation is eval") for note in listing.notes)
    odd = _Hub(datasets.DatasetDict(a=tables["training"], b=tables["eval"]))
    with pytest.raises(InvalidData, match=r"must have a split named train, got a, b: say which .*--split-folders"):
        odd.source("name").listing()
    how = SourceText("name", "train=a,test=b")
    chosen = HubSource("name", how, load_dataset=lambda *_: odd.answer, reachable=lambda: True).listing()
    assert {item.part for item in chosen.items} == {"train", "test"}


def test_a_truncated_or_damaged_parquet_file_is_an_error(tmp_path: Path, encoded: Encoded) -> None:
    path = tmp_path / "x.parquet"
    _table(encoded, [0, 1] * 50, ("a", "b")).to_parquet(path)
    whole = path.read_bytes()
    middle = whole[:1000] + bytes(len(whole) // 2) + whole[1000 + len(whole) // 2 :]
    for content in (b"", b"PAR1", whole[:-1], whole[: len(whole) // 2], middle):
        path.write_bytes(content)
        with pytest.raises(InvalidData, match=r"x\.parquet"):
            load(str(path), resolution=8, cache_dir=tmp_path / "cache")


def test_the_hubs_own_splits_are_kept(tmp_path: Path, encoded: Encoded) -> None:
    answer = datasets.DatasetDict(
        train=_table(encoded, [0, 1] * 20, ("a", "b")),
        test=_table(encoded, [0, 1] * 5, ("a", "b"), first=100),
        extra=_table(encoded, [0, 1] * 5, ("a", "b"), first=200),
    )
    hub = _Hub(answer)
    loaded = load(hub.source("owner/name:small"), resolution=8, cache_dir=tmp_path)
    assert hub.calls == [("owner/name", "small")]
    assert [len(loaded.train), len(loaded.validation), len(loaded.open_test())] == [34, 6, 10]
    assert any("extra" in note for note in loaded.notes)
    assert any("15 % of train each is set apart for validation" in note for note in loaded.notes)


class _Unread(HubSource):
    """A dataset of the hub whose rows must not be asked for."""

    def listing(self) -> Listing:
        raise AssertionError("the cache was not used")


def test_a_lone_split_is_split_and_cached(tmp_path: Path, encoded: Encoded) -> None:
    table = _table(encoded, [0, 1] * 20, ("a", "b"))
    hub = _Hub(datasets.DatasetDict(full=table))
    first = load(hub.source("name"), resolution=8, cache_dir=tmp_path)
    assert [len(first.train), len(first.validation), len(first.open_test())] == [28, 6, 6]
    assert load(hub.source("name", _Unread), resolution=8, cache_dir=tmp_path).fingerprint == first.fingerprint


def test_a_changed_dataset_of_the_hub_is_read_anew(tmp_path: Path, encoded: Encoded) -> None:
    prints = set()
    for first in (0, 50):
        hub = _Hub(datasets.DatasetDict(train=_table(encoded, [0, 1] * 10, ("a", "b"), first)))
        prints.add(load(hub.source("name"), resolution=8, cache_dir=tmp_path).fingerprint)
    assert len(prints) == 2


def test_a_test_split_without_labels_is_left_out(tmp_path: Path, encoded: Encoded) -> None:
    hidden = _table(encoded, [-1] * 6, ("a", "b"), first=90)
    hub = _Hub(datasets.DatasetDict(train=_table(encoded, [0, 1] * 20, ("a", "b")), test=hidden))
    loaded = load(hub.source("name"), resolution=8, cache_dir=tmp_path)
    assert [len(loaded.train), len(loaded.open_test())] == [28, 6]
    assert any("test has no labels" in note for note in loaded.notes)


def test_images_kept_as_files_by_the_library_are_read(tmp_path: Path, encoded: Encoded) -> None:
    for at in range(20):
        (tmp_path / f"{at}.png").write_bytes(encoded(at))
    cells = [{"bytes": None, "path": str(tmp_path / f"{at}.png")} for at in range(20)]
    table = datasets.Dataset.from_dict({"image": cells, "label": [0, 1] * 10}, features=_features("a", "b"))
    loaded = load(_Hub(datasets.DatasetDict(train=table)).source("name"), resolution=8, cache_dir=tmp_path / "cache")
    assert len(loaded.train) + len(loaded.validation) + len(loaded.open_test()) == 20


def test_a_name_that_the_hub_does_not_know_is_an_error(tmp_path: Path) -> None:
    hub = _Hub(FileNotFoundError("Dataset 'photos' doesn't exist on the Hub\nor cannot be accessed."))
    with pytest.raises(InvalidData, match=r"no file or folder 'photos' here.*doesn't exist on the Hub or cannot"):
        load(hub.source("photos"), resolution=8, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["csv", "imagefolder"])
def test_a_reader_of_the_library_is_no_dataset(name: str, tmp_path: Path) -> None:
    hub = _Hub({})
    with pytest.raises(InvalidData, match="is a file format, not a dataset"):
        load(hub.source(name), resolution=8, cache_dir=tmp_path)
    assert hub.calls == []


def test_without_a_network_the_hub_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    before = bool(datasets.config.HF_HUB_OFFLINE)
    with pytest.raises(InvalidData, match=r"'owner/photos'.*the hub cannot be reached, and no copy.*Give the path"):
        load("owner/photos", resolution=8, cache_dir=tmp_path)
    assert bool(datasets.config.HF_HUB_OFFLINE) is before


def test_importing_the_package_imports_neither_torch_nor_datasets_nor_pillow() -> None:
    code = "import sys, search.data; print(sorted({'torch', 'datasets', 'PIL', 'sklearn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_column_of_splits_in_a_parquet_file_is_read_told_and_chosen(tmp_path: Path, encoded: Encoded) -> None:
    said = [*["train"] * 10, *["valid"] * 4, *["test"] * 4, None, "extra"]
    columns = {"image": [encoded(at) for at in range(20)], "species": ["a", "b"] * 10, "Split": said}
    pq.write_table(pa.table({**columns, "site": ["n", "n", "s", "s"] * 5}), tmp_path / "x.parquet")
    how = SourceText("", label_column="species")
    listing = ParquetSource(tmp_path / "x.parquet", how).listing()
    assert Counter(item.part for item in listing.items) == {"train": 10, "validation": 4, "test": 4}
    assert any(note.startswith("splits by the column Split: train is train; val") for note in listing.notes)
    assert "2 rows of no split are left out" in listing.notes
    chosen = ParquetSource(tmp_path / "x.parquet", how._replace(split_folders="train=n,test=s")).listing()
    assert Counter(item.part for item in chosen.items) == {"train": 10, "test": 10}
    pooled = ParquetSource(tmp_path / "x.parquet", how._replace(split_folders="none")).listing()
    assert {item.part for item in pooled.items} == {None}
    assert len(load(str(how._replace(place=str(tmp_path / "x.parquet"))), resolution=8, cache_dir=tmp_path).train) == 10
    with pytest.raises(InvalidArgument, match=r"--split-folders must name values of a column, got 'train=q'; .*Split"):
        ParquetSource(tmp_path / "x.parquet", how._replace(split_folders="train=q")).listing()


def test_a_column_of_splits_is_no_label(tmp_path: Path, encoded: Encoded) -> None:
    columns = {"image": [encoded(at) for at in range(8)], "breed": ["a", "b"] * 4, "fold": [0, 1, 2, 3] * 2}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    listing = ParquetSource(tmp_path / "x.parquet").listing()
    assert listing.classes == ("a", "b")
    assert Counter(item.part for item in listing.items) == {"train": 4, "validation": 2, "test": 2}
