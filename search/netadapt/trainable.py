"""Whether a user's module trains on the images of a pruning, and in which memory format it takes them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search.latency.machine import entered
from search.training.augmentation import prepared
from searchspace.errors import PhinasError, UnsupportedModule
from searchspace.nn.copies import copied, first_line

Note = Callable[[str], None]


def in_float32(module: nn.Module, note: Note) -> nn.Module:
    """The module with all its floating-point numbers in float32, in place."""
    numbers = (*module.parameters(), *module.buffers())
    others = sorted({str(each.dtype).removeprefix("torch.") for each in numbers if each.is_floating_point()})
    if others in ([], ["float32"]):
        return module
    note(f"the module has numbers in {', '.join(others)}: it is pruned and trained on in float32, and comes back so")
    return module.float()


def make_trainable(module: nn.Module, images: np.ndarray[Any, Any], classes: int, note: Note) -> None:
    """Try one step of a training on a copy, with a few `images` uint8 (n, height, width, 3).

    A module that does not take images channels-last (`x.view(...)` behind a feature map) has them contiguous from then
    on, see `as_it_came`. Raises UnsupportedModule where it does not train, naming the layer; `note` is told of frozen
    parameters.
    """
    kind = type(module).__name__
    frozen, count = sum(not each.requires_grad for each in module.parameters()), sum(1 for _ in module.parameters())
    if frozen and frozen == count:
        raise UnsupportedModule(
            f"the {kind} must have parameters that can be trained, as what is left of a cut is trained on, and "
            "requires_grad is False for all: call requires_grad_(True) on it, or on the layers that may change"
        )
    if frozen:
        note(f"{frozen} of {count} parameters are frozen (requires_grad is False): cuts alone change them")
    batch = torch.tensor(images)
    try:
        _try(module, batch, classes)
        return
    except UnsupportedModule:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        module.register_forward_pre_hook(_contiguous)
    _try(module, batch, classes)
    note(f"the {kind} does not take images that lie channels-last in memory: it is trained and tested on others")


def take_grey(module: nn.Module) -> nn.Module:
    """The module, which takes images of one channel, on images of three: their mean, until `as_it_came`."""
    module.register_forward_pre_hook(_grey)
    return module


def as_it_came(module: nn.Module) -> nn.Module:
    """The module in eval mode, without what `make_trainable` and `take_grey` gave it."""
    module.eval()
    for key, hook in list(module._forward_pre_hooks.items()):
        if hook in (_contiguous, _grey):
            del module._forward_pre_hooks[key]
    return module


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def _grey(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *others = inputs
    return images.mean(1, keepdim=True) if images.shape[1] == 3 else images, *others


def _try(module: nn.Module, images: Tensor, classes: int) -> None:
    """One step of a copy, forwards and backwards. Raises UnsupportedModule."""
    kind, trial = type(module).__name__, copied(module)
    trial.train()
    _, height, width, _ = images.shape
    with torch.random.fork_rng(devices=()), entered(trial) as layers:
        try:
            logits = trial(prepared(images, module))
            _check_logits(logits, (len(images), classes), kind)
            torch.autograd.backward(nn.functional.cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64)))
        except PhinasError:
            raise
        except Exception as error:  # whatever a user's forward raises
            last = next((name for name, *_ in reversed(layers) if name), "")
            raise UnsupportedModule(
                f"the {kind} must train on images of {height} x {width} px, and does not{last and f', at {last} or '}"
                f"{last and 'behind it'}: {first_line(error)}; try module.train()(images) with a loss, and mend what "
                "it raises"
            ) from error


def _check_logits(given: object, shape: tuple[int, int], kind: str) -> None:
    is_tensor = isinstance(given, Tensor)
    if not is_tensor or tuple(given.shape) != shape:  # type: ignore[attr-defined]
        what = f"a tensor {tuple(given.shape)}" if is_tensor else f"a {type(given).__name__}"  # type: ignore[attr-defined]
        raise UnsupportedModule(
            f"the {kind} must return one tensor (batch, classes), here {shape}, also in training mode, got {what}: "
            "wrap it in a module that does"
        )
