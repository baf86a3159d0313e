"""What a quick table times: the blocks that tell the most about networks of a space, the most telling first.

The errors of estimated kernels are taken as a Gaussian process: within a kind, kernels of similar shapes are wrong
alike. Measuring a kernel makes those like it better known. The next block is always the one by which the variance of
the latencies of random networks falls most for the time that it costs (a greedy A-optimal design).
"""

import math
import random
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.latency.kernels import PlacedBlock, blocks_of, rough_cost
from searchspace.graph import Graph, Layer, Signature, lower
from searchspace.latency.estimate import Kind, kind_of, layer_of
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

SAMPLE = 160  # random networks whose latencies are to be known
_NOISE = 0.04  # of a timed kernel, a share of its ms
_DOUBT = 0.2  # of a kernel that nothing is known of, a share of its ms
_ALIKE = 1.0  # the distance (of logarithms of the shapes) at which two kernels are wrong alike by 1 / e
_MAKING_MS = 2.0  # of a block, in units of `rough_cost`: its module and its first calls, for each of some ten rounds
_ACTIVATIONS = ("relu", "relu6", "swish", "h_swish", "identity")
Matrix = NDArray[np.float64]


class Telling(NamedTuple):
    """Blocks in the order of what they tell; without the first `needed` some kernel could not be estimated."""

    blocks: list[PlacedBlock]
    needed: int


def telling_blocks(specs: Sequence[NetworkSpec], *, known: Collection[Signature] = (), count: int) -> Telling:
    """At most `count` blocks of `specs`, in the order of what they tell about the latencies of these networks.

    Kernels of `known` are measured already. Blocks with classes of kernels that no other has come first, however many
    they are: nothing can be estimated without one of its class.
    """
    blocks = [block for spec in specs for block in blocks_of(spec)]
    distinct = {(block.in_channels, block.resolution, block.block, block.padding): block for block in blocks}
    return _Doubts([lower(spec) for spec in specs], [*distinct.values()], known).telling(count)


def networks_of(space: SearchSpace, *, seed: int) -> list[NetworkSpec]:
    """Networks that stand for a space: SAMPLE random ones, the smallest and the largest."""
    rng = random.Random(f"networks to know {seed}")
    corners = [space.spec(space.corner(name)) for name in ("smallest", "largest")]
    return [*corners, *(space.spec(space.sample(rng)) for _ in range(SAMPLE))]


class _Doubts:
    """How uncertain the latencies of networks are while some kernels are timed and the others estimated."""

    def __init__(self, graphs: Sequence[Graph], blocks: Sequence[PlacedBlock], known: Collection[Signature]) -> None:
        signatures = dict.fromkeys(layer.signature for graph in graphs for layer in graph.layers)
        kernels = {signature: at for at, signature in enumerate({**signatures, **dict.fromkeys(known)})}
        layers = [layer_of(signature) for signature in kernels]
        ms = np.array([rough_cost(layer) for layer in layers])
        shares = np.zeros((len(graphs), len(kernels)))
        for row, graph in zip(shares, graphs, strict=True):
            for layer in graph.layers:
                row[kernels[layer.signature]] += ms[kernels[layer.signature]]
        shares /= shares.sum(axis=1)[:, None]
        by_kind: dict[Kind, list[int]] = {}
        for at, layer in enumerate(layers):
            by_kind.setdefault(kind_of(layer), []).append(at)
        self._members = [*by_kind.values()]
        self._kinds = [_Kind(np.array([_place(layers[at]) for at in own]), shares[:, own]) for own in self._members]
        self._where = {at: (kind, place) for kind, own in enumerate(self._members) for place, at in enumerate(own)}
        # What an estimate needs at least one measured kernel of, and paddings, which it does not tell apart.
        self._classes = [(kind_of(layer), layer.activation, layer.padding) for layer in layers]
        self._unseen = set(self._classes)
        self._kernels = kernels
        self._blocks = [(block, [kernels[s] for s in block.signatures]) for block in blocks]
        self._cost = np.array([_MAKING_MS + sum(map(rough_cost, block.layers)) for block in blocks])
        sizes = [len(own) for _, own in self._blocks]
        self._own = np.array([at for _, own in self._blocks for at in own])  # the kernels of all blocks, one by one
        self._starts = np.cumsum([0, *sizes[:-1]])
        for signature in known:
            self._measure(signature)

    def _measure(self, signature: Signature) -> None:
        at = self._kernels[signature]
        kind, place = self._where[at]
        self._kinds[kind].measure(place)
        self._unseen.discard(self._classes[at])

    def telling(self, count: int) -> Telling:
        """The blocks with the most classes that none before has, then those that tell the most for their cost.

        Blocks that tell nothing are left out.
        """
        chosen, needed = list[PlacedBlock](), 0
        while len(chosen) < count or self._unseen:
            gains = np.zeros(len(self._where))
            for kind, own in zip(self._kinds, self._members, strict=True):
                gains[own] = kind.gains
            worth = np.add.reduceat(gains[self._own], self._starts) / self._cost
            if self._unseen:
                new = np.array([len(self._unseen & {self._classes[at] for at in own}) for _, own in self._blocks])
                worth = np.where(new == new.max(), worth, -1.0)
                needed = len(chosen) + 1
            best = int(np.argmax(worth))
            if worth[best] <= 0:
                break
            chosen.append(self._blocks[best][0])
            for signature in chosen[-1].signatures:
                self._measure(signature)
        return Telling(chosen, needed)


class _Kind:
    """The kernels of one kind: what is not known of them, and what timing one more would tell."""

    def __init__(self, places: Matrix, shares: Matrix) -> None:
        distances = np.sqrt(((places[:, None, :] - places[None, :, :]) ** 2).sum(axis=2))
        self._covariance = _DOUBT**2 * np.exp(-distances / _ALIKE)
        self._of_networks = shares @ self._covariance
        self._measured = np.zeros(len(places), dtype=bool)
        self.gains = self._gains()

    def measure(self, place: int) -> None:
        """Condition on a kernel."""
        if self._measured[place]:
            return
        self._measured[place] = True
        row = self._covariance[place].copy()
        variance = row[place] + _NOISE**2
        self._of_networks -= np.outer(self._of_networks[:, place], row / variance)
        self._covariance -= np.outer(row, row / variance)
        self.gains = self._gains()

    def _gains(self) -> Matrix:
        gains: Matrix = (self._of_networks**2).sum(axis=0) / (self._covariance.diagonal() + _NOISE**2)
        return np.where(self._measured, 0.0, gains)


def _place(layer: Layer) -> list[float]:
    (channels, height, width), (out, _, _) = layer.in_shape, layer.out_shape
    sizes = (channels, out, height * width, layer.squeeze_channels + 1)
    return [*(math.log2(size) for size in sizes), *(1.0 * (layer.activation == name) for name in _ACTIVATIONS)]
