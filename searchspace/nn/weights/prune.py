"""The weights of a smaller network (`searchspace.channels.steps`), taken from the larger one's."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from searchspace.channels.steps import Step
from searchspace.graph import Layer, lower
from searchspace.nn.build import Network, channels_last
from searchspace.nn.weights.calibrate import Origins
from searchspace.nn.weights.slices import Channels, fill, weighted_parts

Gates = Mapping[int, Tensor]  # {SE layer of the larger graph: mean gate of each channel}


class LayerSlice(NamedTuple):
    """The part of a larger network's layer that a smaller network's layer is.

    Attributes:
        outs: output channels; None for all, as everywhere here.
        ins: input channels.
        inside: squeezed channels of an SE block.
        scale: what each input channel's weights are multiplied by, None for nothing.
    """

    outs: Channels
    ins: Channels
    inside: Channels
    scale: Tensor | None

    @property
    def computes_anew(self) -> bool:
        """Whether it computes other outputs from the same inputs."""
        return self.ins is not None or self.inside is not None or self.scale is not None


def layer_slices(larger: Sequence[Layer], step: Step, gates: Gates) -> list[LayerSlice]:
    """For each layer of the step the part of its origin that it is.

    The layer behind an SE block that is gone takes the block's mean gate into its weights; without `gates` it is 1.
    """
    found = []
    for index, origin in enumerate(step.origins):
        sides = [step.maps.get((index, side)) for side in ("out", "in", "inside")]
        source = larger[origin].inputs[0]
        behind_se = larger[origin].op in ("conv", "linear") and source >= 0 and larger[source].op == "se"
        scale = gates.get(source) if behind_se and source not in step.origins else None
        outs, ins, inside = (None if side is None else torch.tensor(side) for side in sides)
        found.append(LayerSlice(outs, ins, inside, scale))
    return found


def origins_of(network: Network, step: Step) -> Origins:
    """Where the output channels of the smaller network's layers come from, as `calibrate` takes it."""
    larger = lower(network.spec).layers
    slices = layer_slices(larger, step, {})
    return {
        layer.name: (larger[origin].name, torch.arange(layer.out_shape[0]) if part.outs is None else part.outs)
        for layer, origin, part in zip(step.graph.layers, step.origins, slices, strict=True)
        if layer.weights
    }


@torch.no_grad()
def prune_network(network: Network, step: Step, *, gates: Gates | None = None) -> Network:
    """The smaller network of `step` with the larger one's weights, in eval mode; `network` stays as it is.

    `gates`, as `mean_gates` gives them, are for steps that drop an SE block.
    """
    larger = lower(network.spec).layers
    with torch.device("cpu"):
        small = channels_last(Network(step.spec))
    slices = layer_slices(larger, step, gates or {})
    for layer, origin, (outs, ins, inside, scale) in zip(step.graph.layers, step.origins, slices, strict=True):
        if layer.weights:
            targets = weighted_parts(small.get_submodule(layer.name), None, None, None)
            sources = weighted_parts(network.get_submodule(larger[origin].name), outs, ins, inside)
            for (target, _, _), (source, rows, columns) in zip(targets, sources, strict=True):
                fill(source, target, rows, columns, scale)
    return small.eval()
