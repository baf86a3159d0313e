"""From flags to a refined network: files, images, table, the descent, long training, one test, files."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from search.augment import CENTRE, SCALE
from search.console import Progress, TimeLeft
from search.data import Dataset, load
from search.latency import table_for
from search.latency.runtimes import runtime, runtime_of
from search.netadapt.costing import Costing
from search.netadapt.history import History, Iteration
from search.netadapt.proposals import fixed_groups
from search.netadapt.refine import Plan, Refiner
from search.netadapt.settings import Settings, budget_text
from search.netadapt.timing import DeviceTimer, PairedTimer, Replayed
from search.netadapt.trials import add_trials
from search.netadapt.tune import Serial, Tuner, Workers, short_recipe
from search.netadapt.variants import variants
from search.opened import opened_study
from search.train import Recipe, evaluate, train, wilson_interval
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidArgument, PhinasError
from searchspace.files import read_json, write_atomic
from searchspace.graph import lower
from searchspace.latency import LatencyTable, describe, read_table
from searchspace.mnasnet_space import mnasnet_space
from searchspace.nn import Network, load_weights, network_bytes, read_about, read_weights
from searchspace.serialize import read_spec
from searchspace.spec import NetworkSpec
from studies.frame import write_trials_csv
from studies.storage import SUMMARY, existing
from studies.storage import folder as study_folder

SCREEN_IMAGES = 1000
LONG_RATE_SHARE = 0.5  # of the peak rate of a training from scratch
DESCENT_SHARE = 0.75  # of the progress bar


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the files say: the network in eval mode, what was written about its weights, its images."""

    network: Network
    about: dict[str, Any]
    images: Dataset
    seed: int


def netadapt(
    settings: Settings, *, fresh: bool = False, quiet: bool = False, replay: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """The whole job of `python -m search.netadapt`; gives what --json prints.

    `replay` names a study whose timing tests count here too. Raises a PhinasError for anything the user can mend.
    """
    study_folder(settings.study_name)  # mistakes are told before anything takes time
    if settings.latency:
        read_table(settings.latency)
    clock = TimeLeft()
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(clock.left_s, quiet=quiet))
        given = read_given(settings, progress)
        table = table_of(settings, given.network.spec, progress)
        costing = Costing(settings.unit, table)
        earlier = History(existing(replay), keep_all=True) if replay else None
        timer = timer_of(table, given.seed, progress)
        if timer is not None and earlier is not None:
            timer = Replayed(earlier.timings(), earlier.measurements(), timer)
        name = settings.study_name
        study = stack.enter_context(opened_study(name, about(settings, given, table), fresh=fresh))
        recipe = Recipe.for_data(settings.data)
        job = Job(settings, given, costing, timer, study, progress, clock, recipe)
        try:
            job.descend()
        except InfeasibleBudget:
            job.finish()  # the budgets that were reached get their networks
            raise
        return job.finish()


