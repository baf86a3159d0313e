"""Inherited weights and training on, on the command line: the chain from a small network's files to a grown one's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.api import compound
from scaling.compound import main
from searchspace.nn import build, load_weights, network_bytes, read_about, read_weights
from searchspace.preprocessing import Preprocessing
from searchspace.spec import read_spec
from tests.scripted import unbalanced_photos

FEW = ("--data", "digits:50")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def best(tmp_path: Path, smallest: Callable[[Path, dict[str, object]], None]) -> Path:
    """A small network's best.json and best.safetensors, as a search writes them; 10 classes, 64 px."""
    path = tmp_path / "best.json"
    smallest(path, {"trained_at_px": 16, "classes": list("0123456789")})
    path.with_name("eleven.json").write_text(read_spec(path).with_classes(11).to_json())
    return path


def run(capsys: pytest.CaptureFixture[str], best: Path, *flags: str) -> dict[str, Any]:
    out = best.with_name("grown.json")
    assert main(["--network", str(best), "--out", str(out), *flags, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_a_grown_network_inherits_and_its_files_load(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = best.with_suffix(".safetensors")
    found = run(capsys, best, "--phi", "1", "--inherit", str(weights))["weights"]
    assert found["difference"] <= 1e-4
    assert (found["reasons"], found["trained"]) == ([], None)
    spec = read_spec(best.with_name("grown.json"))
    grown = load_weights(spec, read_weights(best.with_name("grown.safetensors"))).eval()
    small = load_weights(read_spec(best), read_weights(weights)).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(grown(images), small(images), rtol=1e-4, atol=1e-4)
    assert read_about(best.with_name("grown.safetensors"))["trained_at_px"] == 16


def test_the_grown_network_trains_on_and_says_how_good_it_is(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    weights = best.with_suffix(".safetensors")
    found = run(capsys, best, "--phi", "1", "--inherit", str(weights), "--epochs", "1", *FEW)["weights"]["trained"]
    assert found["pixels"] == 18  # 16 px, grown like the resolution
    assert (found["epochs"], found["test_images"]) == (1, 30)
    assert found["low"] < found["test"] < found["high"]
    about = read_about(best.with_name("grown.safetensors"))
    assert about["trained_at_px"] == 18
    assert about["classes"] == list("0123456789")
    assert not list(tmp_path.glob(".*.ckpt"))


def test_without_inherit_the_grown_network_trains_from_scratch(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    found = run(capsys, best, "--phi", "0", "--epochs", "1", *FEW, "--proxy-resolution", "16")["weights"]
    assert found["inherited_from"] is None
    assert found["trained"]["pixels"] == 16


def test_a_published_network_from_scratch_tells_the_classes_of_the_data_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    found = compound("mobilenet_v3_small", phi=-3, epochs=1, data="digits:20", proxy_resolution=16, quiet=True)
    assert (found.base.spec.classes, found.spec.classes) == (10, 10)
    assert found.module.spec == found.spec
    assert found.weights is not None
    assert found.weights.path is None  # nothing was asked to be written


def test_weights_that_say_they_are_of_another_network_are_refused(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = best.with_name("other.safetensors")
    network = build(read_spec(best), generator=torch.Generator().manual_seed(0))
    weights.write_bytes(network_bytes(network, {"fingerprint": "0123456789abcdef"}))
    out = best.with_name("grown.json")
    assert main(["--network", str(best), "--out", str(out), "--inherit", str(weights)]) == 2
    assert "those of 0123456789abcdef" in capsys.readouterr().err
    assert not out.exists()


def test_training_on_keeps_the_splits_that_the_weights_have_seen(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    weights, out = best.with_suffix(".safetensors"), best.with_name("grown.json")
    network = build(read_spec(best), generator=torch.Generator().manual_seed(0))
    weights.write_bytes(network_bytes(network, {"trained_at_px": 16, "split_seed": 3}))
    flags = [
        "--network",
        str(best),
        "--out",
        str(out),
        "--inherit",
        str(weights),
        "--epochs",
        "1",
        *FEW,
        "--seed",
    ]
    assert main([*flags, "0"]) == 2
    assert "the splits of --seed 3, got --seed 0" in capsys.readouterr().err
    assert not out.exists()
    assert main([*flags, "3"]) == 0
    assert read_about(best.with_name("grown.safetensors"))["split_seed"] == 3


def test_weights_of_another_network_are_transferred_and_fine_tuned_with_their_preprocessing(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They know other classes: the grown network gets a new head, and is tested at its own pixels."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    how = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    spec = read_spec(best.with_name("eleven.json")).with_preprocessing(how)
    best.with_name("eleven.json").write_text(spec.to_json())
    parent = build(spec, generator=torch.Generator().manual_seed(0))
    best.with_name("eleven.safetensors").write_bytes(network_bytes(parent, {}))
    weights = ("--weights", str(best.with_name("eleven.safetensors")))
    found = run(capsys, best, "--phi", "0.5", *weights, "--minutes", "0.02", *FEW)["weights"]
    assert "eleven.safetensors" in found["parent"]
    assert found["preprocessing"] == how.to_dict()
    trained, grown = found["trained"], read_spec(best.with_name("grown.json"))
    assert (trained["deployed_at"], trained["pixels"], trained["test_images"]) == (grown.resolution,) * 2 + (30,)
    assert (grown.preprocessing, grown.classes) == (how, 10)
    assert read_about(best.with_name("grown.safetensors"))["deployed_at_px"] == grown.resolution


MISTAKES = {
    "--inherit best.safetensors": "--inherit writes weights beside the spec, got no --out",
    "--inherit best.safetensors --phi -1 --out grown.json": "only a network that grows can inherit",
    "--inherit nowhere.safetensors --out grown.json": "cannot read the weights file nowhere.safetensors",
    "--inherit best.json --out grown.json": "a weights file must be safetensors or a torch checkpoint",
    "--inherit best.safetensors --weights auto --out grown.json": "starts from one file or from published weights",
    "--epochs 1 --minutes 1 --out grown.json": "a training has one length, got --epochs and --minutes",
    "--minutes 0 --out grown.json": "--minutes must be a number of minutes above 0, at most a million, got 0",
    "--ema --out grown.json": "--ema chooses among the weights of a file, got no --weights",
    "--weights auto": "--weights writes weights beside the spec, got no --out",
    "--weights none --out grown.json": "this needs trained weights, got --weights none",
    "--weights nobody --out grown.json": "nobody",
    "--inherit best.safetensors --phi 1,2": "--inherit writes one network, got 2",
    "--inherit best.safetensors --out best.json": "--out must not replace the file that --network reads",
    "--epochs 0 --out grown.json": "--epochs must be at least 1, got 0",
    "--data digits --out grown.json": "--data belongs to training, got no --epochs",
    "--epochs 1 --out grown.json --data nowhere": "nowhere",
    "--epochs 1 --out grown.json --proxy-resolution 0": "--proxy-resolution must be at least 1 px, got 0",
    "--network eleven.json --epochs 1 --data digits:50 --out grown.json --onnx grown.onnx": "the data have 10",
    "--inherit best.safetensors --out grown.json --table": "--table shows what networks cost",
    "--epochs 1 --out grown.json --table": "--table shows what networks cost",
    "--inherit best.safetensors --out best.safetensors": "--out must not replace the file that --inherit reads",
    "--inherit best.safetensors --out grown.safetensors": "must not replace the file that --out writes",
    "--network squeezenet1_1 --inherit best.safetensors --out grown.json": "weights",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_and_writes_nothing(
    line: str, best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(best.parent)
    monkeypatch.setenv("PHINAS_CACHE", str(best.parent / "cache"))
    flags = line.split()
    before = {path: path.read_bytes() for path in best.parent.iterdir() if path.is_file()}
    assert main(flags if "--network" in flags else ["--network", "best.json", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert MISTAKES[line] in err
    assert {path: path.read_bytes() for path in best.parent.iterdir() if path.is_file()} == before


def test_weights_that_are_not_finite_are_not_inherited_and_one_of_two_kinds_is_chosen(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read_weights(best.with_suffix(".safetensors"))
    both, broken = best.with_name("both.pth"), best.with_name("broken.pth")
    torch.save({"state_dict": state, "state_dict_ema": state}, both)
    torch.save({name: each / 0 if each.is_floating_point() else each for name, each in state.items()}, broken)
    line = ["--network", str(best), "--out", str(best.with_name("grown.json"))]
    for flags, said in (
        (["--inherit", str(broken)], "finite"),
        (["--inherit", str(both)], "give --ema"),
        (["--weights", ""], "must not be empty"),
    ):
        assert main([*line, *flags]) == 2
        assert said in capsys.readouterr().err
        assert not best.with_name("grown.json").exists()
    assert main([*line, "--inherit", str(both), "--ema"]) == 0


def test_weights_of_other_classes_are_no_start_for_a_network_that_computes_the_same(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    weights = saved(best, {"trained_at_px": 16, "classes": list("abcdefghij")})
    flags = ["--network", str(best), "--out", str(best.with_name("grown.json")), "--epochs", "1", *FEW]
    assert main([*flags, "--inherit", str(weights)]) == 2
    told = capsys.readouterr().err
    assert "tell 10 classes (a, b, c, ...), and the data have 10 classes (0, 1, 2, ...)" in told
    assert f"or --weights {weights} in place of --inherit for a new classifier" in told
    assert not best.with_name("grown.json").exists()


@pytest.mark.parametrize("length", [("--epochs", "1"), ("--minutes", "0.02")])
def test_weights_of_other_classes_get_a_new_classifier_where_they_are_transferred(
    best: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    length: tuple[str, str],
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    weights = saved(best, {"classes": list("abcdefghij")})
    flags = ["--network", str(best), "--out", str(best.with_name("grown.json")), "--phi", "0.5", *FEW, *length]
    assert main([*flags, "--weights", str(weights)]) == 0
    assert "(0, 1, 2, ...): the network gets a new classifier" in capsys.readouterr().err


def test_weights_that_do_not_name_their_classes_are_taken_to_be_of_the_datas_and_that_is_said(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    weights, out = saved(best, {"trained_at_px": 16}), best.with_name("grown.json")
    flags = ["--network", str(best), "--out", str(out), "--epochs", "1", *FEW]
    assert main([*flags, "--inherit", str(weights)]) == 0
    assert "the weights do not name their classes: they are taken to be those of the data" in capsys.readouterr().err


def saved(best: Path, about: dict[str, Any]) -> Path:
    """The small network's weights in a file that says so of them."""
    network = build(read_spec(best), generator=torch.Generator().manual_seed(0))
    path = best.with_name("own.safetensors")
    path.write_bytes(network_bytes(network, about))
    return path


def test_where_classes_are_of_very_different_sizes_balanced_accuracy_stands_beside_the_grown_networks(
    best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    flags = ["--phi", "0", "--epochs", "1", "--data", str(unbalanced_photos(tmp_path / "photos"))]
    flags += ["--class-weights", "balanced", "--proxy-resolution", "32"]
    two = best.with_name("two.json")
    two.write_text(read_spec(best).with_classes(2).to_json())
    found = run(capsys, two, *flags)["weights"]["trained"]
    assert 0 <= found["test_balanced_accuracy"] <= 1
    assert (found["largest_class"], found["smallest_class"]) == (["many", 16], ["few", 2])
    assert main(["--network", str(two), "--out", str(tmp_path / "again.json"), *flags]) == 0
    assert "the mean over the classes, of which 'many' has 16 training images" in capsys.readouterr().out
