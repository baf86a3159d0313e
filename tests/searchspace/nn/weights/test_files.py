"""Weights on disk: two formats told apart by content, nothing unpickled, every bad file one clear error."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from searchspace.errors import StorageError
from searchspace.nn import read_weights, weights_bytes

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def _same(path: Path) -> bool:
    read = read_weights(path)
    return read.keys() == TENSORS.keys() and all(torch.equal(read[key], TENSORS[key]) for key in TENSORS)


def test_both_formats_are_read_whatever_the_files_name(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "one.pth")
    torch.save(TENSORS, tmp_path / "two.safetensors")
    torch.save(TENSORS, tmp_path / "three", _use_new_zipfile_serialization=False)
    for name in ("one.pth", "two.safetensors", "three"):
        assert _same(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_weights_bytes_makes_is_read_back(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_bytes(weights_bytes(TENSORS, suffix=suffix))
    assert _same(tmp_path / "file")


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_checkpoints_and_the_prefix_of_data_parallel_are_unwrapped(tmp_path: Path, name: str) -> None:
    inner = {f"module.{key}": tensor for key, tensor in TENSORS.items()}
    torch.save({"epoch": 3, name: inner, "best": 0.5}, tmp_path / "checkpoint.pth")
    assert _same(tmp_path / "checkpoint.pth")


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "exploded"),))  # type: ignore[return-value]

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    torch.save({"args": argparse.Namespace(lr=1), "model": TENSORS}, tmp_path / "namespace.pth")
    for name in ("bomb.pth", "namespace.pth"):
        with pytest.raises(StorageError, match=r"nothing but tensors; .*never unpickled here: save model.state_dict"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_neither_or_damaged_are_named(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "whole.safetensors")
    torch.save(TENSORS, tmp_path / "whole.pth")
    contents = {
        "empty": b"",
        "text": b"weights, honestly",
        "json": b'{"a": 1}' * 9,
        "zip": b"PK\x03\x04" + bytes(60),
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-5],
        "header.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:20],
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:-200],
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"a weights file must be safetensors or a torch checkpoint") as caught:
            read_weights(path)
        assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(StorageError, match=f"cannot read the weights file {path}: .*; look whether"):
            read_weights(path)


@pytest.mark.parametrize(("content", "said"), [([1], "a list"), (torch.ones(1), "a Tensor"), ({}, "an empty one")])
def test_a_checkpoint_without_a_state_dict_is_named(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(StorageError, match=f"must hold a state dict .*, got {said} in "):
        read_weights(tmp_path / "file.pth")
