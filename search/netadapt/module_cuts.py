"""Cuts of a user's module: made on paper first, in the module once somebody has to run it."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from search.budget import CostModel
from search.netadapt.proposals import most_channels, priced_counts
from searchspace.channels.groups import ChannelGroup, named
from searchspace.channels.maps import Scores
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.graph import Graph
from searchspace.nn import TracedNetwork
from searchspace.nn.tracing.matching import narrowed
from searchspace.nn.weights.importance import filter_norms, group_scores

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Cuts:
    """A network, the units that stay of those of its groups that are cut, and its Graph then.

    scores: what the units of each group are worth that is not fixed, see `unit_scores`.
    """

    network: TracedNetwork
    scores: Mapping[str, Scores]
    stay: Mapping[str, Sequence[int]]
    graph: Graph

    def and_cut(self, group: ChannelGroup, units: Sequence[int], channels: int) -> "Cuts":
        """The same with a group, as it is now, at `channels` channels; `units` are counted in the network."""
        graph = narrowed(self.graph, group, channels)
        return Cuts(self.network, self.scores, {**self.stay, group.name: units}, graph)

    def without(self, groups: Container[str]) -> "Cuts":
        """The cuts of all other groups."""
        cuts = Cuts(self.network, self.scores, {}, self.network.graph)
        for name, units in self.stay.items():
            if name not in groups:
                group = named(self.network.groups(), name)
                cuts = cuts.and_cut(group, units, len(units) * group.channels // len(group.cells))
        return cuts

    def worth(self, group: str) -> float:
        """What the units that stay are worth together."""
        scores = self.scores[group]
        return max(_TINY, math.fsum(scores[unit] for unit in self.stay.get(group, range(len(scores)))))

    @cached_property
    def made(self) -> TracedNetwork:
        """The narrower network. Raises UnsupportedModule or InvalidArgument where the module does not allow it."""
        return self.network.cut_all(self.stay) if self.stay else self.network

    def not_allowed(self) -> dict[str, str]:
        """{group: why} of the cuts that cannot be made even alone."""
        found = {}
        for name, units in self.stay.items():
            try:
                self.network.cut(name, units)
            except (UnsupportedModule, InvalidArgument) as error:
                found[name] = str(error)
        return found


class Cut(NamedTuple):
    """One more cut, of `group` to `channels` channels: the cuts with it, their cost, what it loses by what it saves."""

    group: str
    channels: int
    after: Cuts
    cost: float
    price: float

    @property
    def name(self) -> str:
        """In a few words."""
        return f"{self.group} to {self.channels} channels"


def uncut(network: TracedNetwork) -> Cuts:
    """A network of which everything stays."""
    scores = {group.name: unit_scores(network, group) for group in network.groups() if not group.fixed}
    return Cuts(network, scores, {}, network.graph)


def unit_scores(network: TracedNetwork, group: ChannelGroup) -> list[float]:
    """For each unit of a group the L2 norm of its filters, the mean of each layer being 1."""

    def norms(layer: int) -> Tensor:
        names = network.modules_of(layer)
        if not names:
            return torch.ones(network.graph.layers[layer].out_shape[0])
        return filter_norms(network.module.get_submodule(names[0]))

    return group_scores(group, norms)


def further_cuts(
    cuts: Cuts, cost_model: CostModel, *, target: float, floor: float, leave: Container[str], multiple: int = 1
) -> list[Cut]:
    """A cut of each group that comes to `target` or less, but not below `floor`; the lowest price first.

    Channels are a multiple of `multiple` where a group can have one.

    What a cut loses is the share of the group's importance that goes, as -log(what stays), once for each layer that
    makes the group; its price is that for what it saves. Groups of `leave` are left out.
    """
    cost, found = cost_model.cost(cuts.graph), []
    for group in cuts.network.groups_of(cuts.graph):
        if group.name in leave:
            continue
        most = most_channels(cuts.graph, group, cost_model, cost - target)
        if most is not None:
            most = max((count for count in group.counts if count <= most and count % multiple == 0), default=most)
        cut = None if most is None else _cut(cuts, group, most, cost_model)
        if cut is not None and floor <= cut.cost < cost:
            lost = len(group.producers) * math.log(cuts.worth(group.name) / cut.after.worth(group.name))
            found.append(cut._replace(price=lost / (cost - cut.cost)))
    return sorted(found, key=lambda cut: cut.price)


def _cut(cuts: Cuts, group: ChannelGroup, most: int, cost_model: CostModel) -> Cut | None:
    """None where no choice of the network's units gives that many channels."""
    own = named(cuts.network.groups(), group.name)
    units = cuts.network.choose(own.name, most, cuts.scores[own.name]) if most in own.counts else None
    channels = len(units or ()) * own.channels // len(own.cells)
    if units is None or channels not in group.counts:
        return None
    after = cuts.and_cut(group, units, channels)
    return Cut(group.name, channels, after, cost_model.cost(after.graph), 0.0)


def narrowest(network: TracedNetwork, cost_model: CostModel, *, leave: Container[str]) -> Cuts:
    """Every group, those of `leave` apart, at the fewest channels it can have: about the least that can be reached."""
    cuts = uncut(network)
    for group in network.groups():
        for most in priced_counts(cuts.graph, group, cost_model)[:1] if group.name not in leave else ():
            cut = _cut(cuts, group, most, cost_model)
            cuts = cuts if cut is None else cut.after
    return cuts
