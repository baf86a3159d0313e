"""A NetworkSpec with its weights, as the pruner takes it: every move, all proposals screened in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from search.budget import CostModel
from search.data import Split
from search.netadapt.proposals import Proposal, propose, smallest
from search.netadapt.prunable import Candidate, Prunable, Screening, new_record
from search.netadapt.screen import Screened, batch_for, screen
from search.netadapt.short_training import first
from search.training.augmentation import prepared
from search.training.start import CALIBRATION_IMAGES, CALIBRATION_PX
from searchspace.channels.coupling import coupling
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.maps import Scores
from searchspace.channels.steps import Step
from searchspace.graph import lower
from searchspace.nn import Network
from searchspace.nn.weights.calibrate import ParentMaps, calibrating, watched
from searchspace.nn.weights.importance import mean_gates, scores
from searchspace.nn.weights.prune import Gates, origins_of, prune_network
from searchspace.spec import NetworkSpec

GATE_IMAGES = 256
TAYLOR_BATCHES = 8
TAYLOR_BATCH_SIZE = 64


class PrunableSpec(Prunable):
    """Every move is made; where an SE block goes, the mean of its gates stays in the weights of the layer behind it."""

    def __init__(self, module: Network) -> None:
        self.module: Network = module
        self.spec: NetworkSpec = module.spec
        self.graph = lower(self.spec)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """See Prunable."""
        return coupling(self.spec)

    def propose(
        self, cost_model: CostModel, *, target: float, floor: float, moves: Sequence[str]
    ) -> list[Proposal[Step]]:
        """See Prunable."""
        return propose(self.spec, cost_model, target=target, floor=floor, moves=moves)

    def smallest(self, cost_model: CostModel, moves: Sequence[str]) -> float:
        """See Prunable."""
        return smallest(self.spec, cost_model, moves)

    def screen(self, proposals: Sequence[Proposal[Step]], how: Screening) -> list[Candidate]:
        """See Prunable."""
        network, images = self.module.cpu().eval(), how.images
        if how.criterion == "taylor":
            _add_gradients(network, images.train, how.pixels)
        known: dict[str, Scores] = {}

        def score(group: ChannelGroup) -> Scores:
            return known.setdefault(group.name, scores(network, group, how.criterion))

        steps = [proposal.make(score) for proposal in proposals]
        network.zero_grad()
        has_se = any(proposal.move == "se" for proposal in proposals)
        gates = gates_of(network, images.train, pixels=how.pixels) if has_se else {}
        split = first(images.validation, how.image_count)
        found = screen(network, steps, split, gates=gates, rank=how.rank, device=how.device, pixels=how.pixels)
        making = _Making(network, gates, how)
        return [self._candidate(*each, making) for each in zip(proposals, steps, found, strict=True)]

    def _candidate(self, proposal: Proposal[Step], step: Step, screened: Screened, making: "_Making") -> Candidate:
        spec = step.spec
        gone = {layer.op for index, layer in enumerate(self.graph.layers) if index not in step.origins}
        return Candidate(
            proposal,
            new_record(proposal, step.graph, screened, fingerprint=spec.fingerprint(), spec=spec.to_json()),
            timed=spec,
            make=lambda: PrunableSpec(making.network_of(step)),
            screened=screened,
            is_unbridged="conv" in gone and "add" not in gone,
        )


@dataclass(frozen=True)
class _Making:
    """Makes the networks of an iteration's steps.

    A network that was fine-tuned from published weights keeps the statistics of its batch norms, which a cut makes
    wrong: it is calibrated by the maps of the network before the cut.
    """

    before: Network
    gates: Gates
    how: Screening

    def network_of(self, step: Step) -> Network:
        """With the weights that it takes over."""
        network = prune_network(self.before, step, gates=self.gates)
        if self.before.spec.preprocessing is not None:
            images, maps = self._shown
            with torch.no_grad(), calibrating(network, maps, origins_of(self.before, step)):
                network(images)
        return network

    @cached_property
    def _shown(self) -> tuple[Tensor, ParentMaps]:
        images = torch.tensor(self.how.images.train.pixels[:CALIBRATION_IMAGES])
        shown = prepared(images, self.before, min(self.how.pixels or images.shape[1], CALIBRATION_PX))
        return shown, watched(self.before, shown)


def gates_of(network: Network, images: Split, *, batch_size: int | None = None, pixels: int | None = None) -> Gates:
    """The mean gates of each SE layer over the first GATE_IMAGES images, in batches that fit into memory."""
    stored = images.pixels[:GATE_IMAGES]
    size = batch_size or batch_for(network, pixels or stored.shape[1])
    batches = [torch.tensor(stored[at : at + size]) for at in range(0, len(stored), size)]
    found = [(mean_gates(network, prepared(batch, network, pixels)), len(batch) / len(stored)) for batch in batches]
    return {layer: torch.stack([gates[layer] * share for gates, share in found]).sum(0) for layer in found[0][0]}


def _add_gradients(network: Network, images: Split, pixels: int | None) -> None:
    """Of the loss over some training images, with batch norm as it is used later."""
    network.zero_grad()
    size = TAYLOR_BATCH_SIZE
    for start in range(0, min(len(images), size * TAYLOR_BATCHES), size):
        batch = prepared(torch.tensor(images.pixels[start : start + size]), network, pixels)
        labels = torch.tensor(images.labels[start : start + size])
        torch.autograd.backward(torch.nn.functional.cross_entropy(network(batch), labels))
