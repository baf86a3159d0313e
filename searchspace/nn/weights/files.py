"""Files of weights: safetensors, and torch's own, never unpickled."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from searchspace.errors import StorageError

WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL = "module."
_ABOUT = "phinas"


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a torch checkpoint (.pth, .pt), by name, on the CPU.

    What the file is counts, not its suffix. A checkpoint may hold its state dict under "state_dict",
    "model_state_dict" or "model"; DataParallel's prefix "module." is taken off. Pickled Python objects are never
    loaded (torch's weights_only). Raises StorageError for a file that cannot be read, is damaged or holds anything
    else.
    """
    try:
        with open(path, "rb") as file:
            # A safetensors file begins with 8 bytes of length and a JSON object; no torch file has a "{" there.
            is_safetensors = file.read(9)[8:] == b"{"
            file.seek(0)
            if is_safetensors:
                content = safetensors.torch.load_file(path)
            else:
                content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StorageError(
            f"cannot read the weights file {path}: {error.strerror or error}; look whether the path is spelt right and "
            "you may read it"
        ) from None
    except pickle.UnpicklingError:
        raise StorageError(
            f"a weights file must be safetensors or a torch checkpoint of nothing but tensors; {path} is neither, or "
            "holds Python objects, which are never unpickled here: save model.state_dict() alone where it was made"
        ) from None
    except Exception as error:  # whatever a damaged file makes the readers raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"a weights file must be safetensors or a torch checkpoint (.pth, .pt); {path} is neither, or damaged "
            f"({first_line[:120]}): download or save it again"
        ) from None
    return _unwrapped(content, path)


def weights_bytes(tensors: dict[str, Tensor], *, suffix: str) -> bytes:
    """The content of a weights file: safetensors for ".safetensors", torch's format for any other suffix.

    Tensors must be contiguous. A file of torch's keeps a state dict's metadata, which torchvision's MnasNet asks for.
    """
    if suffix == ".safetensors":
        return safetensors.torch.save(tensors)
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def read_about(path: Path | str) -> dict[str, Any]:
    """What `network_bytes` wrote about a network beside its weights; {} for any other file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
    except (safetensors.SafetensorError, OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def network_bytes(module: nn.Module, about: Mapping[str, Any]) -> bytes:
    """The content of a safetensors file: a network's weights, and `about` (JSON types) in its metadata."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    # One key of the metadata: safetensors writes several in no fixed order.
    return safetensors.torch.save(state, {_ABOUT: json.dumps(about)})


def _unwrapped(content: Any, path: Path | str) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        what = "an empty one" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise StorageError(
            f"a weights file must hold a state dict (names and tensors), got {what} in {path}: "
            "save model.state_dict() where it was made"
        )
    parallel = all(isinstance(key, str) and key.startswith(PARALLEL) for key in content)
    return {key.removeprefix(PARALLEL) if parallel else key: value for key, value in content.items()}
