"""The arms of the comparison in netadapt_versus: one network and seed, brought to one budget in several ways."""

import json
import math
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.errors import InfeasibleBudget, InvalidArgument, InvalidSpec
from searchspace.report import ms_text, percent_text
from tests.benchmarks.harness import Kept, Row

if TYPE_CHECKING:
    from search.budget import CostModel
    from search.data import Dataset
    from search.netadapt.timing import PairedTimer
    from search.training.recipe import Recipe
    from searchspace.nn import Network
    from searchspace.spec import NetworkSpec
    from searchspace.template import Template

WIDTHS = [step / 200 for step in range(20, 201)]
LOOKS = 6  # at most so many networks of a rival's are timed, for one that uses the budget
ENOUGH = 0.99  # of the budget
AS_PREDICTED = 0.5  # confidence: the other arms are held to the prediction itself, too


def networks_of(args: Namespace) -> dict[str, str]:
    """{name: network} of --network. Raises InvalidArgument."""
    found = {}
    for text in args.network or ["mobilenet_v1=mobilenet_v1"]:
        name, equals, network = text.partition("=")
        if not (name and equals and network):
            raise InvalidArgument(f"--network must read NAME=NETWORK, such as winner=best.json, got {text!r}")
        found[name] = network
    return found


class Results(Kept):
    """The rows of a comparison, each of a network, a seed and an arm."""

    def add(self, row: Row) -> None:
        """Keep a row, in the place of an earlier one of the same arm."""
        self.put(f"{row['network']} {row['seed']} {row['arm']}", row)

    def get(self, network: str, seed: int, arm: str) -> Row | None:
        """A row whose training came to its end."""
        row: Row | None = self.rows().get(f"{network} {seed} {arm}")
        return row if row and not row["cut"] else None


def template_of(args: Namespace, name: str, classes: int) -> "Template":
    """The table of a network of --network, at the pixels that it is timed at. Raises PhinasError."""
    from scaling.base import base_template

    found = base_template(Path(networks_of(args)[name])).with_classes(classes)
    return replace(found, resolution=args.resolution or found.resolution)


def width_for(template: "Template", cost: "Callable[[NetworkSpec], float]", budget: float) -> "NetworkSpec":
    """The dearest of the template's narrower networks that meets the budget. Raises InfeasibleBudget."""
    found: list[tuple[float, NetworkSpec]] = []
    for width in WIDTHS:
        try:
            spec = template.expand(width=width, name=f"{template.name}-x{width:g}")
        except InvalidSpec:
            continue
        found.append((cost(spec), spec))
    fitting = [(own, spec) for own, spec in found if own <= budget]
    if not fitting:
        raise InfeasibleBudget(f"no width multiplier of {WIDTHS[0]:g} or more brings {template.name} to {budget:g}")
    return max(fitting, key=lambda pair: pair[0])[1]


class _Late(Exception):
    """The time is over."""


