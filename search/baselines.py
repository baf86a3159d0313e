"""Was the search worth it? Published networks that meet the same budget, trained exactly as the winner was.

Each network of the zoo is taken as it is if it measures within the budget, and otherwise at the largest width
multiplier that does. It is trained with the winner's recipe, epochs, seed and images, and tested once, after training.
Every result is in the study's baselines.json before the next training begins; a training that is cut off goes on at
its last epoch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.budget import LatencyBudget, latency_fields
from search.console import Progress, TimeLeft, clock_text
from search.data import Dataset
from search.latency import Measurement
from search.settings import Settings
from search.training.errors import OutOfMemory, TrainingFailed
from search.training.evaluate import Accuracy
from search.training.trainer import Trainer
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidSpec, MissingLatency, StorageError
from searchspace.files import read_json, write_atomic
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.spec import NetworkSpec
from studies.storage import SUMMARY

BASELINES = "baselines.json"
WIDTH_STEP = 0.05
Fitting = tuple[NetworkSpec, float, Measurement]  # the network, its width multiplier, its latency


@dataclass(frozen=True)
class Baselines:
    """Trains published networks as a search's winner was. `trainer` has the recipe of the search."""

    settings: Settings
    dataset: Dataset
    trainer: Trainer
    budget: LatencyBudget
    progress: Progress
    folder: Path

    def compare(self, summary: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """The summary of a search with its "baselines", the networks `names` of the zoo, best first.

        summary.json is written anew with them. Raises a PhinasError as search and training do.
        """
        epochs, table = summary["winner"]["epochs"], self.budget.table
        effort = {
            "epochs": epochs,
            "seed": self.settings.seed,
            "data": self.dataset.fingerprint,
            "device": json.loads(json.dumps(table.identity)),
            **({} if self.budget.measures else {"kernels": len(table.kernels), "error": table.relative_error}),
        }
        path = self.folder / BASELINES
        runs = _stored(path)
        done: dict[str, Any] = next((run["networks"] for run in runs if run["effort"] == effort), {})
        if not done:
            runs.append({"effort": effort, "networks": done})
        missing = [name for name in names if name not in done]
        clock = TimeLeft()
        self.progress.left_s = clock.left_s  # the search's own has run out
        known = [name for name in missing if self._is_known(name)]
        fitting = self.fit(known) if known else {}
        for place, name in enumerate(missing):
            clock.at(place / len(missing))
            if name not in known:
                done[name] = {"name": name, "status": "the latency table has no kernels like some of its"}
            elif fitted := fitting[name]:
                done[name] = self._train(name, fitted, epochs)
            else:
                done[name] = {"name": name, "status": f"no width meets {self.budget.limit_ms:g} ms"}
            write_atomic(path, json.dumps(runs, indent=1))
        rows = sorted((done[name] for name in names), key=lambda row: -row.get("test_accuracy", -1.0))
        summary = {**summary, "baselines": rows}
        write_atomic(self.folder / SUMMARY, json.dumps(summary, indent=1))
        return summary

    def fit(self, names: Sequence[str]) -> dict[str, Fitting | None]:
        """For each name the network at the largest width of a grid of 0.05, at most 1, that measures within the budget.

        EfficientNet-B1 to B7 are B0 grown, so they are not narrowed: one that is over the budget is left out (None).
        All networks of a step are measured in one interleaved run. By bisection: five steps.
        """
        steps, limit_ms = round(1 / WIDTH_STEP), self.budget.limit_ms
        low, high = dict.fromkeys(names, 0), dict.fromkeys(names, steps + 1)  # in grid steps: fits, does not fit
        asking = dict.fromkeys(names, steps)
        best: dict[str, Fitting | None] = dict.fromkeys(names)
        while asking:
            built = {name: spec for name, step in asking.items() if (spec := self._spec(name, step * WIDTH_STEP))}
            measured = self.budget.networks(list(built.values()), seconds=1.0 + 0.4 * len(built))
            found = dict(zip(built, measured, strict=True))
            for name, step in asking.items():
                if name not in built:
                    low[name] = step  # too narrow to be built
                elif found[name].high_ms <= limit_ms:
                    low[name], best[name] = step, (built[name], round(step * WIDTH_STEP, 2), found[name])
                else:
                    high[name] = 0 if zoo.is_grown(name) else step
            asking = {name: (low[name] + high[name]) // 2 for name in names if high[name] - low[name] > 1}
            widest = max((high[name] - low[name] for name in asking), default=1)
            self.progress.update(1 - widest / (steps + 1), "finding the widths that meet the budget")
        return best

    def _is_known(self, name: str) -> bool:
        """Whether it can be told how long the network takes: a table of another device may lack kinds of kernels."""
        spec = self._spec(name, 1.0)
        try:
            return self.budget.measures or spec is None or bool(self.budget.networks([spec]))
        except MissingLatency:
            return False

    def _spec(self, name: str, width: float) -> NetworkSpec | None:
        resolution, classes = self.settings.resolution, len(self.dataset.classes)
        try:
            return zoo.get(name, width=width, resolution=resolution, classes=classes)
        except InvalidSpec:
            return None

    def _train(self, name: str, fitted: Fitting, epochs: int) -> dict[str, Any]:
        """One row of the comparison. A training that diverges or finds no memory is a result too."""
        spec, width, measured = fitted
        cost, kind = costs(lower(spec)), "measured" if measured.rounds else "predicted"
        trainer = self.trainer.for_epochs(epochs)
        row: dict[str, Any] = {
            "name": name,
            "width": width,
            "fingerprint": spec.fingerprint(),
            "params": cost.params,
            "macs": cost.macs,
            "epochs": epochs,
            **latency_fields(kind, measured),
        }
        what = f"baseline {name}, width {width:g}, {measured.latency_ms:.1f} ms"
        self.progress.line(f"{what}: training for {epochs} epochs")
        state_file = self.folder / f"baseline-{row['fingerprint']}-{epochs}.ckpt"
        module = build(spec, generator=torch.Generator().manual_seed(trainer.seed))
        try:
            outcome = trainer.fit(
                module, state_file=state_file, on_step=lambda step, steps: self.progress.update(step / steps, what)
            )
        except TrainingFailed as error:
            self.progress.line(f"{what}: {error}")
            return {**row, "status": "out of memory" if isinstance(error, OutOfMemory) else "diverged"}
        test = Accuracy.of(module, self.dataset.open_test())
        state_file.unlink(missing_ok=True)
        self.progress.line(f"{what}: test {test.value:.1%} after {clock_text(outcome.seconds)}")
        return {
            **row,
            "status": "trained",
            "train_s": outcome.seconds,
            "validation_accuracy": outcome.accuracy,
            **test.as_test(),
        }


def _stored(path: Path) -> list[dict[str, Any]]:
    """What earlier runs wrote: one entry for each effort that baselines were trained with. Raises StorageError."""
    runs = read_json(path) if path.exists() else []
    if not isinstance(runs, list) or not all(
        isinstance(run, dict) and {"effort", "networks"} <= run.keys() for run in runs
    ):
        raise StorageError(
            f"{path} must be what --baselines wrote and is not: restore it from a copy, or delete it to train anew"
        )
    return runs
