"""The proposals of one iteration: every way to make the network cheaper by what the iteration asks for."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from search.netadapt.costing import Costing
from searchspace.coupling import ChannelGroup, accepted_counts, coupling, narrow
from searchspace.descent import Scores, Step, cut, drop_se, remove_block, shrink_kernel
from searchspace.errors import InvalidArgument, MissingLatency
from searchspace.graph import Graph, lower
from searchspace.spec import NetworkSpec

MOVES = ("channels", "se", "kernel", "block")
_OTHERS = {"se": drop_se, "kernel": shrink_kernel, "block": remove_block}
HALVINGS = 6  # of a reduction that nothing meets
_LOOK_ABOVE = 16  # counts above the one found by halving that may be as fast: runtimes like some counts

Score = Callable[[ChannelGroup], Scores]


class Proposal(NamedTuple):
    """One way down. `where`: a channel group or a block; `channels`: what is left of a group (None for other moves);
    `cost`: of the network after it, by the table's own scale. `make(score)` is the step."""

    move: str
    where: str
    channels: int | None
    cost: float
    make: Callable[[Score], Step]

    @property
    def name(self) -> str:
        """In a few words."""
        if self.channels is not None:
            return f"{self.where} to {self.channels} channels"
        return {"se": "no SE in ", "kernel": "smaller kernel in ", "block": "without "}[self.move] + self.where


def propose(
    spec: NetworkSpec, costing: Costing, *, target: float, floor: float, moves: Sequence[str]
) -> list[Proposal]:
    """A proposal for each free channel group, with as many channels as meet `target`, and for each other move of
    `moves` that meets it. None costs less than `floor`, so that a budget is used. Costs are in the costing's own unit.
    """
    graph = lower(spec)
    cost = costing.of(graph)
    found = []
    if "channels" in moves:
        for group in coupling(spec):
            channels = _most_accepted(spec, group, costing, cost - target)
            if channels is not None:
                found.append(_narrower(spec, group, channels, cost - costing.narrowed(graph, group, channels)))
    for move in (move for move in MOVES if move in moves and move in _OTHERS):
        for where, make in _OTHERS[move](spec):
            step = make()
            after = _cost(costing, step.graph)
            if after is not None and after <= target:
                found.append(Proposal(move, where, None, after, _made(step)))
    return [proposal for proposal in found if proposal.cost >= floor]


def most_channels(graph: Graph, group: ChannelGroup, costing: Costing, saving: float) -> int | None:
    """The most channels of `group` with which the network costs less by `saving`; None if the fewest do not.

    Costs need not fall with every channel: from the count that halving finds, some above it are looked at too. So
    counts that the table shows to be fast are taken, and those that are no faster than more channels are not.
    """
    counts = _priced(graph, group, costing)
    if not counts or costing.narrowed(graph, group, counts[0]) < saving:
        return None
    low, high = 0, len(counts)  # counts[low] saves enough; counts[high] does not, or is all channels
    while high - low > 1:
        middle = (low + high) // 2
        if costing.narrowed(graph, group, counts[middle]) >= saving:
            low = middle
        else:
            high = middle
    above = counts[low + 1 : low + 1 + _LOOK_ABOVE]
    return max((count for count in above if costing.narrowed(graph, group, count) >= saving), default=counts[low])


def _most_accepted(spec: NetworkSpec, group: ChannelGroup, costing: Costing, saving: float) -> int | None:
    """`most_channels`, or the next count below that saves as much and that `narrow` accepts; None if there is none."""
    graph = lower(spec)
    most = most_channels(graph, group, costing, saving)
    if most is None:
        return None
    priced = _priced(graph, group, costing)
    found = (count for count in accepted_counts(spec, group, most) if count in priced)
    return next((count for count in found if costing.narrowed(graph, group, count) >= saving), None)


def _priced(graph: Graph, group: ChannelGroup, costing: Costing) -> range:
    """The counts of a group that the table has prices for: a depthwise kernel of 1 channel is of another kind."""
    counts = group.counts
    while counts:
        try:
            costing.narrowed(graph, group, counts[0])
        except MissingLatency:
            counts = counts[1:]
        else:
            break
    return counts


def smallest(spec: NetworkSpec, costing: Costing, moves: Sequence[str]) -> float:
    """What the network costs when every move is made as far as it goes: about the least that can be reached."""
    for move in ("block", "se", "kernel"):
        while move in moves:
            steps = [make() for _, make in _OTHERS[move](spec)]
            step = next((step for step in steps if _cost(costing, step.graph) is not None), None)
            if step is None:
                break
            spec = step.spec
    graph = lower(spec)
    if "channels" in moves:
        for group in coupling(spec):  # they are cut one by one, whatever became of the others
            spec = _fewest(spec, group, _priced(graph, group, costing))
    return costing.of(lower(spec))


def _fewest(spec: NetworkSpec, group: ChannelGroup, counts: range) -> NetworkSpec:
    for channels in counts:
        try:
            return narrow(spec, group, channels)
        except InvalidArgument:
            continue  # dealt out in a way that this count does not allow
    return spec


def _narrower(spec: NetworkSpec, group: ChannelGroup, channels: int, cost: float) -> Proposal:
    def make(score: Score) -> Step:
        return cut(spec, group, channels, score(group))

    return Proposal("channels", group.name, channels, cost, make)


def _made(step: Step) -> Callable[[Score], Step]:
    return lambda _: step


def _cost(costing: Costing, graph: Graph) -> float | None:
    """None where the table has no kernel of a kind that the network needs: such a move is not proposed."""
    try:
        return costing.of(graph)
    except MissingLatency:
        return None
