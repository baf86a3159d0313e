"""NetAdapt for a torch module that is not of this project: traced, pruned by its channel groups, handed back."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from search.budget import CostModel
from search.data import Split
from search.latency.measurement import AIM, Measurement
from search.latency.runtimes import is_here
from search.netadapt.proposals import HALVINGS, most_channels
from search.netadapt.screen import SCREEN_IMAGES
from search.netadapt.short_training import first, short_recipe
from search.netadapt.timing import DeviceTimer, Timing
from search.training.trainer import Recipe, TrainingDiverged, evaluate
from search.training.trainer import train as fit
from searchspace.channels.groups import ChannelGroup, in_the_way
from searchspace.channels.steps import kept_units
from searchspace.errors import InfeasibleBudget, InvalidArgument, UnsupportedModule
from searchspace.nn.tracing.trace import TracedNetwork, trace
from searchspace.nn.weights.importance import filter_norms, group_scores


class ModuleStep(NamedTuple):
    """One accepted cut: the group, the channels it has left, the cost and the validation accuracy after it, and the
    paired timing test it passed (None where nothing was timed)."""

    group: str
    channels: int
    cost: float
    accuracy: float
    timing: Timing | None


class PrunedModule(NamedTuple):
    """`module` is a pruned copy in eval mode; `fixed` says of channel groups that could not be cut what stands in the
    way; `measured` is its latency (None where nothing was timed)."""

    module: nn.Module
    steps: tuple[ModuleStep, ...]
    fixed: dict[str, str]
    measured: Measurement | None


def prune_module(
    module: nn.Module,
    *,
    train: Split,
    validation: Split,
    cost_model: CostModel,
    budget: float,
    resolution: int,
    recipe: Recipe | None = None,
    step: float = 0.05,
    decay: float = 0.98,
    shortlist: int = 4,
    short_steps: int = 40,
    validation_images: int = 2000,
    seed: int = 0,
    timer: DeviceTimer | None = None,
    line: Callable[[str], None] = lambda text: None,
) -> PrunedModule:
    """A copy of a trained classifier, narrowed group by group until it costs no more than `budget`.

    module: takes (batch, channels, height, width) as `search.training.augmentation.normalise` gives images, returns
    (batch, classes);
    it is traced by torch.fx at `resolution` pixels, where it is priced. Only channels go; those stay whose filters have
    the largest L2 norm.
    The cost is what `cost_model` says. Where that is by a latency table of this machine (or with a `timer`), a cut that
    measures slower is not taken, and it ends where the module measures within the budget. Train the result on before
    you use it. Nothing is kept on disk. Raises UnsupportedModule naming the node that cannot be read, InfeasibleBudget,
    InvalidArgument for this machine's table of a runtime that runs only this project's networks (ONNX Runtime,
    OpenVINO).
    """
    table = cost_model.table
    if timer is None and table is not None and is_here(table.identity):
        timer = DeviceTimer(table, seed=seed)
    if not budget > 0:
        raise InvalidArgument(f"the budget must be above 0, got {budget:g}")
    now = trace(copy.deepcopy(module).eval(), resolution=resolution)
    classes, needed = now.graph.layers[-1].out_shape[0], 1 + max(int(train.labels.max()), int(validation.labels.max()))
    if classes < needed:
        raise InvalidArgument(
            f"the images have {needed} classes and the module tells {classes} apart: give the data that it was "
            "trained on"
        )
    if timer is not None:
        timer.check(now.module, resolution)
    cost = cost_model.cost(now.graph)
    job = _Job(
        train=train,
        screened=first(validation, SCREEN_IMAGES),
        compared=first(validation, validation_images),
        recipe=short_recipe(recipe or Recipe(), short_steps, len(train)) if short_steps else None,
        cost_model=cost_model,
        budget=budget,
        shortlist=shortlist,
        timer=timer,
        resolution=resolution,
        seed=seed,
        line=line,
    )
    steps: list[ModuleStep] = []
    reduction = longest = step * cost
    most = cost
    refused: set[tuple[str, int]] = set()
    while True:
        if cost <= job.budget:
            measured = timer.module(now.module, resolution) if timer else None
            if measured is None or cost_model.unit != "ms" or measured.surely_ms <= budget:
                break
            job = replace(job, budget=AIM * budget * cost / measured.latency_ms)  # what the table calls it
            line(f"measures {cost_model.text(measured.latency_ms)}, a little over the budget: on")
        taken = job.step(now, cost, reduction, refused, number=len(steps))
        if taken is not None:
            now, done = taken
            cost = done.cost
            steps.append(done)
            line(f"{done.group} to {done.channels} channels: {cost_model.text(cost)}, {done.accuracy:.1%}")
            reduction = longest * decay ** len(steps)
            refused.clear()
        elif (reduction := 2 * reduction) > most:
            raise job.refusal(cost, refused)
    return PrunedModule(now.module.eval(), tuple(steps), in_the_way(now.groups()), measured)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What stays the same over a descent. recipe: of the short trainings, None for none."""

    train: Split
    screened: Split
    compared: Split
    recipe: Recipe | None
    cost_model: CostModel
    budget: float
    shortlist: int
    timer: DeviceTimer | None
    resolution: int
    seed: int
    line: Callable[[str], None]

    def step(
        self, now: TracedNetwork, cost: float, reduction: float, refused: set[tuple[str, int]], *, number: int
    ) -> tuple[TracedNetwork, ModuleStep] | None:
        """The most accurate cut that is not slower; None where all that were trained are, or diverged: they are added
        to `refused`, (group, channels) that are not offered. Raises InfeasibleBudget."""
        offers = self._offers(now, cost, reduction, refused)
        ranked = sorted(offers, key=lambda offer: -evaluate(offer.network.module, self.screened))[: self.shortlist]
        accuracies = [self._tuned(offer.network.module, self.seed + number) for offer in ranked]
        refused |= {(offer.group, offer.channels) for offer in ranked}
        tuned = [(found, offer) for found, offer in zip(accuracies, ranked, strict=True) if found is not None]
        for accuracy, offer in sorted(tuned, key=lambda pair: -pair[0]):
            timing = self.timer.modules(now.module, offer.network.module, self.resolution) if self.timer else None
            if timing is None or timing.faster:
                return offer.network, ModuleStep(offer.group, offer.channels, offer.cost, accuracy, timing)
            self.line(f"{offer.group} to {offer.channels} channels would be slower, the next is taken")
        return None

    def refusal(self, cost: float, refused: set[tuple[str, int]]) -> InfeasibleBudget:
        """What to raise where cuts would do that were refused."""
        return InfeasibleBudget(
            f"every cut below {self.cost_model.text(cost)} measures slower on this device or cannot be trained "
            f"({len(refused)} were tried), and the budget is {self.cost_model.text(self.budget)}: raise it"
        )

    def _offers(
        self, now: TracedNetwork, cost: float, reduction: float, refused: set[tuple[str, int]]
    ) -> "list[_Offer]":
        """A cut of every group that reaches the budget or saves the reduction, else half of it, and so on."""
        for halving in range(HALVINGS + 1):
            saving = min(reduction / 2**halving, cost - self.budget)
            found = [self._offer(now, group, cost, saving, refused) for group in now.groups()]
            if any(found):
                return [offer for offer in found if offer is not None]
        if refused:
            raise self.refusal(cost, refused)
        raise InfeasibleBudget(
            f"no channel group of the module can be cut further at {self.cost_model.text(cost)}, and the budget is "
            f"{self.cost_model.text(self.budget)}: raise it; what stands in the way: "
            f"{in_the_way(now.groups()) or 'nothing but the channels'}"
        )

    def _offer(
        self, now: TracedNetwork, group: ChannelGroup, cost: float, saving: float, refused: set[tuple[str, int]]
    ) -> "_Offer | None":
        channels = most_channels(now.graph, group, self.cost_model, saving)
        if channels is None or (group.name, channels) in refused:
            return None

        def norms(layer: int) -> Tensor:
            return filter_norms(now.module.get_submodule(now.modules_of(layer)[0]))

        kept = kept_units(group, channels, group_scores(group, norms))
        try:
            network = now.cut(group.name, sorted(kept))
        except UnsupportedModule as error:
            self.line(f"{group.name} is left as it is: {error}")
            return None
        return _Offer(group.name, channels, cost - self.cost_model.narrowed(now.graph, group, channels), network)

    def _tuned(self, module: nn.Module, seed: int) -> float | None:
        """The accuracy after a short training, in place; None where it diverged."""
        if self.recipe is None:
            return evaluate(module, self.compared)
        try:
            return fit(module, train=self.train, validation=self.compared, recipe=self.recipe, seed=seed).accuracy
        except TrainingDiverged as error:
            self.line(f"a cut is not taken: {error}")
            return None


class _Offer(NamedTuple):
    """A cut that was made: the group, the channels it has left, what the network costs then, the network."""

    group: str
    channels: int
    cost: float
    network: TracedNetwork
