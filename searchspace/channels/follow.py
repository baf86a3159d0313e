"""Single channels followed through a Graph, and which of them belong to one group.

A convolution or linear layer makes new channels. Depthwise convolutions, SE, pooling, sums, concatenations, slices and
shuffles hand them on; a residual sum makes two channels one.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import NamedTuple

from searchspace.channels.groups import Numbers
from searchspace.graph import NETWORK_INPUT, Graph, Layer

CONVOLUTIONS = ("conv", "conv_transpose")
_MAKERS = ("linear", "reduce", "input")
Lines = dict[int, list[int]]
"""For each layer and the image, the numbers of its output channels in order: a line."""


class Roles(NamedTuple):
    """What a Graph alone does not say of its layers.

    Attributes:
        depthwise: Names of the convolutions that hand channels on one to one.
        convs: Names of those that are not depthwise, but would be with as many channels in and out as groups.
        fields: By layer name, the row fields (block, field) that count its channels; empty for a network without rows.
        outputs: Layers that give outputs of the network beside the last one.
        tied: {layer's name: of an earlier layer whose output channels are its own, None for what it reads}.
    """

    depthwise: Set[str]
    convs: Set[str]
    fields: Mapping[str, Sequence[tuple[int, str]]]
    outputs: Set[int] = frozenset()
    tied: Mapping[str, str | None] = MappingProxyType({})

    def makes(self, layer: Layer) -> bool:
        """Whether the layer puts out channels of its own."""
        return layer.op in _MAKERS or (layer.op in CONVOLUTIONS and layer.name not in self.depthwise)

    def parts(self, layer: Layer) -> int:
        """Equal runs of channels that the layer tells apart: groups of a shuffle or a grouped convolution, else 1.

        Of a norm they are the runs that it takes statistics over.
        """
        return layer.groups if layer.op in ("shuffle", "norm") or self.makes(layer) else 1


def follow(graph: Graph, roles: Roles) -> Lines:
    """The output channels of every layer and of the image, as numbers.

    Equal numbers are one channel, smaller ones are older, the image's are the first. Layers that hand on the same
    channels may share a list.
    """
    parent = list(range(graph.in_shape[0]))
    outputs = {NETWORK_INPUT: parent[:]}
    first_use: dict[str, int] = {}
    named: dict[str, list[int]] = {}
    for index, layer in enumerate(graph.layers):
        sources = [outputs[source] for source in layer.inputs]
        line = sources[-1] if sources else []
        if roles.makes(layer):
            line = list(range(len(parent), len(parent) + layer.out_shape[0]))
            parent += line
        elif layer.op in ("add", "mul"):
            line = max(reversed(sources), key=len)
            for other in sources:
                if len(other) == len(line):  # a single channel goes to all of the others
                    _unite(parent, line, other)
        elif layer.op == "merge":
            for first in range(layer.groups):
                _unite(parent, line[:: layer.groups], line[first :: layer.groups])
            line = line[:: layer.groups]
        elif layer.op == "spread":
            line = [channel for channel in line for _ in range(layer.groups)]
        elif layer.op == "concat":
            line = [channel for source in sources for channel in source]
        elif layer.op == "slice":
            line = line[layer.start : layer.start + layer.out_shape[0]]
        elif layer.op == "shuffle":
            part = len(line) // layer.groups
            line = [channel for first in range(part) for channel in line[first::part]]
        outputs[index] = line
        if layer.name in roles.tied:
            other_name = roles.tied[layer.name]
            _unite(parent, sources[0] if other_name is None else named[other_name], line)
        named[layer.name] = line
        by_channel = layer.weights and (layer.op != "norm" or layer.vectors or not layer.scalars)
        if (
            by_channel and layer.weights in first_use
        ):  # the same weights at work again: the same channels go in and come out
            same = first_use[layer.weights]
            earlier, out = graph.layers[same], outputs[same]
            into = outputs[earlier.inputs[0]] if roles.makes(layer) else []
            if (earlier.op == "conv_transpose") != (layer.op == "conv_transpose"):  # one weight, there and back
                into, out = out, into
            _unite(parent, out, line)
            if roles.makes(layer):
                _unite(parent, into, sources[0])
        elif by_channel:
            first_use[layer.weights] = index
    for channel, older in enumerate(parent):
        parent[channel] = parent[older]
    lines = {id(line): [parent[channel] for channel in line] for line in outputs.values()}
    return {index: lines[id(line)] for index, line in outputs.items()}


def _unite(parent: list[int], one: list[int], other: list[int]) -> None:
    for a, b in zip(one, other, strict=True):
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        parent[max(a, b)] = min(a, b)


def families(graph: Graph, roles: Roles, lines: Lines) -> list[list[int]]:
    """The channels of each group, oldest first.

    Channels of the same lines are one group. So are all those that a slice, a shuffle or a grouped convolution takes by
    position.
    """
    own_lines: dict[int, Numbers] = {}
    for number, line in enumerate({id(line): line for line in lines.values()}.values()):
        if own_lines.keys().isdisjoint(line):
            own_lines.update(dict.fromkeys(line, (number,)))
        else:
            own_lines.update([(channel, (*own_lines.get(channel, ()), number)) for channel in line])
    leaders = {each: each for each in dict.fromkeys(own_lines.values())}
    for line in _ordered(graph, roles, lines):
        tied = {leaders[own_lines[channel]] for channel in line}
        if len(tied) > 1:
            first = min(tied)
            leaders = {each: first if leader in tied else leader for each, leader in leaders.items()}
    found: dict[Numbers, list[int]] = {leader: [] for leader in leaders.values()}
    for channel, each in sorted(own_lines.items()):
        found[leaders[each]].append(channel)
    return list(found.values())


def _ordered(graph: Graph, roles: Roles, lines: Lines) -> Iterator[list[int]]:
    """The lines whose channels are taken by position."""
    for index, layer in enumerate(graph.layers):
        if layer.op == "slice" or roles.parts(layer) > 1:
            yield lines[layer.inputs[0]]
        if layer.op in CONVOLUTIONS and roles.parts(layer) > 1:
            yield lines[index]