def read_given(settings: Settings, progress: Progress) -> Given:
    """The network with its weights, and the images. Raises PhinasError."""
    spec = zoo.get(str(settings.network)) if _is_zoo(settings.network) else read_spec(settings.network)
    about = read_about(settings.weights)
    state = read_weights(settings.weights)
    if "classes" in about and len(about["classes"]) != spec.classes:
        spec = spec.with_classes(len(about["classes"]))
    if about.get("fingerprint") not in (None, spec.fingerprint()):
        raise InvalidArgument(
            f"--weights must be those of the network {spec.name} ({spec.fingerprint()}), got {settings.weights} of "
            f"{about['fingerprint']}: give the files that belong together"
        )
    network = load_weights(spec, state).eval()
    seed = about.get("split_seed", 0) if settings.seed is None else settings.seed
    if seed != about.get("split_seed", seed):
        raise InvalidArgument(
            f"the network was trained on the splits of --seed {about['split_seed']}, got --seed {seed}: another seed "
            "would test it on images that its weights have seen; leave --seed out"
        )
    pixels = settings.proxy_resolution or about.get("trained_at_px") or spec.resolution
    images = load(
        settings.data, resolution=pixels, seed=seed,
        progress=lambda done, total: progress.update(done / max(1, total), "reading images"),
    )  # fmt: skip
    if len(images.classes) != spec.classes:
        raise InvalidArgument(
            f"the network tells {spec.classes} classes apart and the data have {len(images.classes)}: give the data "
            "that it was trained on with --data"
        )
    named = about.get("classes")
    if named is not None and list(named) != list(images.classes):
        raise InvalidArgument(
            f"the network was trained on the classes {_some(named)}, the data have {_some(images.classes)}: give the "
            "data that it was trained on with --data"
        )
    if "split_seed" not in about:
        progress.line(
            f"the weights do not say which images they were trained on: images are split by --seed {seed}, and those "
            "of the test may be among them"
        )
    for note in images.notes:
        progress.line(note)
    return Given(network=network, about=about, images=images, seed=seed)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _is_zoo(path: Path) -> bool:
    return path.suffix != ".json" and not path.exists() and str(path) in zoo.names()


def table_of(settings: Settings, spec: NetworkSpec, progress: Progress) -> LatencyTable | None:
    """The table that the budget is counted by: --latency, or this machine's with kernels of narrower networks; None for
    a budget in MACs or parameters."""
    if settings.unit != "ms":
        return None
    if settings.latency:
        return read_table(settings.latency)
    return table_for(
        mnasnet_space(), networks=[spec, *variants(spec)], progress=progress.update, note=progress.line,
        runtime=runtime(settings.runtime),
    )  # fmt: skip


def timer_of(table: LatencyTable | None, seed: int, progress: Progress) -> PairedTimer | None:
    """What times networks, if the table is of this machine as this process has it."""
    if table is None:
        return None
    try:
        here = runtime_of(table.identity).identity(table.identity["resolution"])
    except PhinasError:
        here = None
    if here == table.identity:
        return DeviceTimer(table, seed=seed)
    progress.line(
        f"no cut is timed: the table is of another device or setting ({describe(table.identity)}); run this command "
        "there to have each cut measured"
    )
    return None


def about(settings: Settings, given: Given, table: LatencyTable | None) -> dict[str, Any]:
    """What defines the study."""
    spec = given.network.spec
    own = {
        **settings.identity(), "kind": "netadapt", "seed": given.seed, "resolution": spec.resolution,
        "proxy_resolution": given.images.resolution, "network": spec.fingerprint(),
        "weights": hashlib.sha256(network_bytes(given.network, {})).hexdigest()[:16],
        "data_fingerprint": given.images.fingerprint, "threads": torch.get_num_threads() if table else None,
        "device": None if table is None else dict(table.identity),
    }  # fmt: skip
    return own | ({"budget_ms": settings.budgets[-1]} if settings.unit == "ms" else {})


