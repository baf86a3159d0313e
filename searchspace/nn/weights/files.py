"""Files of weights: safetensors, and torch's own, never unpickled."""

import argparse
import io
import json
import pickle
import re
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from searchspace.errors import InvalidArgument, StorageError
from searchspace.files import is_cut_short, wrong_member
from searchspace.nn.build import Network
from searchspace.strict_json import CHECKSUM, checksum_of, loads

WRAPPERS = ("state_dict", "model_state_dict", "model")
# A name of averaged weights.
_IS_AVERAGE = re.compile(r"(^|[^a-z])(ema|swa|avg|averaged?|polyak|shadow)([^a-z]|$)|EMA|Ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
_ABOUT = "phinas"
_TENSORS = "tensors_crc32"  # in it
_KINDS: dict[str, Any] = {"classes": list, "fingerprint": str, "network": dict, "preprocessing": dict}
_KINDS |= dict.fromkeys(("trained_at_px", "deployed_at_px", "split_seed"), int)
_NUMBERS = (".weight", ".bias", "running_mean", "running_var")
_AVERAGES = "n_averaged"  # torch's AveragedModel counts in it


def read_weights(
    path: Path | str, *, ema: bool | None = None, note: Callable[[str], None] | None = None
) -> dict[str, Tensor]:
    """The tensors in a safetensors file or a torch checkpoint (.pth, .pt), by name, on the CPU.

    What the file is counts, not its suffix. A checkpoint may hold its state dict under "state_dict", "model" or
    another name, and the running average of its weights under a name with "ema" in it, as "state_dict_ema"; or both
    in one state dict, as "model." and "ema_model.". `ema` says which of the two is meant; `note` is told which one is
    taken wherever there is an average. The prefixes of DataParallel, torch.compile and Lightning ("module.",
    "_orig_mod.", "model.") are taken off. Pickled Python objects are never loaded (torch's weights_only).
    Raises StorageError for a file that cannot be read, is damaged or holds anything else, InvalidArgument where both
    kinds of weights are there and `ema` is None, or the kind that it asks for is not, and for weights that are
    quantised or not finite.
    """
    state = _unwrapped(_of_kind(_content(path), path, ema, note), path)
    _check_numbers(state, path)
    return state


def _content(path: Path | str) -> Any:
    try:
        with open(path, "rb") as file:
            # A safetensors file begins with 8 bytes of length and a JSON object; no torch file has a "{" there.
            head = file.read(9)
            file.seek(0)
            if not head:
                raise StorageError(f"the weights file {path} is empty: download or save it again")
            if head[8:] == b"{":
                state = safetensors.torch.load_file(path)
                _check_written(state, path)
                return state
            if wrong := wrong_member(Path(path)):
                raise ValueError(f"the checksum of {wrong} is wrong")
            with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch thinks of a file's age says nothing to its user
                return torch.load(file, map_location="cpu", weights_only=True)  # timm keeps its flags in a Namespace
    except StorageError:
        raise
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
        if is_cut_short(Path(path)):
            raise StorageError(
                f"the weights file {path} is cut short, as by a broken download: delete it and download it again"
            ) from None
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"a weights file must be safetensors or a torch checkpoint (.pth, .pt); {path} is neither, or damaged "
            f"({first_line[:120]}): download or save it again"
        ) from None


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
    """What `network_bytes` wrote about a network beside its weights; {} for any other file.

    Raises StorageError where it is damaged.
    """
    about = _about(path)
    about.pop(_TENSORS, None)
    return about


def _about(path: Path | str) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError):
        return {}
    text = metadata.get(_ABOUT, "{}")
    if lost := next((name for name, other in metadata.items() if name != _ABOUT and _TENSORS in other), None):
        raise StorageError(f"what {path} says about its weights is damaged: it stands under {lost!r:.80}")
    try:
        about = loads(text)
    except ValueError as error:
        raise StorageError(f"what {path} says about its weights is damaged ({error})") from None
    about = about if isinstance(about, dict) else {}
    wrong = next((name for name, kind in _KINDS.items() if not isinstance(about.get(name), kind | None)), None)
    if wrong is not None:
        raise StorageError(f"what {path} says about its weights is damaged: {wrong} is {about[wrong]!r:.80}")
    return about


def _check_written(state: Mapping[str, Tensor], path: Path | str) -> None:
    """Raises StorageError for tensors that are not those that `network_bytes` wrote; other files have no checksum."""
    said = _about(path).get(_TENSORS)
    if said is not None and said != _checksum(state):
        raise StorageError(
            f"the weights in {path} are damaged: they are not those that were written, by their checksum. Restore the "
            "file from a copy, or delete it and run the command that writes it again"
        )


