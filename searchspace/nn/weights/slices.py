"""Which channels of one network's weights are another's.

`outs` and `ins` are the output and input channels of the layer that weights come from, in the order of the layer that
takes them; None means all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from searchspace.nn.layers import Branches, ConvBNAct, SqueezeExcite

Channels = Tensor | None
Part = tuple[nn.Module, Channels, Channels]


def weighted_parts(module: nn.Module, outs: Channels, ins: Channels, inside: Channels) -> list[Part]:
    """The convolutions, linear layers and batch norms of a graph's layer, each with its own `outs` and `ins`.

    `inside` are the squeezed channels of an SE block.
    """
    if isinstance(module, SqueezeExcite):
        return [(module.reduce, inside, outs), (module.expand, outs, inside)]
    if isinstance(module, Branches):
        parts = [part for conv in module.convs for part in weighted_parts(conv, outs, ins, inside)]
        return [*parts, *([(module.identity, outs, None)] if module.identity is not None else [])]
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


def by_output(weight: Tensor, groups: int) -> Tensor:
    """A transposed convolution's weight, (in, out / groups, ...), as (out, in / groups, ...), and back."""
    first, second, *kernel = weight.shape
    grouped = weight.view(groups, first // groups, second, *kernel).transpose(1, 2)
    return grouped.reshape(groups * second, first // groups, *kernel)


def slice_rows(values: Tensor, outs: Channels) -> Tensor:
    """The output channels `outs` of a bias, a batch norm's values or a weight."""
    return values if outs is None else values.index_select(0, outs.to(values.device))


def fill(source: nn.Module, target: nn.Module, outs: Channels, ins: Channels, scale: Tensor | None = None) -> None:
    """Give a part of a network the values of another one's part, whatever their sizes.

    `outs` and `ins` say which channel of `source` each of the target's is; -1 for none: such an output keeps the values
    it has, and the others do not see such an input (their weights for it become 0). A larger kernel is cut to its
    middle, a smaller one stands in the middle of zeros. `scale` is a factor for each input channel of `source`.
    """
    rows, places = _known(outs)
    columns, seen = _known(ins)
    for name, value in target.state_dict().items():
        given = source.state_dict()[name]
        if value.ndim < 2:
            value[... if places is None or not value.ndim else places] = (
                slice_rows(given, rows) if given.ndim else given
            )
            continue
        groups = _groups(source), _groups(target)
        kernel = [min(sizes) for sizes in zip(value.shape[2:], given.shape[2:], strict=True)]
        new = slice_weight(given, rows, columns, groups=groups, kernel=kernel, scale=scale)
        if new.shape == value.shape:
            value.copy_(new)
        else:
            value[... if places is None else places] = 0.0
            numbers = torch.arange(value.numel()).view(value.shape)
            value.put_(slice_weight(numbers, places, seen, groups=groups[::-1], kernel=kernel), new.to(value))


def _known(channels: Channels) -> tuple[Channels, Channels]:
    """(the source's channels, their places in the target); None for all of them in order."""
    if channels is None or bool((channels >= 0).all()):
        return channels, None
    places = (channels >= 0).nonzero().flatten()
    return channels[places], places


def _groups(part: nn.Module) -> int:
    return part.groups if isinstance(part, nn.Conv2d) else 1
