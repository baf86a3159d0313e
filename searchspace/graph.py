"""Graph: a network as flat layers with inputs, shapes and weight keys. Every cost is a fold over it.

Each block appends its own layers (`Block.lower` in `searchspace.blocks`); `searchspace.cost` counts their MACs.
"""

from typing import NamedTuple

from searchspace.layers import NETWORK_INPUT, OPS, GraphBuilder, Layer, Shape, Signature
from searchspace.spec import NetworkSpec

__all__ = ["NETWORK_INPUT", "OPS", "Graph", "Layer", "Shape", "Signature", "lower"]


class Graph(NamedTuple):
    """The layers of one network in execution order; the last one gives the output."""

    name: str
    in_shape: Shape
    layers: tuple[Layer, ...]


def lower(spec: NetworkSpec) -> Graph:
    """The spec's layers in execution order, with every shape worked out.

    Layer names are the names of the modules that `searchspace.nn.build` makes.
    """
    shape = (spec.in_channels, spec.resolution, spec.resolution)
    builder = GraphBuilder(shape, spec.conventions.padding)
    for stage in spec.stages:
        for index, block in enumerate(stage.blocks):
            block.lower(builder, f"{stage.name}.{index}")
    return Graph(spec.name, shape, tuple(builder.layers))
