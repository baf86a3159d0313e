"""MACs of any torch module, counted by fvcore: also of one that `trace` has no layers for."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.nn.copies import copied, in_eval_mode

MULTIPLY_ADD = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum")
# Operators that fvcore has no rule for and that have no multiply-adds by this project's definition: activations,
# pooling, sums and products of two maps.
FREE = (
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "mean", "sum", "softmax", "log_softmax", "pad"),
    *("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_", "silu", "silu_", "gelu", "tanh"),
    *("hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "elu", "mish", "prelu", "clone", "feature_dropout"),
    *("max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "channel_shuffle", "pixel_shuffle"),
)


class ModuleMacs(NamedTuple):
    """Multiply-adds of a module for one image.

    Attributes:
        macs: the total over convolutions, linear layers and matrix products (1 multiply-add = 1).
        by_operator: the same by fvcore's operator, such as {"conv": 216_000, "linear": 1_280}.
        unsupported: {operator: calls} of those that fvcore has no rule for. They count 0 in `macs`, whatever they
            multiply. Activations, pooling and sums are not among them: they have no multiply-adds.
    """

    macs: int
    by_operator: Mapping[str, int]
    unsupported: Mapping[str, int]

    def __str__(self) -> str:
        """One line: the total, and the operators that are not in it."""
        calls = ", ".join(f"{name} ({count} call{'s' * (count > 1)})" for name, count in self.unsupported.items())
        return f"{self.macs:,} MACs by fvcore" + (f"; not counted, for want of a rule: {calls}" if calls else "")


@torch.no_grad()
def module_macs(module: nn.Module, *, in_channels: int = 3, resolution: int) -> ModuleMacs:
    """Count the multiply-adds of `module` in eval mode for one image (in_channels, resolution, resolution).

    The module stays as it is: a copy runs once, on the module's device. Raises InvalidArgument for numbers below 1 and
    UnsupportedModule for a module that does not run on such an image.
    """
    from fvcore.nn import FlopCountAnalysis  # slow to import

    check_image(in_channels=in_channels, resolution=resolution)
    like = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, in_channels, resolution, resolution, device=like.device, dtype=like.dtype)
    analysis = FlopCountAnalysis(in_eval_mode(copied(module)), image)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    analysis.set_op_handle(**{f"aten::{name}": None for name in FREE})
    try:
        counts, unsupported = analysis.by_operator(), analysis.unsupported_ops()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModule(
            f"the {type(module).__name__} must run on one image of {in_channels} x {resolution} x {resolution} for its "
            f"MACs to be counted, and does not: {reason}; give the in_channels and resolution that it takes"
        ) from error
    counted = {name: int(count) for name, count in counts.items() if name in MULTIPLY_ADD}
    return ModuleMacs(sum(counted.values()), counted, dict(sorted(unsupported.items())))


def check_image(**sizes: int) -> None:
    """Raise InvalidArgument unless all sizes are integers of at least 1."""
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise InvalidArgument(f"{name} must be an integer of at least 1, got {value!r}")
