"""python -m searchspace.export: ONNX files that give the network's logits, and mistakes in one line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from searchspace import zoo
from searchspace.export import main
from searchspace.nn import build, network_bytes
from searchspace.preprocessing import OWN, Preprocessing
from searchspace.spec import read_spec

onnxruntime = pytest.importorskip("onnxruntime")
ABOUT = {"classes": ["a", "b", "c"], "trained_at_px": 32, "preprocessing": OWN.to_dict()}
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """A study's best.json with best.safetensors beside it."""
    spec = zoo.get("mobilenet_v3_small", width=0.25, depth=0.5, classes=3, resolution=64)
    network = build(spec, generator=torch.Generator().manual_seed(3))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    (tmp_path / "best.json").write_text(spec.to_json())
    (tmp_path / "best.safetensors").write_bytes(save(state, {"phinas": json.dumps(ABOUT)}))
    return tmp_path / "best.json"


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(argument) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("searchspace.export: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_winner_becomes_a_model_with_its_weights_and_what_is_known_of_them(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(best)]) == 0
    out = capsys.readouterr().out
    assert f"{best.with_suffix('.onnx')}" in out
    assert "(pixel - 127.5) / 64" in out
    assert "with pixels from 0 to 255, resized to 64 px (bicubic)" in out
    assert "good at 32 px" in out
    session = onnxruntime.InferenceSession(best.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in about.items()} == ABOUT
    assert [one.shape for one in session.get_inputs()] == [[1, 3, 64, 64]]


@pytest.mark.parametrize(
    ("about", "how", "said"),
    [
        ({"pixel_centre": 127.5, "pixel_scale": 64.0}, OWN, "(pixel - 127.5) / 64"),
        ({}, IMAGENET, "(pixel - (123.67, 116.28, 103.53)) / (58.395, 57.12, 57.375)"),
    ],
)
def test_the_model_says_how_its_weights_want_pixels_also_where_only_the_spec_or_an_old_file_does(
    best: Path, capsys: pytest.CaptureFixture[str], about: dict[str, float], how: Preprocessing, said: str
) -> None:
    spec = read_spec(best).with_preprocessing(None if how == OWN else how)
    best.write_text(spec.to_json())
    best.with_suffix(".safetensors").write_bytes(network_bytes(build(spec), about))
    assert main([str(best)]) == 0
    assert said in capsys.readouterr().out
    session = onnxruntime.InferenceSession(best.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    written = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    assert Preprocessing.from_dict(written) == how


def test_pixels_and_batch_can_be_chosen(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "any.onnx"
    assert main([str(best), "--resolution", "32", "--batch", "any", "--out", str(out)]) == 0
    assert "good at" not in capsys.readouterr().out
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": torch.zeros(5, 3, 32, 32).numpy()})[0].shape == (5, 3)


def test_mistakes_are_one_line_and_write_nothing(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert "--untrained" in refused(capsys, "mobilenet_v1")
    assert "best2.safetensors does not exist" in refused(capsys, _copied(best))
    assert "must end in .onnx" in refused(capsys, best, "--out", tmp_path / "best.pb")
    assert "give one" in refused(capsys, best, "--untrained", "--weights", "w.safetensors")
    assert "no_such" in refused(capsys, "no_such", "--untrained")
    assert "at least 1" in refused(capsys, best, "--batch", "0")
    assert "integer" in refused(capsys, best, "--batch", "some")
    (tmp_path / "best2.json").unlink()
    assert sorted(tmp_path.iterdir()) == before


def test_of_weights_and_their_average_one_is_chosen_by_a_flag_and_said(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = build(read_spec(best)).state_dict()
    average = {key: value / 2 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": average}, both := tmp_path / "both.pth")
    assert "give --ema for the average" in refused(capsys, best, "--weights", both)
    logits = []
    for flag, said in (("--ema", "the running average of the weights"), ("--no-ema", "not the average")):
        assert main([str(best), "--weights", str(both), flag, "--out", str(tmp_path / "a.onnx")]) == 0
        assert said in " ".join(capsys.readouterr().out.split())
        session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
        logits.append(session.run(None, {"image": torch.ones(1, 3, 64, 64).numpy()})[0])
    assert not (logits[0] == logits[1]).all()
    assert "leave it out" in refused(capsys, best, "--untrained", "--ema")


def test_weights_that_overflow_are_not_exported(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build(zoo.get("mobilenet_v3_small", width=0.25, depth=0.5, classes=3, resolution=64))
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.full_like(tensor, 1e30)
    best.with_suffix(".safetensors").write_bytes(save({name: value.contiguous() for name, value in state.items()}))
    assert "nothing is written" in refused(capsys, best)
    assert not best.with_suffix(".onnx").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_named(
    best: Path, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert "phinas[onnx]" in refused(capsys, best)


def _copied(best: Path) -> Path:
    other = best.with_name("best2.json")
    other.write_bytes(best.read_bytes())
    return other
