"""What the pruner asks of a network: `Prunable`. Members: a spec with weights, and a user's own module.

The contract of both is tests/contracts/test_prunables.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from search.budget import CostModel
from search.data import Dataset
from search.netadapt.proposals import Proposal
from search.netadapt.records import ProposalRecord
from search.netadapt.screen import Rank, Screened
from search.netadapt.timing import Subject
from searchspace.channels.groups import ChannelGroup
from searchspace.cost import costs
from searchspace.graph import Graph
from searchspace.spec import NetworkSpec


class Screening(NamedTuple):
    """How proposals are compared before any training.

    On the first `image_count` validation images of `images`. Channels that stay are chosen by `criterion`. `rank` sorts
    a proposal by its place and what was seen of it, see `search.netadapt.screen`.
    """

    images: Dataset
    image_count: int
    criterion: str
    rank: Callable[[int, Screened], Rank]
    device: str


class Timeable(Protocol):
    """What can be timed against others."""

    @property
    def fingerprint(self) -> str:
        """The same for networks that take the same time: of the structure, not of the weights."""

    @property
    def timed(self) -> Subject:
        """What a PairedTimer times."""


class Prunable(Timeable, Protocol):
    """A trained network, and the ways to make it cheaper. None of them changes it: each makes another network."""

    @property
    def module(self) -> nn.Module:
        """The module with its weights. A short training changes it in place."""

    @property
    def spec(self) -> NetworkSpec | None:
        """None for a user's own module."""

    @property
    def graph(self) -> Graph:
        """Its layers at the resolution that it is priced at."""

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Its channels, those that move together as one group."""

    def propose(
        self, cost_model: CostModel, *, target: float, floor: float, moves: Sequence[str]
    ) -> list[Proposal[Any]]:
        """Every way that `moves` allow to come to `target` or less, but not below `floor`; costs by `cost_model`."""

    def smallest(self, cost_model: CostModel, moves: Sequence[str]) -> float:
        """The cost after every move is made as far as it goes: about the least that can be reached."""

    def screen(self, proposals: Sequence[Proposal[Any]], how: Screening) -> "list[Candidate]":
        """The proposals made ready, in their order, with their accuracy before any training."""


@dataclass(eq=False)
class Candidate:
    """A proposal made ready. Its record, and its network once it is trained, are filled in as they are found out.

    make: gives the network, with the weights that it takes over. is_unbridged: a block goes that no residual sum
    bridges, so that accuracy before training says nothing of it.
    """

    proposal: Proposal[Any]
    record: ProposalRecord
    timed: Subject
    make: Callable[[], Prunable]
    screened: Screened
    is_unbridged: bool = False
    network: Prunable | None = None

    @property
    def fingerprint(self) -> str:
        """See Timeable."""
        return self.record.fingerprint


def new_record(
    proposal: Proposal[Any], graph: Graph, screened: Screened, *, fingerprint: str, spec: str = ""
) -> ProposalRecord:
    """The record of a proposal that leads to the network of `graph`, before it is trained or timed."""
    named = {name: getattr(proposal, name) for name in ("move", "where", "channels", "name", "cost")}
    total = costs(graph)
    return ProposalRecord(
        **named, spec=spec, fingerprint=fingerprint, params=total.params, macs=total.macs, screened=screened.accuracy
    )
