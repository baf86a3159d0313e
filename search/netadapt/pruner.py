"""The algorithm: iteration by iteration down to the budget, each time by the proposal that keeps the most accuracy.

Algorithm 1 of NetAdapt (arXiv:1804.03230): an iteration asks for a reduction, which decays. For each channel group, a
proposal keeps as many channels as meet it. The proposals are trained briefly and the most accurate is accepted.
MobileNetV3's variant (arXiv:1905.02244, section 4.2) asks for a small constant reduction and accepts the proposal that
loses the least accuracy for its reduction. This one differs from both:

- Proposals are ranked without training first, and only the best few are trained.
- Other moves than channels can be proposed.
- What a proposal reduces beyond what was asked for counts, at the price in accuracy that the way so far had.
- A proposal is accepted only if it is measured not to be slower than what it replaces. From then on costs are
  measured ones, and the table says only how they change.
"""

from collections.abc import Sequence
from typing import Any

import torch

from search.latency.measurement import Measurement
from search.netadapt.history import RecordedTimer
from search.netadapt.job import Job
from search.netadapt.proposals import HALVINGS, Proposal
from search.netadapt.prunable import Candidate, Prunable, Screening
from search.netadapt.records import Iteration, ProposalRecord
from search.netadapt.screen import SCREEN_IMAGES, Rank, Screened
from search.netadapt.selection import Selection
from search.netadapt.short_training import ShortTraining, first
from search.netadapt.trials import add_trials
from search.training.evaluate import evaluate
from searchspace.channels.groups import in_the_way
from searchspace.errors import InfeasibleBudget

USED = 0.955  # of a budget: proposals that would leave more of it unused are not made
SETTLED = 0.995  # of a measured budget: from here on the network is measured by itself
REFUSALS = 4  # times that an iteration asks for twice the reduction because everything measured slower


