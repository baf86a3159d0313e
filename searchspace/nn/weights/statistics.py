"""Batch-norm statistics taken again: what a network needs whose weights came from elsewhere."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def renew_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the statistics of every batch norm by plain means over `batches` (batch, channels, height, width).

    The batches are normalised as the module's input is; some hundred images are enough. Each layer sees what the
    layers before it make of the batch's own statistics, as in training. The module is in eval mode afterwards; its
    parameters stay. Without a batch nothing changes but the mode.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for number, batch in enumerate(batches):
            if not number:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a plain mean over the batches
                    norm.train()
            module(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()


Origins = Mapping[str, tuple[str, Tensor]]
"""{batch norm's name: (the parent's batch norm, for each channel the parent's, -1 for none)}."""
Moments = tuple[Tensor, Tensor]


@torch.no_grad()
def match_batch_norm(network: nn.Module, parent: nn.Module, origins: Origins, images: Tensor) -> None:
    """Set the statistics of every batch norm so that its outputs are distributed as the parent's are on `images`.

    Where channels were cut, maps have other means and deviations than the running ones say; where images are of another
    kind than those that the parent was trained on, the parent's own maps have too, and this is left as it is: plainly
    renewed statistics would amplify what the images do not show (EfficientNet-Lite0 on CIFAR-10 at 64 px, frozen: 61 %
    as published, 35 % after `renew_batch_norm`). So a network that is the parent stays as it is. Channels without an
    origin have mean 0 and deviation 1 before scale and bias.

    images: one batch as the networks take it; some hundred are enough. Both modules are in eval mode afterwards.
    """
    theirs = _parent_moments(parent, {name for name, _ in origins.values()}, images)
    network.eval()
    hooks = []
    for name, norm in network.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            origin, channels = origins.get(name, (None, None))
            known = None if origin is None else (*theirs[origin], channels)
            hooks.append(norm.register_forward_pre_hook(partial(_set_statistics, known)))
    network(images)
    for hook in hooks:
        hook.remove()


def _parent_moments(parent: nn.Module, names: set[str], images: Tensor) -> dict[str, tuple[Moments, Moments]]:
    """{batch norm: ((mean, variance) of what it reads, its running ones)}."""
    parent.eval()
    found: dict[str, tuple[Moments, Moments]] = {}
    hooks = []
    for name in names:
        norm = parent.get_submodule(name)

        def keep(module: nn.Module, inputs: tuple[Tensor], *, name: str = name) -> None:
            assert isinstance(module, nn.BatchNorm2d)
            assert module.running_mean is not None
            assert module.running_var is not None
            found[name] = _moments(inputs[0]), (module.running_mean, module.running_var)

        hooks.append(norm.register_forward_pre_hook(keep))
    parent(images)
    for hook in hooks:
        hook.remove()
    return found


def _moments(maps: Tensor) -> Moments:
    variance, mean = torch.var_mean(maps.float(), (0, 2, 3), correction=0)
    return mean, variance


def _set_statistics(known: Any, norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = _moments(inputs[0])
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    if known is not None:
        (seen_mean, seen), (run_mean, run), channels = known
        old = (channels >= 0).nonzero().flatten()
        at = channels[old]
        eps = norm.eps
        scaled = variance[old] * (run[at] + eps) / seen[at].clamp(min=1e-12)
        scaled = torch.where(seen[at] > 1e-12, scaled, run[at] + eps)  # a constant channel stays constant
        shift = (seen_mean - run_mean)[at] * (scaled / (run[at] + eps)).sqrt()
        norm.running_mean[old] = mean[old] - shift
        norm.running_var[old] = (scaled - eps).clamp(min=0.0)
