"""Weight sharing as plainly as it can be written: every weight is sliced by autograd where it is used.

The laws of `searchspace.nn.shared` compare with it, and tests.benchmarks.shared_step times it. It also has the smallest
space that has every choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from searchspace.graph import NETWORK_INPUT, lower
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.stage import StageChoices
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import Tensor

TINY = SearchSpace(
    name="tiny",
    stages=(
        StageChoices(
            name="stage1", base_width=8, stride=2, expand_ratio=(1, 3), layers=(1, 2), activation=("relu", "swish")
        ),
        StageChoices(
            name="stage2", base_width=16, stride=1, kernel=(3, 5), layers=(0, 1, 2), width_mult=(0.5, 1.0, 1.5)
        ),
        StageChoices(name="stage3", base_width=16, stride=2, expand_ratio=(3, 6), layers=(1, 2)),
    ),
    stem_width=8,
    head_width=24,
    classes=2,
    resolution=32,
)


def naive_logits(shared: Mapping[str, Tensor], spec: NetworkSpec, images: Tensor, *, training: bool = False) -> Tensor:
    """The logits of `spec` for images (batch, 3, height, width), by the largest network's parameters and statistics."""
    import torch
    from torch.nn import functional as F

    from searchspace.nn.activations import TORCH

    def act(x: Tensor, name: str) -> Tensor:
        return x if name == "identity" else TORCH[name].function(x)

    values = {NETWORK_INPUT: images}
    for index, layer in enumerate(lower(spec).layers):
        x, outs, ins = values[layer.inputs[0]], layer.out_shape[0], layer.in_shape[0]
        if layer.op == "conv":
            weight = shared[f"{layer.name}.conv.weight"]
            cut = (weight.shape[2] - layer.kernel) // 2
            middle = slice(cut, cut + layer.kernel)
            weight = weight[:outs, : ins // layer.groups, middle, middle]
            x = F.conv2d(x, weight, None, layer.stride, (layer.kernel - 1) // 2, groups=layer.groups)
            mean, variance, scale, shift = (
                shared[f"{layer.name}.norm.{part}"][:outs] for part in ("running_mean", "running_var", "weight", "bias")
            )
            statistics = (None, None) if training else (mean, variance)
            x = F.batch_norm(x, *statistics, scale, shift, training, eps=spec.conventions.norm_eps)
            x = act(x, layer.activation)
        elif layer.op == "se":
            first, second = (slice(layer.squeeze_channels), slice(outs))
            reduce, expand = (shared[f"{layer.name}.{part}.weight"] for part in ("reduce", "expand"))
            low, high = (shared[f"{layer.name}.{part}.bias"] for part in ("reduce", "expand"))
            gate = F.conv2d(x.mean((2, 3), keepdim=True), reduce[first, second], low[first])
            x = x * act(F.conv2d(act(gate, layer.activation), expand[second, first], high[second]), layer.gate)
        elif layer.op == "add":
            x = x + values[layer.inputs[1]]
        elif layer.op == "pool":
            x = x.mean((2, 3))
        else:
            assert layer.op == "linear"
            weight, bias = (shared[f"{layer.name}.{part}"] for part in ("weight", "bias"))
            x = torch.addmm(bias[:outs], x, weight[:outs, :ins].T)
        values[index] = x
    return x
