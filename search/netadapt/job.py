"""From flags to a refined network: files, images, table, the descent, long training, one test, files."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import torch

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.console import Progress, TimeLeft
from search.netadapt.history import History, Iteration
from search.netadapt.inputs import Given, read_given, table_of, timer_of
from search.netadapt.pruner import Plan, Refiner
from search.netadapt.screen import SCREEN_IMAGES
from search.netadapt.settings import Settings, budget_text
from search.netadapt.short_training import Serial, Tuner, Workers, short_recipe
from search.netadapt.timing import PairedTimer, Replayed
from search.netadapt.trials import add_trials
from search.session import given_table, opened_study
from search.training.augmentation import weights_metadata
from search.training.evaluate import Accuracy
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.channels.coupling import coupling
from searchspace.channels.groups import in_the_way
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.files import read_json, write_atomic
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, read_table
from searchspace.nn import Network, network_bytes
from searchspace.spec import NetworkSpec
from studies.frame import write_trials_csv
from studies.storage import SUMMARY, existing
from studies.storage import folder as study_folder

DESCENT_SHARE = 0.75  # of the progress bar


def netadapt(
    settings: Settings, *, fresh: bool = False, quiet: bool = False, replay: str | None = None
) -> dict[str, Any]:
    """The whole job of `python -m search.netadapt`; gives what --json prints.

    `replay` names a study whose timing tests count here too. Where some budgets were reached and the smallest cannot
    be, "missed" says which and why. Raises a PhinasError for anything the user can mend.
    """
    study_folder(settings.study_name)  # mistakes are told before anything takes time
    if settings.latency:
        read_table(settings.latency)
    earlier = History(existing(replay), keep_all=True) if replay else None
    clock = TimeLeft()
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(clock.left_s, quiet=quiet))
        given = read_given(settings, progress)
        table = table_of(settings, given.network.spec, progress)
        timer = timer_of(table, given.seed, progress)
        cost_model = CostModel(settings.unit, table)
        if earlier is not None:
            timer = _replayed(earlier, timer, given.network.spec)
        name = settings.study_name
        study = stack.enter_context(opened_study(name, definition(settings, given, table), fresh=fresh))
        recipe = Recipe.for_data(settings.data)
        job = Job(settings, given, cost_model, timer, study, progress, clock, recipe)
        try:
            job.descend()
        except InfeasibleBudget as error:
            summary = job.finish(missed=str(error))  # the budgets that were reached get their networks
            if summary.get("nothing_to_do"):
                raise
            return summary
        return job.finish()


def _replayed(earlier: History, timer: PairedTimer | None, spec: NetworkSpec) -> PairedTimer:
    """The timer that takes what an earlier refinement of the same network measured. Raises InvalidArgument."""
    if timer is None:
        raise InvalidArgument(
            "--replay gives the outcomes of timing tests, and nothing is timed here: the table is of another device or "
            "setting; leave it out"
        )
    begun = earlier.iterations[0].spec.fingerprint() if earlier.iterations else "no network"
    if begun != spec.fingerprint():
        raise InvalidArgument(
            f"--replay must name a refinement of the same network ({spec.fingerprint()}), got one of {begun}: leave it "
            "out, or name another (python -m studies lists them)"
        )
    return Replayed(earlier.timings(), earlier.measurements(), timer)


def definition(settings: Settings, given: Given, table: LatencyTable | None) -> dict[str, Any]:
    """What defines the study."""
    spec = given.network.spec
    own = {
        **settings.identity(),
        "kind": "netadapt",
        "seed": given.seed,
        "resolution": spec.resolution,
        "proxy_resolution": given.images.resolution,
        "network": spec.fingerprint(),
        "weights": hashlib.sha256(network_bytes(given.network, {})).hexdigest()[:16],
        "data_fingerprint": given.images.fingerprint,
        "threads": torch.get_num_threads() if table else None,
        "device": None if table is None else dict(table.identity),
        "table": None,
        **given_table(settings.latency, table),
    }
    return own | ({"budget_ms": settings.budgets[-1]} if settings.unit == "ms" else {})


@dataclass
class Job:
    """A refinement under way. `confidence`: see Plan. `late`: whether the time is over; the long training ends with its
    epoch then."""

    settings: Settings
    given: Given
    cost_model: CostModel
    timer: PairedTimer | None
    study: optuna.Study
    progress: Progress
    clock: TimeLeft
    recipe: Recipe
    confidence: float = DEFAULT_CONFIDENCE
    late: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self.folder = study_folder(self.study.study_name)
        self.history = History(self.folder, keep_all=self.settings.family, about=self._weights_about())
        if self.settings.family and self.history.lost:
            self.progress.line("the study was begun without --family: the weights of its earlier iterations are gone")

    def descend(self) -> None:
        """Down to the smallest budget."""
        settings = self.settings
        for name, why in in_the_way(coupling(self.given.network.spec)).items():
            self.progress.line(f"{name} is not pruned: {why}")
        step, decay = settings.reduction
        plan = Plan(
            cost_model=self.cost_model,
            budgets=settings.budgets,
            moves=settings.moves,
            criterion=settings.criterion,
            by_ratio=settings.algorithm == "mobilenetv3",
            step=step,
            decay=decay,
            shortlist=settings.shortlist,
            trains=settings.short_steps > 0,
            images=settings.validation_images,
            screen_images=min(SCREEN_IMAGES, settings.validation_images),
            seed=self.given.seed,
            confidence=self.confidence,
        )
        with self._tuner() as tuner:
            refiner = Refiner(
                plan,
                self.given.images,
                self.timer,
                self.history,
                tuner,
                progress=lambda share, what: self.progress.update(self.clock.at(DESCENT_SHARE * share), what),
                line=self.progress.line,
                kept=lambda _: add_trials(self.study, self.history, self.cost_model),
            )
            add_trials(self.study, self.history, self.cost_model)
            refiner.run(self.given.network)

    @contextmanager
    def _tuner(self) -> Iterator[Tuner]:
        settings, images = self.settings, self.given.images
        recipe = short_recipe(self.recipe, max(1, settings.short_steps), len(images.train))
        if settings.workers == 1:
            yield Serial(images, recipe, settings.validation_images)
            return
        with Workers(
            settings.workers,
            source=settings.data,
            resolution=images.resolution,
            seed=self.given.seed,
            recipe=recipe,
            validation_images=settings.validation_images,
        ) as workers:
            yield workers

    def finish(self, *, always: bool = False, missed: str = "") -> dict[str, Any]:
        """Train on what met each budget, test it once, write everything. A budget that the start met already is left
        out, but for `always`. `missed`: why the budgets that were not reached were not."""
        start = self.history.iterations[0] if self.history.iterations else None
        met = {budget for one in self.history.iterations for budget in one.reached}
        budgets = [
            budget
            for budget in self.settings.budgets
            if budget in met and (always or start is None or budget not in start.reached)
        ]
        for budget in set(start.reached if start else ()) - set(budgets):
            self.progress.line(f"{self.cost_model.text(budget)}: nothing to do, the network is within it already")
        if not budgets or start is None:
            return {
                "study": self.study.study_name,
                "folder": str(self.folder),
                "nothing_to_do": True,
                "unit": self.settings.unit,
                "budget": self.settings.budgets[-1],
                "cost": start.cost if start else None,
            }
        stems = [f"{budget_text(budget)}{self.settings.unit}" for budget in budgets[:-1]] + ["best"]
        results = [
            self._final(budget, stem, number, len(budgets))
            for number, (budget, stem) in enumerate(zip(budgets, stems, strict=True))
        ]
        last = self.history.snapshot(budgets[-1])
        summary = {
            "study": self.study.study_name,
            "folder": str(self.folder),
            "unit": self.settings.unit,
            "budget": budgets[-1],
            "within_budget": True,
            "held": results[-1]["held"],
            "start": self._start(),
            "winner": results[-1],
            "budgets": results,
            "iterations": [self._iteration(one) for one in self.history.iterations],
            "proposals": sum(len(one.tried) for one in self.history.iterations),
            "timed": self.timer is not None,
            "fixed": in_the_way(coupling(self.given.network.spec)),
            "proxy_resolution": self.given.images.resolution,
            "resolution": last.spec.resolution,
            "classes": list(self.given.images.classes),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "settings": self.study.user_attrs["settings"],
        }
        summary |= {"budget_ms": budgets[-1]} if self.settings.unit == "ms" else {}
        if missed:
            out_of_reach = [budget for budget in self.settings.budgets if budget not in met]
            summary["missed"] = {"budgets": out_of_reach, "why": missed}
        write_atomic(self.folder / SUMMARY, json.dumps(summary, indent=1))
        write_trials_csv(self.study.study_name)
        return summary

    def _final(self, budget: float, stem: str, number: int, count: int) -> dict[str, Any]:
        """The network that met a budget, trained on (as number `number` of `count`) and tested, in files of this stem.
        What an earlier run finished is read."""
        found = self.history.snapshot(budget)
        path = self.folder / f"{stem}.safetensors"
        key = {
            "budget": budget,
            "iteration": found.number,
            "epochs": self.settings.epochs,
            "epoch_images": self._recipe.epoch_images,
            "fingerprint": found.spec.fingerprint(),
        }
        done = path.with_suffix(".done.json")
        if done.exists() and path.exists():
            kept = read_json(done)
            if {"epoch_images": self.recipe.epoch_images, **kept.get("key", {})} == key:  # older ones know no other
                self._clear(stem)
                result: dict[str, Any] = self._result(budget, found, path.with_suffix(".json")) | kept["result"]
                return result
        network = self.history.network(found.number)
        validation, epochs = found.accuracy, 0
        if self.settings.epochs:
            validation, epochs = self._train_on(network, stem, number, count)
        tested = Accuracy.of(network, self.given.images.open_test())
        network.cpu()
        write_atomic(path, network_bytes(network, self._weights_about() | {"fingerprint": found.spec.fingerprint()}))
        write_atomic(path.with_suffix(".json"), found.spec.to_json())
        result = self._result(budget, found, path.with_suffix(".json")) | {
            "validation_accuracy": validation,
            **tested.as_test(),
            "epochs": epochs,
        }
        write_atomic(done, json.dumps({"key": key, "result": result}, indent=1))
        self._clear(stem)
        return result

    def _clear(self, stem: str) -> None:
        """Checkpoints of a long training go once its result is on disk."""
        for checkpoint in self.folder.glob(f"{stem}-*.ckpt"):
            checkpoint.unlink(missing_ok=True)

    @property
    def _recipe(self) -> Recipe:
        """Of the long training."""
        recipe = self.recipe.onward(epochs=self.settings.epochs)
        return replace(recipe, epoch_images=self.settings.epoch_images or recipe.epoch_images)

    def _train_on(self, network: Network, stem: str, number: int, count: int) -> tuple[float, int]:
        """(validation accuracy, epochs)."""
        recipe = self._recipe
        images = min(recipe.epoch_images, len(self.given.images.train))
        what = f"training on for {recipe.epochs} epochs of {images} images"
        begun = hashlib.sha256(network_bytes(network, {})).hexdigest()[:12]
        self.progress.line(what)

        def share(done: float) -> float:
            return self.clock.at(DESCENT_SHARE + (1 - DESCENT_SHARE) * (number + done) / count)

        outcome = Trainer.on(self.given.images, recipe=recipe, seed=self.given.seed).fit(
            network,
            state_file=self.folder / f"{stem}-{begun}-{recipe.epochs}x{images}.ckpt",
            on_step=lambda step, steps: self.progress.update(share(step / steps), what),
            deadline=self.late,
        )
        return outcome.accuracy, outcome.epochs

    def _weights_about(self) -> dict[str, Any]:
        return weights_metadata(self.given.images, seed=self.given.seed)

    def _result(self, budget: float, found: Iteration, path: Path) -> dict[str, Any]:
        own = costs(lower(found.spec))
        predicted = self.cost_model.table.predict(lower(found.spec)) if self.cost_model.table else None
        measured = found.measured
        return {
            "budget": budget,
            "cost": found.cost,
            "used": found.cost / budget,
            "iteration": found.number,
            "trial": trial_of(self.history, found),
            "fingerprint": found.spec.fingerprint(),
            "params": own.params,
            "macs": own.macs,
            "network": str(path),
            "predicted_latency_ms": predicted and predicted.latency_ms,
            "predicted_low_ms": predicted and predicted.low_ms,
            "predicted_high_ms": predicted and predicted.high_ms,
            "estimated_layers": list(predicted.estimated) if predicted else [],
            "held": _how(found, self.cost_model.unit),
            "measured_latency_ms": measured and measured.latency_ms,
            "measured_low_ms": measured and measured.low_ms,
            "measured_high_ms": measured and measured.high_ms,
            "noisy": bool(measured and measured.noisy),
        }

    def _start(self) -> dict[str, Any]:
        zero = self.history.iterations[0]
        own = costs(lower(zero.spec))
        images = min(self.settings.validation_images, len(self.given.images.validation))
        return {"cost": zero.cost, "accuracy": zero.accuracy, "images": images, "params": own.params, "macs": own.macs}

    def _iteration(self, one: Iteration) -> dict[str, Any]:
        taken = one.accepted
        return {
            "number": one.number,
            "step": taken.name if taken else "start",
            "cost": one.cost,
            "accuracy": one.accuracy,
            "tried": len(one.tried),
            "ratio": taken.timing.ratio if taken and taken.timing else None,
            "refused": sum(row.timing is not None and not row.timing.faster for row in one.tried),
        }


def _how(found: Iteration, unit: str) -> str:
    """How it is known that a network is within its budget."""
    if found.measured is not None:
        return "measured"
    return "predicted" if unit == "ms" else "counted"


def trial_of(history: History, iteration: Iteration) -> int:
    """The number of the trial that an iteration's accepted proposal is; -1 for the start."""
    if iteration.accepted is None:
        return -1
    before = sum(len(one.tried) for one in history.iterations[: iteration.number])
    return before + next(index for index, row in enumerate(iteration.tried) if row.accepted)
