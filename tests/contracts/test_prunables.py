"""What holds for every Prunable: a spec with weights, and a user's own module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from search.netadapt.modules import PrunableModule
from search.netadapt.prunable import Candidate, Prunable, Screening
from search.netadapt.screen import Screened
from search.training.evaluate import evaluate
from searchspace.channels.groups import in_the_way
from searchspace.cost import costs
from searchspace.nn import trace
from tests.scripted import dataset_of, two_halves
from tests.search.netadapt.scripted import MACS, own_module, start

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = dataset_of(two_halves(24, pixels=32), two_halves(40, pixels=32, seed=1), classes=10)


@dataclass(frozen=True)
class Member:
    """How a member is made, always with the same weights, and what it can do."""

    make: Callable[[], Prunable]
    moves: tuple[str, ...]
    criteria: tuple[str, ...] = ("l2",)


MEMBERS = {
    "spec": Member(start, ("channels", "se", "kernel", "block"), ("l2", "bn", "taylor")),
    "module": Member(lambda: PrunableModule(trace(own_module(), resolution=32)), ("channels",)),
}


@pytest.fixture(params=MEMBERS)
def member(request: pytest.FixtureRequest) -> Member:
    return MEMBERS[request.param]


def screened(
    network: Prunable, share: float = 0.9, *, moves: tuple[str, ...] = ("channels",), criterion: str = "l2"
) -> list[Candidate]:
    """All candidates that come to a share of the network's MACs."""
    proposals = network.propose(MACS, target=share * MACS.cost(network.graph), floor=0.0, moves=moves)
    return network.screen(proposals, Screening(IMAGES, 40, criterion, by_loss, "cpu"))


def by_loss(place: int, found: Screened) -> tuple[float, ...]:
    return (-found.images, found.loss)


def state_of(network: Prunable) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in network.module.state_dict().items()}


def test_proposals_meet_the_target_stay_above_the_floor_and_cost_what_they_say(member: Member) -> None:
    network = member.make()
    whole = MACS.cost(network.graph)
    found = network.propose(MACS, target=0.9 * whole, floor=0.5 * whole, moves=member.moves)
    assert {proposal.move for proposal in found} >= {"channels"}
    assert len({proposal.name for proposal in found}) == len(found)
    candidates = network.screen(found, Screening(IMAGES, 40, "l2", by_loss, "cpu"))
    for proposal, candidate in zip(found, candidates, strict=True):
        assert candidate.proposal is proposal
        assert 0.5 * whole <= proposal.cost <= 0.9 * whole
        assert proposal.cost == pytest.approx(MACS.cost(candidate.make().graph))


def test_a_move_that_was_not_allowed_is_not_proposed(member: Member) -> None:
    network = member.make()
    assert network.propose(MACS, target=0.9 * MACS.cost(network.graph), floor=0.0, moves=()) == []


def test_a_candidate_is_the_network_that_its_record_names(member: Member) -> None:
    for candidate in screened(member.make(), moves=member.moves):
        network, total = candidate.make(), costs(candidate.make().graph)
        assert network.fingerprint == candidate.fingerprint == candidate.record.fingerprint
        assert (candidate.record.params, candidate.record.macs) == (total.params, total.macs)
        assert candidate.record.spec == (network.spec.to_json() if network.spec else "")
        assert candidate.record.name == candidate.proposal.name
        assert not network.module.training


def test_screening_is_the_accuracy_that_the_network_has(member: Member) -> None:
    network = member.make()
    for candidate in screened(network)[:3]:
        split = IMAGES.validation
        assert candidate.screened.before == pytest.approx(evaluate(network.module, split), abs=1e-6)
        if candidate.screened.images == len(split):
            accuracy = evaluate(candidate.make().module, split)
            assert candidate.record.screened == candidate.screened.accuracy == pytest.approx(accuracy, abs=1e-6)


def test_no_step_changes_the_network_that_it_begins_at(member: Member) -> None:
    for criterion in member.criteria:
        network = member.make()
        before = state_of(network)
        for candidate in screened(network, moves=member.moves, criterion=criterion):
            with torch.no_grad():
                for parameter in candidate.make().module.parameters():
                    parameter.zero_()
        assert before.keys() == state_of(network).keys()
        assert all(torch.equal(tensor, before[name]) for name, tensor in state_of(network).items())


def test_steps_can_follow_each_other_down_to_the_smallest(member: Member) -> None:
    """About: groups are cut one by one, and what each can come to is known before."""
    network = member.make()
    least = network.smallest(MACS, member.moves)
    assert 0 < least < MACS.cost(network.graph)
    for _ in range(3):
        candidates = screened(network, moves=member.moves)
        if not candidates:
            break
        after = min(candidates, key=lambda candidate: candidate.proposal.cost).make()
        assert MACS.cost(after.graph) < MACS.cost(network.graph)
        network = after
    assert MACS.cost(network.graph) >= least


def test_the_fingerprint_is_of_the_structure_not_of_the_weights(member: Member) -> None:
    one, other = member.make(), member.make()
    with torch.no_grad():
        next(other.module.parameters()).zero_()
    assert one.fingerprint == other.fingerprint
    assert all(candidate.fingerprint != one.fingerprint for candidate in screened(one))


def test_its_groups_say_what_is_fixed(member: Member) -> None:
    network = member.make()
    groups = network.groups()
    assert any(group.counts for group in groups)
    assert all(group.fixed for group in groups if not group.counts)
    assert isinstance(in_the_way(groups), dict)
