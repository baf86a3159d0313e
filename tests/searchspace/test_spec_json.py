"""Specs through JSON: the same value again, and every mistake in a file is named."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv, block_from_dict
from searchspace.errors import InvalidSpec, StorageError
from searchspace.spec import NetworkSpec, Stage, read_spec

SPEC = NetworkSpec(
    "small",
    32,
    (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (SeparableConv(out_channels=8, skip=True), MBConv(expand_channels=16, out_channels=12))),
        Stage("classifier", (Classifier(classes=10),)),
    ),
)


@given(...)
def test_a_spec_survives_json(spec: NetworkSpec) -> None:
    back = NetworkSpec.from_json(spec.to_json())
    assert back == spec
    assert back.fingerprint() == spec.fingerprint()


def test_a_names_unicode_survives_a_file(tmp_path: Path) -> None:
    spec = SPEC.with_name("schönstes Netz")
    (tmp_path / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    assert read_spec(tmp_path / "spec.json") == spec


def test_a_byte_order_mark_before_a_spec_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(SPEC.to_json(), encoding="utf-8-sig")
    assert read_spec(tmp_path / "spec.json") == SPEC


def test_json_says_every_field_and_the_schema() -> None:
    data = json.loads(SPEC.to_json())
    assert data["schema"] == 1
    rows = [block for stage in data["stages"] for block in stage["blocks"]]
    assert [list(row) for row in rows] == [["block", *(f.name for f in fields(block))] for block in SPEC.blocks]


@given(...)
def test_every_row_survives_as_a_dict(spec: NetworkSpec) -> None:
    for block in spec.blocks:
        assert block_from_dict(block.to_dict(), "here") == block


def test_a_field_with_a_default_may_be_left_out() -> None:
    row = block_from_dict({"block": "ConvBN", "out_channels": 8}, "here")
    assert row == ConvBN(out_channels=8)


Data = dict[str, Any]


def _block(data: Data) -> Data:
    block: Data = data["stages"][1]["blocks"][1]
    return block


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d.update(widht=2), "the spec has an unknown field 'widht'; known: schema, name"),
        (lambda d: d.update(resolutoin=2), "unknown field 'resolutoin'; did you mean 'resolution'?"),
        (lambda d: d.pop("stages"), "the spec lacks the field 'stages'"),
        (lambda d: d.pop("schema"), 'must have "schema": 1, got None'),
        (lambda d: d.update(schema=2), 'must have "schema": 1, got 2: .* newer phinas'),
        (lambda d: d.update(name=3), "name must be a string, got 3"),
        (lambda d: d.update(resolution="224"), "NetworkSpec.resolution must be an integer .* got '224'"),
        (lambda d: d.update(resolution=224.0), "NetworkSpec.resolution must be an integer .* got 224.0"),
        (lambda d: d.update(stages={}), "stages must be a JSON array, got dict"),
        (lambda d: d["stages"].append(7), r"stages\[3\] must be a JSON object, got int"),
        (lambda d: d["stages"][1].update(colour=1), r"stages\[1\] has an unknown field 'colour'"),
        (lambda d: d["stages"][1].update(name=None), r"stages\[1\].name must be a string, got None"),
        (lambda d: d["stages"][1].update(blocks=None), r"stages\[1\].blocks must be a JSON array, got NoneType"),
        (lambda d: d["stages"][1].update(blocks=[]), "stage 'body' has no blocks"),
        (lambda d: d["stages"][1].update(name="stem"), "stage names must differ"),
        (lambda d: d.update(preprocessing={"mean": [0, 0, 0]}), "preprocessing lacks the field 'std'"),
        (
            lambda d: d.update(preprocessing={"mean": [0, 0, 0], "std": [1, 1, 0]}),
            r"preprocessing: Preprocessing.std must be above 0, got \(1.0, 1.0, 0.0\)",
        ),
        (lambda d: _block(d).update(block="MBConf"), r"stages\[1\].blocks\[1\].*must be one of .*ConvBN.*got 'MBConf'"),
        (lambda d: _block(d).update(block=["MBConv"]), r"must be one of .* got \['MBConv'\]"),
        (lambda d: _block(d).pop("block"), r"stages\[1\].blocks\[1\]: .*got None"),
        (lambda d: _block(d).update(kernal=3), r"stages\[1\].blocks\[1\] has an unknown field 'kernal'.*'kernel'"),
        (lambda d: _block(d).update(groups=1), "unknown field 'groups'"),
        (lambda d: _block(d).pop("out_channels"), r"stages\[1\].blocks\[1\] lacks the field 'out_channels'"),
        (lambda d: _block(d).update(activation="bend"), r"blocks\[1\]: MBConv.activation must be one of .* 'bend'"),
        (lambda d: _block(d).update(activation=["relu"]), r"MBConv.activation must be one of .*got \['relu'\]"),
        (
            lambda d: _block(d).update(kernel=float("nan")),
            "MBConv.kernel must be an odd integer from 1 to 999,999 .*got nan",
        ),
        (lambda d: _block(d).update(skip="false"), "MBConv.skip must be true or false, got 'false'"),
        (lambda d: _block(d).update(skip=True), "body.1: a skip needs stride 1 and equal channels"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(
    tmp_path: Path, spoil: Callable[[Data], object], said: str
) -> None:
    data = json.loads(SPEC.to_json())
    spoil(data)
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidSpec, match=said) as caught:
        read_spec(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"\x80\x02K", "must be JSON text, got binary data"),
        (b"[]", "must be a JSON object, got list"),
        (b"null", "must be a JSON object, got NoneType"),
        (b'{"schema": 1}', "lacks the field 'name'"),
    ],
)
def test_a_file_that_holds_no_spec_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match=said):
        read_spec(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(StorageError, match=f"cannot read the spec file {path}: "):
            read_spec(path)
