"""python -m studies.benchmarks.netadapt_versus: is NetAdapt better than a narrower network, and than torch-pruning?

Each network is trained (base) and brought to a share of its latency, as a table predicts it, in three ways:

  netadapt        search.netadapt's descent, then fine-tuning
  torch-pruning   its global magnitude pruning of the same base in one step (PyPI), then fine-tuning: as many epochs,
                  and as many more as the descent's short trainings came to
  width           the same network with the widest multiplier that meets the budget, trained from scratch for all the
                  epochs of base, short trainings and fine-tuning together

so that no rival sees fewer images than NetAdapt. All train on the same split with the same recipe; seeds differ in
weights and batches. With --minutes the epochs are cut down beforehand to what the time allows, in proportion, by a
trial of this machine's speed. Every arm is in --json as soon as it is done; the same command again does what is
missing. The final networks are timed afterwards on the table's own device: the same command with --measure.
"""

import fcntl
import json
import math
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import CommandParser, integer, number
from searchspace.errors import InfeasibleBudget, InvalidArgument, InvalidSpec, PhinasError

if TYPE_CHECKING:
    from search.data import Dataset
    from search.netadapt.costing import Costing
    from search.train import Recipe
    from searchspace.nn import Network
    from searchspace.spec import NetworkSpec
    from searchspace.template import Template

CIFAR = Path("../shared/data/cifar10-train.tar")
ARMS = ("base", "netadapt", "torch-pruning", "width")
SMOKE = {
    "data": "digits", "seeds": 1, "pixels": 32, "epochs": 1, "fine": 1, "batch": 32, "train_images": 320,
    "short_steps": 2, "shortlist": 1, "images": 100, "step": 0.2,
}  # fmt: skip
WIDTHS = [step / 200 for step in range(20, 201)]
SCREEN_IMAGES = 1000  # as the command search.netadapt has it
TRIAL_STEPS = 60
TRIAL_WAIT_S = 120.0
FILL = 0.85  # of the time: what the trial makes the epochs for
SHORT_OVERHEAD = 2.0  # times the steps of a short training: its evaluations, and the screening
Row = dict[str, Any]


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m studies.benchmarks.netadapt_versus", description=__doc__ or "", epilog="exit codes: 0 done, 2 wrong"
    )
    add = cli.add_argument
    add("--json", type=Path, required=True, metavar="FILE", help="every arm's result")
    add("--latency", type=Path, required=True, metavar="TABLE.json", help="latency table that budgets are counted by")
    add("--measure", action="store_true", help="time the networks in --json on this machine, the table's own")
    add(
        "--seconds", type=number, default=40.0, metavar="S", help="timing of one seed's networks (default: %(default)g)"
    )
    add("--smoke", action="store_true", help="seconds, not minutes: says that it runs, nothing else")
    add("--network", action="append", metavar="NAME=NETWORK", help="a name of the zoo or a spec file; several "
        "(default: mobilenet_v1=mobilenet_v1)")  # fmt: skip
    add("--data", default=str(CIFAR), help="data set (default: %(default)s)")
    add("--train-images", type=integer, metavar="N", help="at most so many training images")
    add("--pixels", type=integer, default=48, metavar="PX", help="trained and tested at (default: %(default)s)")
    add("--seeds", type=integer, default=3, help="default: %(default)s")
    add("--share", type=number, default=0.5, help="of the base's latency: the budget (default: %(default)g)")
    add("--epochs", type=integer, default=30, help="of the base (default: %(default)s)")
    add("--fine", type=integer, default=15, help="epochs of fine-tuning (default: %(default)s)")
    add("--batch", type=integer, default=256, help="default: %(default)s")
    add("--rate-cap", type=number, default=0.2, metavar="R", help="the recipe's peak rate grows with the batch up to R "
        "(default: %(default)g)")  # fmt: skip
    add("--fine-rate", type=number, default=0.5, metavar="SHARE", help="peak rate of fine-tuning, of the base's "
        "(default: %(default)g, as search.netadapt's)")  # fmt: skip
    add("--moves", default="channels,se,kernel,block", help="of search.netadapt (default: %(default)s)")
    add("--criterion", default="l2", help="of search.netadapt (default: %(default)s)")
    add("--step", type=number, default=0.05, help="of search.netadapt (default: %(default)g)")
    add("--decay", type=number, default=0.98, help="of search.netadapt (default: %(default)g)")
    add("--shortlist", type=integer, default=4, help="of search.netadapt (default: %(default)s)")
    add("--short-steps", type=integer, default=40, help="of search.netadapt (default: %(default)s)")
    add("--images", type=integer, default=2000, help="of search.netadapt (default: %(default)s)")
    add("--round-to", type=integer, default=8, metavar="N", help="torch-pruning's channel counts are multiples of N, "
        "which CPUs like (default: %(default)s); where the budget cannot be met so, of 1")  # fmt: skip
    add("--minutes", type=number, metavar="M", help="wall time of all: epochs are cut down to it, no arm begins after "
        "it and trainings stop at their next epoch")  # fmt: skip
    add("--jobs", type=integer, default=1, help="processes, each with its share of the cores (default: %(default)s)")
    add("--work", type=Path, metavar="DIR", help="weights and histories (default: beside --json)")
    return cli


