"""NetAdapt for a torch module that is not of this project: traced, pruned by its channel groups, handed back."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from search.data import Split
from search.netadapt.costing import Costing
from search.netadapt.proposals import most_channels
from search.netadapt.timing import DeviceTimer, Timing
from search.netadapt.tune import first, short_recipe
from search.train import Recipe, evaluate
from search.train import train as fit
from searchspace.coupling import ChannelGroup
from searchspace.descent import kept_units
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.nn.trace import TracedNetwork, trace

SCREEN_IMAGES = 1000
HALVINGS = 6


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
    way."""

    module: nn.Module
    steps: tuple[ModuleStep, ...]
    fixed: dict[str, str]


def prune_module(
    module: nn.Module, *, train: Split, validation: Split, costing: Costing, budget: float, resolution: int,
    recipe: Recipe | None = None, step: float = 0.05, decay: float = 0.98, shortlist: int = 4, short_steps: int = 40,
    images: int = 2000, seed: int = 0, timer: DeviceTimer | None = None,
    line: Callable[[str], None] = lambda text: None,
) -> PrunedModule:  # fmt: skip
    """A copy of a trained classifier, narrowed group by group until it costs no more than `budget`.

    module: takes (batch, channels, height, width) as `search.augment.normalise` gives images, returns (batch, classes);
    it is traced by torch.fx at `resolution` pixels, where it is priced. Channels stay by the L2 norm of their filters.
    The cost is what `costing` says; with a `timer` a cut that measures slower is not taken. Train the result on before
    you use it. Nothing is kept on disk. Raises UnsupportedModule naming the node that cannot be read, InfeasibleBudget.
    """
    if not budget > 0:
        raise InvalidArgument(f"the budget must be above 0, got {budget:g}")
    now = trace(copy.deepcopy(module).eval(), resolution=resolution)
    classes, needed = now.graph.layers[-1].out_shape[0], 1 + max(int(train.labels.max()), int(validation.labels.max()))
    if classes < needed:
        raise InvalidArgument(
            f"the images have {needed} classes and the module tells {classes} apart: give the data that it was "
            "trained on"
        )
    start = cost = costing.of(now.graph)
    short = short_recipe(recipe or Recipe(), short_steps) if short_steps else None
    screened, compared = first(validation, SCREEN_IMAGES), first(validation, images)
    steps: list[ModuleStep] = []
    reduction = step * start
    while cost > budget:
        offers = _offers(now, costing, cost, max(budget, cost - reduction), reduction)
        if not offers:
            raise InfeasibleBudget(
                f"no channel group of the module can be cut further at {costing.text(cost)}, and the budget is "
                f"{costing.text(budget)}: raise it; what stands in the way: {_fixed(now) or 'nothing but the channels'}"
            )
        cuts = [_cut(now, group, channels) for group, channels, _ in offers]
        ranked = sorted(range(len(cuts)), key=lambda at: -evaluate(cuts[at].module, screened))[:shortlist]
        accuracies = [_tuned(cuts[at].module, train, compared, short, seed + len(steps)) for at in ranked]
        for _, at in sorted(zip(accuracies, ranked, strict=True), key=lambda pair: -pair[0]):
            timing = timer.modules(now.module, cuts[at].module, resolution) if timer else None
            if timing is None or timing.faster:
                break
            line(f"{offers[at][0].name} to {offers[at][1]} channels would be slower, the next is taken")
        else:
            reduction *= 2
            if reduction > start:
                raise InfeasibleBudget(f"every cut below {costing.text(cost)} measures slower on this device")
            continue
        now, cost = cuts[at], offers[at][2]
        steps.append(ModuleStep(offers[at][0].name, offers[at][1], cost, accuracies[ranked.index(at)], timing))
        line(f"{steps[-1].group} to {steps[-1].channels} channels: {costing.text(cost)}, {steps[-1].accuracy:.1%}")
        reduction = step * start * decay ** len(steps)
    return PrunedModule(now.module.eval(), tuple(steps), _fixed(now))


def _offers(
    now: TracedNetwork, costing: Costing, cost: float, target: float, reduction: float
) -> list[tuple[ChannelGroup, int, float]]:
    """(group, channels, cost after it) of every group that meets the target, or half the reduction, and so on."""
    for halving in range(HALVINGS + 1):
        saving = max(cost - target, 0.0) if not halving else reduction / 2**halving
        found = []
        for group in now.groups():
            channels = most_channels(now.graph, group, costing, saving)
            if channels is not None:
                found.append((group, channels, cost - costing.narrowed(now.graph, group, channels)))
        if found:
            return found
    return []


def _tuned(module: nn.Module, images: Split, compared: Split, recipe: Recipe | None, seed: int) -> float:
    """The accuracy after a short training, in place."""
    if recipe is None:
        return evaluate(module, compared)
    return fit(module, train=images, validation=compared, recipe=recipe, seed=seed).accuracy


def _cut(now: TracedNetwork, group: ChannelGroup, channels: int) -> TracedNetwork:
    return now.cut(group.name, sorted(kept_units(group, channels, _norms(now, group))))


@torch.no_grad()
def _norms(now: TracedNetwork, group: ChannelGroup) -> list[float]:
    """L2 norm of each unit's filters, each layer's mean being 1."""
    total = torch.zeros(len(group.cells))
    for place in group.makers:
        weight = now.module.get_parameter(f"{now.modules_of(place.layer)[0]}.weight")
        own = weight.flatten(1).norm(dim=1).cpu()[list(place.positions)]
        total[list(place.units)] += own / own.mean().clamp(min=1e-12)
    return [float(value) for value in total]


def _fixed(now: TracedNetwork) -> dict[str, str]:
    ends = ("it holds the network's input", "it holds the network's classes")
    return {group.name: group.fixed for group in now.groups() if group.fixed and group.fixed not in ends}
