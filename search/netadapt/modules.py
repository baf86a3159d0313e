"""A user's own torch module, as the pruner takes it: traced by torch.fx, narrowed by its channel groups."""

from collections.abc import Callable, Sequence

from torch import Tensor

from search.budget import CostModel
from search.netadapt.proposals import Proposal, most_channels, priced_counts
from search.netadapt.prunable import Candidate, Prunable, Screening, new_record
from search.netadapt.screen import screen_modules
from search.netadapt.short_training import first
from searchspace.channels.groups import ChannelGroup, named
from searchspace.channels.steps import narrowed_layers
from searchspace.errors import UnsupportedModule
from searchspace.nn import TracedNetwork
from searchspace.nn.weights.importance import filter_norms, group_scores


class PrunableModule(Prunable):
    """Channels are all that goes; those with the largest L2 norm stay.

    `note` is told of channel groups whose cut the module's own code does not allow.
    """

    spec = None

    def __init__(self, traced: TracedNetwork, note: Callable[[str], None] = lambda text: None) -> None:
        self.module, self.graph = traced.module, traced.graph
        self._traced, self._note = traced, note

    def groups(self) -> tuple[ChannelGroup, ...]:
        """See Prunable."""
        return self._traced.groups()

    def propose(
        self, cost_model: CostModel, *, target: float, floor: float, moves: Sequence[str]
    ) -> "list[Proposal[PrunableModule]]":
        """See Prunable. A group that the module's code does not allow to be cut is left out."""
        cost = cost_model.cost(self.graph)
        found = []
        for group in self.groups() if "channels" in moves else ():
            channels = most_channels(self.graph, group, cost_model, cost - target)
            if channels is None or (after := cost - cost_model.narrowed(self.graph, group, channels)) < floor:
                continue
            narrower = self._narrowed(group, channels)
            if narrower is not None and (after := cost_model.cost(narrower.graph)) >= floor:
                left = named(narrower.groups(), group.name).channels
                found.append(Proposal("channels", group.name, left, after, _constant(narrower)))
        return found

    def _narrowed(self, group: ChannelGroup, most: int) -> "PrunableModule | None":
        def norms(layer: int) -> Tensor:
            return filter_norms(self.module.get_submodule(self._traced.modules_of(layer)[0]))

        kept = self._traced.choose(group.name, most, group_scores(group, norms))
        try:
            return None if kept is None else PrunableModule(self._traced.cut(group.name, kept), self._note)
        except UnsupportedModule as error:
            self._note(f"{group.name} is left as it is: {error}")
            return None

    def smallest(self, cost_model: CostModel, moves: Sequence[str]) -> float:
        """See Prunable."""
        graph = self.graph
        for group in self.groups() if "channels" in moves else ():
            for channels in priced_counts(graph, group, cost_model)[:1]:
                changed = narrowed_layers(graph, group, channels)
                graph = graph._replace(layers=tuple(changed.get(at, layer) for at, layer in enumerate(graph.layers)))
        return cost_model.cost(graph)

    def screen(self, proposals: "Sequence[Proposal[PrunableModule]]", how: Screening) -> list[Candidate]:
        """See Prunable. The channels that stay were chosen by their L2 norm when they were proposed."""
        networks = [proposal.make(lambda group: ()) for proposal in proposals]
        modules, split = [each.module for each in networks], first(how.images.validation, how.image_count)
        found = screen_modules(self.module, modules, split, rank=how.rank, device=how.device, pixels=how.pixels)
        return [
            Candidate(
                proposal,
                new_record(proposal, network.graph, screened, fingerprint=network.fingerprint),
                timed=network.timed,
                make=_constant(network),
                screened=screened,
            )
            for proposal, network, screened in zip(proposals, networks, found, strict=True)
        ]


def _constant(network: PrunableModule) -> Callable[..., PrunableModule]:
    return lambda *_: network
