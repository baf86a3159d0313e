"""Weights on disk: two formats told apart by content, nothing unpickled, every bad file one clear error."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidSpec, PhinasError, StorageError
from searchspace.nn import build, load_weights, network_bytes, read_weights, weights_bytes
from searchspace.nn.weights.sources import resolve

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def _same(path: Path, ema: bool | None = None) -> bool:
    read = read_weights(path, ema=ema)
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
    torch.save({"args": Path("runs"), "model": TENSORS}, tmp_path / "path.pth")
    for name in ("bomb.pth", "path.pth"):
        with pytest.raises(StorageError, match=r"nothing but tensors; .*never unpickled here: save model.state_dict"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_the_flags_that_timm_keeps_in_a_checkpoint_are_read_over(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1, opt=None), "state_dict": TENSORS}, tmp_path / "checkpoint.pth")
    assert _same(tmp_path / "checkpoint.pth")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_prefixes_of_wrapping_modules_are_taken_off(tmp_path: Path, prefix: str) -> None:
    torch.save({f"{prefix}{key}": tensor for key, tensor in TENSORS.items()}, tmp_path / "checkpoint.pth")
    assert _same(tmp_path / "checkpoint.pth")


@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "model_ema_state_dict"])
def test_of_weights_and_their_average_one_must_be_chosen(tmp_path: Path, average: str) -> None:
    path = tmp_path / "checkpoint.pth"
    averaged = {"n_averaged": torch.tensor(3)} | {f"module.{key}": tensor + 1 for key, tensor in TENSORS.items()}
    torch.save({"state_dict": TENSORS, average: averaged}, path)
    with pytest.raises(InvalidArgument, match=f"{average}.*--ema for the average, .* or --no-ema"):
        read_weights(path)
    assert _same(path, ema=False)
    chosen = read_weights(path, ema=True)
    assert chosen.keys() == TENSORS.keys()
    assert all(torch.equal(chosen[key], tensor + 1) for key, tensor in TENSORS.items())


def _prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


AVERAGED = {key: tensor + 1 for key, tensor in TENSORS.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"model": TENSORS, "model_ema": _prefixed("module.", AVERAGED), "optimizer": {"state": {0: {"step": 1}}}},
        {"net": TENSORS, "net_ema": AVERAGED},
        {"state_dict": TENSORS, "ema": {"module": AVERAGED, "decay": 0.9}},
        {"params": TENSORS, "EMA": {"state_dict": AVERAGED}, "epoch": 3},
        {"state_dict": TENSORS, "swa_state_dict": AVERAGED, "criterion": {"weight": torch.ones(3)}},
        _prefixed("model.", TENSORS) | _prefixed("ema_model.", AVERAGED) | {"step": torch.tensor(3)},
        _prefixed("module.", TENSORS) | _prefixed("module_ema.", AVERAGED),
        {"state_dict": _prefixed("model.", TENSORS) | _prefixed("ema_model.", AVERAGED), "epoch": 3},
        {
            "state_dict": _prefixed("net.", TENSORS)
            | _prefixed("ema_net.module.", AVERAGED)
            | {"ema_net.n_averaged": torch.tensor(3), "loss.weight": torch.ones(3)}
        },
        {"model": TENSORS, "model_avg": AVERAGED},
    ],
)
def test_weights_and_their_average_are_known_by_their_names_and_which_is_taken_is_said(
    tmp_path: Path, content: dict[str, object]
) -> None:
    torch.save(content, path := tmp_path / "a.pth")
    with pytest.raises(InvalidArgument, match=r"give --ema .* or --no-ema"):
        read_weights(path)
    for ema, expected, said in ((True, AVERAGED, "the running average of"), (False, TENSORS, "not the average")):
        notes: list[str] = []
        read = read_weights(path, ema=ema, note=notes.append)
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[key], tensor) for key, tensor in expected.items())
        assert len(notes) == 1
        assert said in notes[0]
        assert str(path) in notes[0]


def test_an_average_alone_is_taken_and_said_and_plain_weights_are_taken_in_silence(tmp_path: Path) -> None:
    torch.save({"state_dict_ema": TENSORS, "state_dict": None}, tmp_path / "average.pth")
    torch.save({"net": TENSORS, "optimizer": {"momentum": torch.ones(2)}} | {"epoch": 3}, tmp_path / "several.pth")
    torch.save(_prefixed("conv.", TENSORS) | _prefixed("ema.", TENSORS) | _prefixed("fc.", TENSORS), tmp_path / "a.pth")
    notes: list[str] = []
    assert read_weights(tmp_path / "average.pth", note=notes.append).keys() == TENSORS.keys()
    assert "the running average of the weights ('state_dict_ema') is taken" in notes.pop()
    assert len(read_weights(tmp_path / "a.pth", note=notes.append)) == 6  # layers that are called ema
    assert not notes
    with pytest.raises(StorageError, match=r"holds several state dicts \(net, optimizer\): save the one"):
        read_weights(tmp_path / "several.pth")


def test_of_several_state_dicts_the_one_that_is_taken_is_said(tmp_path: Path) -> None:
    torch.save({"model": TENSORS, "best_model": AVERAGED, "scaler": {"scale": torch.ones(1)}}, tmp_path / "a.pth")
    notes: list[str] = []
    read = read_weights(tmp_path / "a.pth", note=notes.append)
    assert all(torch.equal(read[key], tensor) for key, tensor in TENSORS.items())
    assert notes == [f"of {tmp_path / 'a.pth'} the weights 'model' are taken, not 'best_model'"]


def test_a_kind_of_weights_that_is_not_there_is_not_replaced_by_the_other(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS}, tmp_path / "plain.pth")
    torch.save({"model_ema": TENSORS}, tmp_path / "average.pth")
    for name, ema in (("plain.pth", True), ("average.pth", False)):
        with pytest.raises(InvalidArgument, match="leave it out"):
            read_weights(tmp_path / name, ema=ema)


def test_a_broken_download_is_told_with_its_file_and_what_to_do(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "whole.safetensors")
    torch.save(TENSORS, tmp_path / "whole.pth")
    for name, left in (("whole.safetensors", -5), ("whole.safetensors", 20), ("whole.pth", -200)):
        path = tmp_path / f"cut-{name}"
        path.write_bytes((tmp_path / name).read_bytes()[:left])
        with pytest.raises(StorageError, match=f"{path} is cut short, .*: delete it and download it again"):
            read_weights(path)


def test_weights_that_are_not_finite_are_refused_in_memory_too() -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=2)
    state = build(spec).state_dict()
    name = next(key for key in state if key.endswith("running_var"))
    state[name][0] = torch.nan
    with pytest.raises(InvalidArgument, match=f"finite, {name} in the weights of mobilenet_v3_small"):
        load_weights(spec, state)


def test_files_that_are_neither_or_damaged_are_named(tmp_path: Path) -> None:
    contents = {
        "text": b"weights, honestly",
        "json": b'{"a": 1}' * 9,
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"a weights file must be safetensors or a torch checkpoint") as caught:
            read_weights(path)
        assert str(path) in str(caught.value)


def test_what_is_said_of_weights_under_a_damaged_name_is_not_taken_for_nothing(tmp_path: Path) -> None:
    content = network_bytes(torch.nn.Linear(2, 2), {"classes": ["a", "b"]})
    (tmp_path / "w.safetensors").write_bytes(content.replace(b'"phinas"', b'"phinar"'))
    with pytest.raises(StorageError, match="says about its weights is damaged: it stands under 'phinar'"):
        read_weights(tmp_path / "w.safetensors")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(StorageError, match=f"cannot read the weights file {path}: .*; look whether"):
            read_weights(path)


@pytest.mark.parametrize(("content", "said"), [([1], "a list"), (torch.ones(1), "a Tensor"), ({}, "an empty one")])
def test_a_checkpoint_without_a_state_dict_is_named(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(StorageError, match=f"must hold a state dict .*, got {said} in "):
        read_weights(tmp_path / "file.pth")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({1: torch.zeros(3), 2: torch.ones(2)}, "these are not weights"),
        ({"a": "b"}, "no tensor under a"),
        ({"state_dict": None}, "no tensor under state_dict"),
        ({"conv.weight": torch.zeros(3, dtype=torch.int32)}, "conv.weight in .* is torch.int32: quantised"),
        ({"conv.weight": torch.zeros(3).to(torch.float8_e4m3fn)}, "is torch.float8_e4m3fn: quantised"),
        ({"conv.weight": torch.zeros(3, dtype=torch.complex64)}, "is torch.complex64"),
        ({"conv.bias": torch.tensor([1.0, torch.inf])}, "finite, conv.bias in"),
        ({"conv.bias": torch.tensor([1.0, torch.nan], dtype=torch.bfloat16)}, "finite, conv.bias in"),
        ({"conv.bias": torch.tensor([1e300], dtype=torch.float64)}, "finite, conv.bias in"),
    ],
)
def test_entries_that_are_no_weights_are_told(tmp_path: Path, entries: dict[object, object], said: str) -> None:
    torch.save(entries, tmp_path / "a.pth")
    with pytest.raises(PhinasError, match=said):
        load_weights(zoo.get("mobilenet_v3_small"), read_weights(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(StorageError, match=f"{name} is empty"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["x" * 5000, "a" * 300 + ".pth"])
def test_a_name_longer_than_files_have_is_told(name: str) -> None:
    with pytest.raises(PhinasError):
        resolve(name, note=lambda line: None)


def test_one_file_given_twice_is_one_parent_and_a_wrong_spec_in_it_names_it(tmp_path: Path) -> None:
    module = build(zoo.get("mobilenet_v3_small", width=0.35))
    (good := tmp_path / "good.safetensors").write_bytes(network_bytes(module, {}))
    parents = resolve(f"{good},{good}", note=lambda line: None)
    assert parents is not None
    assert len(parents) == 1
    save_file(TENSORS, tmp_path / "bad.safetensors", {"phinas": '{"network": {"x": 1}}'})
    with pytest.raises(InvalidSpec, match=r"bad\.safetensors: .*schema"):
        resolve(str(tmp_path / "bad.safetensors"), note=lambda line: None)


def test_reading_a_file_warns_of_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    with open(tmp_path / "old.pth", "wb") as file:
        pickle.dump({"a": 1}, file, protocol=4)
    with pytest.raises(StorageError):
        read_weights(tmp_path / "old.pth")
    assert not recwarn.list