@dataclass
class Pair:
    """One network and seed: its arms, one after the other."""

    args: Namespace
    name: str
    seed: int
    images: "Dataset"
    cost_model: "CostModel"
    results: Results
    work: Path
    end: float
    clock: Callable[[], float] = time.time
    prune: "Callable[..., Network] | None" = None  # torch-pruning's stand-in

    def __post_init__(self) -> None:
        self.template = template_of(self.args, self.name, len(self.images.classes))
        self.timer = self._timer()
        self.budget = self.measured_budget()
        self.folder = self.work / f"{self.name}-{self.seed}"

    def _timer(self) -> "PairedTimer | None":
        from search.netadapt.timing import DeviceTimer

        table = self.cost_model.table
        return DeviceTimer(table, seed=self.seed) if self.args.timed and table is not None else None

    def measured_budget(self) -> float:
        """Of the base's latency; where networks are timed it is measured once."""
        spec = self.template.expand()
        base = self.results.get(self.name, self.seed, "base")
        if base is not None:
            return float(base["budget_ms"])
        whole = self.timer.alone(spec).latency_ms if self.timer else self.cost(spec)
        return float(self.args.share * whole)

    def within(self, make: "Callable[[float], Network]") -> "Network":
        """`make(predicted ms)` at the budget.

        Where networks are timed, the slowest of those that measure within it: what is asked for is corrected by what
        the last one measured. Raises InfeasibleBudget.
        """
        if self.timer is None:
            return make(self.budget)
        target, best, most = self.budget, None, 0.0
        timed: dict[str, float] = {}
        for _ in range(LOOKS):
            try:
                network = make(target)
            except InfeasibleBudget:
                break
            name = network.spec.fingerprint()
            if name not in timed:
                timed[name] = self.timer.alone(network.spec).latency_upper_ms  # what NetAdapt's is held to
            if most < timed[name] <= self.budget:
                best, most = network, timed[name]
            if ENOUGH * self.budget <= timed[name] <= self.budget:
                break
            target *= (1 + ENOUGH) / 2 * self.budget / timed[name]
        if best is None:
            raise InfeasibleBudget(f"none of {len(timed)} networks measured within {self.budget:g} ms")
        return best

    def cost(self, spec: "NetworkSpec") -> float:
        """Predicted ms."""
        from searchspace.graph import lower

        return self.cost_model.cost(lower(spec))

    def late(self) -> bool:
        """Whether the time is over."""
        return self.clock() > self.end

    def run(self) -> None:
        """All arms that are missing, until the time is over."""
        try:
            base = self._base()
            short = self._netadapt(base)
            more = math.ceil(short)
            self._torch_pruning("torch-pruning", base, 0)
            self._width(more)
            self._torch_pruning("torch-pruning+", base, more)
        except _Late:
            self._tell("ends here: the time is over")

    def _tell(self, text: str) -> None:
        print(f"{self.name} seed {self.seed} {text}", flush=True)

    def _recipe(self, epochs: int, *, rate: float = 1.0, fresh: bool = False) -> "Recipe":
        return replace(
            recipe_of(self.args, len(self.images.train)),
            epochs=epochs,
            zero_init_residual=fresh,
            learning_rate=rate * recipe_of(self.args, 1).learning_rate,
        )

    def _begin(self, arm: str) -> Row | None:
        """The arm's row if it is there. Raises _Late."""
        found = self.results.get(self.name, self.seed, arm)
        if found is None and self.late():
            raise _Late
        return found

    def _train(
        self, arm: str, network: "Network", recipe: "Recipe", *, before: float, began: float, **more: Any
    ) -> Row:
        """Train, test once, keep the row; `before`: epochs that these weights have had already."""
        from search.training.evaluate import evaluate
        from search.training.trainer import Trainer
        from searchspace.cost import costs
        from searchspace.graph import lower

        outcome = Trainer.on(self.images, recipe=recipe, seed=self.seed).fit(network, deadline=self.late)
        own = costs(lower(network.spec))
        predicted = self.cost(network.spec)
        row = {
            "network": self.name,
            "seed": self.seed,
            "arm": arm,
            "validation_accuracy": outcome.accuracy,
            "test_accuracy": evaluate(network, self.images.open_test()),
            "predicted_ms": predicted,
            "budget_ms": self.budget,
            "macs": own.macs,
            "params": own.params,
            "epochs": before + outcome.epochs,
            "cut": outcome.epochs < recipe.epochs,
            "train_s": outcome.seconds,
            "seconds": self.clock() - began,
            **more,
            "spec": json.loads(network.spec.to_json()),
        }
        network.cpu()
        self.results.add(row)
        self._tell(
            f"{arm}: test {percent_text(row['test_accuracy'], 2)}, {ms_text(predicted)} ms predicted, "
            f"{row['epochs']:.1f} epochs, {row['seconds']:.0f} s{', cut off' if row['cut'] else ''}"
        )
        return row

    def _base(self) -> "Network":
        import torch

        from searchspace.files import write_atomic
        from searchspace.nn import build, load_weights, network_bytes, read_weights

        path = self.work / f"{self.name}-{self.seed}.safetensors"
        if path.exists() and self.results.get(self.name, self.seed, "base") is not None:
            return load_weights(self.template.expand(), read_weights(path)).eval()
        if self.late():
            raise _Late
        shutil.rmtree(self.folder, ignore_errors=True)  # a pruning from other weights
        network = build(self.template.expand(), generator=torch.Generator().manual_seed(self.seed))
        recipe = self._recipe(self.args.epochs, fresh=True)
        row = self._train("base", network, recipe, before=0.0, began=self.clock())
        if row["cut"]:
            raise _Late
        write_atomic(path, network_bytes(network, {}))
        return network.eval()

    def _netadapt(self, base: "Network") -> float:
        """Epochs that the short trainings came to."""
        from search.console import Progress
        from search.netadapt.history import StoredHistory
        from search.netadapt.inputs import Inputs
        from search.netadapt.job import Job
        from search.netadapt.pruner import prune
        from search.netadapt.settings import Settings
        from search.netadapt.specs import PrunableSpec

        found = self._begin("netadapt")
        if found is not None:
            return float(found["short_epochs"])
        args, began, pair = self.args, self.clock(), self

        class Lines(Progress):
            """Prints lines; the pruning ends with one of them when the time is over."""

            def line(self, text: str) -> None:
                pair._tell(text)
                if pair.late():
                    raise _Late

        history = StoredHistory(self.folder, keep_all=False)
        settings = Settings(
            network=Path(self.name),
            budget_ms=self.budget,
            latency=self.cost_model.table,
            moves=tuple(args.moves.split(",")),
            criterion=args.criterion,
            step=args.step,
            decay=args.decay,
            shortlist=args.shortlist,
            short_steps=args.short_steps,
            validation_images=args.images,
        )
        job = Job(
            settings,
            Inputs(network=PrunableSpec(base), images=self.images, seed=self.seed),
            self.cost_model,
            self.timer,
            Lines(lambda: None, quiet=True),
            self._recipe(1),
            history=history,
            confidence=AS_PREDICTED,
        )
        prune(job)
        last = history.iterations[-1]
        trained = sum(row.accuracy is not None for one in history.iterations for row in one.proposals)
        short: float = trained * args.short_steps * args.batch / len(self.images.train)
        steps = [one.accepted.name for one in history.iterations if one.accepted]
        self._train(
            "netadapt",
            history.network(last.number).module,
            self._recipe(args.fine, rate=args.fine_rate),
            before=args.epochs + short,
            began=began,
            short_epochs=short,
            descent_s=self.clock() - began,
            steps=steps,
            descent=[[one.cost, one.accuracy] for one in history.iterations],
        )
        return short

    def _torch_pruning(self, arm: str, base: "Network", more: int) -> None:
        from tests.benchmarks.torch_pruned import pruned_to

        if self._begin(arm) is not None:
            return

        def pruned(round_to: int, ms: float) -> "Network":
            prune = self.prune or pruned_to
            return prune(base, budget=ms, cost=self.cost, pixels=self.images.resolution, round_to=round_to)

        began = self.clock()
        for round_to in dict.fromkeys((self.args.round_to, 1)):
            try:
                network = self.within(partial(pruned, round_to))
                break
            except InfeasibleBudget as error:
                self._tell(f"{arm}: {error}")
        else:
            return
        recipe = self._recipe(self.args.fine + more, rate=self.args.fine_rate)
        self._train(arm, network, recipe, before=self.args.epochs, began=began, round_to=round_to)

    def _width(self, more: int) -> None:
        import torch

        from searchspace.nn import build

        if self._begin("width") is not None:
            return

        def narrower(ms: float) -> "Network":
            spec = width_for(self.template, self.cost, ms)
            return build(spec, generator=torch.Generator().manual_seed(self.seed))

        try:
            network = self.within(narrower)
        except InfeasibleBudget as error:
            self._tell(f"width: {error}")
            return
        epochs = self.args.epochs + self.args.fine + more
        self._train("width", network, self._recipe(epochs, fresh=True), before=0.0, began=self.clock())


def recipe_of(args: Namespace, train_images: int) -> "Recipe":
    """The default recipe with this batch; an epoch is a look at all images. The peak rate grows with the batch."""
    from search.training.recipe import Recipe

    recipe = Recipe.for_data(args.data)
    rate = min(max(args.rate_cap, recipe.learning_rate), recipe.learning_rate * args.batch / recipe.batch_size)
    return replace(recipe, batch_size=args.batch, learning_rate=rate, epoch_images=train_images, epoch_validation=250)
