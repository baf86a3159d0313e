"""A detector as a Graph: backbone, neck, heads. Every cost is a sum over it.

The heads' convolutions are the same at each level (one key of weights, so counted once in parameters, at each level in
MACs); their batch norms are not. Layers are called as the modules of `scaling.efficientdet.module`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from scaling.efficientdet.neck import LEVELS, Node
from scaling.efficientdet.spec import TAPPED, DetectorSpec
from searchspace.graph import Graph, Layer
from searchspace.layers import GraphBuilder, Shape


@dataclass
class _Maps:
    """Appends layers for maps that are known by the index of their layer."""

    graph: GraphBuilder
    spec: DetectorSpec
    shapes: dict[int, Shape] = field(default_factory=dict)

    def go_to(self, index: int) -> None:
        self.graph.go_back(index, self.graph.layers[index].out_shape)

    @property
    def last(self) -> Layer:
        """The latest layer."""
        return self.graph.layers[-1]

    def replace_last(self, layer: Layer) -> int:
        """Put another one in its place; its index."""
        self.graph.layers[-1] = layer
        return len(self.graph.layers) - 1

    def resample(self, name: str, index: int, level: int, to_level: int, channels: int) -> int:
        """The map at another level, `channels` wide: 1x1 convolution, then pooling or nearest neighbours."""
        graph = self.graph
        self.go_to(index)
        if graph.shape[0] != channels:
            graph.conv(f"{name}.conv", channels)
            index = self.replace_last(self.last._replace(vectors=3))  # a bias beside the batch norm, as published
        if to_level > level:
            stride = 2 ** (to_level - level)
            graph.spatial_pool(f"{name}.pool", "maxpool", stride + 1, stride, "same")
            index = graph.index
        elif to_level < level:
            size = self.spec.level_px(to_level)
            out = (graph.shape[0], size, size)
            graph.layers.append(Layer(f"{name}.up", "resample", (index,), graph.shape, out))
            index = len(graph.layers) - 1
        return index

    def fuse(self, name: str, inputs: list[int], node: Node) -> int:
        """The weighted sum and its activation."""
        shape = self.graph.layers[inputs[0]].out_shape
        weights = 0 if node.fusion == "sum" else len(inputs)
        layer = Layer(name, "add", tuple(inputs), shape, shape, activation=self.spec.activation, scalars=weights)
        self.graph.layers.append(layer)
        return len(self.graph.layers) - 1

    def separable(self, name: str, index: int, channels: int, *, key: str = "", norm: bool, act: str) -> int:
        """Depthwise and pointwise convolution, then a batch norm (of this layer alone) and an activation."""
        graph, key = self.graph, key or name
        self.go_to(index)
        graph.conv(f"{name}.depthwise", graph.shape[0], 3, groups=graph.shape[0], norm=False)
        self.replace_last(self.last._replace(weights=f"{key}.depthwise", vectors=0))
        graph.conv(f"{name}.pointwise", channels, activation=act, norm=norm)
        scalars = 2 * channels if norm else 0
        return self.replace_last(self.last._replace(weights=f"{key}.pointwise", vectors=1, scalars=scalars))


def lower(spec: DetectorSpec) -> Graph:
    """The detector's layers; those that nothing reads are its outputs, classes and boxes level by level."""
    graph, taps = _backbone(spec)
    maps = _Maps(graph, spec)
    levels = _with_coarse_levels(maps, taps)
    for cell in range(spec.neck.cells):
        levels = _cell(maps, f"neck.cells.{cell}", levels)
    _head(maps, "class_head", levels, spec.anchors.count * spec.classes)
    _head(maps, "box_head", levels, spec.anchors.count * 4)
    return Graph(spec.name, _in_shape(spec), tuple(graph.layers))


def backbone_graph(spec: DetectorSpec) -> Graph:
    """The layers up to the last tap, which a latency table prices."""
    return Graph(spec.backbone.name, _in_shape(spec), tuple(_backbone(spec)[0].layers))


def part_of(layer: str) -> str:
    """The part of a detector that a layer is of: backbone, neck, class_head or box_head."""
    return layer.partition(".")[0]


def _in_shape(spec: DetectorSpec) -> Shape:
    return spec.backbone.in_channels, spec.resolution, spec.resolution


def _backbone(spec: DetectorSpec) -> tuple[GraphBuilder, list[int]]:
    """Its layers, and which of them give P3, P4 and P5."""
    graph, ends = GraphBuilder(_in_shape(spec), spec.backbone.conventions.padding), {}
    for where, _, block in spec.body:
        block.lower(graph, f"backbone.{where}")
        ends[where] = graph.index
    return graph, [ends[tap] for tap in spec.taps]


def _with_coarse_levels(maps: _Maps, taps: list[int]) -> list[int]:
    """P6 and P7 from P5."""
    found = list(taps)
    for level in LEVELS[len(TAPPED) :]:
        name = f"neck.coarse.{level - LEVELS[0] - len(TAPPED)}"
        found.append(maps.resample(name, found[-1], level - 1, level, maps.spec.neck.channels))
    return found


def _cell(maps: _Maps, name: str, levels: list[int]) -> list[int]:
    neck, found = maps.spec.neck, list(levels)
    for place, node in enumerate(neck.nodes):
        where = f"{name}.{place}"
        inputs = [
            maps.resample(f"{where}.resample.{at}", found[index], neck.level_of(index), node.level, neck.channels)
            for at, index in enumerate(node.inputs)
        ]
        fused = maps.fuse(f"{where}.fuse", inputs, node)
        found.append(_norm_once(maps, where, fused))
    return [_as_wide(maps, f"{name}.out.{place}", found[index]) for place, index in enumerate(neck.outputs)]


def _norm_once(maps: _Maps, name: str, index: int) -> int:
    return maps.separable(f"{name}.conv", index, maps.spec.neck.channels, norm=True, act="identity")


def _as_wide(maps: _Maps, name: str, index: int) -> int:
    """An input that a cell hands on as it is (FPN's P7) has the neck's channels."""
    return maps.resample(name, index, 0, 0, maps.spec.neck.channels)


def _head(maps: _Maps, name: str, levels: list[int], outputs: int) -> None:
    for level, index in zip(_names(levels), levels, strict=True):
        for depth in range(maps.spec.head_depth):
            part = f"{name}.convs.{depth}"
            index = maps.separable(
                f"{part}.{level}", index, maps.spec.neck.channels, key=part, norm=True, act=maps.spec.activation
            )
        maps.separable(f"{name}.predict.{level}", index, outputs, key=f"{name}.predict", norm=False, act="identity")


def _names(levels: list[int]) -> Iterator[str]:
    yield from (f"p{LEVELS[place]}" for place in range(len(levels)))
