"""A listing of images by content says what changed: which files, the first by name, and how many."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search.data import Dataset
from search.data.contents import changes, keep_contents, kept_contents, kept_source, told_changes

BEFORE = {f"cat/{number}.jpg": f"{number}" for number in range(9)}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (BEFORE, ""),
        (BEFORE | {"cat/9.jpg": "9"}, "1 added (cat/9.jpg)"),
        ({name: BEFORE[name] for name in list(BEFORE)[1:]}, "1 removed (cat/0.jpg)"),
        (BEFORE | {"cat/3.jpg": "x", "cat/4.jpg": "y"}, "2 changed (cat/3.jpg, cat/4.jpg)"),
        (BEFORE | dict.fromkeys(BEFORE, "x"), "9 changed (cat/0.jpg, cat/1.jpg, cat/2.jpg and 6 more)"),
        ({f"dog{name[3:]}": digest for name, digest in BEFORE.items()}, "9 renamed (cat/0.jpg to dog/0.jpg, "),
        ({f"photos/{name}": digest for name, digest in BEFORE.items()}, "all stand within photos/ now: "),
        ({name.removeprefix("cat/"): digest for name, digest in BEFORE.items()}, "all stood within cat/ before: "),
        ({"a\n.jpg": "a"}, r"1 added (a\n.jpg); 9 removed (cat/0.jpg, cat/1.jpg, cat/2.jpg and 6 more)"),
    ],
)
def test_what_changed_is_counted_and_named(now: dict[str, str], told: str) -> None:
    assert changes(BEFORE, now).startswith(told)
    assert bool(told) == bool(changes(BEFORE, now))


def test_a_file_that_became_unreadable_is_not_called_removed() -> None:
    now = {name: digest for name, digest in BEFORE.items() if name not in ("cat/0.jpg", "cat/1.jpg")}
    assert changes(BEFORE, now, ("cat/1.jpg",)) == "1 removed (cat/0.jpg); 1 no longer readable (cat/1.jpg)"


def test_a_listing_is_kept_once_and_one_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    keep_contents(tmp_path, {}, "/photos")
    assert not list(tmp_path.iterdir())
    assert told_changes(tmp_path, BEFORE) == ""
    keep_contents(tmp_path, BEFORE, "/photos")
    keep_contents(tmp_path, {"other.jpg": "1"}, "/moved")
    assert kept_contents(tmp_path) == BEFORE
    assert kept_source(tmp_path) == "/moved"
    assert "split or labelled otherwise" in told_changes(tmp_path, BEFORE)
    for damaged in ("", "[1]", '{"images": 3}', "{"):
        (tmp_path / "images.json").write_text(damaged)
        assert kept_contents(tmp_path) == {}
        assert kept_source(tmp_path) is None


def test_a_data_set_lists_the_files_that_it_was_read_from(
    corpus: Callable[..., Path], read: Callable[..., Dataset], encoded: Callable[..., bytes]
) -> None:
    root = corpus({"a": 10, "b": 10})
    first = read(root)
    assert read(root).contents == first.contents  # from the cache
    assert sorted(first.contents) == sorted(str(path.relative_to(root)) for path in root.glob("*/*"))
    (root / "a" / "0003.png").write_bytes(encoded(999))
    (root / "b" / "new.png").write_bytes(encoded(998))
    assert changes(first.contents, read(root).contents) == "1 added (b/new.png); 1 changed (a/0003.png)"
    assert not read("digits:40", resolution=32).contents
