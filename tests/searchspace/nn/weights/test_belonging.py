"""Weights of another network of the same shapes are refused by whatever takes a network and weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import scaling.compound
import search.finetune
import search.netadapt.__main__
import searchspace.convert
import searchspace.export
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.nn import build, check_belongs, load_network, network_bytes, read_about
from searchspace.nn.weights.sources import resolve
from searchspace.spec import Conventions, NetworkSpec

NET = zoo.get("mnasnet_a1", width=0.25, depth=0.3, classes=3, resolution=64)


def with_block(spec: NetworkSpec, stage: int, **fields: Any) -> NetworkSpec:
    """The network with other fields in the first block of a stage."""
    changed = spec.stages[stage]
    blocks = (replace(changed.blocks[0], **fields), *changed.blocks[1:])
    stages = (*spec.stages[:stage], replace(changed, blocks=blocks), *spec.stages[stage + 1 :])
    return replace(spec, stages=stages)


# Networks with every tensor of NET's shape.
WRONG = {
    "activation": (with_block(NET, 2, activation="swish"), r"activation swish, in the file relu"),
    "stride": (with_block(NET, 2, stride=1), r"stride 1, in the file 2"),
    "padding": (NET.with_conventions(Conventions(padding="same")), "padding same, in the file half"),
    "eps": (NET.with_conventions(Conventions(norm_eps=1e-3)), "norm eps 0.001, in the file 1e-05"),
}
SAME = {
    "name": NET.with_name("mine"),
    "resolution": NET.with_resolution(96),
    "momentum": NET.with_conventions(Conventions(norm_momentum=0.01)),
}


@pytest.fixture(scope="module")
def module() -> Any:
    return build(NET, generator=torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def file(tmp_path: Path, module: Any) -> Path:
    (path := tmp_path / "own.safetensors").write_bytes(network_bytes(module, {"fingerprint": NET.fingerprint()}))
    return path


@pytest.mark.parametrize("what", WRONG)
def test_a_network_of_the_same_shapes_is_refused_and_what_differs_is_named(file: Path, what: str) -> None:
    spec, said = WRONG[what]
    with pytest.raises(InvalidArgument, match=f"{file} are those of mnasnet_a1.*{said}.*give the files that belong"):
        load_network(spec, file)


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_logit_makes_no_other_network(file: Path, what: str) -> None:
    loaded = load_network(SAME[what], file)
    assert loaded.spec == SAME[what]
    assert not loaded.training


@pytest.mark.parametrize("what", WRONG)
def test_files_that_have_no_more_than_a_fingerprint_are_compared_by_it(tmp_path: Path, module: Any, what: str) -> None:
    """Files of before 2026-11 say no network beside it."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, tmp_path / "old.safetensors", {"phinas": f'{{"fingerprint": "{NET.fingerprint()}"}}'})
    load_network(NET, tmp_path / "old.safetensors")
    with pytest.raises(InvalidArgument, match=f"those of {NET.fingerprint()}"):
        load_network(WRONG[what][0], tmp_path / "old.safetensors")


def test_a_fingerprint_that_is_not_the_networks_is_refused(tmp_path: Path, module: Any) -> None:
    (tmp_path / "a.safetensors").write_bytes(network_bytes(module, {"fingerprint": "0123456789abcdef"}))
    with pytest.raises(InvalidArgument, match="those of 0123456789abcdef"):
        check_belongs(NET, tmp_path / "a.safetensors")


def commands(net: Path, file: Path, out: Path) -> dict[str, tuple[Callable[[list[str]], int], list[object]]]:
    """Every command that takes a network and weights, by name."""
    data = ["--data", "digits:60"]
    return {
        "export": (searchspace.export.main, [net, "--weights", file, "--out", out / "a.onnx"]),
        "convert": (
            searchspace.convert.main,
            [file, "--network", net, "--to", "timm", "--out", out / "a.pth"],
        ),
        "netadapt": (
            search.netadapt.__main__.main,
            ["--network", net, "--weights", file, "--budget-macs", 1e5, *data],
        ),
        "netadapt from a named file": (
            search.netadapt.__main__.main,
            ["--network", net, "--weights", f"{file},{file}", "--budget-macs", 1e5, *data],
        ),
        "inherit": (
            scaling.compound.main,
            ["--phi", 1, "--network", net, "--inherit", file, "--out", out / "grown.json"],
        ),
        "compound from weights": (
            scaling.compound.main,
            ["--phi", 1, "--network", net, "--weights", file, "--out", out / "grown.json"],
        ),
        "finetune": (search.finetune.main, ["--network", net, "--weights", file, "--minutes", 0.1, *data]),
    }


@pytest.mark.parametrize("what", ["activation", "padding"])
@pytest.mark.parametrize("command", commands(Path(), Path(), Path()))
def test_every_command_refuses_weights_of_another_network(
    file: Path,
    tmp_path: Path,
    what: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command == "export":
        pytest.importorskip("onnx")
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    (net := tmp_path / "wrong.json").write_text(WRONG[what][0].to_json())
    (out := tmp_path / "out").mkdir()
    main, argv = commands(net, file, out)[command]
    assert main([str(word) for word in argv]) == 2
    assert "give the files that belong together" in capsys.readouterr().err
    assert not list(out.iterdir())


def test_weights_beside_a_network_must_be_its_own(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    (net := file.with_suffix(".json")).write_text(WRONG["stride"][0].to_json())
    assert search.finetune.main(["--network", str(net), "--data", "digits:60", "--minutes", "0.1"]) == 2
    assert "give the files that belong together" in capsys.readouterr().err
    pytest.importorskip("onnx")
    assert searchspace.export.main([str(net)]) == 2


def test_a_name_for_a_file_must_be_that_of_its_network(tmp_path: Path) -> None:
    spec = zoo.get("mobilenet_v3_small", width=1.0, padding="same", classes=2)
    (path := tmp_path / "a.safetensors").write_bytes(network_bytes(build(spec), {}))
    with pytest.raises(InvalidArgument, match="padding half, in the file same"):
        resolve(f"mobilenet_v3_small={path}", note=lambda line: None)


def test_converted_weights_say_which_network_they_are_of(tmp_path: Path) -> None:
    from searchspace.nn import to_published

    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=4, padding="same")
    save_file(to_published(build(spec), "timm"), tmp_path / "timm.safetensors")
    flags = ["--network", "mobilenet_v3_small", "--width", "0.35", "--classes", "4", "--from", "timm"]
    out, net = tmp_path / "ours.safetensors", tmp_path / "net.json"
    for padding, other in (("same", "half"), ("half", "same")):
        words = [tmp_path / "timm.safetensors", *flags, "--padding", padding, "--out", out, "--spec-out", net]
        assert searchspace.convert.main([str(word) for word in words]) == 0
        assert NetworkSpec.from_json(net.read_text()).fingerprint() == read_about(out)["fingerprint"]
        words = [out, *flags[:-2], "--padding", other, "--to", "timm", "--out", tmp_path / "b.pth"]
        assert searchspace.convert.main([str(word) for word in words]) == 2
