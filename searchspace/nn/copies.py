"""`copied`: a module that may be changed while the user's own stays as it is."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from searchspace.errors import UnsupportedModule

Module = TypeVar("Module", bound=nn.Module)
_COMPUTING = (prune.BasePruningMethod, WeightNorm, SpectralNorm)


def copied(module: Module) -> Module:
    """A deep copy: what is tied in the module is tied in the copy, hooks go with it.

    Tensors that a module computed and keeps (a masked or normalised weight, an output for later) are copied as values.
    Raises UnsupportedModule for a module that cannot be copied, and names the attribute in the way.
    """
    if hasattr(module, "_orig_mod"):  # torch.compile's wrapper holds compiled code of the module that it wraps
        raise UnsupportedModule(
            f"the {type(module._orig_mod).__name__} is compiled already: give the module that torch.compile was given"
        )
    try:
        with _ByValue():
            return copy.deepcopy(module)
    except Exception as error:  # whatever a user's object raises that does not want to be copied
        where = _in_the_way(module)
        raise UnsupportedModule(
            f"the {type(module).__name__} must be one that can be copied, {where or 'its state'} stands in the way: "
            f"{first_line(error)}; leave out of the module what is not of the network"
        ) from error


def in_eval_mode(module: Module) -> Module:
    """The module itself, in eval mode: a user's own `train` need not hand it back."""
    module.eval()
    return module


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its text."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


class _ByValue(TorchFunctionMode):
    """deepcopy refuses tensors that were computed; here they are copied without where they came from."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _in_the_way(module: nn.Module) -> str:
    """The first attribute that cannot be copied, "" if none is found."""
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                with _ByValue():
                    copy.deepcopy(value)
            except Exception:
                return f"{name}.{key}" if name else key
    return ""


def computes_weights(part: nn.Module) -> bool:
    """Whether `with_plain_weights` would change the module's own weights."""
    hooks = part._forward_pre_hooks.values()
    return parametrize.is_parametrized(part) or any(isinstance(hook, _COMPUTING) for hook in hooks)


@torch.no_grad()
def with_plain_weights(module: Module) -> Module:
    """The module, changed in place: weights that are computed in each call are parameters from then on.

    They are what masks of torch.nn.utils.prune, weight_norm, spectral_norm and parametrizations make of them in the
    mode that the module is in, as it is done before a network is deployed.
    """
    for part in module.modules():
        if parametrize.is_parametrized(part):
            _without_parametrizations(part)
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            elif isinstance(hook, WeightNorm):
                nn.utils.remove_weight_norm(part, hook.name)
            elif isinstance(hook, SpectralNorm):
                nn.utils.remove_spectral_norm(part, hook.name)
                _without_state_hooks(part)
    return module


def _without_state_hooks(part: nn.Module) -> None:
    """Those of the old spectral norm, which torch leaves: they ask a state dict for what is no longer there."""
    every: list[Any] = [part._state_dict_hooks, part._load_state_dict_pre_hooks]
    for hooks in every:
        for key, hook in list(hooks.items()):
            if type(getattr(hook, "hook", hook)).__module__ == SpectralNorm.__module__:
                del hooks[key]


def _without_parametrizations(part: nn.Module) -> None:
    """By hand: torch's own way takes the weight out of a class that copies share with the user's module."""
    lists: Any = part._modules.pop("parametrizations")
    values = {}
    for name, each in lists.items():
        originals = [getattr(each, key) for key in vars(each)["_parameters"] | vars(each)["_buffers"]]
        trains = any(original.requires_grad for original in originals)
        values[name] = nn.Parameter(each().clone(), trains) if isinstance(originals[0], nn.Parameter) else each()
    part.__class__ = type(part).__bases__[0]
    for name, value in values.items():
        if isinstance(value, nn.Parameter):
            part.register_parameter(name, value)
        else:
            part.register_buffer(name, value)
