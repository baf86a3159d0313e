"""Which modules, functions and methods of tensors are treated alike when a module is traced."""

import operator
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from searchspace.nn import layers as ours
from searchspace.nn.activations import TORCH
from searchspace.nn.tracing.counting_norm import CountingNorm

SUPPORTED = (
    "Conv2d, ConvTranspose2d, Linear, BatchNorm, GroupNorm, LayerNorm, InstanceNorm, activations and other functions "
    "of single values, pooling, upsampling, padding, PixelShuffle, Dropout, sums and products, concatenations, chunk, "
    "split and slices of channels, views and permutations, squeeze-and-excite, matrix products and attention"
)


class Kind(NamedTuple):
    """What is treated alike: modules, functions and (as text) methods of tensors; the names of their arguments."""

    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[object, ...] = ()
    arguments: tuple[str, ...] = ("x", "y")


def _named(*names: str) -> tuple[object, ...]:
    """The functions of torch and methods of tensors that have these names, and those that work in place."""
    found: list[object] = []
    for name in (each + ending for each in names for ending in ("", "_")):
        found += [getattr(home, name) for home in (torch, F) if hasattr(home, name)]
        found += [name] if hasattr(torch.Tensor, name) else []
    return tuple(dict.fromkeys(found))


_MODULES: dict[str, type[nn.Module]] = {
    **{"leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "celu": nn.CELU, "rrelu": nn.RReLU},
    **{"gelu": nn.GELU, "mish": nn.Mish, "softplus": nn.Softplus, "tanh": nn.Tanh, "hardtanh": nn.Hardtanh},
    **{"logsigmoid": nn.LogSigmoid, "softsign": nn.Softsign, "tanhshrink": nn.Tanhshrink, "threshold": nn.Threshold},
    **{"hardshrink": nn.Hardshrink, "softshrink": nn.Softshrink},
}
_FUNCTIONS = (
    *("abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "pow", "neg", "clamp", "clip", "clamp_min"),
    *("clamp_max", "reciprocal", "sign", "round", "floor", "ceil", "erf", "atan", "sin", "cos", "nan_to_num"),
)
POINTWISE = {
    **{name: Kind((known.module,), (known.function, *known.calls)) for name, known in TORCH.items()},
    **{name: Kind((module,), _named(name)) for name, module in _MODULES.items()},
    **{name: Kind((), _named(name)) for name in _FUNCTIONS},
}
POINTWISE["neg"] = Kind((), (*POINTWISE["neg"].functions, operator.neg))
POINTWISE["pow"] = Kind((), (*POINTWISE["pow"].functions, operator.pow))
"""Functions of each value by itself."""

_MIXED = (
    *("matmul", "bmm", "scaled_dot_product_attention", "cosine_similarity", "pairwise_distance", "argmax", "argmin"),
    *(
        "logsumexp",
        "glu",
        "local_response_norm",
        "unfold",
        "fold",
        "grid_sample",
        "gather",
        "cumsum",
        "rot90",
        "softmin",
    ),
)
TELLING = ("arange", "linspace", "eye", "tensor", "new_tensor", "as_tensor", "meshgrid")
_LIKE = ("zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "empty_like", "new_zeros", "new_ones")
_MADE = _named(*_LIKE, "new_full", "new_empty", "zeros", "ones", "full", "rand", "randn", "empty", *TELLING)
_CONV = ("x", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_TRANSPOSE = ("x", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
KINDS = {
    **POINTWISE,
    "conv": Kind((nn.Conv2d,), (F.conv2d, torch.conv2d), _CONV),
    "conv_transpose": Kind((nn.ConvTranspose2d,), (F.conv_transpose2d,), _CONV_TRANSPOSE),
    "linear": Kind((nn.Linear,), (F.linear,), ("x", "weight", "bias")),
    "norm": Kind((nn.BatchNorm2d, nn.BatchNorm1d)),
    "own_norm": Kind((nn.InstanceNorm2d,)),
    "joint_norm": Kind((nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, CountingNorm)),
    "group_norm": Kind((), (F.group_norm, torch.group_norm), ("x", "num_groups", "weight", "bias")),
    "layer_norm": Kind((), (F.layer_norm, torch.layer_norm), ("x", "normalized_shape", "weight", "bias")),
    "rms_norm": Kind((), (F.rms_norm, torch.rms_norm), ("x", "normalized_shape", "weight")),
    "prelu": Kind((nn.PReLU,), _named("prelu"), ("x", "weight")),
    "softmax": Kind(
        (nn.Softmax, nn.LogSoftmax, nn.Softmax2d),
        (F.softmax, torch.softmax, "softmax", F.log_softmax, torch.log_softmax, "log_softmax"),
        ("x", "dim"),
    ),
    "normalize": Kind((), (F.normalize,), ("x", "p", "dim")),
    "maxpool": Kind(
        (nn.MaxPool2d,),
        (F.max_pool2d, torch.max_pool2d),
        ("x", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    "avgpool": Kind((nn.AvgPool2d,), (F.avg_pool2d,), ("x", "kernel_size", "stride", "padding", "ceil_mode")),
    "adaptive": Kind((nn.AdaptiveAvgPool2d,), (F.adaptive_avg_pool2d,)),
    "resample": Kind(
        (
            *(nn.Upsample, nn.AdaptiveMaxPool2d, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d),
            *(nn.ConstantPad2d, nn.LPPool2d),
        ),
        (F.interpolate, F.upsample, F.pad, F.adaptive_max_pool2d, F.lp_pool2d),
    ),
    "reduce": Kind((), (*_named("mean", "sum", "amax", "amin", "std", "var"), torch.norm, "norm"), ("x", "dim")),
    "extreme": Kind((), (torch.max, "max", torch.min, "min"), ("x", "dim", "keepdim")),
    "same": Kind(
        (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        (F.dropout, F.dropout2d, "contiguous", "clone", torch.clone, "detach", "float", "double", "half", "to"),
    ),
    "move": Kind(
        (
            *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
            *(ours.ChannelShuffle, ours.Slice),
        ),
        (
            *_named(
                "flatten", "reshape", "view", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "movedim"
            ),
            *_named(
                "moveaxis", "swapdims", "chunk", "split", "tensor_split", "unbind", "narrow", "unflatten", "select"
            ),
            *_named("expand", "expand_as", "view_as", "reshape_as", "repeat_interleave", "flip", "roll", "t", "tile"),
            *_named("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "repeat"),
            *(operator.getitem, getattr),
        ),
    ),
    "add": Kind((), (operator.add, operator.iadd, operator.sub, operator.isub, *_named("add", "sub", "subtract"))),
    "mul": Kind(
        (),
        (
            *(operator.mul, operator.imul, operator.truediv, operator.itruediv),
            *_named("mul", "multiply", "div", "true_divide", "maximum", "minimum"),
        ),
    ),
    "made": Kind((), _MADE),
    "mixed": Kind((nn.GLU, nn.LocalResponseNorm, nn.Unfold, nn.Fold), (*_named(*_MIXED), operator.matmul)),
    "concat": Kind((), (torch.cat, torch.concat, torch.concatenate, torch.stack), ("tensors", "dim")),
}
OF_MODULE = {module: name for name, kind in KINDS.items() for module in kind.modules}
OF_FUNCTION = {function: name for name, kind in KINDS.items() for function in kind.functions}
IN_PLACE = (operator.iadd, operator.imul, operator.isub, operator.itruediv, torch.relu_)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm)
LEAVES = (
    *(ours.DepthwiseConv2d, ours.PointwiseConv2d, ours.SameConv2d, ours.BatchNorm2d, ours.ChannelShuffle, ours.Slice),
    CountingNorm,
)
