"""The proposals of one iteration: every way to make the network cheaper by what the iteration asks for."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from search.budget import CostModel
from searchspace.channels.coupling import accepted_counts, coupling, narrow
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.maps import Scores
from searchspace.channels.steps import Step, prune_group, remove_block, replace_blocks, smaller_kernels, without_se
from searchspace.errors import InvalidArgument, MissingLatency
from searchspace.graph import Graph, lower
from searchspace.spec import NetworkSpec

MOVES = ("channels", "se", "kernel", "block")
_LIGHTER = {"se": without_se, "kernel": smaller_kernels}
HALVINGS = 6  # of a reduction that nothing meets
_LOOK_ABOVE = 16  # counts above the one found by halving that may be as fast: runtimes like some counts

Score = Callable[[ChannelGroup], Scores]
S = TypeVar("S")


class Proposal(NamedTuple, Generic[S]):
    """One way to make a network cheaper, to `cost`.

    where: a channel group, a block, or the first and the last of several blocks. channels: what is left of a group;
    None for other moves. make: gives, with scores of a group's channels, what the next network is made of.
    """

    move: str
    where: str
    channels: int | None
    cost: float
    make: Callable[[Score], S]

    @property
    def name(self) -> str:
        """In a few words."""
        if self.channels is not None:
            return f"{self.where} to {self.channels} channels"
        return {"se": "no SE in ", "kernel": "smaller kernel in ", "block": "without "}[self.move] + self.where


def propose(
    spec: NetworkSpec, cost_model: CostModel, *, target: float, floor: float, moves: Sequence[str]
) -> list[Proposal[Step]]:
    """A proposal for each free channel group, and for each other move of `moves`, that comes to `target` or less.

    A group keeps as many channels as it can. None costs less than `floor`, so that a budget is used.
    """
    graph = lower(spec)
    cost = cost_model.cost(graph)
    found: list[Proposal[Step]] = []
    for group in coupling(spec) if "channels" in moves else ():
        channels = _most_accepted(spec, group, cost_model, cost - target)
        if channels is not None:
            after = cost - cost_model.narrowed(graph, group, channels)
            make = partial(_narrower, spec, group, channels)
            found.append(Proposal("channels", group.name, channels, after, make))
    for move in (move for move in MOVES if move in moves and move != "channels"):
        removals = ((where, make()) for where, make in remove_block(spec))
        for where, step in removals if move == "block" else _runs(spec, move, cost_model, target):
            priced = _cost(cost_model, step.graph)
            if priced <= target:
                found.append(Proposal(move, where, None, priced, partial(_made, step)))
    return [proposal for proposal in found if proposal.cost >= floor]


def _narrower(spec: NetworkSpec, group: ChannelGroup, channels: int, score: Score) -> Step:
    return prune_group(spec, group, channels, score(group))


def _made(step: Step, score: Score) -> Step:
    return step


def _runs(spec: NetworkSpec, move: str, cost_model: CostModel, target: float) -> Iterator[tuple[str, Step]]:
    """SE or a kernel's edge taken off blocks that follow each other, as few as meet `target`: one seldom saves enough.

    What they save adds up, as each is a layer of its own. A run that has a shorter one within it is left out.
    """
    blocks = _LIGHTER[move](spec)
    names = list(blocks)
    cost = cost_model.cost(lower(spec))
    savings = [cost - _cost(cost_model, replace_blocks(spec, {name: blocks[name]}).graph) for name in names]
    shortest = len(names)
    for first in reversed(range(len(names))):
        saved = list(accumulate(savings[first:]))
        last = next((first + place for place, each in enumerate(saved) if each >= cost - target), len(names))
        if last < shortest:
            shortest, run = last, names[first : last + 1]
            where = run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}"
            yield where, replace_blocks(spec, {name: blocks[name] for name in run})


def most_channels(graph: Graph, group: ChannelGroup, cost_model: CostModel, saving: float) -> int | None:
    """The most channels of `group` with which the network costs less by `saving`; None if the fewest do not.

    Costs need not fall with every channel: from the count that halving finds, some above it are looked at too. So
    counts that the table shows to be fast are taken, and those that are no faster than more channels are not.
    """
    counts = priced_counts(graph, group, cost_model)
    if not counts or cost_model.narrowed(graph, group, counts[0]) < saving:
        return None
    low, high = 0, len(counts)  # counts[low] saves enough; counts[high] does not, or is all channels
    while high - low > 1:
        middle = (low + high) // 2
        if cost_model.narrowed(graph, group, counts[middle]) >= saving:
            low = middle
        else:
            high = middle
    above = counts[low + 1 : low + 1 + _LOOK_ABOVE]
    return max((count for count in above if cost_model.narrowed(graph, group, count) >= saving), default=counts[low])


def _most_accepted(spec: NetworkSpec, group: ChannelGroup, cost_model: CostModel, saving: float) -> int | None:
    """`most_channels`, or the next count below that saves as much and that `narrow` accepts; None if there is none."""
    graph = lower(spec)
    most = most_channels(graph, group, cost_model, saving)
    if most is None:
        return None
    priced = priced_counts(graph, group, cost_model)
    found = (count for count in accepted_counts(spec, group, most) if count in priced)
    return next((count for count in found if cost_model.narrowed(graph, group, count) >= saving), None)


def priced_counts(graph: Graph, group: ChannelGroup, cost_model: CostModel) -> range:
    """The counts of a group that the table has prices for: a depthwise kernel of 1 channel is of another kind."""
    counts = group.counts
    while counts:
        try:
            cost_model.narrowed(graph, group, counts[0])
        except MissingLatency:
            counts = counts[1:]
        else:
            break
    return counts


def smallest(spec: NetworkSpec, cost_model: CostModel, moves: Sequence[str]) -> float:
    """What the network costs when every move is made as far as it goes: about the least that can be reached."""
    for move in ("block", "se", "kernel"):
        while move in moves:
            steps = (step for step in _singles(spec, move) if _cost(cost_model, step.graph) < math.inf)
            if (step := next(steps, None)) is None:
                break
            spec = step.spec
    for group in coupling(spec) if "channels" in moves else ():  # one by one, whatever became of the others
        spec = _fewest(spec, group, priced_counts(lower(spec), group, cost_model))
    return cost_model.cost(lower(spec))


def _singles(spec: NetworkSpec, move: str) -> Iterator[Step]:
    if move == "block":
        return (make() for _, make in remove_block(spec))
    return (replace_blocks(spec, {where: block}) for where, block in _LIGHTER[move](spec).items())


def _fewest(spec: NetworkSpec, group: ChannelGroup, counts: range) -> NetworkSpec:
    for channels in counts:
        try:
            return narrow(spec, group, channels)
        except InvalidArgument:
            continue  # dealt out in a way that this count does not allow
    return spec


def _cost(cost_model: CostModel, graph: Graph) -> float:
    """Infinite where the table has no kernel of a kind that the network needs: such a move is not proposed."""
    try:
        return cost_model.cost(graph)
    except MissingLatency:
        return math.inf
