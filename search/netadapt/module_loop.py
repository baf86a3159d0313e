"""A user's module brought down to a budget: cut by cut, compared by importance, by the user's score, by time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import nn

from search.budget import CostModel
from search.console import Progress
from search.netadapt.module_cuts import Cut, Cuts, further_cuts, narrowest, uncut
from search.netadapt.proposals import HALVINGS
from search.netadapt.pruner import REFUSALS, SETTLED, USED
from search.netadapt.selection import TESTS
from search.netadapt.timing import PairedTimer, Timing
from searchspace.channels.groups import in_the_way
from searchspace.errors import InfeasibleBudget, InvalidArgument, MissingLatency, UnsupportedModule
from searchspace.nn import TracedNetwork

FAST_MULTIPLE = 8  # of channels: kernels fill up vectors, and 17 channels take as long as 24


class ModuleStep(NamedTuple):
    """One cut: its name, the cost after it in the budget's unit, its score if there is one."""

    name: str
    cost: float
    score: float | None = None


class ModuleLoop:
    """`score`, `train` and `timer` may each be absent. Where all are, nothing is cut before the end.

    `cost_model` counts in the budget's unit; with a timer it only says how costs change, and the timer's ms count.

    Attributes:
        network: what is left; after `run` it meets `limit`.
        kept: {group: units that stay, numbered as in the first network}.
        held: {group: why} of groups that are left whole: those of `keep`, and those that cannot be cut.
        steps: the start and each cut.
    """

    def __init__(
        self,
        network: TracedNetwork,
        cost_model: CostModel,
        limit: float,
        *,
        score: Callable[[nn.Module], float] | None,
        train: Callable[[nn.Module], object] | None,
        timer: PairedTimer | None,
        step: float,
        shortlist: int,
        seed: int,
        progress: Progress,
        keep: Mapping[str, str],
    ) -> None:
        self.network, self._model, self._limit = network, cost_model, limit
        self._score, self._train, self._timer = score, train, timer
        self._shortlist, self._seed, self._progress = shortlist, seed, progress
        self._cuts = uncut(network)
        self.kept: dict[str, list[int]] = {}
        self.held = dict(keep)
        self._text = CostModel("ms").text if timer else cost_model.text
        start = timer.alone(network.module).latency_ms if timer else self._counted(self._cuts)
        self.steps = [ModuleStep("start", start)]
        self._reduction = step * start

    def run(self) -> None:
        """Cut until the limit is met. Raises InfeasibleBudget."""
        if self._cost > self._limit:
            self._check_reachable()
        while True:
            while self._cost > self._limit:
                self._iterate()
            if self._is_made(self._cuts):
                break
            self._cuts = self._cuts.without(self.held)
            self.steps.append(ModuleStep("cuts that cannot be made are taken back", self._counted(self._cuts)))
        self._settle()
        self._progress.line(f"{len(self.steps) - 1} cuts: {self._text(self._cost)}")

    @property
    def _cost(self) -> float:
        return self.steps[-1].cost

    def _counted(self, cuts: Cuts) -> float:
        try:
            return self._model.cost(cuts.graph)
        except MissingLatency as error:
            raise MissingLatency(f"{error}; or leave latency out: then the module is timed on this machine") from None

    def _check_reachable(self) -> None:
        cuts = narrowest(self.network, self._model, leave=self.held)
        if self._timer is None:
            least = self._model.cost(cuts.graph)
        elif self._is_made(cuts):
            least = self._timer.alone(cuts.made.module).latency_ms
        else:
            return
        if least > self._limit:
            raise InfeasibleBudget(
                f"the budget must be one that cutting channels can reach, got {self._text(self._limit)}: the module "
                f"comes down to {self._text(least)} at the least{self._obstacles()}; raise the budget"
            )

    def _obstacles(self) -> str:
        found = in_the_way(self.network.groups()) | self.held
        return f" (not to be pruned: {', '.join(f'{name}, {why}' for name, why in found.items())})" if found else ""

    def _iterate(self) -> None:
        undecided: list[tuple[Cut, float | None, Timing]] = []
        for times in range(REFUSALS):
            for cut, score in self._scored(self._found(self._reduction * 2**times))[:TESTS]:
                if (self._timer or self._train) and not self._is_made(cut.after):
                    continue
                timing = None if self._timer is None else self._timer.pair(*self._modules(cut))
                if timing is None or timing.faster:
                    self._accept(cut, self._cost_after(cut, timing), score)
                    return
                if timing.low <= 1:
                    undecided.append((cut, score, timing))
        if not undecided:
            raise InfeasibleBudget(
                f"no way to make the module cheaper than {self._text(self._cost)} measures faster here, and the budget "
                f"is {self._text(self._limit)}: raise it{self._obstacles()}"
            )
        cut, score, timing = min(undecided, key=lambda each: each[2].ratio)
        self._accept(cut, self._cost_after(cut, timing), score)

    def _found(self, reduction: float) -> list[Cut]:
        """Cuts that take off `reduction`, or half of it and so on; only then those that leave much of the budget."""
        factor = self._cost / self._counted(self._cuts)
        for floor, multiple in product((self._limit * USED, 0.0), (FAST_MULTIPLE, 1) if self._timer else (1,)):
            for halving in range(HALVINGS + 1):
                target = max(self._limit, self._cost - reduction / 2**halving) / factor
                how: dict[str, Any] = {"floor": floor / factor, "leave": self.held, "multiple": multiple}
                found = further_cuts(self._cuts, self._model, target=target, **how)
                if found:
                    return found
        raise InfeasibleBudget(
            f"the module comes down to {self._text(self._cost)} at the least, and the budget is "
            f"{self._text(self._limit)}{self._obstacles()}: raise it"
        )

    def _scored(self, found: Sequence[Cut]) -> list[tuple[Cut, float | None]]:
        """The cuts in the order in which they are tried."""
        if self._score is None:
            return [(cut, None) for cut in found]
        scored = [(cut, self._score_of(cut)) for cut in found[: self._shortlist] if self._is_made(cut.after)]
        return sorted(scored, key=lambda each: (-(each[1] or 0.0), each[0].price))

    def _score_of(self, cut: Cut) -> float:
        assert self._score is not None
        module = cut.after.made.module
        with self._drawing():
            found = self._score(module)
        module.cpu().eval()
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        if math.isnan(value):
            raise InvalidArgument(f"score must give a number, higher for a better module, got {found!r:.60}")
        return value

    def _modules(self, cut: Cut) -> tuple[nn.Module, nn.Module]:
        return self._cuts.made.module, cut.after.made.module

    def _cost_after(self, cut: Cut, timing: Timing | None) -> float:
        if timing is None or self._timer is None:
            return cut.cost
        cost = self._cost * min(1.0, timing.ratio)
        return cost if cost > self._limit / SETTLED else self._timer.alone(cut.after.made.module).latency_ms

    def _accept(self, cut: Cut, cost: float, score: float | None) -> None:
        self._cuts = cut.after
        done = (self.steps[0].cost - cost) / (self.steps[0].cost - self._limit)
        self._progress.update(min(1.0, done), cut.name)
        self.steps.append(ModuleStep(cut.name, cost, score))
        if self._train is not None:
            self._settle()
            with self._drawing():
                self._train(self.network.module)
            self.network.module.cpu().eval()
            check_finite(self.network.module, "train must leave finite weights")
        if self._train or self._score or self._timer:
            worth = "" if score is None else f", score {score:.6g}"
            self._progress.line(f"{len(self.steps) - 1}: {cut.name}: {self._text(cost)}{worth}")

    def _is_made(self, cuts: Cuts) -> bool:
        """Whether cuts can be made; those that cannot are left out from now on."""
        try:
            return cuts.made is not None
        except (UnsupportedModule, InvalidArgument):
            held = cuts.not_allowed()
            if not held:
                raise
            for name, why in held.items():
                self._progress.line(f"{name} is left as it is: {why}")
            self.held |= held
            return False

    def _settle(self) -> None:
        """What was cut on paper so far becomes the network."""
        made = self._cuts.made
        for name, units in self._cuts.stay.items():
            before = self.kept.get(name)
            origins = self._cuts.network.origins(name, units)
            self.kept[name] = origins if before is None else [before[unit] for unit in origins]
        self.network = made
        self._cuts = uncut(self.network)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Torch's random numbers are the same in each run, and go on outside as if none had been drawn."""
        with torch.random.fork_rng():
            torch.manual_seed(self._seed + len(self.steps))
            yield


def check_finite(module: nn.Module, rule: str) -> None:
    """Raises InvalidArgument that names a parameter or buffer with a number that is none."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InvalidArgument(f"{rule}, got NaN or an infinite number in {name}")