class Pruner:
    """One pruning of a Prunable, going on where its job's history ends. `train` trains proposals."""

    def __init__(self, job: Job, train: ShortTraining) -> None:
        self._job, self._settings, self._history = job, job.settings, job.history
        self._timer = RecordedTimer(job.timer, job.history, job.replay)
        self.selection = Selection(job, self._timer, train)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def run(self) -> None:
        """Prune until the smallest budget is met. Raises InfeasibleBudget where it cannot be; the history stays."""
        network = self.begin()
        while self._job.budgets_left:
            if self._job.too_late():
                cost = self._job.cost_model.text(self._history.iterations[-1].cost)
                raise InfeasibleBudget(f"there is no time to prune further than to {cost}")
            iteration, network = self._iterate(network)
            self._commit(iteration, network)

    def begin(self) -> Prunable:
        """The network to go on with; the job's network becomes iteration 0 if there is none yet."""
        if self._history.iterations:
            return self._history.network(len(self._history.iterations) - 1)
        start = self._job.inputs.network
        measured = self._timer.alone(start)
        cost = measured.latency_ms if measured else self._job.cost_model.cost(start.graph)
        met = self._job.met(self._settings.limits, cost, measured, start.graph)
        check_reachable(self._job, start, cost, [budget for budget in self._settings.limits if budget not in met])
        accuracy = self._accuracy(start)
        zero = Iteration(
            number=0, spec=start.spec, cost=cost, accuracy=accuracy, target=cost, measured=measured, reached=met
        )
        self._commit(zero, start)
        return start

    def _commit(self, iteration: Iteration, network: Prunable) -> None:
        self._history.commit(iteration, network)
        add_trials(self._job)
        what = iteration.accepted.name if iteration.accepted else "start"
        cost = self._job.cost_model.text(iteration.cost)
        self._job.progress.line(f"{iteration.number}: {what}: {cost}, {iteration.accuracy:.1%} validation accuracy")

    def _accuracy(self, network: Prunable) -> float:
        split = first(self._job.inputs.images.validation, self._settings.validation_images)
        found = evaluate(network.module, split, device=self._device, pixels=self._job.inputs.pixels)
        network.module.cpu()
        return found

    def _iterate(self, network: Prunable) -> tuple[Iteration, Prunable]:
        """One iteration: its record, and the network after it."""
        number, before = len(self._history.iterations), self._history.iterations[-1]
        step, decay = self._settings.reduction
        reduction = step * self._history.iterations[0].cost * decay ** (number - 1)
        records: list[ProposalRecord] = []
        for _ in range(REFUSALS):
            refused = {record.name for record in records if record.refused}
            target, proposals = self._propose(network, before.cost, reduction, refused)
            candidates = self.screened(network, proposals)
            after = self.selection.accept(network, candidates, target)
            records += [candidate.record for candidate in candidates]
            if after is not None:
                accepted = next(record for record in records if record.accepted)
                cost, measured, reached = self._settle(before.cost, accepted, after)
                return Iteration(
                    number=number,
                    spec=after.spec,
                    cost=cost,
                    accuracy=self._accuracy(after) if accepted.accuracy is None else accepted.accuracy,
                    target=target,
                    measured=measured,
                    reached=reached,
                    proposals=tuple(records),
                ), after
            reduction *= 2
        raise self._stuck(before.cost, sum(record.refused for record in records))

    def _propose(
        self, network: Prunable, cost: float, reduction: float, refused: set[str]
    ) -> tuple[float, list[Proposal[Any]]]:
        """The cost asked for and the proposals that meet it, priced in measured terms.

        Where there are none, those for half the reduction, and so on; then those that go further below the budget than
        wanted.
        """
        model, moves = self._job.cost_model, self._settings.moves
        limit = self._job.limit(self._job.budgets_left[0], network.graph)
        factor = cost / model.cost(network.graph)
        goal = min(self._job.goal(network.graph), cost - reduction / 2**HALVINGS)
        for floor in (limit * USED, 0.0):
            for halving in range(HALVINGS + 1):
                target = max(goal, cost - reduction / 2**halving)
                found = network.propose(model, target=target / factor, floor=floor / factor, moves=moves)
                found = [each._replace(cost=each.cost * factor) for each in found if each.name not in refused]
                if found:
                    return target, found
        if refused:
            raise self._stuck(cost, len(refused))
        raise InfeasibleBudget(
            f"nothing that --moves {','.join(moves)} allows makes the network cheaper than {model.text(cost)}: raise "
            f"the budget, or allow more --moves{_obstacles(network)}"
        )

    def _stuck(self, cost: float, refused: int) -> InfeasibleBudget:
        number, folder = len(self._history.iterations), self._history.folder
        take = f", or take that of the last iteration, {folder / f'{number - 1:03d}.json'}" if folder else ""
        return InfeasibleBudget(
            f"all {refused} ways to make the network cheaper than {self._job.cost_model.text(cost)} that were tried in "
            f"iteration {number} measure slower on this device or cannot be trained: begin with another network{take}"
        )

    def screened(self, network: Prunable, proposals: Sequence[Proposal[Any]]) -> list[Candidate]:
        """The proposals made ready, best first by what they are worth before any training."""

        def rank(place: int, found: Screened) -> Rank:
            worth = self.selection.worth(proposals[place].cost, found.accuracy, found.before)
            return -found.images, -worth, found.loss

        count = min(SCREEN_IMAGES, self._settings.validation_images)
        inputs = self._job.inputs
        how = Screening(inputs.images, count, self._settings.criterion, rank, self._device, inputs.pixels)
        candidates = network.screen(proposals, how)
        order = sorted(range(len(candidates)), key=lambda place: rank(place, candidates[place].screened))
        return [candidates[place] for place in order]

    def _settle(
        self, before: float, accepted: ProposalRecord, after: Prunable
    ) -> tuple[float, Measurement | None, tuple[float, ...]]:
        """The cost after an iteration, its measurement by itself near a budget, the budgets that it meets."""
        left = self._job.budgets_left
        if accepted.timing is None:
            return accepted.cost, None, self._job.met(left, accepted.cost, None, after.graph)
        cost = before * accepted.timing.ratio
        if cost > left[0] * SETTLED:
            return cost, None, ()
        measured = self._timer.alone(after)
        cost = measured.latency_ms if measured else cost
        return cost, measured, self._job.met(left, cost, measured, after.graph)


def check_reachable(job: Job, start: Prunable, cost: float, budgets: Sequence[float]) -> None:
    """Raises InfeasibleBudget where pruning cannot bring a network that costs `cost` to the smallest of the budgets."""
    if not budgets:
        return
    model, moves, smallest = job.cost_model, job.settings.moves, min(budgets)
    least = start.smallest(model, moves) * cost / model.cost(start.graph)
    limit = job.limit(smallest, start.graph)
    if least > limit:
        surely = "" if limit == smallest else f" (by this table's error a prediction of {model.text(limit)})"
        raise InfeasibleBudget(
            f"the budget must be one that pruning can reach, got {model.text(smallest)}{surely}: with "
            f"--moves {','.join(moves)} this network comes down to {model.text(least)} at the least; "
            f"raise the budget, allow more --moves, or begin with a smaller network{_obstacles(start)}"
        )


def prune(job: Job) -> None:
    """Prune down to the smallest budget. Raises InfeasibleBudget."""
    for name, why in in_the_way(job.inputs.network.groups()).items():
        job.progress.line(f"{name} is not pruned: {why}")
    add_trials(job)
    with job.short_training() as train:
        Pruner(job, train).run()


def _obstacles(network: Prunable) -> str:
    found = in_the_way(network.groups())
    return f"; not to be pruned: {', '.join(f'{name} ({why})' for name, why in found.items())}" if found else ""
