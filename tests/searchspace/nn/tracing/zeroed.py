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
    for place in (*group.producers, *group.pass_through, *group.consumers):
        layer, names = network.graph.layers[place.layer], network.modules_of(place.layer)
        gone = _positions(place, set(range(len(group.cells))) - set(kept))
        for name in names if layer.op != "se" else ():
            part = network.module.get_submodule(name)
            if place in group.consumers:
                if name == names[0]:
                    _zero_columns(
                        part, gone, pixels=layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
                    )
            else:
                _zero_rows(part, gone)
        if layer.op == "se" and place in group.consumers:
            _zero_columns(network.module.get_submodule(names[1]), gone)
        elif layer.op == "se":
            _zero_columns(network.module.get_submodule(names[0]), gone)


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