def networks_of(args: Namespace) -> dict[str, str]:
    """{name: network} of --network. Raises InvalidArgument."""
    found = {}
    for text in args.network or ["mobilenet_v1=mobilenet_v1"]:
        name, equals, network = text.partition("=")
        if not (name and equals and network):
            raise InvalidArgument(f"--network must read NAME=NETWORK, such as winner=best.json, got {text!r}")
        found[name] = network
    return found


class Results:
    """The rows in a file, each with its network, seed and arm; several processes write them."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        """Raises InvalidArgument for a file of other settings."""
        from searchspace.files import read_json

        self.path, self._about = path, about
        if path.exists() and read_json(path)["about"] != about:
            raise InvalidArgument(f"{path} is of other settings or data: name another file with --json")

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """The whole content, written back afterwards; one process at a time."""
        from searchspace.files import read_json, write_atomic

        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = read_json(self.path) if self.path.exists() else {"about": self._about, "epochs": None, "rows": []}
            yield content
            write_atomic(self.path, json.dumps(content, indent=1))

    def rows(self) -> list[Row]:
        """All of them, as they stand in the file."""
        from searchspace.files import read_json

        found: list[Row] = read_json(self.path)["rows"] if self.path.exists() else []
        return found

    def put(self, row: Row) -> None:
        """Keep a row, in the place of an earlier one of the same arm."""
        with self.changed() as content:
            content["rows"] = [one for one in content["rows"] if _key(one) != _key(row)] + [row]

    def get(self, network: str, seed: int, arm: str) -> Row | None:
        """A row whose training came to its end."""
        return next((row for row in self.rows() if _key(row) == (network, seed, arm) and not row["cut"]), None)


def _key(row: Row) -> tuple[str, int, str]:
    return row["network"], row["seed"], row["arm"]


def template_of(network: str, classes: int) -> "Template":
    """The network's table. Raises PhinasError."""
    from scaling.task import base_template

    return base_template(Path(network)).with_classes(classes)


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


def short_steps_of(args: Namespace) -> int:
    """Steps of all short trainings of a descent, if every iteration meets its target."""
    left, step, iterations = 1.0 - args.share, args.step, 0
    while left > 1e-9 and iterations < 1000:
        left, step, iterations = left - step, step * args.decay, iterations + 1
    return int(iterations * args.shortlist * args.short_steps)


