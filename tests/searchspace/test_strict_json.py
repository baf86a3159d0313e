"""JSON that says when it was changed: checksums, keys given twice, numbers and characters that cannot be."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.formula import read_coefficients
from searchspace.errors import InvalidSpec, InvalidTable, PhinasError, StorageError
from searchspace.files import read_json, write_atomic, write_json
from searchspace.latency.table import read_table
from searchspace.spec import read_spec, write_spec
from searchspace.strict_json import CHECKSUM, dumps, loads
from tests.fuzz.subjects import SPEC, table


def test_what_is_written_is_read_without_its_checksum() -> None:
    content = {"a": [1, 2.5, None], "b": {"c": "é"}}
    assert CHECKSUM in dumps(content)
    assert loads(dumps(content)) == content
    assert loads(dumps(content, indent=None).encode("utf-16")) == content


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (dumps({"a": 1}).replace(": 1", ": 2"), "not what was written"),
        (dumps({"a": 1.0}).replace("1.0", "1"), "not what was written"),
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ('"\\ud800"', "surrogates not allowed"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_text_that_was_changed_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loads(text)


@pytest.mark.parametrize("key", ["checksul", "Checksum", "check3um", "chacoswm", "checksumx", "cheksum"])
def test_a_damaged_name_of_the_checksum_does_not_make_a_file_one_without(key: str) -> None:
    text = dumps({"a": 1, "b": 2}).replace("1,", "3,")
    with pytest.raises(ValueError, match=f'the key \'{key}\' is a damaged "checksum": .* delete its "checksum"'):
        loads(text.replace(CHECKSUM, key))
    assert loads('{"channels": 1, "classes": 2, "schema": 3}') == {"channels": 1, "classes": 2, "schema": 3}


def test_the_checksum_is_the_first_line_so_that_deleting_it_leaves_json() -> None:
    first, second, *rest = dumps({"a": 1, "b": 2}).splitlines()
    assert CHECKSUM in second
    assert loads("\n".join([first, *rest])) == {"a": 1, "b": 2}


def test_layout_and_order_mean_nothing_and_a_file_without_a_checksum_is_read() -> None:
    data = json.loads(dumps({"a": 1, "b": [2]}))
    assert loads(json.dumps(dict(reversed(data.items())), indent=7)) == {"a": 1, "b": [2]}
    assert loads('{"a": 1}') == {"a": 1}


def test_a_changed_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"accuracy": 0.75})
    path.write_text(path.read_text().replace("0.75", "0.95"))
    with pytest.raises(StorageError, match=r'summary\.json .*restore it from a copy.* delete its "checksum"'):
        read_json(path)


@pytest.mark.parametrize(
    ("name", "write", "read", "old", "new", "error"),
    [
        (
            "best.json",
            lambda path: write_spec(path, SPEC),
            read_spec,
            '"resolution": 32',
            '"resolution": 64',
            InvalidSpec,
        ),
        (
            *("phone.json", lambda path: write_atomic(path, table().to_json()), read_table),
            *('"reference_ms": 2.0', '"reference_ms": 2.5', InvalidTable),
        ),
        (
            *("fit.json", lambda path: write_json(path, {"alpha": 1.2, "beta": 1.1, "gamma": 1.15}), read_coefficients),
            *('"beta": 1.1', '"beta": 1.2', StorageError),
        ),
    ],
)
def test_what_was_changed_on_purpose_is_read_once_the_line_of_its_checksum_is_gone(
    name: str,
    write: Callable[[Path], None],
    read: Callable[[Path], object],
    old: str,
    new: str,
    error: type[PhinasError],
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    write(path)
    before, text = read(path), path.read_text()
    path.write_text(text.replace(old, new))
    with pytest.raises(error, match=rf"{name}.* damaged, its content .* on purpose, delete its \"checksum\"$"):
        read(path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if CHECKSUM not in line))
    assert read(path) != before
    path.write_text(path.read_text().replace(new, old))
    assert read(path) == before


def test_an_integer_of_more_than_64_bits_is_infinite_so_that_each_field_names_its_own_rule() -> None:
    assert loads('{"a": 1' + "0" * 400 + ', "b": -1' + "0" * 30 + "}") == {"a": math.inf, "b": -math.inf}
    assert loads(f"[{2**64 - 1}]") == [2**64 - 1]
