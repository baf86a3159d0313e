"""`search.classify`: a trained network, as any command writes it, says what image files show."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from search.data.decode import decode_square
from search.data.image_file import read_image
from search.training.augmentation import prepared
from searchspace.arguments import check_types
from searchspace.nn import load_network, read_about
from searchspace.spec import read_spec

_BATCH = 64


class Prediction(NamedTuple):
    """The most probable class of an image, and its probability (softmax of the logits)."""

    label: str
    probability: float


def classify(
    network: str | Path, images: str | Path | Sequence[str | Path], *, weights: str | Path | None = None
) -> list[Prediction]:
    """What a trained network takes image files for: one prediction for each, in their order.

    Images are read as a search reads them (upright, the largest centred square) and resized and normalised as the
    weights want it. An image of more than 8 bits is scaled by its own values.

    Args:
        network: a spec file, such as studies/NAME/best.json.
        images: one image file, or several.
        weights: its weights (default: the .safetensors file beside the spec).

    Returns:
        The labels are the names of the classes that the weights were trained on; numbers where their file names none.

    Raises:
        InvalidData: a file is no image that can be read.
        PhinasError: network or weights cannot be read, or do not belong together.
    """
    check_types(classify, locals())
    path = Path(weights) if weights is not None else Path(network).with_suffix(".safetensors")
    module, about = load_network(read_spec(Path(network)), path), read_about(path)
    pixels = about.get("deployed_at_px") or about.get("trained_at_px") or module.spec.resolution
    named = about.get("classes") or []
    labels = named if len(named) == module.spec.classes else [str(number) for number in range(module.spec.classes)]
    decode = partial(decode_square, resolution=pixels)
    files = [images] if isinstance(images, (str, Path)) else list(images)
    found: list[Prediction] = []
    with torch.inference_mode():
        for at in range(0, len(files), _BATCH):
            squares = np.stack([read_image(Path(file), decode) for file in files[at : at + _BATCH]])
            best = module(prepared(torch.tensor(squares), module)).softmax(1).max(1)
            found += [
                Prediction(labels[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
    return found
