"""`load` from end to end: what reaches the search, corrupt images, and clear errors."""

import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.data import Dataset, inspect, load
from search.data.prepare import EncodedSource
from search.data.readers.archives import TarSource
from search.data.source import PARTS, Content, Item, Listing
from searchspace.errors import InvalidArgument, InvalidData, PhinasError

Corpus = Callable[..., Path]
Encoded = Callable[..., bytes]
Read = Callable[..., Dataset]
CIFAR = Path("/work/shared/data/cifar10-train.tar")


def _lengths(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.open_test())


def test_images_labels_and_classes_reach_the_search(corpus: Corpus, read: Read) -> None:
    root = corpus({"dogs": 20, "cats": 40})
    dataset = read(root)
    assert (dataset.name, dataset.classes, dataset.resolution) == ("corpus", ("cats", "dogs"), 8)
    assert _lengths(dataset) == (42, 9, 9)
    assert "split 70/15/15 into train, validation and test by seed 0" in dataset.notes
    for part in (dataset.train, dataset.validation, dataset.open_test()):
        assert part.pixels.shape == (len(part), 8, 8, 3)
        assert part.pixels.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert not part.pixels.flags.writeable
        assert set(part.labels) == {0, 1}


def test_every_image_is_found_with_its_own_label(tmp_path: Path, read: Read) -> None:
    """Each image is of one colour, which names its class and itself."""
    for label in range(3):
        (tmp_path / "x" / str(label)).mkdir(parents=True)
        for index in range(20):
            Image.new("RGB", (9, 9), (label * 50, index * 10, 7)).save(tmp_path / "x" / str(label) / f"{index}.png")
    dataset = read(tmp_path / "x")
    seen = []
    for part in (dataset.train, dataset.validation, dataset.open_test()):
        assert (part.pixels[:, 4, 4, 0] == part.labels * 50).all()
        seen += [tuple(pixel) for pixel in part.pixels[:, 4, 4].tolist()]
    assert sorted(seen) == sorted((label * 50, index * 10, 7) for label in range(3) for index in range(20))


def test_copies_never_straddle_two_splits(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 20, "b": 20})
    for index in range(20):
        shutil.copy(root / "a" / f"{index:04d}.png", root / "a" / f"copy{index}.png")
    dataset = read(root)
    splits = (dataset.train, dataset.validation, dataset.open_test())
    parts = [{image.tobytes() for image in part.pixels} for part in splits]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert sum(_lengths(dataset)) == 60


def test_the_test_split_is_no_field_that_one_reads_by_mistake(corpus: Corpus, read: Read) -> None:
    dataset = read(corpus({"a": 9, "b": 9}))
    assert not any(name.startswith("test") for name in vars(dataset))
    assert "pixels" not in repr(dataset)