def fitted(args: Namespace, *, train_images: int, step_s: float, left_s: float, pairs: int) -> tuple[int, int]:
    """(epochs of the base, of fine-tuning): those asked for, or both cut down in proportion to the seconds left.

    A pair trains the base, three networks to fine-tune, the width's once more from scratch, and the short trainings
    three times: by NetAdapt, and as many images for each rival.
    """
    rounds = -(-pairs // args.jobs)
    steps = FILL * left_s / rounds / step_s - (2 + SHORT_OVERHEAD) * short_steps_of(args)
    each = max(1, train_images // args.batch)
    share = min(1.0, steps / (each * (2 * args.epochs + 3 * args.fine)))
    return max(1, int(share * args.epochs)), max(1, int(share * args.fine))


class _Late(Exception):
    """The time is over."""


@dataclass
class Pair:
    """One network and seed: its arms, one after the other."""

    args: Namespace
    name: str
    seed: int
    images: "Dataset"
    costing: "Costing"
    results: Results
    work: Path
    end: float

    def __post_init__(self) -> None:
        self.template = template_of(networks_of(self.args)[self.name], len(self.images.classes))
        self.budget = self.args.share * self.cost(self.template.expand())
        self.folder = self.work / f"{self.name}-{self.seed}"

    def cost(self, spec: "NetworkSpec") -> float:
        """Predicted ms."""
        from searchspace.graph import lower

        return self.costing.of(lower(spec))

    def late(self) -> bool:
        """Whether the time is over."""
        return time.time() > self.end

    def run(self) -> None:
        """All arms that are missing, until the time is over."""
        try:
            base = self._base()
            short = self._netadapt(base)
            more = math.ceil(short)
            self._torch_pruning(base, more)
            self._width(more)
        except _Late:
            self._tell("ends here: the time is over")

    def _tell(self, text: str) -> None:
        print(f"{self.name} seed {self.seed} {text}", flush=True)

    def _recipe(self, epochs: int, *, rate: float = 1.0, fresh: bool = False) -> "Recipe":
        return replace(
            recipe_of(self.args, len(self.images.train)), epochs=epochs, calm_residuals=fresh,
            learning_rate=rate * recipe_of(self.args, 1).learning_rate,
        )  # fmt: skip

    def _begin(self, arm: str) -> Row | None:
        """The arm's row if it is there. Raises _Late."""
        found = self.results.get(self.name, self.seed, arm)
        if found is None and self.late():
            raise _Late
        return found

    def _train(
        self, arm: str, network: "Network", recipe: "Recipe", *, before: float, began: float, **more: Any
    ) -> Row:  # fmt: skip
        """Train, test once, keep the row; `before`: epochs that these weights have had already."""
        from search.train import evaluate, train
        from searchspace.cost import costs
        from searchspace.graph import lower

        outcome = train(
            network, train=self.images.train, validation=self.images.validation, recipe=recipe, seed=self.seed,
            deadline=self.late,
        )  # fmt: skip
        own = costs(lower(network.spec))
        predicted = self.cost(network.spec)
        row = {
            "network": self.name, "seed": self.seed, "arm": arm, "validation_accuracy": outcome.accuracy,
            "test_accuracy": evaluate(network, self.images.open_test()), "predicted_ms": predicted,
            "budget_ms": self.budget, "macs": own.macs, "params": own.params, "epochs": before + outcome.epochs,
            "cut": outcome.epochs < recipe.epochs, "train_s": outcome.seconds, "seconds": time.time() - began, **more,
            "spec": json.loads(network.spec.to_json()),
        }  # fmt: skip
        network.cpu()
        self.results.put(row)
        self._tell(
            f"{arm}: test {row['test_accuracy']:.2%}, {predicted:.2f} ms predicted, {row['epochs']:.1f} epochs, "
            f"{row['seconds']:.0f} s{', cut off' if row['cut'] else ''}"
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
        shutil.rmtree(self.folder, ignore_errors=True)  # a descent from other weights
        network = build(self.template.expand(), generator=torch.Generator().manual_seed(self.seed))
        recipe = self._recipe(self.args.epochs, fresh=True)
        row = self._train("base", network, recipe, before=0.0, began=time.time())
        if row["cut"]:
            raise _Late
        write_atomic(path, network_bytes(network, {}))
        return network.eval()

    def _netadapt(self, base: "Network") -> float:
        """Epochs that the short trainings came to."""
        from search.netadapt.history import History
        from search.netadapt.refine import Plan, Refiner
        from search.netadapt.tune import Serial, short_recipe

        found = self._begin("netadapt")
        if found is not None:
            return float(found["short_epochs"])
        args, began = self.args, time.time()
        plan = Plan(
            costing=self.costing, budgets=(self.budget,), moves=tuple(args.moves.split(",")), criterion=args.criterion,
            by_ratio=False, step=args.step, decay=args.decay, shortlist=args.shortlist, trains=args.short_steps > 0,
            images=args.images, screen_images=SCREEN_IMAGES, seed=self.seed,
        )  # fmt: skip
        history = History(self.folder, keep_all=False)
        tuner = Serial(self.images, short_recipe(self._recipe(1), max(1, args.short_steps)), args.images)

        def kept(_: object) -> None:
            if self.late():
                raise _Late

        refiner = Refiner(
            plan, self.images, None, history, tuner, progress=lambda share, what: None,
            line=self._tell, kept=kept,
        )  # fmt: skip
        refiner.run(base)
        last = history.iterations[-1]
        trained = sum(tried.accuracy is not None for one in history.iterations for tried in one.tried)
        short: float = trained * args.short_steps * args.batch / len(self.images.train)
        steps = [one.accepted.name for one in history.iterations if one.accepted]
        self._train(
            "netadapt", history.network(last.number), self._recipe(args.fine, rate=args.fine_rate),
            before=args.epochs + short, began=began, short_epochs=short, descent_s=time.time() - began, steps=steps,
            descent=[[one.cost, one.accuracy] for one in history.iterations],
        )  # fmt: skip
        return short

    def _torch_pruning(self, base: "Network", more: int) -> None:
        from studies.benchmarks.torch_pruned import pruned_to

        if self._begin("torch-pruning") is not None:
            return
        began = time.time()
        for round_to in dict.fromkeys((self.args.round_to, 1)):
            try:
                network = pruned_to(
                    base, budget=self.budget, cost=self.cost, pixels=self.images.resolution, round_to=round_to
                )
                break
            except InfeasibleBudget as error:
                self._tell(f"torch-pruning: {error}")
        else:
            return
        recipe = self._recipe(self.args.fine + more, rate=self.args.fine_rate)
        self._train("torch-pruning", network, recipe, before=self.args.epochs, began=began, round_to=round_to)

    def _width(self, more: int) -> None:
        import torch

        from searchspace.nn import build

        if self._begin("width") is not None:
            return
        spec = width_for(self.template, self.cost, self.budget)
        network = build(spec, generator=torch.Generator().manual_seed(self.seed))
        epochs = self.args.epochs + self.args.fine + more
        self._train("width", network, self._recipe(epochs, fresh=True), before=0.0, began=time.time())


def recipe_of(args: Namespace, train_images: int) -> "Recipe":
    """The default recipe with this batch; an epoch is a look at all images. The peak rate grows with the batch."""
    from search.train import Recipe

    recipe = Recipe.for_data(args.data)
    rate = min(max(args.rate_cap, recipe.learning_rate), recipe.learning_rate * args.batch / recipe.batch_size)
    return replace(
        recipe, batch_size=args.batch, learning_rate=rate, epoch_images=train_images, epoch_validation=250
    )  # fmt: skip


_HERE: dict[str, Any] = {}


def _begin_worker(args: Namespace, barrier: Any) -> None:
    import torch

    from search.netadapt.costing import Costing
    from searchspace.latency import read_table

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.jobs))
    _HERE.update(images=_images(args), costing=Costing("ms", read_table(args.latency)), barrier=barrier)


def _images(args: Namespace) -> "Dataset":
    from search.data import load

    return load(args.data, resolution=args.pixels, images=args.train_images)


def _trial(args: Namespace, name: str) -> tuple[str, float]:
    """(name, seconds of a training step of the network's) while all workers train; once to warm up."""
    from search.netadapt.tune import first
    from search.train import train
    from searchspace.nn import build

    images = _HERE["images"]
    network = build(template_of(networks_of(args)[name], len(images.classes)).expand())
    recipe = replace(recipe_of(args, TRIAL_STEPS * args.batch), epochs=1)
    some = first(images.validation, recipe.epoch_validation)
    for _ in range(2):
        _HERE["barrier"].wait(TRIAL_WAIT_S)
        outcome = train(network, train=images.train, validation=some, recipe=recipe, seed=0)
    return name, outcome.seconds / min(TRIAL_STEPS, len(images.train) // args.batch)


def _pair(args: Namespace, name: str, seed: int, about: dict[str, Any], end: float) -> None:
    Pair(
        args, name, seed, _HERE["images"], _HERE["costing"], Results(args.json, about), args.work, end
    ).run()  # fmt: skip


def about_of(args: Namespace, images: "Dataset") -> dict[str, Any]:
    """What defines the study, as JSON."""
    free = ("json", "measure", "seconds", "smoke", "minutes", "jobs", "work", "latency", "network", "data", "seeds")
    networks = {
        name: template_of(network, len(images.classes)).expand().fingerprint()
        for name, network in networks_of(args).items()
    }
    settings = {name: value for name, value in vars(args).items() if name not in free}
    return {**settings, "networks": networks, "data": images.fingerprint, "recipe": asdict(recipe_of(args, 0))}


def run(args: Namespace) -> None:
    """Every arm of every network and seed. Raises PhinasError."""
    from studies.benchmarks.torch_pruned import torch_pruning

    end = time.time() + 60 * args.minutes if args.minutes else float("inf")
    torch_pruning()
    images = _images(args)
    about = about_of(args, images)
    results = Results(args.json, about)
    args.work = args.work or args.json.with_suffix(".work")
    args.work.mkdir(parents=True, exist_ok=True)
    names = list(networks_of(args))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(args.jobs)
    with ProcessPoolExecutor(args.jobs, context, _begin_worker, (args, barrier)) as pool:
        with results.changed() as content:
            known = content["epochs"]
        if known is None:
            known = _fit(args, pool, names, len(images.train), end)
            with results.changed() as content:
                content["epochs"] = known
        args.epochs, args.fine = known
        jobs = {
            pool.submit(_pair, args, name, seed, about, end): f"{name} seed {seed}"
            for seed in range(args.seeds)
            for name in names
        }
        for job in as_completed(jobs):
            error = job.exception()
            if isinstance(error, PhinasError):
                print(f"{jobs[job]}: {error}", file=sys.stderr, flush=True)
            elif error is not None:
                raise error


def _fit(
    args: Namespace, pool: ProcessPoolExecutor, names: Sequence[str], train_images: int, end: float
) -> tuple[int, int]:  # fmt: skip
    if end == float("inf"):
        return args.epochs, args.fine
    trials = [pool.submit(_trial, args, names[index % len(names)]) for index in range(args.jobs)]
    speeds: dict[str, list[float]] = {}
    for trial in trials:
        name, seconds = trial.result()
        speeds.setdefault(name, []).append(seconds)
    means = [statistics.mean(seconds) for seconds in speeds.values()]
    step_s = (statistics.mean(means) + max(means)) / 2  # when the faster networks are done, the slower have more room
    found = fitted(
        args, train_images=train_images, step_s=step_s, left_s=end - time.time(), pairs=len(names) * args.seeds
    )
    for name, mean in zip(speeds, means, strict=True):
        print(f"{name}: {1000 * mean:.1f} ms a step with {args.jobs} at a time", flush=True)
    print(f"{end - time.time():.0f} s left: {found[0]} epochs of {train_images} images, {found[1]} of fine-tuning "
          f"(asked for: {args.epochs}, {args.fine})", flush=True)  # fmt: skip
    return found


def measure_all(args: Namespace) -> None:
    """Time all networks of each network and seed, interleaved; kept in the file. Raises PhinasError."""
    from search.latency import measure
    from searchspace.files import read_json
    from searchspace.latency import read_table
    from searchspace.spec import NetworkSpec

    table = read_table(args.latency)
    results = Results(args.json, read_json(args.json)["about"])
    rows = results.rows()
    for pair in sorted({_key(row)[:2] for row in rows}):
        own = [row for row in rows if _key(row)[:2] == pair]
        if all("measured_ms" in row for row in own):
            continue
        specs = [NetworkSpec.from_json(json.dumps(row["spec"])) for row in own]
        for row, found in zip(own, measure(specs, table=table, seconds=args.seconds), strict=True):
            results.put({
                **row, "measured_ms": found.latency_ms, "measured_low_ms": found.low_ms,
                "measured_high_ms": found.high_ms, "noisy": found.noisy,
            })  # fmt: skip
        print(f"{pair[0]} seed {pair[1]}: measured", flush=True)


def report(rows: Sequence[Row]) -> str:
    """The comparison for people. A training that the time cut off is named, and counts for nothing."""
    lines = []
    for network in sorted({row["network"] for row in rows}):
        own = [row for row in rows if row["network"] == network]
        lines += [f"\n{network}", f"{'arm':15}{'test accuracy':>22}{'predicted ms':>14}{'measured ms':>14}"
                  f"{'M MACs':>9}{'M params':>10}{'epochs':>8}{'seeds':>7}"]  # fmt: skip
        lines += [_line(arm, [row for row in own if row["arm"] == arm and not row["cut"]]) for arm in ARMS]
        lines += [_difference(own, rival) for rival in ("width", "torch-pruning")]
        lines += [f"  cut off: {row['arm']}, seed {row['seed']}" for row in own if row["cut"]]
    return "\n".join(lines)


def _line(arm: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"{arm:15}{'none':>22}"
    accuracies = [100 * row["test_accuracy"] for row in rows]
    spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
    measured = [row["measured_ms"] for row in rows if "measured_ms" in row]

    def mean(field: str) -> float:
        return float(statistics.mean(row[field] for row in rows))

    return (
        f"{arm:15}{statistics.mean(accuracies):>13.2f} +- {spread:4.2f}%{mean('predicted_ms'):>14.2f}"
        f"{f'{statistics.mean(measured):.2f}' if measured else '-':>14}{mean('macs') / 1e6:>9.1f}"
        f"{mean('params') / 1e6:>10.2f}{mean('epochs'):>8.1f}{len(rows):>7}"
    )


def _difference(rows: Sequence[Row], rival: str) -> str:
    ended = {(row["arm"], row["seed"]): 100 * row["test_accuracy"] for row in rows if not row["cut"]}
    points = [
        ended["netadapt", seed] - ended[rival, seed]
        for seed in sorted({row["seed"] for row in rows})
        if ("netadapt", seed) in ended and (rival, seed) in ended
    ]
    if not points:
        return f"  netadapt - {rival}: not known"
    each = ", ".join(f"{point:+.2f}" for point in points)
    aim = "1.0 or more" if rival == "width" else "0 or more"
    return f"  netadapt - {rival}: {statistics.mean(points):+.2f} points ({each}; aim: {aim})"


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    try:
        args = parser().parse_args(argv)
        if args.smoke:
            vars(args).update(SMOKE)
        if not args.measure and args.data != "digits" and not Path(args.data).exists():
            print(f"skipped: this study needs {args.data}, which is not on this machine (--data names another)")
            return 0
        (measure_all if args.measure else run)(args)
        from searchspace.files import read_json

        print(report(read_json(args.json)["rows"]))
    except PhinasError as error:
        print(f"netadapt_versus: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
