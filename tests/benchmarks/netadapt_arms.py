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

    def tell(self, text: str) -> None:
        """Print a line of this network and seed."""
        print(f"{self.name} seed {self.seed} {text}", flush=True)

    def recipe(self, epochs: int, *, rate: float = 1.0, fresh: bool = False) -> "Recipe":
        """`rate`: times the recipe's; `fresh`: for fresh weights."""
        return replace(
            recipe_of(self.args, len(self.images.train)),
            epochs=epochs,
            zero_init_residual=fresh,
            learning_rate=rate * recipe_of(self.args, 1).learning_rate,
        )

    def begin(self, arm: str) -> Row | None:
        """The arm's row if it is there. Raises _Late."""
        found = self.results.get(self.name, self.seed, arm)
        if found is None and self.late():
            raise _Late
        return found

    def train(self, arm: str, network: "Network", recipe: "Recipe", *, before: float, began: float, **more: Any) -> Row:
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
        self.tell(
            f"{arm}: test {percent_text(row['test_accuracy'], 2)}, {ms_text(predicted)} ms predicted, "
            f"{row['epochs']:.1f} epochs, {row['seconds']:.0f} s{', cut off' if row['cut'] else ''}"
        )
        return row


def run_arms(pair: Pair) -> None:
    """All arms that are missing, until the time is over."""
    try:
        base = base_arm(pair)
        short = netadapt_arm(pair, base)
        more = math.ceil(short)
        torch_pruning_arm(pair, "torch-pruning", base, 0)
        width_arm(pair, more)
        torch_pruning_arm(pair, "torch-pruning+", base, more)
    except _Late:
        pair.tell("ends here: the time is over")


def base_arm(pair: Pair) -> "Network":
    import torch

    from searchspace.files import write_atomic
    from searchspace.nn import build, load_weights, network_bytes, read_weights

    path = pair.work / f"{pair.name}-{pair.seed}.safetensors"
    if path.exists() and pair.results.get(pair.name, pair.seed, "base") is not None:
        return load_weights(pair.template.expand(), read_weights(path)).eval()
    if pair.late():
        raise _Late
    shutil.rmtree(pair.folder, ignore_errors=True)  # a pruning from other weights
    network = build(pair.template.expand(), generator=torch.Generator().manual_seed(pair.seed))
    recipe = pair.recipe(pair.args.epochs, fresh=True)
    row = pair.train("base", network, recipe, before=0.0, began=pair.clock())
    if row["cut"]:
        raise _Late
    write_atomic(path, network_bytes(network, {}))
    return network.eval()


def netadapt_arm(pair: Pair, base: "Network") -> float:
    """Epochs that the short trainings came to."""
    from search.console import Progress
    from search.netadapt.history import StoredHistory
    from search.netadapt.inputs import Inputs
    from search.netadapt.job import Job
    from search.netadapt.pruner import prune
    from search.netadapt.settings import Settings
    from search.netadapt.specs import PrunableSpec

    found = pair.begin("netadapt")
    if found is not None:
        return float(found["short_epochs"])
    args, began = pair.args, pair.clock()

    class Lines(Progress):
        """Prints lines; the pruning ends with one of them when the time is over."""

        def line(self, text: str) -> None:
            pair.tell(text)
            if pair.late():
                raise _Late

    history = StoredHistory(pair.folder, keep_all=False)
    settings = Settings(
        network=Path(pair.name),
        budget_ms=pair.budget,
        latency=pair.cost_model.table,
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
        Inputs(network=PrunableSpec(base), images=pair.images, seed=pair.seed),
        pair.cost_model,
        pair.timer,
        Lines(lambda: None, quiet=True),
        pair.recipe(1),
        history=history,
        confidence=AS_PREDICTED,
    )
    prune(job)
    last = history.iterations[-1]
    trained = sum(row.accuracy is not None for one in history.iterations for row in one.proposals)
    short: float = trained * args.short_steps * args.batch / len(pair.images.train)
    steps = [one.accepted.name for one in history.iterations if one.accepted]
    pair.train(
        "netadapt",
        history.network(last.number).module,
        pair.recipe(args.fine, rate=args.fine_rate),
        before=args.epochs + short,
        began=began,
        short_epochs=short,
        descent_s=pair.clock() - began,
        steps=steps,
        descent=[[one.cost, one.accuracy] for one in history.iterations],
    )
    return short


def torch_pruning_arm(pair: Pair, arm: str, base: "Network", more: int) -> None:
    from tests.benchmarks.torch_pruned import pruned_to

    if pair.begin(arm) is not None:
        return

    def pruned(round_to: int, ms: float) -> "Network":
        prune = pair.prune or pruned_to
        return prune(base, budget=ms, cost=pair.cost, pixels=pair.images.resolution, round_to=round_to)

    began = pair.clock()
    for round_to in dict.fromkeys((pair.args.round_to, 1)):
        try:
            network = pair.within(partial(pruned, round_to))
            break
        except InfeasibleBudget as error:
            pair.tell(f"{arm}: {error}")
    else:
        return
    recipe = pair.recipe(pair.args.fine + more, rate=pair.args.fine_rate)
    pair.train(arm, network, recipe, before=pair.args.epochs, began=began, round_to=round_to)


def width_arm(pair: Pair, more: int) -> None:
    import torch

    from searchspace.nn import build

    if pair.begin("width") is not None:
        return

    def narrower(ms: float) -> "Network":
        spec = width_for(pair.template, pair.cost, ms)
        return build(spec, generator=torch.Generator().manual_seed(pair.seed))

    try:
        network = pair.within(narrower)
    except InfeasibleBudget as error:
        pair.tell(f"width: {error}")
        return
    epochs = pair.args.epochs + pair.args.fine + more
    pair.train("width", network, pair.recipe(epochs, fresh=True), before=0.0, began=pair.clock())


def recipe_of(args: Namespace, train_images: int) -> "Recipe":
    """The default recipe with this batch; an epoch is a look at all images. The peak rate grows with the batch."""
    from search.training.recipe import Recipe

    recipe = Recipe.for_data(args.data)
    rate = min(max(args.rate_cap, recipe.learning_rate), recipe.learning_rate * args.batch / recipe.batch_size)
    return replace(recipe, batch_size=args.batch, learning_rate=rate, epoch_images=train_images, epoch_validation=250)
