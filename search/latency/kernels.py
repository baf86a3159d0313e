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
from searchspace.spaces.space import Choices, SearchSpace, few_layers
from searchspace.spaces.stage import StageChoices
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template


class PlacedBlock(NamedTuple):
    """A block with its input, `in_channels` channels at `resolution` pixels, and the layers that it becomes.

    Layer names are those of the block's submodules ("expand", "depthwise", ...), "" for the block itself. `padding` is
    the network's convention.
    """

    in_channels: int
    resolution: int
    block: Block
    layers: tuple[Layer, ...]
    padding: str = "half"

    @property
    def signatures(self) -> frozenset[Signature]:
        """The block's kernels."""
        return frozenset(layer.signature for layer in self.layers)


def blocks_of(spec: NetworkSpec) -> list[PlacedBlock]:
    """The blocks of one network where they stand in it."""
    places = _Places(spec.conventions.padding)
    state = (spec.in_channels, spec.resolution)
    for block in spec.blocks:
        state = places.after(state, block)
    return list(places.blocks.values())


class _Places:
    """Every placed block once, by its input and itself."""

    def __init__(self, padding: str = "half") -> None:
        self.blocks: dict[tuple[int, int, Block], PlacedBlock] = {}
        self._padding = padding

    def after(self, state: tuple[int, int], block: Block) -> tuple[int, int]:
        """Place `block` behind `state` (channels, resolution); the state behind it."""
        key = (*state, block)
        if key not in self.blocks:
            (channels, resolution), prefix = state, "block.0"
            graph = GraphBuilder((channels, resolution, resolution), self._padding)
            block.lower(graph, prefix)
            layers = tuple(layer._replace(name=layer.name[len(prefix) + 1 :]) for layer in graph.layers)
            self.blocks[key] = PlacedBlock(channels, resolution, block, layers, self._padding)
        return self.blocks[key].layers[-1].out_shape[:2]


def placed_blocks(space: SearchSpace) -> list[PlacedBlock]:
    """Every block that a network of the space can contain, with every input it can stand behind.

    Channels and resolutions are followed from stage to stage, stages that may be left out included. Where stages
    have different activations, a head with another stage's activation may be among them.
    """
    networks = [network for stage in space.stages for network in _networks(space, stage)]
    places = _Places()
    states = {(networks[0].in_channels, px) for px in space.resolutions}
    states = _walk(places, states, (network.stages[0] for network in networks))
    for stage in space.stages:
        rows = () if set(stage.layers) == {0} else space.rows(stage)
        parts = (StageTemplate(stage.name, (row,)) for _, row in rows)
        behind = _walk(places, sorted(states), parts, as_wide="width_mult" in stage.shares)
        states = (states if 0 in stage.layers or stage.after else set()) | behind
    activations = dict.fromkeys(getattr(network.stages[-2].rows[0], "activation", "") for network in networks)
    ends = [end for activation in activations for _, end in space.ends(activation)]
    for position in (0, 1):
        states = _walk(places, states, (end[position] for end in ends))
    return list(places.blocks.values())


def _walk(
    places: _Places, states: Iterable[tuple[int, int]], parts: Iterable[StageTemplate], *, as_wide: bool = False
) -> set[tuple[int, int]]:
    """Place each stage's first block, and one that repeats it, behind each state; the states behind them.

    as_wide: whether a stage is always as wide as what it stands behind.
    """
    reached = set()
    # Not a set of parts: its order differs from process to process, so that none would go on with an interrupted
    # measurement.
    for state, part in itertools.product(states, dict.fromkeys(parts)):
        blocks = part.expand(state[0], 1.0, 1.0).blocks[:2]
        if as_wide and blocks[0].channels_after(state[0]) != state[0]:
            continue
        for block in blocks:
            state = places.after(state, block)
            reached.add(state)
    return reached


def _networks(space: SearchSpace, stage: StageChoices) -> Iterator[Template]:
    """One stage with each of its activations, in a network with all other stages and in one with as few as may be.

    So the stage is first or last wherever it can be, which decides the activation of the stem and the head.
    """
    if set(stage.layers) == {0}:
        return
    rest = {name: values[0] for name, values in space.parameters().items()}
    shown = dict[str, Choices]()
    for choices, row in space.rows(stage):
        shown.setdefault(getattr(row, "activation", ""), choices)
    for sparse in (False, True):
        layers = {f"{s.name}.layers": 0 if sparse and 0 in s.layers else few_layers(s) for s in space.stages}
        for choices in shown.values():
            yield space.decode({**rest, **layers, **choices})


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
