"""What a network computes once channels of it are 0, and networks whose norms say which they are."""

import torch
from torch import nn

from searchspace.channels.groups import ChannelGroup, Place
from searchspace.nn import TracedNetwork


def filled(make: type[nn.Module]) -> nn.Module:
    """A network whose norms are away from 0 and 1."""
    torch.manual_seed(0)
    network = make().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.5, 0.5)
    return network


@torch.no_grad()
def zero_channels(network: TracedNetwork, group: ChannelGroup, kept: list[int]) -> None:
    """Channels of a group that do not stay are 0 where they are made and normalised, and nobody reads them."""
    unkept = set(range(len(group.cells))) - set(kept)
    for place in group.outputs:
        layer, gone = network.graph.layers[place.layer], _positions(place, unkept)
        parts = [network.module.get_submodule(name) for name in network.modules_of(place.layer)]
        if layer.op != "se":
            for part in parts:
                _zero_rows(part, gone)
        elif place not in group.producers:  # else these are squeezed channels, which are 0 for their reader
            _zero_columns(parts[0], gone)
    for place in group.consumers:
        layer, gone = network.graph.layers[place.layer], _positions(place, unkept)
        names = network.modules_of(place.layer)
        pixels = layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
        _zero_columns(network.module.get_submodule(names[layer.op == "se"]), gone, pixels=pixels)


def _positions(place: Place, units: set[int]) -> list[int]:
    return [position for unit, position in zip(place.units, place.positions, strict=True) if unit in units]


def _zero_rows(part: nn.Module, rows: list[int]) -> None:
    for parameter in part.parameters(recurse=False):
        if isinstance(part, nn.ConvTranspose2d) and parameter.ndim > 1:
            inner = len(parameter) // part.groups
            for group, row in (divmod(row, parameter.shape[1]) for row in rows):
                parameter[group * inner : (group + 1) * inner, row] = 0.0
        elif len(parameter) > 1:
            parameter[rows] = 0.0
        elif parameter.numel() > 1:
            parameter[:, rows] = 0.0


def _zero_columns(part: nn.Module, columns: list[int], *, pixels: int = 1) -> None:
    weight = part.get_parameter("weight")
    if isinstance(part, nn.ConvTranspose2d):
        weight[columns] = 0.0
        return
    rows = len(weight) // getattr(part, "groups", 1)
    for column in (column * pixels + pixel for column in columns for pixel in range(pixels)):
        group, within = divmod(column, weight.shape[1])
        weight[group * rows : (group + 1) * rows, within] = 0.0
