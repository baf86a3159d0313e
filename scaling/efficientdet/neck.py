"""A detector's neck: maps of several levels are fused, cell by cell. A cell is a list of nodes.

BiFPN, FPN and PANet are three such lists. Level l has a pixel for each 2^l pixels of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from searchspace.errors import InvalidSpec
from searchspace.strict_json import checked, listed

LEVELS = (3, 4, 5, 6, 7)
FUSIONS = ("fast", "softmax", "sum")


@dataclass(frozen=True, slots=True)
class Node:
    """Fuses maps at a level, then a separable convolution.

    Attributes:
        level: Of the output.
        inputs: What is fused: 0 to 4 are the cell's inputs P3 to P7, from 5 on the cell's nodes in order.
        fusion: "fast" (normalised weights, EfficientDet section 3.3), "softmax", or "sum" without weights.
    """

    level: int
    inputs: tuple[int, ...]
    fusion: str = "fast"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InvalidSpec(f"a node's level must be one of {LEVELS}, got {self.level!r}")
        if self.fusion not in FUSIONS:
            raise InvalidSpec(f"a node's fusion must be one of {', '.join(FUSIONS)}, got {self.fusion!r}")
        is_whole = type(self.inputs) is tuple and all(type(each) is int and each >= 0 for each in self.inputs)
        if not is_whole or len(set(self.inputs)) < max(2, len(self.inputs)):
            raise InvalidSpec(f"a node's inputs must be two or more different indices, got {self.inputs!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neck:
    """`cells` times the same nodes, `channels` wide.

    Attributes:
        outputs: Which map a cell hands on for each level, counted as a node's inputs are.
    """

    channels: int
    cells: int
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("channels", "cells"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 4096:
                raise InvalidSpec(f"Neck.{name} must be an integer from 1 to 4096, got {value!r}")
        for place, node in enumerate(self.nodes):
            if max(node.inputs) >= len(LEVELS) + place:
                raise InvalidSpec(
                    f"node {place} must read the cell's inputs (0 to {len(LEVELS) - 1}) or nodes before it (up to "
                    f"{len(LEVELS) + place - 1}), got {node.inputs}"
                )
        found = tuple(self.level_of(index) for index in self.outputs if 0 <= index < len(LEVELS) + len(self.nodes))
        if found != LEVELS:
            raise InvalidSpec(f"a neck's outputs must be of the levels {LEVELS} in order, got {self.outputs}: {found}")

    def level_of(self, index: int) -> int:
        """The level of a cell's input or node."""
        return LEVELS[index] if index < len(LEVELS) else self.nodes[index - len(LEVELS)].level

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        nodes = [{"level": node.level, "inputs": list(node.inputs), "fusion": node.fusion} for node in self.nodes]
        return {"channels": self.channels, "cells": self.cells, "nodes": nodes, "outputs": list(self.outputs)}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """What `to_dict` gave. Raises InvalidSpec."""
        data = checked(data, dict.fromkeys(("channels", "cells", "nodes", "outputs"), True), "neck")
        nodes = []
        for place, row in enumerate(listed(data["nodes"], "neck.nodes")):
            where = f"neck.nodes[{place}]"
            row = checked(row, dict.fromkeys(("level", "inputs", "fusion"), True), where)
            nodes.append(Node(row["level"], tuple(listed(row["inputs"], f"{where}.inputs")), row["fusion"]))
        outputs = listed(data["outputs"], "neck.outputs")
        if not all(type(each) is int for each in outputs):
            raise InvalidSpec(f"neck.outputs must be integers, got {outputs}")
        return cls(channels=data["channels"], cells=data["cells"], nodes=tuple(nodes), outputs=tuple(outputs))


def bifpn(channels: int, cells: int, *, fusion: str = "fast") -> Neck:
    """EfficientDet's (arXiv:1911.09070, Figure 2d): down the levels, then up, with the cell's input once more."""
    down = [(6, (3, 4)), (5, (2, 5)), (4, (1, 6))]
    up = [(3, (0, 7)), (4, (1, 7, 8)), (5, (2, 6, 9)), (6, (3, 5, 10)), (7, (4, 11))]
    return _neck(channels, cells, [*down, *up], range(8, 13), fusion)


def fpn(channels: int, cells: int = 1, *, fusion: str = "sum") -> Neck:
    """Feature pyramid (arXiv:1612.03144; P6 and P7 as in Figure 2a of EfficientDet): down the levels alone."""
    return _neck(channels, cells, [(6, (3, 4)), (5, (2, 5)), (4, (1, 6)), (3, (0, 7))], (8, 7, 6, 5, 4), fusion)


def panet(channels: int, cells: int = 1, *, fusion: str = "sum") -> Neck:
    """PANet (arXiv:1803.01534; Figure 2b of EfficientDet): down the levels, then up again."""
    down = [(6, (3, 4)), (5, (2, 5)), (4, (1, 6)), (3, (0, 7))]
    up = [(4, (7, 8)), (5, (6, 9)), (6, (5, 10)), (7, (4, 11))]
    return _neck(channels, cells, [*down, *up], range(8, 13), fusion)


def _neck(
    channels: int, cells: int, rows: Sequence[tuple[int, tuple[int, ...]]], outputs: Sequence[int], fusion: str
) -> Neck:
    nodes = tuple(Node(level, inputs, fusion) for level, inputs in rows)
    return Neck(channels=channels, cells=cells, nodes=nodes, outputs=tuple(outputs))