def test_the_same_arguments_give_the_same_dataset_and_others_another(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 30, "b": 30})
    first, again = read(root), read(root)
    np.testing.assert_array_equal(first.train.pixels, again.train.pixels)
    np.testing.assert_array_equal(first.train.labels, again.train.labels)
    others = [read(root, seed=1), read(root, images=10), read(root, resolution=9)]
    assert len({first.fingerprint, again.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert len(others[1].train) == 10


def test_the_fingerprint_follows_content_not_place(
    corpus: Corpus, read: Read, tmp_path: Path, encoded: Encoded
) -> None:
    root = corpus({"a": 10, "b": 10})
    first = read(root)
    shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert read(tmp_path / "elsewhere").fingerprint == first.fingerprint
    (tmp_path / "elsewhere" / "a" / "0000.png").write_bytes(encoded(999))
    assert read(tmp_path / "elsewhere").fingerprint != first.fingerprint


def test_progress_counts_up_to_all_images(corpus: Corpus, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = corpus({"a": 100, "b": 100})
    load(str(root), resolution=8, cache_dir=tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 200)
    assert calls[-1] == (200, 200)
    assert calls == sorted(calls)
    assert len(calls) >= 4


def test_a_few_corrupt_images_are_named_counted_and_skipped(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 150, "b": 150})
    (root / "a" / "0003.png").write_bytes(b"no image")
    (root / "a" / "0004.png").write_bytes(b"")
    (root / "b" / "0005.png").write_bytes((root / "b" / "0005.png").read_bytes()[:100])
    dataset = read(root)
    assert dataset.skipped == ("a/0003.png", "a/0004.png", "b/0005.png")
    assert sum(_lengths(dataset)) == 297
    note = next(note for note in dataset.notes if note.startswith("3 corrupt images skipped"))
    assert "a/0003.png (no image of a known format), a/0004.png (an empty file), b/0005.png (" in note
    assert read(root).skipped == dataset.skipped
    good = read(root, resolution=12)
    for part in (good.train, good.validation, good.open_test()):
        assert part.pixels.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("corrupt", range(6))
def test_one_corrupt_image_of_a_few_is_skipped_wherever_it_falls(corrupt: int, corpus: Corpus, read: Read) -> None:
    """Also where it would be its class's only one of a split: such a set is split again without it."""
    root = corpus({"a": 6, "b": 9})
    (root / "a" / f"{corrupt:04d}.png").write_text("no image")
    dataset = read(root)
    assert dataset.skipped == (f"a/{corrupt:04d}.png",)
    assert sum(_lengths(dataset)) == 14
    for part in (dataset.train, dataset.validation, dataset.open_test()):
        assert set(part.labels) == {0, 1}
        assert part.pixels.any(axis=(1, 2, 3)).all()
    counts = [len(part) for part in (dataset.train, dataset.validation, dataset.open_test())]
    assert [sum(by_part[part] for by_part in inspect(root).counts.values()) for part in PARTS] == counts


def test_a_class_that_has_too_few_images_without_its_corrupt_one_is_told_with_that(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 3, "b": 30})
    (root / "a" / "0001.png").write_text("no image")
    with pytest.raises(
        InvalidData, match=r"at least 3 different images, .* a has 2: .*do not count: a/0001\.png \(no im"
    ):
        read(root)


@pytest.mark.parametrize("seed", range(2))
def test_the_rows_of_corrupt_images_are_filled_by_others_of_the_split(seed: int, tmp_path: Path, read: Read) -> None:
    """Labels still fit their images, wherever in a split the corrupt ones fall."""
    for label in range(2):
        (tmp_path / "x" / str(label)).mkdir(parents=True)
        for index in range(200):
            path = tmp_path / "x" / str(label) / f"{index}.png"
            Image.new("RGB", (8, 8), (label * 50 + 1, index, 9)).save(path)
            if index in (7, 8):
                path.write_bytes(path.read_bytes()[:45])
    dataset = read(tmp_path / "x", seed=seed)
    seen: list[bytes] = []
    for part in (dataset.train, dataset.validation, dataset.open_test()):
        assert (part.pixels[:, 4, 4, 0] == part.labels * 50 + 1).all()
        seen += [image.tobytes() for image in part.pixels]
    assert len(seen) == len(set(seen)) == 396


def test_more_than_5_percent_of_corrupt_images_is_an_error(corpus: Corpus, read: Read, tmp_path: Path) -> None:
    root = corpus({"a": 50, "b": 50})
    for index in range(6):
        (root / "a" / f"{index:04d}.png").write_text("no image")
    with pytest.raises(InvalidData, match=r"at most 5% .*got 6 or more of 100 .*a/0000\.png.*Mend them"):
        read(root)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_folder_of_files_that_are_no_images_is_an_error(tmp_path: Path, read: Read) -> None:
    for label in "ab":
        (tmp_path / "x" / label).mkdir(parents=True)
        for index in range(5):
            (tmp_path / "x" / label / f"{index}.jpg").write_text(f"text {index}")
    with pytest.raises(InvalidData, match="no image of a known format"):
        read(tmp_path / "x")


def test_many_copies_of_one_broken_download_are_called_corrupt(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 10, "b": 10})
    for path in (root / "a").iterdir():
        path.write_text("<html>404 not found</html>")
    with pytest.raises(InvalidData, match=r"may be corrupt, got .*no image of a known format"):
        read(root)


def test_a_dangling_link_is_a_corrupt_image(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 100, "b": 100})
    (root / "a" / "link.png").symlink_to("nowhere.png")
    assert read(root).skipped == ("a/link.png",)


def test_a_pipe_is_neither_an_image_nor_an_archive(corpus: Corpus, read: Read, tmp_path: Path) -> None:
    root = corpus({"a": 5, "b": 5})
    os.mkfifo(root / "a" / "pipe.png")
    assert sum(_lengths(read(root))) == 10
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(InvalidData, match=r"got the file .*pipe\.tar"):
        read(tmp_path / "pipe.tar")


def test_a_link_in_a_circle_ends(corpus: Corpus, read: Read) -> None:
    root = corpus({"a": 5, "b": 5})
    (root / "a" / "up").symlink_to(root)
    assert sum(_lengths(read(root))) == 10


