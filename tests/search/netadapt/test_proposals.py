"""What an iteration proposes: channels by the table, SE and kernels of several blocks; lighter networks for a table."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from search.budget import CostModel
from search.latency.runtimes.eager import Eager
from search.netadapt.proposals import MOVES, most_channels, propose
from search.netadapt.variants import shrunk
from searchspace import zoo
from searchspace.blocks import Block, ConvBN
from searchspace.channels.coupling import coupling
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.steps import replace_blocks, smaller_kernels, without_se
from searchspace.cost import layer_params_macs, macs
from searchspace.graph import Graph, Layer, lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.spec import NetworkSpec, Stage

MACS = CostModel("macs")


def test_a_group_proposals_the_most_channels_that_meet_the_reduction() -> None:
    spec = zoo.get("mobilenet_v2", classes=10)
    graph, saving = lower(spec), 0.02 * macs(spec)
    for group in coupling(spec):
        enough = [count for count in group.counts if MACS.narrowed(graph, group, count) >= saving]
        assert most_channels(graph, group, MACS, saving) == max(enough, default=None)


class LikesEights(CostModel):
    """A device on which a count that is no multiple of 8 takes as long as 12 channels more."""

    def narrowed(self, graph: Graph, group: ChannelGroup, channels: int) -> float:
        return group.channels - (channels + 12 * bool(channels % 8))


@pytest.mark.parametrize(("saving", "channels"), [(20, 40), (9, 48), (16, 48), (1, 56)])
def test_counts_that_the_device_likes_are_taken(saving: int, channels: int) -> None:
    spec = zoo.get("mobilenet_v1", classes=10)
    group = next(group for group in coupling(spec) if group.channels == 64)
    assert most_channels(lower(spec), group, LikesEights("macs"), saving) == channels


def device(spec: NetworkSpec) -> LatencyTable:
    """A table of a device on which SE and large kernels take their time."""
    light = [replace_blocks(spec, blocks).spec for blocks in (without_se(spec), smaller_kernels(spec))]
    kernels = {
        layer.signature: 0.05 + 0.05 * (layer.op == "se") + 0.02 * max(0, layer.kernel - 3) + 1e-8 * macs_of(layer)
        for each in (spec, *light)
        for layer in lower(each).layers
    }
    return LatencyTable({**Eager().identity(224), "machine": "a phone"}, 1.0, kernels, Correction(1.0, 0.1, 0.03))


def macs_of(layer: Layer) -> float:
    return layer_params_macs(layer)[1]


def test_every_move_is_proposed_in_a_usual_step_of_a_usual_network() -> None:
    spec = zoo.get("efficientnet_b0", classes=10)
    cost_model = CostModel("ms", device(spec))
    cost = cost_model.cost(lower(spec))
    proposals = propose(spec, cost_model, target=0.95 * cost, floor=0.5 * cost, moves=MOVES)
    assert {proposal.move for proposal in proposals} == set(MOVES)
    for proposal in proposals:
        step = proposal.make(lambda group: [1.0] * len(group.cells))
        assert proposal.cost == pytest.approx(cost_model.cost(step.graph))
        assert proposal.cost <= 0.95 * cost
    assert len({proposal.name for proposal in proposals}) == len(proposals)


def test_a_table_is_measured_for_each_smaller_kernel_down_to_3() -> None:
    spec = zoo.get("mnasnet_a1", classes=10)
    stem, *others = spec.stages
    wide = replace(spec, stages=(Stage(stem.name, (ConvBN(out_channels=32, kernel=7, stride=2),)), *others))
    sizes = [max(layer.kernel for layer in lower(each).layers if layer.op == "conv") for each in shrunk(wide)]
    assert sizes == [5, 3]
    assert shrunk(zoo.get("mobilenet_v2")) == []


@pytest.mark.parametrize(("move", "lighter"), [("se", without_se), ("kernel", smaller_kernels)])
@pytest.mark.parametrize("share", [0.99, 0.95, 0.9])
def test_blocks_in_a_row_are_lightened_together_and_no_more_than_needed(
    move: str, lighter: Callable[[NetworkSpec], dict[str, Block]], share: float
) -> None:
    spec = zoo.get("efficientnet_b0", classes=10)
    cost_model = CostModel("ms", device(spec))
    blocks = lighter(spec)
    names = list(blocks)
    target = share * cost_model.cost(lower(spec))

    def meets(first: int, end: int) -> bool:
        return cost_model.cost(replace_blocks(spec, {name: blocks[name] for name in names[first:end]}).graph) <= target

    expected = {
        names[first] if end == first + 1 else f"{names[first]} to {names[end - 1]}"
        for first in range(len(names))
        for end in range(first + 1, len(names) + 1)
        if meets(first, end) and not meets(first + 1, end) and not meets(first, end - 1)
    }
    proposals = propose(spec, cost_model, target=target, floor=0.0, moves=(move,))
    assert {proposal.where for proposal in proposals} == expected
    assert bool(expected) == (share > 0.9 or meets(0, len(names)))


@pytest.mark.parametrize("name", ["shufflenet_v1", "shufflenet_v2"])
@pytest.mark.parametrize("share", [0.95, 0.7])
def test_a_shufflenet_is_proposed_only_what_its_layers_deal_out_as_before(name: str, share: float) -> None:
    spec = zoo.template(name).with_classes(10).expand(depth=0.5).with_resolution(32)
    proposals = propose(spec, MACS, target=share * macs(spec), floor=0.0, moves=("channels",))
    assert proposals
    for proposal in proposals:
        step = proposal.make(lambda group: [1.0] * len(group.cells))
        assert proposal.cost == macs(step.spec) <= share * macs(spec)
