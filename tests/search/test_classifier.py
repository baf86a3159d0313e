"""`search.classify`: image files through a trained network's files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import search
from search.training.augmentation import prepared
from searchspace.errors import InvalidArgument, InvalidData, StorageError
from searchspace.nn import build, network_bytes
from searchspace.spec import write_spec
from searchspace.zoo import get

LABELS = ["cat", "dog", "owl"]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """best.json and best.safetensors of three classes at 32 px."""
    module = build(
        get("mobilenet_v1", width=0.25, classes=3, resolution=32), generator=torch.Generator().manual_seed(1)
    ).eval()
    write_spec(tmp_path / "best.json", module.spec)
    (tmp_path / "best.safetensors").write_bytes(network_bytes(module, {"classes": LABELS}))
    return tmp_path / "best.json"


def _image(path: Path, height: int, width: int, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def test_an_image_is_classified_as_the_network_does_it_itself(network: Path, tmp_path: Path) -> None:
    files = [_image(tmp_path / f"{seed}.png", 32, 32, seed) for seed in range(70)]
    module = search.Result({"folder": str(tmp_path)}).module
    with torch.inference_mode():
        pixels = torch.tensor(np.stack([np.asarray(Image.open(file)) for file in files]))
        probabilities = module(prepared(pixels, module)).softmax(1)
    found = search.classify(network, files)
    assert [each.label for each in found] == [LABELS[i] for i in probabilities.argmax(1)]
    assert [each.probability for each in found] == pytest.approx(probabilities.max(1).values.tolist(), abs=1e-5)


def test_one_file_of_any_size_is_one_prediction(network: Path, tmp_path: Path) -> None:
    (found,) = search.classify(str(network), str(_image(tmp_path / "wide.png", 50, 90)))
    assert found.label in LABELS
    assert 1 / 3 <= found.probability <= 1


def test_weights_without_class_names_give_numbers(network: Path, tmp_path: Path) -> None:
    module = search.Result({"folder": str(tmp_path)}).module
    (tmp_path / "nameless.safetensors").write_bytes(network_bytes(module, {}))
    image = _image(tmp_path / "a.png", 32, 32)
    (named,) = search.classify(network, image)
    (nameless,) = search.classify(network, image, weights=tmp_path / "nameless.safetensors")
    assert LABELS[int(nameless.label)] == named.label


def test_no_images_are_no_predictions(network: Path) -> None:
    assert search.classify(network, []) == []


def test_what_is_no_image_is_refused_by_name(network: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(InvalidData, match=r"notes\.png must be an image"):
        search.classify(network, tmp_path / "notes.png")
    with pytest.raises(InvalidData, match="it is a folder; give the files in it"):
        search.classify(network, tmp_path)
    with pytest.raises(StorageError, match=r"gone\.png"):
        search.classify(network, [tmp_path / "gone.png"])
    with pytest.raises(InvalidArgument, match="images"):
        search.classify(network, 3)  # type: ignore[arg-type]
