"""`calibrate`: a transferred network made to compute what its parent does on some images, layer by layer.

Cutting channels, blocks and SE changes what every later layer reads. Where a 1x1 convolution came from the parent,
least squares find the weights that make of the network's own maps what the parent's layer makes of its maps (the idea
of arXiv:1707.06168, section 3.1); batch norm then gets the statistics that keep the distribution of its outputs.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from searchspace.nn.layers import ConvBNAct

Origins = Mapping[str, tuple[str, Tensor]]
"""{layer: (the parent's layer, for each output channel the parent's, -1 for none)}; layers are ConvBNAct modules."""
PIXELS = 16  # of each map in each image, at most, go into the least squares
PENALTY = 0.3  # of the mean eigenvalue: weights stay near those that were transferred
CONSTANT = 1e-12


class _Seen(NamedTuple):
    """What the parent's layer shows: moments before its batch norm, the running ones, and outputs of its convolution.

    `outputs`: (samples, channels), None for a layer whose weights are not fitted.
    """

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_var: Tensor
    outputs: Tensor | None


@torch.no_grad()
def calibrate(
    network: nn.Module, parent: nn.Module, origins: Origins, images: Tensor, *, penalty: float = PENALTY
) -> None:
    """Fit the 1x1 convolutions and the statistics of `network` to its parent's maps of `images`, in one pass.

    Plainly renewed statistics would amplify what the images do not show (EfficientNet-Lite0 on CIFAR-10 at 64 px,
    frozen: 60 % as published, 35 % after `renew_batch_norm`); here a network that is its parent stays as it is. A
    channel without an origin has mean 0 and deviation 1 before scale and bias.

    images: one batch as the networks take it; 256 are good, 128 fit worse. Both modules are in eval mode afterwards.
    """
    seen = _watch(parent, {name for name, _ in origins.values()}, images)
    network.eval()
    hooks = []
    for name, part in network.named_modules():
        if isinstance(part, ConvBNAct) and hasattr(part, "norm"):
            origin, channels = origins.get(name, (None, None))
            if origin is not None and channels is not None:
                if _is_dense(part.conv):
                    hooks.append(part.conv.register_forward_pre_hook(partial(_fit, seen[origin], channels, penalty)))
                hooks.append(part.norm.register_forward_pre_hook(partial(_match, seen[origin], channels)))
            else:
                hooks.append(part.norm.register_forward_pre_hook(_renew))
    network(images)
    for hook in hooks:
        hook.remove()


def _watch(parent: nn.Module, names: set[str], images: Tensor) -> dict[str, _Seen]:
    parent.eval()
    found: dict[str, _Seen] = {}
    hooks = []
    for name in names:
        part = parent.get_submodule(name)
        assert isinstance(part, ConvBNAct)

        def keep(
            norm: nn.Module, inputs: tuple[Tensor], *, name: str = name, dense: bool = _is_dense(part.conv)
        ) -> None:
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            outputs = _samples(inputs[0]) if dense else None
            found[name] = _Seen(*_moments(inputs[0]), norm.running_mean, norm.running_var, outputs)

        hooks.append(part.norm.register_forward_pre_hook(keep))
    parent(images)
    for hook in hooks:
        hook.remove()
    return found


def _is_dense(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.groups == 1 and conv.kernel_size == (1, 1) and conv.stride == (1, 1)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(maps.float(), (0, 2, 3), correction=0)
    return mean, variance


def _samples(maps: Tensor) -> Tensor:
    """(samples, channels): at most PIXELS of each map, the same places in every network."""
    step = max(1, -(-max(maps.shape[2:]) // int(PIXELS**0.5)))
    return maps[:, :, ::step, ::step].permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).float()


def _fit(seen: _Seen, channels: Tensor, penalty: float, conv: nn.Module, inputs: tuple[Tensor]) -> None:
    """Ridge regression of what is missing to the parent's outputs on the network's own inputs."""
    x = _samples(inputs[0])
    if seen.outputs is None or len(seen.outputs) != len(x):
        return  # a stride was moved: the maps have other sizes
    weight = conv.get_parameter("weight")
    old = (channels >= 0).nonzero().flatten()
    x = x - x.mean(0)
    missing = seen.outputs[:, channels[old]] - x @ weight[old].flatten(1).T
    missing -= missing.mean(0)
    gram = x.T @ x
    gram.diagonal().add_(penalty * gram.diagonal().mean() + CONSTANT)
    change = torch.linalg.solve(gram, x.T @ missing).T
    if bool(change.isfinite().all()):
        weight[old] += change.reshape(weight[old].shape)


def _renew(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = _moments(inputs[0])
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _match(seen: _Seen, channels: Tensor, norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """The statistics with which the outputs have the parent's means and deviations."""
    _renew(norm, inputs)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    old = (channels >= 0).nonzero().flatten()
    at = channels[old]
    published = seen.running_var[at] + norm.eps
    ratio = published / seen.variance[at].clamp(min=CONSTANT)
    scaled = torch.where(seen.variance[at] > CONSTANT, norm.running_var[old] * ratio, published)
    norm.running_mean[old] -= (seen.mean - seen.running_mean)[at] * (scaled / published).sqrt()
    norm.running_var[old] = (scaled - norm.eps).clamp(min=0.0)
