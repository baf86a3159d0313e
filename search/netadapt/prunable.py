"""What the pruner asks of a network: `Prunable`. Members: a spec with weights, and a user's own module.

The contract of both is tests/contracts/test_prunables.py.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from search.budget import CostModel
from search.data import Dataset
from search.netadapt.proposals import Proposal
from search.netadapt.records import ProposalRecord
from search.netadapt.screen import Ranking, Screened
from search.netadapt.timing import Subject
from searchspace.channels.groups import ChannelGroup
from searchspace.cost import costs
from searchspace.graph import Graph
from searchspace.spec import NetworkSpec


class Screening(NamedTuple):
    """How proposals are compared before any training.

    On the first `image_count` validation images of `images`, at `pixels` (None: as they are stored). Channels that stay
    are chosen by `criterion`. `rank` sorts a proposal by its place and what was seen of it, see
    `search.netadapt.screen`.
    """

    images: Dataset
    image_count: int
    criterion: str
    rank: Ranking
    device: str
    pixels: int | None = None


class Prunable(ABC):
    """A trained network, and the ways to make it cheaper. None of them changes it: each makes another network.

    Attributes:
        module: With its weights. A short training changes it in place.
        spec: None for a user's own module.
        graph: Its layers at the resolution that it is priced at.
    """

    module: nn.Module
    spec: NetworkSpec | None
    graph: Graph

    @property
    def timed(self) -> Subject:
        """What a PairedTimer times: a spec where there is one, since weights decide no time."""
        return self.module if self.spec is None else self.spec

    @property
    def fingerprint(self) -> str:
        """The same for networks that take the same time: of the structure, not of the weights."""
        if self.spec is not None:
            return self.spec.fingerprint()
        return hashlib.sha256(repr(self.graph.layers).encode()).hexdigest()[:16]

    @abstractmethod
    def groups(self) -> tuple[ChannelGroup, ...]:
        """Its channels, those that move together as one group."""

    @abstractmethod
    def propose(
        self, cost_model: CostModel, *, target: float, floor: float, moves: Sequence[str]
    ) -> list[Proposal[Any]]:
        """Every way that `moves` allow to come to `target` or less, but not below `floor`; costs by `cost_model`."""

    @abstractmethod
    def smallest(self, cost_model: CostModel, moves: Sequence[str]) -> float:
        """The cost after every move is made as far as it goes: about the least that can be reached."""

    @abstractmethod
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
        """See Prunable."""
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
