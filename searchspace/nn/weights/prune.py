"""Weights for a step down (searchspace.channels.steps), and what a network's channels are worth."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from searchspace.channels.coupling import ChannelGroup
from searchspace.channels.steps import CRITERIA, Step
from searchspace.errors import InvalidArgument
from searchspace.graph import Layer, lower
from searchspace.nn.build import Network
from searchspace.nn.layers import BatchNorm2d, ConvBNAct, SqueezeExcite

Gates = Mapping[int, Tensor]  # by SE layer: the mean gate of each channel


class Taken(NamedTuple):
    """What a layer of the smaller network takes of its origin: rows, columns, squeezed channels (None: all), and what
    its columns are multiplied by."""

    outs: Tensor | None
    ins: Tensor | None
    inside: Tensor | None
    scale: Tensor | None

    @property
    def reads_anew(self) -> bool:
        """Whether it computes other outputs from the same inputs."""
        return self.ins is not None or self.inside is not None or self.scale is not None


def takings(larger: Sequence[Layer], step: Step, gates: Gates) -> list[Taken]:
    """For each layer of the step what it takes. `gates` of an SE block that is gone are found at its layer in
    `larger`; where they are missing its gates count as 1."""
    found = []
    stays = set(step.origins)
    for index, origin in enumerate(step.origins):
        sides = [step.maps.get((index, side)) for side in ("out", "in", "inside")]
        outs, ins, inside = (None if side is None else torch.tensor(side) for side in sides)
        before = larger[origin].inputs[0]
        scale = None
        if (
            larger[origin].op in ("conv", "linear")
            and before >= 0
            and larger[before].op == "se"
            and before not in stays
        ):
            scale = gates.get(before)
        found.append(Taken(outs, ins, inside, scale))
    return found


@torch.no_grad()
def descend(network: Network, step: Step, *, gates: Gates | None = None) -> Network:
    """The smaller network with the larger one's weights, in eval mode; `network` stays as it is.

    `gates`: {SE layer: mean gate of each channel}, as `mean_gates` gives them, for steps that drop an SE block.
    """
    larger = lower(network.spec).layers
    with torch.device("cpu"):
        slim = Network(step.spec)
    slim.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer, origin, taken in zip(step.graph.layers, step.origins, takings(larger, step, gates or {}), strict=True):
        if layer.op in ("conv", "linear", "se"):
            _copy(network.get_submodule(larger[origin].name), slim.get_submodule(layer.name), layer, taken)
    slim.eval()
    return slim


def _copy(old: nn.Module, new: nn.Module, layer: Layer, taken: Taken) -> None:
    outs, ins = taken.outs, taken.ins
    if layer.op == "linear":
        _take(old, new, outs, ins, taken.scale)
    elif layer.op == "se":
        assert isinstance(old, SqueezeExcite)
        assert isinstance(new, SqueezeExcite)
        _take(old.reduce, new.reduce, taken.inside, outs)
        _take(old.expand, new.expand, outs, taken.inside)
    else:
        assert isinstance(old, ConvBNAct)
        assert isinstance(new, ConvBNAct)
        _take(old.conv, new.conv, outs, ins, taken.scale)
        if layer.norm:
            for mine, theirs in zip(new.norm.state_dict().values(), old.norm.state_dict().values(), strict=True):
                mine.copy_(_rows(theirs, outs) if mine.ndim else theirs)


def _take(old: nn.Module, new: nn.Module, outs: Tensor | None, ins: Tensor | None, scale: Tensor | None = None) -> None:
    weight = new.get_parameter("weight")
    groups = getattr(old, "groups", 1), getattr(new, "groups", 1)
    weight.copy_(
        taken_weight(old.get_parameter("weight"), outs, ins, groups=groups, kernel=weight.shape[2:], scale=scale)
    )
    bias = getattr(old, "bias", None)
    if bias is not None:
        new.get_parameter("bias").copy_(_rows(bias, outs))


def taken_weight(
    weight: Tensor,
    outs: Tensor | None,
    ins: Tensor | None,
    *,
    groups: tuple[int, int],
    kernel: Sequence[int],
    scale: Tensor | None,
) -> Tensor:
    """(out, in / groups, ...) -> the rows `outs` and columns `ins` of it, its middle of size `kernel`.

    groups: before and after. ins: channels of the whole input. scale: a factor for each channel of the whole input.
    """
    before, after = groups
    if scale is not None:
        weight = weight * scale.to(weight.device).reshape(1, -1, *(1,) * (weight.ndim - 2))
    if ins is not None and before == 1:
        weight = weight.index_select(1, ins.to(weight.device))
    if outs is not None:
        weight = weight.index_select(0, outs.to(weight.device))
    if ins is not None and before > 1 and before == after:
        weight = _grouped(weight, ins, before)
    for dim, size in enumerate(kernel, start=2):
        weight = weight.narrow(dim, (weight.shape[dim] - size) // 2, size)
    return weight


def _grouped(weight: Tensor, ins: Tensor, groups: int) -> Tensor:
    """Each group's rows keep the columns that the group keeps, by their places within it."""
    share = weight.shape[1]
    columns = (ins.view(groups, -1) % share).to(weight.device)
    rows = weight.view(groups, -1, *weight.shape[1:])
    return torch.cat([part.index_select(1, at) for part, at in zip(rows, columns, strict=True)])


def _rows(values: Tensor, outs: Tensor | None) -> Tensor:
    return values if outs is None else values.index_select(0, outs.to(values.device))


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

    def worth(index: int) -> Tensor:
        return _worth(network.get_submodule(layers[index].name), layers[index], criterion)

    return summed_up(group, worth)


def summed_up(group: ChannelGroup, worth: Callable[[int], Tensor]) -> list[float]:
    """For each unit the sum over the layers that make it; `worth(layer)` are a layer's numbers (channels,), of which
    those of the group are scaled to a mean of 1."""
    total = torch.zeros(len(group.cells))
    for place in group.producers:
        own = worth(place.layer).cpu()[list(place.positions)]
        total[list(place.units)] += own / own.mean().clamp(min=1e-12)
    return [float(value) for value in total]


def filter_norms(part: nn.Module) -> Tensor:
    """L2 norm of each output channel's weights: (out_channels,)."""
    norms: Tensor = part.get_parameter("weight").detach().flatten(1).norm(dim=1)
    return norms


def _worth(module: nn.Module, layer: Layer, criterion: str) -> Tensor:
    """One number for each output channel (of an SE block: for each squeezed one)."""
    part: nn.Module = module
    norm = None
    if isinstance(module, ConvBNAct):
        part, norm = module.conv, module.norm if layer.norm else None
    elif isinstance(module, SqueezeExcite):
        part = module.reduce
    if criterion == "bn" and isinstance(norm, BatchNorm2d):
        return norm.weight.detach().abs()
    if criterion != "taylor":
        return filter_norms(part)
    moved = _moved(part.get_parameter("weight"))
    for other in (getattr(part, "bias", None), *(() if norm is None else norm.parameters())):
        if other is not None:
            moved = moved + _moved(other)
    squared: Tensor = moved.square()
    return squared


def _moved(parameter: Tensor) -> Tensor:
    """First-order change of the loss if a channel's part of the parameter became 0."""
    assert parameter.grad is not None
    change: Tensor = (parameter.detach() * parameter.grad).reshape(len(parameter), -1).sum(1)
    return change