def _checksum(state: Mapping[str, Tensor]) -> str:
    """8 hex digits of the names, types, shapes and values of tensors."""
    found = 0
    for name, tensor in sorted(state.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        values = tensor.detach().cpu().contiguous().reshape(-1)
        found = zlib.crc32(values.view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _each_its_own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, none of which is another one: what a module has tied is written under each of its names."""
    found, seen = {}, set[int]()
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone(memory_format=torch.contiguous_format) if place in seen else tensor.contiguous()
        seen.add(place)
    return found


def network_bytes(module: nn.Module, about: Mapping[str, Any]) -> bytes:
    """The content of a safetensors file: weights, and in the metadata `about` (JSON types) and the network's spec."""
    state = _each_its_own(module.state_dict())
    if isinstance(module, Network):
        about = {**about, "network": module.spec.to_dict()}
    content = {**about, _TENSORS: _checksum(state)}
    text = json.dumps({**content, CHECKSUM: checksum_of(json.loads(json.dumps(content)))})
    return safetensors.torch.save(state, {_ABOUT: text})  # one key: safetensors writes several in no fixed order


def _of_kind(content: Any, path: Path | str, ema: bool | None, note: Callable[[str], None] | None) -> Any:
    """The part of a checkpoint that `ema` asks for: the running average of the weights or the weights themselves."""
    found = _state_dicts(content)
    average = _average_in(found)
    others = [name for name in found if not _IS_AVERAGE.search(name)]
    plain = next((name for name in (*WRAPPERS, *others) if name in others), None)
    if plain and plain not in WRAPPERS and len(others) > 1:
        raise StorageError(
            f"a weights file must hold one network, {path} holds several state dicts ({', '.join(others)[:80]}): save "
            "the one that is meant alone"
        )
    if plain and not average and _average_in(_state_dicts(found[plain])):  # both within one, as Lightning has them
        return _of_kind(found[plain], path, ema, note)
    if ema is None and average and plain:
        raise InvalidArgument(
            f"{path} holds weights ({plain!r}) and their running average ({average!r}), one must be chosen: give --ema "
            "for the average, which is usually better, or --no-ema"
        )
    if ema and not average:
        raise InvalidArgument(f"--ema means a running average beside the weights, {path} has none: leave it out")
    if ema is False and average and not plain:
        raise InvalidArgument(f"--no-ema means the weights themselves, {path} has their average only: leave it out")
    chosen = average if average and ema is not False else plain
    if average and note:
        what = "the running average of the weights" if chosen == average else "the weights themselves, not the average"
        note(f"of {path} {what} ({chosen!r}) {'is' if chosen == average else 'are'} taken")
    elif (
        plain
        and note
        and (left := [name for name in others if name != plain and len(found[name]) >= len(found[plain])])
    ):
        note(f"of {path} the weights {plain!r} are taken, not {', '.join(map(repr, left))[:80]}")
    return content if chosen is None else found[chosen]


def _average_in(found: Mapping[str, Any]) -> str | None:
    return next((name for name in found if _IS_AVERAGE.search(name)), None)


def _state_dicts(content: Any) -> Mapping[str, Mapping[str, Any]]:
    """The state dicts in a checkpoint by name; none where it is one itself, of one network."""
    if not isinstance(content, Mapping):
        return {}
    found = {str(name): value for name, value in content.items() if _holds_tensors(value)}
    if found:
        return found
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in content.items():
        first, _, rest = str(key).partition(".")
        parts[first][rest] = value
    average = _average_in(parts)
    alike = [name for name, part in parts.items() if average and _bare(part) == _bare(parts[average])]
    left = sum(len(part) for name, part in parts.items() if name not in alike)  # such as the weights of a loss
    return {name: parts[name] for name in alike} if len(alike) == 2 and left < len(parts[alike[0]]) else {}


def _bare(part: Mapping[str, Any]) -> set[str]:
    """The names of a state dict without what AveragedModel adds to them, and counters."""
    return {name.removeprefix("module.") for name in part} - {"", _AVERAGES}


def _holds_tensors(value: Any) -> bool:
    """Whether this is a state dict, or holds one under a usual name."""
    if not isinstance(value, Mapping):
        return False
    inner = any(_holds_tensors(value.get(name)) for name in (*WRAPPERS, "module"))
    return inner or any(isinstance(key, str) and isinstance(each, Tensor) for key, each in value.items())


def _unwrapped(content: Any, path: Path | str) -> dict[str, Tensor]:
    for name in (*WRAPPERS, "module"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        what = "an empty one" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise StorageError(
            f"a weights file must hold a state dict (names and tensors), got {what} in {path}: "
            "save model.state_dict() where it was made"
        )
    state = {str(key): value for key, value in content.items() if key != _AVERAGES}
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise StorageError(
            f"a weights file must hold a state dict (names and tensors), got no tensor under {', '.join(state)[:80]} "
            f"in {path}: save model.state_dict() where it was made"
        )
    while prefix := next((each for each in PREFIXES if all(key.startswith(each) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check_numbers(state: Mapping[str, Any], path: Path | str) -> None:
    """Raises InvalidArgument for weights that nothing can be trained from."""
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        is_float = value.is_floating_point() and value.dtype.itemsize > 1
        if not is_float and (value.dtype.itemsize == 1 or value.is_quantized or key.endswith(_NUMBERS)):
            raise InvalidArgument(
                f"weights must be floating-point numbers of 16 bits or more, {key} in {path} is {value.dtype}: "
                "quantised weights cannot be trained; take the file from before the quantisation"
            )
    check_finite(state, str(path))


def check_finite(state: Mapping[str, Any], where: str) -> None:
    """Raises InvalidArgument for a state dict with NaN or infinite weights, also where they are so in 32 bits."""
    for key, value in state.items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.layout != torch.strided:
            continue
        if not value.is_meta and not torch.isfinite(value.to(torch.float32)).all():
            raise InvalidArgument(f"weights must be finite, {key} in {where} has other numbers: take another file")
