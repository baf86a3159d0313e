"""The algorithm: step by step down to the budget, each time by the proposal that keeps the most accuracy.

Algorithm 1 of NetAdapt (arXiv:1804.03230): an iteration asks for a reduction, which decays; each channel group offers
as many channels as meet it; the offers are trained briefly and the most accurate is taken. MobileNetV3's variant
(arXiv:1905.02244, section 4.2) asks for a small constant reduction and takes the offer that loses the least accuracy
for its reduction. Differs from both: offers are ranked without training first and only the best few are trained; other
moves than channels can be offered; what an offer reduces beyond what was asked for counts, at the price in accuracy
that the way so far had; an offer is taken only if it is measured not to be slower than what it replaces,
and costs are measured ones from then on, the table says only how they change.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.data import Dataset
from search.latency.measurement import AIM, Measurement
from search.netadapt.history import History, Iteration, Tried
from search.netadapt.proposals import HALVINGS, Proposal, propose, smallest
from search.netadapt.removals import is_unbridged, removal_losses
from search.netadapt.screen import Look, Rank, batch_for, screen
from search.netadapt.short_training import Tuner, first
from search.netadapt.timing import PairedTimer, Timing, key
from search.training.augmentation import normalise
from search.training.trainer import evaluate
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.maps import Scores
from searchspace.channels.steps import Step
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget
from searchspace.graph import lower
from searchspace.nn import Network
from searchspace.nn.weights.importance import mean_gates, scores
from searchspace.nn.weights.prune import Gates, prune_network
from searchspace.spec import NetworkSpec

USED = 0.955  # of a budget: offers that would leave more of it unused are not made
LEAST_USED = 0.95  # of a budget: offers that measure below it are taken only where no other will do
SETTLED = 0.995  # of a measured budget: from here on the network is measured by itself
REFUSALS = 4  # times that an iteration asks for twice the reduction because everything measured slower
TESTS = 6  # timing tests of an iteration before it asks for more
GATE_IMAGES = 256
TAYLOR_BATCHES = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked for. `budgets` fall; `step`: of the start's cost, the first iteration's reduction, which is
    multiplied by `decay` from one to the next; `by_ratio`: take what loses the least accuracy for its reduction, else
    the most accurate (see the top of this file); `shortlist`: offers that are trained; `images`: of the validation
    split that accuracy is of; `confidence`: with which a network that is only predicted must measure within a budget,
    0.5 to take a prediction as it is."""

    cost_model: CostModel
    budgets: tuple[float, ...]
    moves: tuple[str, ...]
    criterion: str
    by_ratio: bool
    step: float
    decay: float
    shortlist: int
    trains: bool
    images: int
    screen_images: int
    seed: int
    confidence: float = DEFAULT_CONFIDENCE


