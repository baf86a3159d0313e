"""Norms with statistics over channels: those of torch, and those that users write, told by what they compute."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from searchspace.nn.copies import copied, in_eval_mode
from searchspace.nn.tracing.counting_norm import CountingNorm

_KNOWN = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.PReLU, CountingNorm)
Made = Callable[[nn.Parameter, Callable[[Tensor], Tensor]], nn.Parameter]
_PIXELS = (2, 3)  # of the maps that a norm is tried on


class JointNorm(NamedTuple):
    """What a norm over channels computes.

    Attributes:
        weight, bias: names of its parameters, "" for none.
        counted: channels of one group, those that were removed earlier among them.
        groups: equal runs of channels with statistics of their own.
        dim: where the channels are in its input.
        over_pixels: statistics are taken over pixels too.
        centred: the mean is subtracted.
    """

    weight: str
    bias: str
    counted: int
    groups: int
    dim: int
    over_pixels: bool
    centred: bool
    eps: float

    def counting(self, module: nn.Module, made: Made | None = None) -> CountingNorm:
        """The norm as a module that counts channels that are gone, with the parameters of `module`.

        `made` gives the parameter that one of them has become, by what makes its values: it knows those that are tied.
        """
        weight, bias = (self._values(module, name, made or _new) for name in (self.weight, self.bias))
        settings = self._asdict()
        del settings["weight"], settings["bias"]
        return CountingNorm(weight, bias, **settings)

    def _values(self, module: nn.Module, name: str, made: Made) -> nn.Parameter | None:
        def flat(old: Tensor) -> Tensor:
            return old.detach() if self.over_pixels and old.ndim > 1 else old.detach().flatten()

        return made(module.get_parameter(name), flat) if name else None


def _new(old: nn.Parameter, make: Callable[[Tensor], Tensor]) -> nn.Parameter:
    return nn.Parameter(make(old), requires_grad=old.requires_grad)


def of_torch(module: Any, *, dim: int, channels: int) -> JointNorm:
    """Of a GroupNorm, LayerNorm, RMSNorm or CountingNorm that reads `channels` channels at `dim`."""
    weight, bias = ("" if getattr(module, name, None) is None else name for name in ("weight", "bias"))
    if isinstance(module, CountingNorm):
        about = module.counted, module.groups, module.dim, module.over_pixels, module.centred, module.eps
        return JointNorm(weight, bias, *about)
    if isinstance(module, nn.GroupNorm):
        counted, groups = channels // module.num_groups, module.num_groups
        return JointNorm(weight, bias, counted, groups, dim, True, True, module.eps)
    eps = torch.finfo(torch.float32).eps if module.eps is None else module.eps
    over_pixels = len(module.normalized_shape) > 1
    return JointNorm(weight, bias, channels, 1, dim, over_pixels, isinstance(module, nn.LayerNorm), eps)


@torch.no_grad()
def find_joint_norm(module: nn.Module) -> JointNorm | None:
    """What a module of the user's own class computes, if it is a norm over all channels of each pixel; else None.

    A copy of it is run on small maps with the channels second and last, and compared with LayerNorm and RMSNorm.
    """
    parameters = dict(module.named_parameters())
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in parameters.values()):
        return None
    sizes = {parameter.numel() for parameter in parameters.values()}
    known = isinstance(module, _KNOWN) or type(module).__module__.startswith("torch.nn")
    if (
        known
        or any("." in name for name in parameters)
        or not 1 <= len(parameters) <= 2
        or len(sizes) != 1
        or max(sizes) < 2
    ):
        return None
    if any(max(parameter.shape, default=0) not in sizes for parameter in parameters.values()):
        return None
    try:
        probe = in_eval_mode(copied(module).double().cpu())
    except Exception:  # a module that cannot be copied is refused by the tracer, in words
        return None
    (channels,) = sizes
    generator = torch.Generator().manual_seed(0)
    for parameter in probe.parameters():
        parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.double) + 0.5)
    for dim in (1, -1):
        x = torch.randn(2, *_PIXELS, channels, generator=generator, dtype=torch.double) + 0.3
        for centred in (True, False):
            for weight in parameters:
                bias = next((name for name in parameters if name != weight), "")
                found = JointNorm(weight, bias, channels, 1, dim, False, centred, 0.0)
                if (eps := _eps(probe, found, x.movedim(-1, dim))) is not None:
                    return found._replace(eps=eps)
    return None


def _eps(module: nn.Module, norm: JointNorm, x: Tensor) -> float | None:
    """The eps with which `module` computes what `norm` says for `x`; None if it computes something else."""
    try:
        given, small = module(x), module(x * 1e-4)
    except Exception:
        return None
    if not isinstance(given, Tensor) or given.shape != x.shape or not torch.is_tensor(small):
        return None
    try:
        return _compared(module, norm, x, given, small)
    except RuntimeError:  # of other shapes
        return None


def _compared(module: nn.Module, norm: JointNorm, x: Tensor, given: Tensor, small: Tensor) -> float | None:
    spread = (-1, *(1,) * (x.ndim - 2))
    values = {name: parameter.reshape(spread) for name, parameter in module.named_parameters()}
    shift = values[norm.bias] if norm.bias else 0.0
    scaled = (small.movedim(norm.dim, 1) - shift) / values[norm.weight]
    moved = x.movedim(norm.dim, 1) * 1e-4
    mean = moved.mean(1, keepdim=True) if norm.centred else torch.zeros_like(moved[:, :1])
    centred = moved - mean
    found = float(((centred / scaled).square() - centred.square().mean(1, keepdim=True)).median())
    eps = float(f"{max(found, 0.0):.2e}")
    return eps if torch.allclose(norm._replace(eps=eps).counting(module)(x), given, atol=1e-6, rtol=1e-6) else None