@pytest.mark.parametrize("name", ["a\udcff.png", "a\n[red]b.png", "ü ñ.png"])
def test_odd_file_names_do_no_harm(name: str, corpus: Corpus, read: Read, encoded: Encoded) -> None:
    root = corpus({"a": 100, "b": 100})
    (root / "a" / name).write_bytes(b"no image")
    (skipped,) = read(root).skipped
    assert skipped.isprintable()
    assert read(root).skipped == (skipped,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, whatever its name: save it as .jpg or .png"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG, whatever its name: save it"),
        (b"\x93NUMPY\1\0v\0{", "a NumPy array, whatever its name: save it"),
        (b"\n<!DOCTYPE HTML><html>404", "no image of a known format but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no image of a known format but a pointer of Git LFS"),
        (bytes(50), "no image of a known format)"),
    ],
)
def test_a_file_of_another_kind_under_an_images_name_is_skipped_and_said_what_it_is(
    data: bytes, message: str, corpus: Corpus, read: Read
) -> None:
    root = corpus({"a": 10, "b": 10})
    (root / "a" / "0003.jpg").write_bytes(data)
    notes = read(root).notes
    assert any("a/0003.jpg" in note and message in note for note in notes), notes


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("labels.xlsx", "save the table as .csv and give that"),
        ("photos.tar.xz", "unpack it and give the folder, or pack that as .tar or .zip"),
        ("photos.npz", "give the images as files, a folder per class"),
        ("cat.JPG", "give the folder that holds a folder of images for each class"),
    ],
)
def test_a_file_that_is_not_read_is_told_with_what_to_give(name: str, hint: str, tmp_path: Path, read: Read) -> None:
    with pytest.raises(InvalidData, match=rf"got the file .*{name}: {hint}$"):
        read(_written(tmp_path / name))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "missing.tar", "there is no file or folder"),
        (lambda root: root / "missing", "there is no file or folder"),
        (lambda root: root, "is empty"),
        (lambda root: _written(root / "x.rar"), "got the file .*x.rar"),
        (lambda root: _written(root / "x.jpg"), "got the file .*x.jpg"),
        (lambda root: "", "must have a name"),
        (lambda root: "a" * 5000, "cannot be looked at"),
        (lambda root: "a\0b", "there is no file or folder|cannot be looked at"),
        (lambda root: "-x", "there is no file or folder"),
    ],
)
def test_a_source_that_cannot_be_used_is_an_error_with_rule_and_next_step(
    make: Callable[[Path], Path | str], message: str, tmp_path: Path, read: Read
) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(InvalidData, match=message) as caught:
        read(make(tmp_path / "here"))
    assert "give " in str(caught.value)
    assert "\n" not in str(caught.value)


def _written(path: Path) -> Path:
    path.write_text("x")
    return path


@pytest.mark.parametrize("option", [{"resolution": 0}, {"seed": -1}, {"images": 0}])
def test_numbers_out_of_range_are_named(option: dict[str, int], read: Read) -> None:
    with pytest.raises(InvalidArgument, match=f"{next(iter(option))} must be .*got {next(iter(option.values()))}"):
        read(None, **option)


def test_random_damage_to_an_archive_never_ends_in_a_traceback(corpus: Corpus, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(corpus({"a": 4, "b": 4}), arcname=".")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 20):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with suppress(PhinasError):
            read(path)


class _Memory(EncodedSource):
    """A reader from outside the package: it lists and reads, no more."""

    def __init__(self, images: dict[str, bytes]) -> None:
        super().__init__("memory", "memory:1")
        self._images = images

    def signature(self) -> str:
        return str(len(self._images))

    def listing(self) -> Listing:
        items = [Item(name, name[0], None, len(data), 0) for name, data in sorted(self._images.items())]
        return Listing(tuple(items), tuple(sorted({item.label for item in items})))

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        return ((item, self._images[item.name]) for item in items)


def test_a_reader_of_ones_own_lists_and_reads_and_all_else_is_done(read: Read, encoded: Encoded) -> None:
    dataset = read(
        _Memory({f"{label}{index}": encoded(100 * index + ord(label)) for label in "ab" for index in range(20)})
    )
    assert (dataset.name, dataset.classes, _lengths(dataset)) == ("memory", ("a", "b"), (28, 6, 6))


def test_fewer_digits_are_asked_for_by_name_and_are_the_first_of_all(read: Read) -> None:
    few, more = read("digits:50", resolution=16), read("digits:100", resolution=16)
    assert (_lengths(few), _lengths(more)) == ((50, 60, 30), (100, 120, 60))
    np.testing.assert_array_equal(few.open_test().pixels, more.open_test().pixels[:30])
    with pytest.raises(InvalidData, match=r"digits:N draws N training images.*at least 20, got 'digits:3'"):
        read("digits:3")


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR.exists(), reason="the development data are not on this machine")
def test_cifar_10_is_listed_as_ten_classes_of_5_000() -> None:
    listing = TarSource(CIFAR).listing()
    assert set(Counter(item.label for item in listing.items).values()) == {5000}
    assert len(listing.classes) == 10
    assert {item.part for item in listing.items} == {None}