class Refiner:
    """One refinement, going on where its history ends."""

    def __init__(
        self,
        plan: Plan,
        images: Dataset,
        timer: PairedTimer | None,
        history: History,
        tuner: Tuner,
        *,
        progress: Callable[[float, str], None],
        line: Callable[[str], None],
        kept: Callable[[Iteration], None],
    ) -> None:
        self.plan, self.images, self.timer, self.history, self.tune = plan, images, timer, history, tuner
        self._progress, self._line, self._kept = progress, line, kept
        self._validation = first(images.validation, plan.images)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def run(self, start: Network) -> None:
        """Until the smallest budget is met. Raises InfeasibleBudget where it cannot be; what was reached is kept."""
        network = self._begin(start)
        while self._budgets_left():
            number = len(self.history.iterations)
            iteration, network = self._iterate(number, network)
            self.history.commit(iteration, network)
            self._kept(iteration)
            self._tell(iteration)

    def _begin(self, start: Network) -> Network:
        """The network to go on with; the start as iteration 0 if there is none yet."""
        if self.history.iterations:
            return self.history.network(len(self.history.iterations) - 1)
        measured = self._measured(start.spec)
        cost = measured.latency_ms if measured else self.plan.cost_model.cost(lower(start.spec))
        met = self._met(self.plan.budgets, cost, measured, start.spec)
        self._check_reachable(start, cost, [budget for budget in self.plan.budgets if budget not in met])
        zero = Iteration(
            number=0,
            spec=start.spec,
            cost=cost,
            accuracy=evaluate(start, self._validation, device=self._device),
            target=cost,
            measured=measured,
            reached=met,
        )
        self.history.commit(zero, start.cpu())
        self._kept(zero)
        self._tell(zero)
        return start

    def _check_reachable(self, start: Network, cost: float, budgets: Sequence[float]) -> None:
        cost_model = self.plan.cost_model
        if not budgets:
            return
        least = smallest(start.spec, cost_model, self.plan.moves) * cost / cost_model.cost(lower(start.spec))
        limit = self._limit(min(budgets), start.spec)
        if least > limit:
            surely = (
                "" if limit == min(budgets) else f" (by this table's error a prediction of {cost_model.text(limit)})"
            )
            raise InfeasibleBudget(
                f"the budget must be one that pruning can reach, got {cost_model.text(min(budgets))}{surely}: with "
                f"--moves {','.join(self.plan.moves)} this network comes down to {cost_model.text(least)} at the "
                "least; raise the budget, allow more --moves, or begin with a smaller network"
            )

    def _limit(self, budget: float, spec: NetworkSpec) -> float:
        """What a network must come to: the budget, or, where nothing is measured, the largest prediction whose network
        measures within it with the plan's confidence. `spec` says how sure predictions are: less where more kernels are
        estimated."""
        table = self.plan.cost_model.table
        if self.timer is not None or table is None:
            return budget
        found = table.predict(spec, 2 * self.plan.confidence - 1)
        return budget * found.latency_ms / found.high_ms

    def _met(
        self, budgets: Sequence[float], cost: float, measured: Measurement | None, spec: NetworkSpec
    ) -> tuple[float, ...]:
        """The budgets that are surely met."""
        if measured is None:
            return tuple(budget for budget in budgets if cost <= self._limit(budget, spec))
        return tuple(budget for budget in budgets if measured.surely_ms <= budget)

    def _budgets_left(self) -> list[float]:
        met = {budget for iteration in self.history.iterations for budget in iteration.reached}
        return [budget for budget in self.plan.budgets if budget not in met]

    def _tell(self, iteration: Iteration) -> None:
        text = self.plan.cost_model.text(iteration.cost)
        taken = iteration.accepted
        what = taken.name if taken else "start"
        self._line(f"{iteration.number}: {what}: {text}, {iteration.accuracy:.1%} validation accuracy")

    def share(self) -> float:
        """How far the descent has come, from 0 to 1."""
        start, now = self.history.iterations[0].cost, self.history.iterations[-1].cost
        end = self._limit(self.plan.budgets[-1], self.history.iterations[-1].spec)
        return 1.0 if start <= end else min(1.0, max(0.0, (start - now) / (start - end)))

    def _iterate(self, number: int, network: Network) -> tuple[Iteration, Network]:
        """One iteration: (its record, the network after it)."""
        before = self.history.iterations[-1]
        reduction = self.plan.step * self.history.iterations[0].cost * self.plan.decay ** (number - 1)
        tried: list[Tried] = []
        for _ in range(REFUSALS):
            target, proposals = self._proposals(network, before.cost, reduction, {one.name for one in _refused(tried)})
            offers = self._offers(network, proposals)
            after = self._take_best(_About(number, target, offers), network)
            tried += [offer.row for offer in offers]
            if after is not None:
                taken = next(one for one in tried if one.accepted)
                cost, measured, reached = self._settle(before.cost, taken, after)
                return Iteration(
                    number=number,
                    spec=after.spec,
                    cost=cost,
                    accuracy=self._accuracy(taken, after),
                    target=target,
                    measured=measured,
                    reached=reached,
                    tried=tuple(tried),
                ), after
            reduction *= 2
        raise self._stuck(before.cost, len(_refused(tried)))

    def _accuracy(self, taken: Tried, after: Network) -> float:
        """On the images that the start's is of, also where nothing is trained."""
        if taken.accuracy is not None:
            return taken.accuracy
        found = evaluate(after, self._validation, device=self._device)
        after.cpu()
        return found

    def _stuck(self, cost: float, refused: int) -> InfeasibleBudget:
        """What to raise where nothing that was tried is taken."""
        number = len(self.history.iterations)
        return InfeasibleBudget(
            f"all {refused} ways to make the network cheaper than {self.plan.cost_model.text(cost)} that were tried in "
            f"iteration {number} measure slower on this device or cannot be trained: begin with another network, or "
            f"take that of the last iteration, {self.history.folder / f'{number - 1:03d}.json'}"
        )

    def _proposals(
        self, network: Network, cost: float, reduction: float, refused: set[str]
    ) -> tuple[float, list[Proposal]]:
        """(the cost asked for, what meets it, priced in measured terms). Where nothing does, for half the reduction,
        and so on; then what goes further below the budget than wanted."""
        cost_model = self.plan.cost_model
        goal = self._limit(self._budgets_left()[0], network.spec)
        factor = cost / cost_model.cost(lower(network.spec))
        aim = min(self._goal(), cost - reduction / 2**HALVINGS)
        for floor in (goal * USED, 0.0):
            for halving in range(HALVINGS + 1):
                target = max(aim, cost - reduction / 2**halving)
                found = propose(
                    network.spec, cost_model, target=target / factor, floor=floor / factor, moves=self.plan.moves
                )
                found = [each._replace(cost=each.cost * factor) for each in found if each.name not in refused]
                if found:
                    return target, found
        if refused:
            raise self._stuck(cost, len(refused))
        raise InfeasibleBudget(
            f"nothing that --moves {','.join(self.plan.moves)} allows makes the network cheaper than "
            f"{cost_model.text(cost)}: raise the budget, or allow more --moves"
        )

    def _offers(self, network: Network, proposals: Sequence[Proposal]) -> "list[_Offer]":
        """The proposals with their steps and what they are worth before any training, best first."""
        network.cpu().eval()
        known: dict[str, Scores] = {}
        if self.plan.criterion == "taylor":
            self._gradients(network)

        def score(group: ChannelGroup) -> Scores:
            return known.setdefault(group.name, scores(network, group, self.plan.criterion))

        steps = [proposal.make(score) for proposal in proposals]
        network.zero_grad()
        gates = self._gates(network)

        def rank(place: int, look: Look) -> Rank:
            return -look.images, -self._worth(proposals[place], look.accuracy, look.before), look.loss

        split = first(self.images.validation, self.plan.screen_images)
        looks = screen(network, steps, split, gates=gates, rank=rank, device=self._device)
        order = sorted(range(len(steps)), key=lambda place: rank(place, looks[place]))
        return [
            _Offer(proposals[place], steps[place], gates, _row(proposals[place], steps[place], looks[place].accuracy))
            for place in order
        ]

    def _gates(self, network: Network) -> Gates:
        """The mean gates over some training images, where SE blocks may go; {} where they may not."""
        if "se" not in self.plan.moves:
            return {}
        images = self.images.train.pixels[:GATE_IMAGES]
        size = batch_for(network, images.shape[1])
        batches = [torch.tensor(images[at : at + size]) for at in range(0, len(images), size)]
        found = [(mean_gates(network, normalise(batch)), len(batch) / len(images)) for batch in batches]
        return {layer: torch.stack([gates[layer] * share for gates, share in found]).sum(0) for layer in found[0][0]}

    def _worth(self, proposal: Proposal, accuracy: float, before: float) -> float:
        """What a proposal is looked at by: its accuracy, or what it gains over `before` for its reduction."""
        reduction = self.history.iterations[-1].cost - proposal.cost
        return (accuracy - before) / reduction if self.plan.by_ratio else accuracy

    def _worth_trained(self, offer: "_Offer") -> float:
        """What a trained offer is chosen by: the same, and what goes further down than another has less of the way to
        the budget left, which counts at the price of the way so far."""
        accuracy, before = offer.row.accuracy or 0.0, self.history.iterations[-1].accuracy
        worth = self._worth(offer.proposal, accuracy, before)
        return worth if self.plan.by_ratio else worth - self._price() * max(offer.proposal.cost, self._goal())

    def _price(self) -> float:
        """Accuracy lost for each unit of cost since the start, 0 where none is; not by less than a first step."""
        start, now = self.history.iterations[0], self.history.iterations[-1]
        return max(0.0, start.accuracy - now.accuracy) / max(start.cost - now.cost, self.plan.step * start.cost)

    def _goal(self) -> float:
        """What the network is to come to for the next budget."""
        goal = self._limit(self._budgets_left()[0], self.history.iterations[-1].spec)
        return goal * AIM if self.timer else goal

    def _take_best(self, about: "_About", network: Network) -> Network | None:
        """The network of the best offer that is not slower, and what was found out in the offers' rows; None if all
        that were looked at are slower or diverged."""
        offers, spec = about.offers, network.spec
        trained = self._shortlist(offers) if self.plan.trains else []
        self._train(about, network, trained)
        order = sorted(trained, key=lambda offer: -self._worth_trained(offer))
        too_small: list[_Offer] = []
        others = [offer for offer in offers if offer not in trained]
        for offer in [offer for offer in [*order, *others] if not offer.row.diverged][:TESTS]:
            timing = self._timed(spec, offer.step.spec)
            offer.row = replace(offer.row, timing=timing)
            if timing is not None and not timing.faster:
                self._line(f"   {offer.row.name} would be slower ({timing.ratio:.3f} x), the next is taken")
            elif timing is not None and self._wastes(timing):
                self._line(f"   {offer.row.name} would leave more of the budget than wanted, the next is looked at")
                too_small.append(offer)
            elif (after := self._accept(about, network, offer)) is not None:
                return after
        taken = (self._accept(about, network, offer) for offer in too_small)
        return next((after for after in taken if after is not None), None)

    def _shortlist(self, offers: "list[_Offer]") -> "list[_Offer]":
        """The best of them. A removed block that no sum bridges says nothing before training, as its channels are not
        its input's: of three places or more one is for such a block, for each in turn, those first that save the most,
        then for the one that lost the least when it was trained last."""
        best = offers[: self.plan.shortlist]
        graph = lower(self.history.iterations[-1].spec)
        unbridged = [offer for offer in offers if is_unbridged(graph, offer.step)]
        if len(best) < 3 or not unbridged:
            return best
        lost = removal_losses(self.history.iterations)

        def turn(offer: _Offer) -> tuple[float, float]:
            return lost.get(offer.row.where, -math.inf), offer.row.cost

        chosen = min(unbridged, key=turn)
        return best if chosen in best else [*best[:-1], chosen]

    def _timed(self, before: NetworkSpec, after: NetworkSpec) -> Timing | None:
        """The outcome of a timing test, on disk before the next; None where nothing is timed."""
        if self.timer is None:
            return None
        part, pair = self.history.part(), key(before.fingerprint(), after.fingerprint())
        if pair not in part.timings:
            part.timings[pair] = self.timer.pair(before, after)
            self.history.keep(part)
        return part.timings[pair]

    def _measured(self, spec: NetworkSpec) -> Measurement | None:
        """A network by itself, in the same way."""
        if self.timer is None:
            return None
        part, name = self.history.part(), spec.fingerprint()
        if name not in part.measured:
            part.measured[name] = self.timer.alone(spec)
            self.history.keep(part)
        return part.measured[name]

    def _wastes(self, timing: Timing) -> bool:
        """Whether a network that measures so leaves more of the budget unused than LEAST_USED allows."""
        return self.history.iterations[-1].cost * timing.ratio < LEAST_USED * self._budgets_left()[0]

    def _accept(self, about: "_About", network: Network, offer: "_Offer") -> Network | None:
        """The network of an offer that is taken, trained if offers are; None where that diverges."""
        if self.plan.trains and offer.network is None:
            self._train(about, network, [offer], again=True)
        if offer.row.diverged:
            return None
        offer.row = replace(offer.row, accepted=True)
        return offer.network or prune_network(network, offer.step, gates=offer.gates)

    def _train(self, about: "_About", network: Network, offers: "Sequence[_Offer]", *, again: bool = False) -> None:
        """Short trainings of offers; each is on disk before the next. What an earlier run trained is only noted, until
        its weights are needed (`again`)."""
        part = self.history.part()
        known = part.tuned.setdefault(repr(about.target), {})
        for offer in offers:
            kept = {} if again else known.get(offer.row.name, {})
            offer.row = replace(
                offer.row,
                accuracy=kept.get("accuracy"),
                seconds=kept.get("seconds"),
                diverged=bool(kept.get("diverged")),
            )
        waiting = [offer for offer in offers if offer.row.accuracy is None]
        networks = [prune_network(network, offer.step, gates=offer.gates) for offer in waiting]
        for tuned in self.tune(networks, seed=self.plan.seed + about.number):
            offer = waiting[tuned.place]
            offer.network = tuned.network
            found: dict[str, float] = {"accuracy": tuned.accuracy, "seconds": tuned.seconds, "diverged": tuned.diverged}
            offer.row = replace(offer.row, accuracy=tuned.accuracy, seconds=tuned.seconds, diverged=tuned.diverged)
            known[offer.row.name] = found
            if tuned.diverged:
                self._line(f"   the short training of {offer.row.name} diverged, it is not taken")
            self.history.keep(part)
            self._progress(self.share(), f"iteration {about.number}: {offer.row.name}")

    def _gradients(self, network: Network) -> None:
        """The gradients of the loss over some training images, with batch norm as it is used later."""
        network.zero_grad()
        split, size = self.images.train, 64
        for start in range(0, min(len(split), size * TAYLOR_BATCHES), size):
            batch = normalise(torch.tensor(split.pixels[start : start + size]))
            labels = torch.tensor(split.labels[start : start + size])
            torch.nn.functional.cross_entropy(network(batch), labels).backward()  # type: ignore[no-untyped-call]

    def _settle(
        self, before: float, taken: Tried, after: Network
    ) -> tuple[float, Measurement | None, tuple[float, ...]]:
        """(cost after an accepted step, its measurement by itself near a budget, the budgets that it meets)."""
        left = self._budgets_left()
        if taken.timing is None:
            return taken.cost, None, self._met(left, taken.cost, None, after.spec)
        cost = before * taken.timing.ratio
        if cost > left[0] * SETTLED:
            return cost, None, ()
        measured = self._measured(after.spec)
        cost = measured.latency_ms if measured else cost
        return cost, measured, self._met(left, cost, measured, after.spec)


@dataclass(eq=False)
class _Offer:
    """A proposal made ready; its row and, once trained, its network are filled in as they are found out."""

    proposal: Proposal
    step: Step
    gates: Gates
    row: Tried
    network: Network | None = None


class _About(NamedTuple):
    """An iteration under way."""

    number: int
    target: float
    offers: list[_Offer]


def _refused(tried: Sequence[Tried]) -> list[Tried]:
    """Those of offers none of which was accepted that need not be looked at again."""
    return [one for one in tried if one.timing is not None or one.diverged]


def _row(proposal: Proposal, step: Step, accuracy: float) -> Tried:
    own = costs(step.graph)
    return Tried(
        move=proposal.move,
        where=proposal.where,
        channels=proposal.channels,
        name=proposal.name,
        spec=step.spec.to_json(),
        fingerprint=step.spec.fingerprint(),
        params=own.params,
        macs=own.macs,
        cost=proposal.cost,
        screened=accuracy,
    )
