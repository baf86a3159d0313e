"""`cuttable`: a copy of a user's module whose channels can be cut, or what stands in the way of that."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from searchspace.errors import UnsupportedModule
from searchspace.nn.copies import computes_weights, copied, first_line, in_eval_mode, with_plain_weights

Note = Callable[[str], None]
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def cuttable(module: nn.Module, note: Note = lambda text: None) -> nn.Module:
    """A copy of a user's module in eval mode on the CPU that can be traced, cut and trained on.

    Weights that are computed in each call (masks of torch.nn.utils.prune, weight_norm, spectral_norm,
    parametrizations) are plain in it, and tensors that are plain attributes are buffers that no state dict has. `note`
    is told what is otherwise than in the user's module, which stays as it is. Raises UnsupportedModule, with the layer
    and what to do: for TorchScript, compiled, wrapped and quantised modules, weights without a value or with NaN, and
    what cannot be copied.
    """
    check_kind(module)
    _check_values(module)
    cut = in_eval_mode(copied(module).cpu())
    _make_plain(cut, note)
    for part in cut.modules():
        for key, value in list(vars(part).items()):
            if isinstance(value, Tensor) and not hasattr(type(part), key):
                delattr(part, key)
                part.register_buffer(key, value.detach(), persistent=False)
    _check_finite(cut)
    return cut


def check_kind(module: nn.Module) -> None:
    """Raises UnsupportedModule for layers whose channels cannot be cut, whatever they compute."""
    for name, part in module.named_modules():
        why = _why_not(part)
        if why:
            raise UnsupportedModule(f"{_where(module, name)} {why}")


def _why_not(part: nn.Module) -> str:
    if isinstance(part, torch.jit.ScriptModule):
        return "is TorchScript, whose channels cannot be cut: give the module that it was scripted or traced from"
    if hasattr(part, "_orig_mod"):
        return "is compiled already: give the module that torch.compile was given"
    if isinstance(part, _WRAPPERS):
        return f"is a {type(part).__name__}: give its .module"
    if type(part).__module__.startswith(("torch.ao.", "torch.nn.quantized", "torchao.")):
        return (
            f"is for quantised networks ({type(part).__name__}), whose channels cannot be cut and trained on: prune "
            "the module as it was before the quantisation, and quantise what comes back"
        )
    return ""


def _where(module: nn.Module, name: str) -> str:
    return f"{name} of the {type(module).__name__}" if name else f"the {type(module).__name__}"


def _check_values(module: nn.Module) -> None:
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise UnsupportedModule(
                f"the {type(module).__name__} has layers without a shape: run it on an image before it is pruned"
            )
        why = ""
        if tensor.is_meta:
            why = "must have values, and is on the meta device: load the weights first"
        elif isinstance(tensor, nn.Parameter) and not (tensor.is_floating_point() or tensor.is_complex()):
            why = (
                f"must be a dense tensor of real numbers, and is {tensor.dtype}: convert it before the module is pruned"
            )
        elif tensor.is_quantized or tensor.is_complex() or tensor.layout != torch.strided:
            kind = "quantised" if tensor.is_quantized else "complex" if tensor.is_complex() else "sparse"
            why = f"must be a dense tensor of real numbers, and is {kind}: convert it before the module is pruned"
        if why:
            raise UnsupportedModule(f"{_where(module, name)} {why}")


def _check_finite(module: nn.Module) -> None:
    statistics = ((name, each) for name, each in module.named_buffers() if "running_" in name)
    for name, tensor in chain(module.named_parameters(), statistics):
        if tensor.is_floating_point() and not torch.isfinite(tensor.to(torch.float32)).all():
            raise UnsupportedModule(
                f"weights must be finite in 32 bits, {_where(module, name)} has NaN or infinite ones: load weights of "
                "before they became so"
            )


def _make_plain(module: nn.Module, note: Note) -> None:
    names = [name or "the module itself" for name, part in module.named_modules() if computes_weights(part)]
    if not names:
        return
    try:
        with_plain_weights(module)
    except Exception as error:  # whatever a user's parametrization raises
        raise UnsupportedModule(
            f"{', '.join(names)} must have weights that can be made plain, which fails: {first_line(error)}; take off "
            "what computes them: torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm, "
            "remove_spectral_norm or torch.nn.utils.prune.remove"
        ) from error
    note(
        f"weights that are computed in each call (masks, norms, parametrizations) are pruned as the plain weights that "
        f"they are now, and trained on as such, those that a mask holds at 0 too: {', '.join(names)}"
    )
