"""Which channels of one network's weights are another's: slices of a larger network, places in it.

`outs` and `ins` are the larger layer's output and input channels that the smaller layer has, in the smaller one's
order; None means all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from searchspace.nn.layers import ConvBNAct, SqueezeExcite

Channels = Tensor | None
Part = tuple[nn.Module, Channels, Channels]


def weighted_parts(module: nn.Module, outs: Channels, ins: Channels, inside: Channels) -> list[Part]:
    """The convolutions, linear layers and batch norms of a graph's layer, each with its own `outs` and `ins`.

    `inside` are the squeezed channels of an SE block.
    """
    if isinstance(module, SqueezeExcite):
        return [(module.reduce, inside, outs), (module.expand, outs, inside)]
    if isinstance(module, ConvBNAct):
        return [(module.conv, outs, ins), *([(module.norm, outs, None)] if hasattr(module, "norm") else [])]
    return [(module, outs, ins)]


def slice_weight(
    weight: Tensor,
    outs: Channels,
    ins: Channels,
    *,
    groups: tuple[int, int] = (1, 1),
    kernel: Sequence[int] = (),
    scale: Tensor | None = None,
) -> Tensor:
    """The rows `outs` and columns `ins` of a weight (out, in / groups, ...).

    Args:
        weight: of the larger layer.
        outs: output channels that stay.
        ins: channels of the whole input that stay. Each group of a grouped layer keeps equally many; a depthwise
            layer has none to choose.
        groups: of the larger and of the smaller layer.
        kernel: the size of the middle that stays; () for all of it.
        scale: a factor for each channel of the whole input.
    """
    before, after = groups
    if scale is not None:
        weight = weight * scale.to(weight.device).reshape(1, -1, *(1,) * (weight.ndim - 2))
    if ins is not None and before == 1:
        weight = weight.index_select(1, ins.to(weight.device))
    weight = slice_rows(weight, outs)
    if ins is not None and before > 1 and before == after:
        columns = (ins.view(before, -1) % weight.shape[1]).to(weight.device)  # places within the group
        rows = weight.view(before, -1, *weight.shape[1:])
        weight = torch.cat([part.index_select(1, at) for part, at in zip(rows, columns, strict=True)])
    for dim, size in enumerate(kernel, start=2):
        weight = weight.narrow(dim, (weight.shape[dim] - size) // 2, size)
    return weight


def slice_rows(values: Tensor, outs: Channels) -> Tensor:
    """The output channels `outs` of a bias, a batch norm's values or a weight."""
    return values if outs is None else values.index_select(0, outs.to(values.device))


def copy_slice(large: nn.Module, small: nn.Module, outs: Channels, ins: Channels, scale: Tensor | None = None) -> None:
    """Give a part of the smaller network the values of the larger one's."""
    for name, target in small.state_dict().items():
        source = large.state_dict()[name]
        if target.ndim > 1:
            groups = _groups(large), _groups(small)
            target.copy_(slice_weight(source, outs, ins, groups=groups, kernel=target.shape[2:], scale=scale))
        else:
            target.copy_(slice_rows(source, outs) if target.ndim else source)


def copy_into(small: nn.Module, large: nn.Module, outs: Channels, ins: Channels) -> None:
    """Give a part of the larger network the values of the smaller one's, at their places.

    The old output channels do not see the new input channels: those columns become 0.
    """
    for name, target in large.state_dict().items():
        source = small.state_dict()[name]
        if target.ndim > 1 and ins is not None:
            places = slice_weight(
                torch.arange(target.numel()).view(target.shape), outs, ins, groups=(_groups(large), _groups(small))
            )
            target[... if outs is None else outs] = 0.0
            target.put_(places, source)
        else:
            target[... if outs is None or not target.ndim else outs] = source


def _groups(part: nn.Module) -> int:
    return part.groups if isinstance(part, nn.Conv2d) else 1
