"""What a network's channels are worth (which of them pruning keeps), and the mean gates of its SE blocks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from searchspace.channels.groups import ChannelGroup
from searchspace.channels.steps import CRITERIA
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn.build import Network
from searchspace.nn.layers import SqueezeExcite
from searchspace.nn.weights.slices import by_output, weighted_parts

_QUANTILES = 32  # of a normal distribution, to take means over


@torch.no_grad()
def mean_gates(network: Network, images: Tensor) -> dict[int, Tensor]:
    """{SE layer of `lower(network.spec)`: mean gate of each channel over `images` (batch, channels, height, width)}."""
    found: dict[int, Tensor] = {}
    hooks = []
    for index, layer in enumerate(lower(network.spec).layers):
        if layer.op == "se":
            block = network.get_submodule(layer.name)
            assert isinstance(block, SqueezeExcite)

            def keep(_: nn.Module, __: object, gate: Tensor, *, index: int = index) -> None:
                found[index] = gate.mean((0, 2, 3)).float().cpu()

            hooks.append(block.gate.register_forward_hook(keep))
    if hooks:
        network.eval()(images)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def likely_gates(network: Network, layer: int) -> Tensor:
    """The gate of each channel of an SE layer of `lower(network.spec)`, estimated without images.

    The batch norm before it says how the maps that it pools are distributed: normally, with its bias as the mean and
    its scale as the deviation; their mean behind the activation goes through the block.
    """
    layers = lower(network.spec).layers
    block, before = (network.get_submodule(layers[at].name) for at in (layer, layers[layer].inputs[0]))
    assert isinstance(block, SqueezeExcite)
    norm = getattr(before, "norm", None)
    if not isinstance(norm, nn.BatchNorm2d):
        return torch.ones(layers[layer].in_shape[0])
    normal = torch.special.ndtri((torch.arange(_QUANTILES) + 0.5) / _QUANTILES)
    x = norm.bias.cpu() + normal[:, None] * norm.weight.cpu().abs()
    act = getattr(before, "act", nn.Identity())
    pooled = act(x).mean(0).to(norm.weight.device)[None, :, None, None]
    gates: Tensor = block.gate(block.expand(block.act(block.reduce(pooled))))
    return gates.flatten().cpu()


def scores(network: Network, group: ChannelGroup, criterion: str) -> list[float]:
    """What each unit of a group is worth: the sum over the layers that make it, each layer's mean being 1.

    "l2": norm of the layer's filter (arXiv:1804.03230, section 3.3). "bn": absolute scale of the batch norm behind it
    (arXiv:1708.06519); the norm of the filter where there is none. "taylor": (sum of weight x gradient)^2 of filter and
    batch norm (arXiv:1906.10771, equation 8); the gradients of a loss must be in the network.
    Raises InvalidArgument for another criterion.
    """
    if criterion not in CRITERIA:
        raise InvalidArgument(f"the criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
    layers = lower(network.spec).layers
    return group_scores(group, lambda layer: _layer_scores(network.get_submodule(layers[layer].name), criterion))


def group_scores(group: ChannelGroup, layer_scores: Callable[[int], Tensor]) -> list[float]:
    """For each unit of a group the sum over the layers that make it.

    `layer_scores(layer)` are a layer's numbers (channels,); those of the group are scaled to a mean of 1.
    """
    total = torch.zeros(len(group.cells))
    for place in group.producers:
        share = layer_scores(place.layer).cpu().to(total.dtype)[list(place.positions)]
        total.index_add_(0, torch.tensor(place.units), share / share.mean().clamp(min=1e-12))
    return [float(value) for value in total]


def filter_norms(part: nn.Module) -> Tensor:
    """L2 norm of each output channel's weights: (out_channels,)."""
    weight = part.get_parameter("weight").detach()
    if isinstance(part, nn.ConvTranspose2d):
        weight = by_output(weight, part.groups)
    norms: Tensor = weight.flatten(1).norm(dim=1)
    return norms


def _layer_scores(module: nn.Module, criterion: str) -> Tensor:
    """One number for each output channel (of an SE block: for each squeezed one)."""
    (part, *_), *others = weighted_parts(module, None, None, None)
    norms = [other for other, *_ in others if isinstance(other, nn.BatchNorm2d)]
    if criterion == "bn" and norms:
        return norms[0].weight.detach().abs()
    if criterion != "taylor":
        return filter_norms(part)
    change = sum(_loss_change(parameter) for each in (part, *norms) for parameter in each.parameters())
    assert isinstance(change, Tensor)
    return change.square()


def _loss_change(parameter: Tensor) -> Tensor:
    """First-order change of the loss, by channel, if that channel's part of the parameter became 0."""
    assert parameter.grad is not None
    return (parameter.detach() * parameter.grad).reshape(len(parameter), -1).sum(1)
