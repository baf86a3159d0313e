"""`calibrate`: a transferred network made to compute what its parent does on some images, layer by layer.

Cutting channels, blocks and SE changes what every later layer reads. Where a 1x1 convolution came from the parent,
least squares find the weights that make of the network's own maps what the parent's layer makes of its maps (the idea
of arXiv:1707.06168, section 3.1); batch norm then gets the statistics that keep the distribution of its outputs.

What the parent shows (`watched`) is the same for every network: a caller that calibrates many keeps it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from searchspace.nn.layers import ConvBNAct

Origins = Mapping[str, tuple[str, Tensor]]
"""{layer: (the parent's layer, for each output channel the parent's, -1 for none)}; layers are ConvBNAct modules."""
PIXELS = 16  # of each map in each image, at most, that moments and least squares are taken of
PENALTY = 0.3  # of the mean eigenvalue: weights stay near those that were transferred
CONSTANT = 1e-12


class Shown(NamedTuple):
    """What a parent's layer shows: moments before its batch norm, the running ones, outputs of its convolution.

    `outputs`: (samples, channels), None for a layer whose weights are not fitted. float16 on a CPU: some 50 MB for
    EfficientNet-Lite0 and 256 images of 64 px.
    """

    mean: Tensor
    variance: Tensor
    running_mean: Tensor
    running_var: Tensor
    outputs: Tensor | None


ParentMaps = Mapping[str, Shown]
"""{the parent's layer: what it shows}."""


def calibrate(
    network: nn.Module, parent: nn.Module, origins: Origins, images: Tensor, *, penalty: float = PENALTY
) -> None:
    """Fit the 1x1 convolutions and the statistics of `network` to its parent's maps of `images`, in one pass.

    Plainly renewed statistics would amplify what the images do not show (EfficientNet-Lite0 on CIFAR-10 at 64 px,
    frozen: 60 % as published, 35 % after `renew_batch_norm`); here a network that is its parent stays as it is. A
    channel without an origin has mean 0 and deviation 1 before scale and bias.

    images: one batch as the networks take it; 256 are good, 128 fit worse. Both modules are in eval mode afterwards.
    """
    with torch.no_grad(), calibrating(network, watched(parent, images), origins, penalty=penalty):
        network(images)


@torch.no_grad()
def watched(parent: nn.Module, images: Tensor) -> ParentMaps:
    """What the layers of a parent with a batch norm show of a batch of images; for `calibrating`."""
    parent.eval()
    found: dict[str, Shown] = {}
    hooks = []
    for name, part in parent.named_modules():
        if isinstance(part, ConvBNAct) and hasattr(part, "norm"):
            keep = partial(_keep, found, name, _is_dense(part.conv))
            hooks.append(part.norm.register_forward_pre_hook(keep))
    parent(images)
    for hook in hooks:
        hook.remove()
    return found


def _keep(found: dict[str, Shown], name: str, dense: bool, norm: nn.Module, inputs: tuple[Tensor]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    samples = _samples(inputs[0])
    outputs = samples.to(torch.float16) if dense else None
    found[name] = Shown(*_moments(samples), norm.running_mean, norm.running_var, outputs)


@contextmanager
def calibrating(network: nn.Module, maps: ParentMaps, origins: Origins, *, penalty: float = PENALTY) -> Iterator[None]:
    """Within, one pass of the images that `maps` were taken of calibrates `network`; its outputs are already right.

    The pass must be without gradients and one batch. The network is in eval mode.
    """
    network.eval()
    hooks, norms = [], list[tuple[ConvBNAct, nn.BatchNorm2d]]()
    for name, part in network.named_modules():
        if isinstance(part, ConvBNAct) and isinstance(norm := getattr(part, "norm", None), nn.BatchNorm2d):
            origin, channels = origins.get(name, (None, None))
            shown = None if origin is None else maps[origin]
            if shown is not None and shown.outputs is not None and channels is not None and _is_dense(part.conv):
                hooks.append(part.conv.register_forward_pre_hook(partial(_fit, shown.outputs, channels, penalty)))
            norms.append((part, norm))
            part.norm = _Calibrating(norm, shown, channels)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, norm in norms:
            part.norm = norm


class _Calibrating(nn.Module):
    """A batch norm that takes its statistics from what it is given, then normalises that in place.

    In place and of samples, as a convolution's output of 100 MB costs 60 ms to normalise into new memory and 200 ms
    for exact moments, against 10 and 2 ms so.
    """

    def __init__(self, norm: nn.BatchNorm2d, shown: Shown | None, channels: Tensor | None) -> None:
        super().__init__()
        self._norm, self._shown, self._channels = (norm,), shown, channels

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, in its memory."""
        (norm,) = self._norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = _moments(_samples(x))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        if self._shown is not None and self._channels is not None:
            _match(self._shown, self._channels, norm)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        return x.mul_(scale[:, None, None]).add_(shift[:, None, None])


def _is_dense(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.groups == 1 and conv.kernel_size == (1, 1) and conv.stride == (1, 1)


def _samples(maps: Tensor) -> Tensor:
    """(samples, channels): at most PIXELS of each map, the same places in every network."""
    step = max(1, -(-max(maps.shape[2:]) // int(PIXELS**0.5)))
    return maps[:, :, ::step, ::step].permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).float()


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel. torch.var_mean takes 5 times as long over the first axis."""
    mean = samples.mean(0)
    return mean, (samples - mean).square_().mean(0)


def _fit(outputs: Tensor, channels: Tensor, penalty: float, conv: nn.Module, inputs: tuple[Tensor]) -> None:
    """Ridge regression of what is missing to the parent's outputs on the network's own inputs."""
    x = _samples(inputs[0])
    if len(outputs) != len(x):
        return  # a stride was moved: the maps have other sizes
    weight = conv.get_parameter("weight")
    old = (channels >= 0).nonzero().flatten()
    x = x - x.mean(0)  # samples may be a view of the maps
    missing = outputs[:, channels[old]].float().addmm_(x, weight[old].flatten(1).T, alpha=-1)
    missing -= missing.mean(0)
    gram = x.T @ x
    gram.diagonal().add_(penalty * gram.diagonal().mean() + CONSTANT)
    factor, failed = torch.linalg.cholesky_ex(gram)
    change = torch.cholesky_solve(x.T @ missing, factor).T
    if not failed and bool(change.isfinite().all()):
        weight[old] += change.reshape(weight[old].shape)


def _match(shown: Shown, channels: Tensor, norm: nn.BatchNorm2d) -> None:
    """The statistics with which the outputs have the parent's means and deviations."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    old = (channels >= 0).nonzero().flatten()
    at = channels[old]
    published = shown.running_var[at] + norm.eps
    ratio = published / shown.variance[at].clamp(min=CONSTANT)
    scaled = torch.where(shown.variance[at] > CONSTANT, norm.running_var[old] * ratio, published)
    norm.running_mean[old] -= (shown.mean - shown.running_mean)[at] * (scaled / published).sqrt()
    norm.running_var[old] = (scaled - norm.eps).clamp(min=0.0)
