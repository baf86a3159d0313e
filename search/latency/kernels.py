"""Which kernels a space can contain, and the fewest blocks that hold them all."""

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from searchspace.blocks import Block
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, Signature
from searchspace.layers import GraphBuilder
from searchspace.spaces.space import SearchSpace, StageChoices
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template


class PlacedBlock(NamedTuple):
    """A block with its input, `in_channels` channels at `resolution` pixels, and the layers that it becomes.

    Layer names are those of the block's submodules ("expand", "depthwise", ...), "" for the block itself.
    """

    in_channels: int
    resolution: int
    block: Block
    layers: tuple[Layer, ...]

    @property
    def signatures(self) -> frozenset[Signature]:
        """The block's kernels."""
        return frozenset(layer.signature for layer in self.layers)


def place(in_channels: int, resolution: int, block: Block) -> PlacedBlock:
    """`block` lowered behind `in_channels` channels at `resolution` pixels."""
    graph, prefix = GraphBuilder((in_channels, resolution, resolution)), "block.0"
    block.lower(graph, prefix)
    layers = tuple(layer._replace(name=layer.name[len(prefix) + 1 :]) for layer in graph.layers)
    return PlacedBlock(in_channels, resolution, block, layers)


def blocks_of(spec: NetworkSpec) -> list[PlacedBlock]:
    """The blocks of one network where they stand in it."""
    places = _Places()
    state = (spec.in_channels, spec.resolution)
    for block in spec.blocks:
        state = places.after(state, block)
    return list(places.blocks.values())


class _Places:
    """Every placed block once, by its input and itself."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[int, int, Block], PlacedBlock] = {}

    def after(self, state: tuple[int, int], block: Block) -> tuple[int, int]:
        """Place `block` behind `state` (channels, resolution); the state behind it."""
        key = (*state, block)
        if key not in self.blocks:
            self.blocks[key] = place(*key)
        channels, resolution, _ = self.blocks[key].layers[-1].out_shape
        return channels, resolution


def placed_blocks(space: SearchSpace) -> list[PlacedBlock]:
    """Every block that a network of the space can contain, with every input it can stand behind.

    Channels and resolutions are followed from stage to stage, stages that may be left out included. Where stages
    have different activations, a head with another stage's activation may be among them.
    """
    templates = {stage.name: list(_templates(space, stage)) for stage in space.stages}
    rows = [template for each in templates.values() for template in each]
    places = _Places()
    start = (rows[0].in_channels, space.resolution)
    states = {places.after(start, block) for block in _blocks(_ends(rows, 0), start[0])}
    for stage in space.stages:
        reached = set(states) if 0 in stage.layers else set()
        stages = _once(
            part for template in templates[stage.name] for part in template.stages if part.name == stage.name
        )
        for state, part in itertools.product(sorted(states), stages):
            reached |= _walk(places, state, part)
        states = reached
    for position in (-2, -1):
        ends = _ends(rows, position)
        states = {places.after(state, block) for state in states for block in _blocks(ends, state[0])}
    return list(places.blocks.values())


def _ends(templates: Sequence[Template], position: int) -> list[StageTemplate]:
    return _once(template.stages[position] for template in templates)


def _once(parts: Iterable[StageTemplate]) -> list[StageTemplate]:
    # Not a set: its order differs from process to process, so that none would go on with an interrupted measurement.
    return list(dict.fromkeys(parts))


def _blocks(parts: Iterable[StageTemplate], in_channels: int) -> Iterator[Block]:
    for part in parts:
        yield from part.expand(in_channels, 1.0, 1.0).blocks


def _walk(places: _Places, state: tuple[int, int], part: StageTemplate) -> set[tuple[int, int]]:
    """Place a stage's first block and one that repeats it; the states behind them."""
    reached = set()
    for block in part.expand(state[0], 1.0, 1.0).blocks[:2]:
        state = places.after(state, block)
        reached.add(state)
    return reached


def _templates(space: SearchSpace, stage: StageChoices) -> Iterator[Template]:
    """Every row of one stage, in a network with all other stages and in one with the mandatory ones only.

    So the stage is first or last wherever it can be, which decides the activation of the stem and the head.
    """
    if set(stage.layers) == {0}:
        return
    kinds = [kind for kind in stage.kinds if kind != "layers"]
    rest = {name: values[0] for name, values in space.parameters().items()}
    for sparse in (False, True):
        layers = {
            f"{other.name}.layers": 0 if sparse and 0 in other.layers and other is not stage else _layers(other)
            for other in space.stages
        }
        for values in itertools.product(*map(stage.values, kinds)):
            own = {f"{stage.name}.{kind}": value for kind, value in zip(kinds, values, strict=True)}
            yield space.decode({**rest, **layers, **own})


def _layers(stage: StageChoices) -> int:
    """A layer count that shows the stage's first block and, if it can have one, a repeated block."""
    return min((layers for layers in stage.layers if layers > 1), default=max(stage.layers))


def signatures(blocks: Iterable[PlacedBlock]) -> set[Signature]:
    """The kernels of several blocks."""
    return {signature for block in blocks for signature in block.signatures}


def rough_cost(layer: Layer) -> float:
    """A rough estimate of a kernel's ms (dispatch, arithmetic, memory), for choosing between blocks."""
    _, macs = layer_params_macs(layer)
    values = sum(c * h * w for c, h, w in (layer.in_shape, layer.out_shape))
    return 0.03 + macs / (3e7 if layer.groups == 1 else 1e7) + values / 1e7


def cover(blocks: Sequence[PlacedBlock], wanted: set[Signature]) -> list[PlacedBlock]:
    """Blocks that together contain every wanted kernel, chosen greedily by cost for each kernel still missing."""
    left = set(wanted)
    own = [block.signatures for block in blocks]
    cost = [sum(map(rough_cost, block.layers)) for block in blocks]
    heap = [(cost[i] / len(own[i]), i) for i in range(len(blocks))]
    heapq.heapify(heap)
    chosen = []
    while left and heap:
        _, index = heapq.heappop(heap)
        gain = len(own[index] & left)
        if not gain:
            continue
        price = cost[index] / gain
        if heap and price > heap[0][0]:
            heapq.heappush(heap, (price, index))
            continue
        chosen.append(blocks[index])
        left -= own[index]
    return chosen


def block_batches(blocks: Sequence[PlacedBlock], *, size: int, seed: int) -> list[tuple[PlacedBlock, ...]]:
    """The blocks in random order, in batches of `size` that are timed between two calls of the reference."""
    order = list(blocks)
    random.Random(seed).shuffle(order)
    return [tuple(order[start : start + size]) for start in range(0, len(order), size)]
