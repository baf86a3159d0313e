"""Convolutions, linear layers, norms and other parameters with some of their channels, in place."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from searchspace.channels.maps import Maps
from searchspace.graph import Graph
from searchspace.nn.tracing.builder import Parts
from searchspace.nn.tracing.counting_norm import CountingNorm
from searchspace.nn.weights.slices import Channels, by_output, slice_rows, slice_weight

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def keep_maps(narrower: nn.Module, graph: Graph, parts: Sequence[Parts], kept: Maps) -> None:
    """Leave a user's module with the channels `kept` alone, {(layer, side): channels}; absent are all of them.

    A module that several layers use is cut once, and norms over channels that are cut become a CountingNorm.
    """
    done, cut = set[str](), Cut()
    for index, (layer, own) in enumerate(zip(graph.layers, parts, strict=True)):
        outs, ins, inside = kept.get((index, "out")), kept.get((index, "in")), kept.get((index, "inside"))
        pixels = layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
        sides = [(inside, outs), (outs, inside)] if layer.op == "se" else [(outs, ins)]
        named = [*zip(own.weighted, sides, strict=False), *([(own.norm, (outs, None))] if own.norm else [])]
        for name, (rows, columns) in named:
            part = narrower.get_submodule(name)
            if name not in done:
                if own.joint_norm is not None and rows is not None and not isinstance(part, CountingNorm):
                    part = own.joint_norm.counting(part, cut.of)
                    narrower.set_submodule(name, part)
                keep_channels(part, rows, columns, pixels=pixels, cut=cut)
            done.add(name)
        for name, axis in own.vectors:
            if outs is not None and name not in done:
                keep_values(narrower, name, axis, outs, cut=cut)
            done.add(name)


@torch.no_grad()
def keep_channels(
    part: nn.Module,
    outs: Sequence[int] | None,
    ins: Sequence[int] | None = None,
    *,
    pixels: int = 1,
    cut: "Cut | None" = None,
) -> None:
    """Leave `part` with the output channels `outs` and the input channels `ins`, sorted; None keeps all.

    A depthwise convolution (as many channels in as out as groups) keeps the groups of its `outs`, a grouped one equally
    many channels of each group. A linear layer has `pixels` columns for each input channel, those of a flattened map.
    Parameters that other modules share are in `cut` once the first of them was cut.
    """
    if outs is None and ins is None:
        return
    cut = Cut() if cut is None else cut
    rows, columns = (None if channels is None else torch.tensor(channels) for channels in (outs, ins))
    groups = getattr(part, "groups", 1)
    after = groups
    if isinstance(part, CONVOLUTIONS) and outs is not None and groups == part.in_channels == part.out_channels:
        part.in_channels = part.groups = after = len(outs)
    elif isinstance(part, CONVOLUTIONS) and ins is not None:
        part.in_channels = len(ins)
    if columns is not None and isinstance(part, nn.Linear):
        columns = (columns[:, None] * pixels + torch.arange(pixels)).flatten()
    for name, old in list(part._parameters.items()):
        if old is not None:
            setattr(part, name, cut.of(old, lambda old: _sliced(part, old, rows, columns, (groups, after))))
    for name, buffer in list(part._buffers.items()):
        if buffer is not None and buffer.ndim:
            setattr(part, name, slice_rows(buffer, rows).clone())
    if outs is not None:
        _set_count(part, len(outs))
    if isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape


def _sliced(part: nn.Module, old: Tensor, rows: Channels, columns: Channels, groups: tuple[int, int]) -> Tensor:
    if old.ndim < 2 or not isinstance(part, (*CONVOLUTIONS, nn.Linear)):
        return slice_rows(old, rows)
    if isinstance(part, nn.ConvTranspose2d):  # its weight is (in, out / groups, height, width)
        new = slice_weight(by_output(old, groups[0]), rows, columns, groups=groups)
        return by_output(new, groups[1])
    return slice_weight(old, rows, columns, groups=groups)


def _set_count(part: nn.Module, channels: int) -> None:
    """Write a new number of output channels into a module's settings."""
    if isinstance(part, CONVOLUTIONS):
        part.out_channels = channels
    elif isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d, nn.InstanceNorm2d)):
        part.num_features = channels
    elif isinstance(part, nn.PReLU):
        part.num_parameters = channels
    elif isinstance(part, nn.GroupNorm):  # one that has a group for each channel; others become a CountingNorm
        part.num_channels = part.num_groups = channels


@torch.no_grad()
def keep_values(module: nn.Module, name: str, axis: int, channels: Sequence[int], *, cut: "Cut | None" = None) -> None:
    """Leave a parameter or buffer of `module` with the values of some channels, which are on `axis`."""
    owner, _, leaf = name.rpartition(".")
    part = module.get_submodule(owner)
    old = getattr(part, leaf)

    def taken(old: Tensor) -> Tensor:
        return old.index_select(axis, torch.tensor(channels, device=old.device)).clone()

    is_parameter = isinstance(old, nn.Parameter)
    setattr(part, leaf, (Cut() if cut is None else cut).of(old, taken) if is_parameter else taken(old))


class Cut:
    """Parameters that were cut, so that one that several modules share is the same parameter afterwards."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # the old one too: its id is not used again then

    def of(self, old: nn.Parameter, make: Callable[[Tensor], Tensor]) -> nn.Parameter:
        """The parameter that `old` has become, by `make` the first time."""
        if id(old) not in self._known:
            new = nn.Parameter(_in_format_of(old, make(old)), requires_grad=old.requires_grad)
            self._known[id(old)] = old, new
        return self._known[id(old)][1]


def _in_format_of(old: Tensor, new: Tensor) -> Tensor:
    last = old.ndim == 4 and old.is_contiguous(memory_format=torch.channels_last) and not old.is_contiguous()
    return new.clone(memory_format=torch.channels_last if last else torch.contiguous_format)
