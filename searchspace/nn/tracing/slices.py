"""Convolutions, linear layers and batch norms with some of their channels, in place."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from searchspace.nn.weights.slices import slice_rows, slice_weight


@torch.no_grad()
def keep_channels(
    part: nn.Module, outs: Sequence[int] | None, ins: Sequence[int] | None = None, *, pixels: int = 1
) -> None:
    """Leave `part` with the output channels `outs` and the input channels `ins`, sorted; None keeps all.

    A depthwise convolution (as many channels in as out as groups) keeps the groups of its `outs`, a grouped one equally
    many channels of each group. A linear layer has `pixels` columns for each input channel, those of a flattened map.
    """
    rows, columns = (None if channels is None else torch.tensor(channels) for channels in (outs, ins))
    groups = getattr(part, "groups", 1)
    after = groups
    if isinstance(part, nn.Conv2d) and outs is not None and groups == part.in_channels == part.out_channels:
        part.in_channels = part.groups = after = len(outs)
    elif isinstance(part, nn.Conv2d) and ins is not None:
        part.in_channels = len(ins)
    if columns is not None and isinstance(part, nn.Linear):
        columns = (columns[:, None] * pixels + torch.arange(pixels)).flatten()
    for name, old in list(part._parameters.items()):
        if old is not None:
            new = slice_weight(old, rows, columns, groups=(groups, after)) if old.ndim > 1 else slice_rows(old, rows)
            setattr(part, name, nn.Parameter(_in_format_of(old, new), requires_grad=old.requires_grad))
    for name, buffer in list(part._buffers.items()):
        if buffer is not None and buffer.ndim:
            setattr(part, name, slice_rows(buffer, rows).clone())
    if isinstance(part, nn.Conv2d):
        part.out_channels = len(part.weight)
    elif isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)) and outs is not None:
        part.num_features = len(outs)


def _in_format_of(old: Tensor, new: Tensor) -> Tensor:
    last = old.ndim == 4 and old.is_contiguous(memory_format=torch.channels_last)
    return new.clone(memory_format=torch.channels_last if last else torch.contiguous_format)