@dataclass
class Job:
    """A refinement under way."""

    settings: Settings
    given: Given
    costing: Costing
    timer: PairedTimer | None
    study: optuna.Study
    progress: Progress
    clock: TimeLeft
    recipe: Recipe

    def __post_init__(self) -> None:
        self.folder = study_folder(self.study.study_name)
        self.history = History(self.folder, keep_all=self.settings.family, about=self._weights_about())

    def descend(self) -> None:
        """Down to the smallest budget."""
        settings = self.settings
        for name, why in fixed_groups(self.given.network.spec).items():
            self.progress.line(f"{name} is not pruned: {why}")
        step, decay = settings.reduction
        plan = Plan(
            costing=self.costing, budgets=settings.budgets, moves=settings.moves, criterion=settings.criterion,
            by_ratio=settings.algorithm == "mobilenetv3", step=step, decay=decay, shortlist=settings.shortlist,
            trains=settings.short_steps > 0, images=settings.images, screen_images=SCREEN_IMAGES, seed=self.given.seed,
        )  # fmt: skip
        with self._tuner() as tuner:
            refiner = Refiner(
                plan, self.given.images, self.timer, self.history, tuner,
                progress=lambda share, what: self.progress.update(self.clock.at(DESCENT_SHARE * share), what),
                line=self.progress.line, kept=lambda _: add_trials(self.study, self.history, self.costing),
            )  # fmt: skip
            add_trials(self.study, self.history, self.costing)
            refiner.run(self.given.network)

    @contextmanager
    def _tuner(self) -> Iterator[Tuner]:
        settings, images = self.settings, self.given.images
        recipe = short_recipe(self.recipe, max(1, settings.short_steps))
        if settings.workers == 1:
            yield Serial(images, recipe, settings.images)
            return
        with Workers(
            settings.workers, source=settings.data, resolution=images.resolution, seed=self.given.seed, recipe=recipe,
            validation_images=settings.images,
        ) as workers:  # fmt: skip
            yield workers

    def finish(self, *, always: bool = False) -> dict[str, Any]:
        """Train on what met each budget, test it once, write everything. A budget that the start met already is left
        out, but for `always`."""
        start = self.history.iterations[0] if self.history.iterations else None
        met = {budget for one in self.history.iterations for budget in one.reached}
        budgets = [
            budget for budget in self.settings.budgets
            if budget in met and (always or start is None or budget not in start.reached)
        ]  # fmt: skip
        for budget in set(start.reached if start else ()) - set(budgets):
            self.progress.line(f"{self.costing.text(budget)}: nothing to do, the network is within it already")
        if not budgets or start is None:
            return {"study": self.study.study_name, "folder": str(self.folder), "nothing_to_do": True,
                    "unit": self.settings.unit, "budget": self.settings.budgets[-1],
                    "cost": start.cost if start else None}  # fmt: skip
        self._smallest = budgets[-1]
        results = [self._final(budget, number, len(budgets)) for number, budget in enumerate(budgets)]
        last = self.history.snapshot(budgets[-1])
        summary = {
            "study": self.study.study_name, "folder": str(self.folder), "unit": self.settings.unit,
            "budget": budgets[-1], "within_budget": True, "start": self._start(), "winner": results[-1],
            "budgets": results, "iterations": [self._iteration(one) for one in self.history.iterations],
            "proposals": sum(len(one.tried) for one in self.history.iterations), "timed": self.timer is not None,
            "proxy_resolution": self.given.images.resolution, "resolution": last.spec.resolution,
            "classes": list(self.given.images.classes), "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "settings": self.study.user_attrs["settings"],
        }  # fmt: skip
        summary |= {"budget_ms": budgets[-1]} if self.settings.unit == "ms" else {}
        write_atomic(self.folder / SUMMARY, json.dumps(summary, indent=1))
        write_trials_csv(self.study.study_name)
        return summary

    def _final(self, budget: float, number: int, count: int) -> dict[str, Any]:
        """The network that met a budget, trained on and tested; written as best.* for the smallest budget, else under
        the budget's name."""
        found = self.history.snapshot(budget)
        stem = "best" if budget == self._smallest else f"{budget_text(budget)}{self.settings.unit}"
        path = self.folder / f"{stem}.safetensors"
        key = {"budget": budget, "iteration": found.number, "epochs": self.settings.epochs,
               "fingerprint": found.spec.fingerprint()}  # fmt: skip
        done = path.with_suffix(".done.json")
        if done.exists() and path.exists():
            kept = read_json(done)
            if kept.get("key") == key:
                result: dict[str, Any] = kept["result"]
                return result
        network = self.history.network(found.number)
        validation = found.accuracy
        if self.settings.epochs:
            validation = self._train_on(network, stem, number, count)
        test = self.given.images.open_test()
        accuracy = evaluate(network, test)
        low, high = wilson_interval(accuracy, len(test))
        network.cpu()
        write_atomic(path, network_bytes(network, self._weights_about() | {"fingerprint": found.spec.fingerprint()}))
        write_atomic(path.with_suffix(".json"), found.spec.to_json())
        for checkpoint in self.folder.glob(f"{stem}-*.ckpt"):
            checkpoint.unlink(missing_ok=True)
        result = self._result(budget, found, path.with_suffix(".json")) | {
            "validation_accuracy": validation, "test_accuracy": accuracy, "test_low": low, "test_high": high,
            "test_images": len(test), "epochs": self.settings.epochs,
        }  # fmt: skip
        write_atomic(done, json.dumps({"key": key, "result": result}, indent=1))
        return result

    def _train_on(self, network: Network, stem: str, number: int, count: int) -> float:
        recipe = replace(
            self.recipe, epochs=self.settings.epochs, calm_residuals=False,
            learning_rate=self.recipe.learning_rate * LONG_RATE_SHARE,
        )  # fmt: skip
        what = f"training on for {recipe.epochs} epochs"
        begun = hashlib.sha256(network_bytes(network, {})).hexdigest()[:12]
        self.progress.line(what)

        def share(done: float) -> float:
            return self.clock.at(DESCENT_SHARE + (1 - DESCENT_SHARE) * (number + done) / count)

        outcome = train(
            network, train=self.given.images.train, validation=self.given.images.validation, recipe=recipe,
            seed=self.given.seed, checkpoint=self.folder / f"{stem}-{begun}-{recipe.epochs}.ckpt",
            on_step=lambda step, steps: self.progress.update(share(step / steps), what),
        )  # fmt: skip
        return outcome.accuracy

    def _weights_about(self) -> dict[str, Any]:
        """What is written beside weights, the fingerprint apart."""
        return {
            "classes": list(self.given.images.classes), "trained_at_px": self.given.images.resolution,
            "pixel_centre": CENTRE, "pixel_scale": SCALE,
            "split_seed": self.given.seed,
        }  # fmt: skip

    def _result(self, budget: float, found: Iteration, path: Path) -> dict[str, Any]:
        own = costs(lower(found.spec))
        predicted = self.costing.of(lower(found.spec)) if self.costing.table else None
        measured = found.measured
        return {
            "budget": budget, "cost": found.cost, "used": found.cost / budget, "iteration": found.number,
            "trial": trial_of(self.history, found), "fingerprint": found.spec.fingerprint(), "params": own.params,
            "macs": own.macs, "network": str(path), "predicted_latency_ms": predicted,
            "measured_latency_ms": measured and measured.latency_ms, "measured_low_ms": measured and measured.low_ms,
            "measured_high_ms": measured and measured.high_ms, "noisy": bool(measured and measured.noisy),
        }  # fmt: skip

    def _start(self) -> dict[str, Any]:
        zero = self.history.iterations[0]
        own = costs(lower(zero.spec))
        return {"cost": zero.cost, "accuracy": zero.accuracy, "params": own.params, "macs": own.macs}

    def _iteration(self, one: Iteration) -> dict[str, Any]:
        taken = one.accepted
        return {
            "number": one.number, "step": taken.name if taken else "start", "cost": one.cost,
            "accuracy": one.accuracy, "tried": len(one.tried),
            "ratio": taken.timing.ratio if taken and taken.timing else None,
            "refused": sum(row.timing is not None and not row.accepted for row in one.tried),
        }  # fmt: skip


def trial_of(history: History, iteration: Iteration) -> int:
    """The number of the trial that an iteration's accepted proposal is; -1 for the start."""
    if iteration.accepted is None:
        return -1
    before = sum(len(one.tried) for one in history.iterations[: iteration.number])
    return before + next(index for index, row in enumerate(iteration.tried) if row.accepted)
