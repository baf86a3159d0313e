"""Convolutions, linear layers and batch norms with some of their channels, in place."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

Channels = Sequence[int] | None


@torch.no_grad()
def keep_channels(part: nn.Module, outs: Channels, ins: Channels = None, *, pixels: int = 1) -> None:
    """Leave `part` with the output channels `outs` and the input channels `ins`, sorted; None keeps all.

    A depthwise convolution (as many channels in as out as groups) keeps the groups of its `outs`, a grouped one equally
    many channels of each group. A linear layer has `pixels` columns for each input channel, those of a flattened map.
    """
    if isinstance(part, nn.Conv2d):
        _keep_of_conv(part, outs, ins)
    elif isinstance(part, nn.Linear):
        if ins is not None:
            columns = torch.arange(part.in_features).view(-1, pixels)[list(ins)].flatten()
            part.weight = _like(part.weight, part.weight[:, columns])
        _keep_rows(part, outs)
        part.out_features, part.in_features = part.weight.shape
    else:
        assert isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d))
        _keep_rows(part, outs)
        part.num_features = part.num_features if outs is None else len(outs)


def _keep_of_conv(conv: nn.Conv2d, outs: Channels, ins: Channels) -> None:
    if conv.groups == conv.in_channels == conv.out_channels and outs is not None:
        conv.in_channels = conv.groups = len(outs)
    elif ins is not None:
        share, rows = conv.in_channels // conv.groups, conv.out_channels // conv.groups
        columns = torch.tensor([at % share for at in ins]).view(conv.groups, -1)
        own = columns.repeat_interleave(rows, 0)[:, :, None, None].to(conv.weight.device)
        wide = own.expand(-1, -1, *conv.kernel_size)
        conv.weight = _like(conv.weight, conv.weight.gather(1, wide))
        conv.in_channels = len(ins)
    _keep_rows(conv, outs)
    conv.out_channels = len(conv.weight)


def _keep_rows(part: Any, outs: Channels) -> None:
    """The values of some output channels, of every parameter and buffer that has them."""
    if outs is None:
        return
    rows = list(outs)
    for name, parameter in list(part._parameters.items()):
        if parameter is not None:
            setattr(part, name, _like(parameter, parameter[rows]))
    for name, buffer in list(part._buffers.items()):
        if buffer is not None and buffer.ndim:
            setattr(part, name, buffer[rows].clone())


def _like(old: torch.Tensor, values: torch.Tensor) -> nn.Parameter:
    """A parameter that trains as the old one did, in its memory format."""
    new = values.clone(memory_format=torch.preserve_format)
    if old.ndim == 4 and old.is_contiguous(memory_format=torch.channels_last):
        new = new.contiguous(memory_format=torch.channels_last)
    return nn.Parameter(new, requires_grad=old.requires_grad)
