"""Was the search worth it? Published networks that meet the same budget, for as many minutes as the whole search had.

Each network of the zoo is taken as it is if it measures within the budget, at the largest of the searched input sizes
where it does, and otherwise at the smallest size and the largest width multiplier that does. It is fine-tuned from its
own published weights, narrowed ones by transfer, or trained from scratch where the search was; then it is made good at
the deployed size and tested once, as the winner was, on the same images. Every result is in the study's baselines.json
before the next training begins; a training that is cut off goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.accuracy import EstimatorSettings
from search.accuracy.frozen import rank_by_frozen_features
from search.budget import LatencyBudget, latency_fields
from search.console import Progress, TimeLeft, clock_text
from search.latency import Measurement
from search.long_training import LongTraining
from search.results import TESTED
from search.settings import BEST_OF_ALL, Settings
from search.sizes import VALUE_BYTES, SizeLimits, sizes_of
from search.training.balance import balance
from search.training.errors import OutOfMemory, TrainingFailed
from search.versus import packed, paired_difference, unpacked, unpaired_difference
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidArgument, InvalidSpec, MissingLatency, PhinasError
from searchspace.files import content_of, read_json, write_json
from searchspace.graph import lower
from searchspace.nn.weights.sources import Parents, resolve
from searchspace.spec import NetworkSpec
from studies.storage import SUMMARY

BASELINES = "baselines.json"
WIDTH_STEP = 0.05
MOST = 3  # that --baselines best trains
Fitting = tuple[NetworkSpec, float, Measurement]  # the network, its width multiplier, its latency


def check_names(names: Sequence[str], parents: Parents | None) -> None:
    """Raises InvalidArgument for "best" where there are no published weights to tell by."""
    if BEST_OF_ALL in names and parents is None:
        raise InvalidArgument(
            "--baselines best goes by features of published weights, got --weights none: name the networks, as in "
            "--baselines mobilenet_v2,mnasnet_a1"
        )


@dataclass(frozen=True)
class Baselines:
    """Trains published networks as a search's winner was. `weights` finds a network's own; see sources.resolve."""

    settings: Settings
    training: LongTraining
    budget: LatencyBudget
    progress: Progress
    folder: Path
    weights: Callable[..., Parents | None] = resolve
    _own: dict[str, Parents] = field(default_factory=dict)

    def compare(self, summary: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """The summary of a search with its "baselines", the networks `names` of the zoo, best first.

        ("best",) means those three that their frozen features say are worth the time. summary.json is written anew with
        them. Raises a PhinasError as search and training do.
        """
        seconds, table = float(summary["spent_s"]), self.budget.table
        effort = {
            "seconds": seconds,
            "tested": summary["winner"]["test_images"],
            "start": "random weights" if self.training.parents is None else "own weights",
            "seed": self.settings.seed,
            "data": self.training.images.fingerprint,
            "device": json.loads(json.dumps(table.identity)),
            **({} if self.budget.measures else {"kernels": len(table.kernels), "error": table.relative_error}),
        }
        path = self.folder / BASELINES
        runs = stored_runs(path)
        run: dict[str, Any] = next((run for run in runs if run["effort"] == effort), {})
        if not run:
            run = {"effort": effort, "networks": {}, "lengths": {}}
            runs.append(run)
        done = run["networks"]

        def keep() -> None:
            write_json(path, {"runs": runs})

        clock = TimeLeft()
        self.progress.left_s = clock.left_s  # the search's own has run out
        fitting: dict[str, Fitting | None] = {}
        if tuple(names) == (BEST_OF_ALL,):
            if "best" not in run:
                run["best"], fitting = self._worth_the_time()
                keep()
            names = run["best"]
        missing = [name for name in names if name not in done]
        left_out = {name: why for name in missing if (why := self._why_not(name))}
        fitting |= self.fit([name for name in missing if name not in left_out and name not in fitting])
        for place, name in enumerate(missing):
            clock.at(place / len(missing))
            if name in left_out:
                done[name] = {"name": name, "status": left_out[name]}
            elif fitted := fitting[name]:
                done[name] = self._train(name, fitted, seconds, run["lengths"], keep, effort["tested"])
            else:
                done[name] = {"name": name, "status": f"no width meets {self._limits_text}"}
            keep()
        with content_of(path):
            rows = sorted((done[name] for name in names), key=lambda row: -row.get("test_accuracy", -1.0))
            summary = {**summary, "baselines": [self._versus(summary["winner"], row) for row in rows]}
        write_json(self.folder / SUMMARY, summary)
        return summary

    def _worth_the_time(self) -> tuple[list[str], dict[str, Fitting | None]]:
        """The networks whose frozen features tell the images best, and all that fit the budget."""
        check_names((BEST_OF_ALL,), self.training.parents)
        known = [name for name in zoo.names() if not self._why_not(name)]
        fitting = self.fit(known)
        specs = {name: fitted[0] for name, fitted in fitting.items() if fitted}
        without = f"{len(zoo.names()) - len(known)} of {len(zoo.names())} without weights here or kernels in the table"
        over = f"{len(known) - len(specs)} over {self._limits_text}"
        self.progress.line(f"published networks left out: {without}, {over}")
        own = Parents([parent for name in specs for parent in self._own[name]])
        ranked = rank_by_frozen_features(
            specs,
            self.training.images,
            EstimatorSettings(parents=own, seed=self.settings.seed, largest=self.settings.resolutions[-1]),
            on_progress=lambda share: self.progress.update(share, "judging published networks by their features"),
        )
        best = ranked[:MOST]
        told = ", ".join(f"{name} {found.mean:.1%}" for name, found in best)
        self.progress.line(f"worth the time by their frozen features: {told or 'none'}")
        return [name for name, _ in best], fitting

    def _why_not(self, name: str) -> str:
        """Why a network is left out; "" if it is not."""
        if not self._is_known(name):
            return "the latency table has no kernels like some of its"
        if self.training.parents is None or name in self._own:
            return ""
        try:
            found = self.weights(name, ema=None, note=self.progress.line)
        except PhinasError as error:
            return f"its weights are not to be had ({error})"
        if found is not None:
            self._own[name] = found
        return ""

    def _versus(self, winner: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        """The row with how it stands to the winner, by the images that both were tested on."""
        if row["status"] != "trained":
            return row
        path, right = self.folder / TESTED, unpacked(row["right"])
        tested = told_right(path) if path.exists() else ()
        if len(tested) == len(right):
            found = paired_difference(right, tested)
        else:
            images = row["test_images"], winner["test_images"]
            found = unpaired_difference(row["test_accuracy"], winner["test_accuracy"], images=images)
        about = {**found._asdict(), "verdict": found.verdict, "paired": bool(tested)}
        return {key: value for key, value in row.items() if key != "right"} | {"versus_winner": about}

    def fit(self, names: Sequence[str]) -> dict[str, Fitting | None]:
        """For each name the last network of a grid that measures within the budget and keeps the limits on sizes.

        The grid has the widths up to 1 in steps of 0.05 at the smallest of the input sizes, then width 1 at the others.
        EfficientNet-B1 to B7 are B0 grown, so they are not narrowed: one that is over the budget is left out (None).
        All networks of a step are measured in one interleaved run. By bisection: five steps.
        """
        sizes, limit_ms, whole = self.settings.resolutions, self.budget.limit_ms, round(1 / WIDTH_STEP)
        grid = [(round(step * WIDTH_STEP, 2), sizes[0]) for step in range(1, whole)] + [(1.0, px) for px in sizes]
        low = {name: whole - 1 if zoo.is_grown(name) else 0 for name in names}  # in steps of the grid, from 1: fits
        high, asking = dict.fromkeys(names, len(grid) + 1), dict.fromkeys(names, len(grid))  # high: does not fit
        best: dict[str, Fitting | None] = dict.fromkeys(names)
        while asking:
            built = {name: spec for name, step in asking.items() if (spec := self._spec(name, *grid[step - 1]))}
            measured = self.budget.networks(list(built.values()), seconds=1.0 + 0.4 * len(built))
            found = dict(zip(built, measured, strict=True))
            for name, step in asking.items():
                if name not in built:
                    low[name] = step  # too narrow to be built
                elif found[name].high_ms <= limit_ms and self._keeps_sizes(built[name]):
                    low[name], best[name] = step, (built[name], grid[step - 1][0], found[name])
                else:
                    high[name] = step
            asking = {name: (low[name] + high[name]) // 2 for name in names if high[name] - low[name] > 1}
            widest = max((high[name] - low[name] for name in asking), default=1)
            self.progress.update(1 - widest / (len(grid) + 1), "finding the widths that meet the budget")
        return best

    @property
    def _sizes(self) -> SizeLimits:
        return SizeLimits.of(vars(self.settings))

    @property
    def _limits_text(self) -> str:
        """For people."""
        return f"{self.budget.limit_ms:g} ms" + (f" and {self._sizes.text()}" if self._sizes.given else "")

    def _keeps_sizes(self, spec: NetworkSpec) -> bool:
        value_bytes = VALUE_BYTES.get(self.budget.table.identity.get("dtype", ""), 4)
        return not self._sizes.given or self._sizes.share(sizes_of(lower(spec), value_bytes)) <= 1

    def _is_known(self, name: str) -> bool:
        """Whether it can be told how long the network takes: a table of another device may lack kinds of kernels."""
        spec = self._spec(name, 1.0, self.settings.resolutions[-1])
        try:
            return self.budget.measures or spec is None or bool(self.budget.networks([spec]))
        except MissingLatency:
            return False

    def _spec(self, name: str, width: float, pixels: int) -> NetworkSpec | None:
        classes = len(self.training.images.classes)
        try:
            spec = zoo.get(name, width=width, resolution=pixels, classes=classes)
        except InvalidSpec:
            return None
        own = self._own.get(name)
        return spec if own is None else replace(spec, conventions=own[0].network.spec.conventions)

    def _train(
        self,
        name: str,
        fitted: Fitting,
        seconds: float,
        lengths: dict[str, int],
        keep: Callable[[], None],
        tested: int,
    ) -> dict[str, Any]:
        """One row of the comparison. A training that diverges or finds no memory is a result too."""
        spec, width, measured = fitted
        cost, kind = costs(lower(spec)), "measured" if measured.rounds else "predicted"
        row: dict[str, Any] = {
            "name": name,
            "width": width,
            "resolution": spec.resolution,
            "fingerprint": spec.fingerprint(),
            "params": cost.params,
            "macs": cost.macs,
            **latency_fields(kind, measured),
        }
        what = f"baseline {name}, width {width:g}, {measured.latency_ms:.1f} ms"
        try:
            if name not in lengths:
                lengths[name] = self.training.length(spec, seconds)
                keep()
            length = lengths[name]
            self.progress.line(f"{what}: training for {self.training.how_long(length, seconds)}")
            state_file = self.folder / f"baseline-{row['fingerprint']}-{length}.ckpt"
            module = self.training.start(spec, self._own.get(name)).network
            trained = self.training.train(module, length, state_file=state_file, what=what)
            final = self.training.deploy_and_test(
                module, trained, what, left_s=seconds - trained.seconds, images=tested
            )
        except TrainingFailed as error:
            self.progress.line(f"{what}: {error}")
            return {**row, "status": "out of memory" if isinstance(error, OutOfMemory) else "diverged"}
        state_file.unlink(missing_ok=True)
        self.progress.line(f"{what}: test {final.test.value:.1%} after {clock_text(trained.seconds)}")
        return {
            **row,
            "status": "trained",
            "epochs": trained.epochs,
            "train_s": trained.seconds,
            "accuracy_at_training_px": trained.accuracy,
            "validation_accuracy": final.validation_accuracy,
            "right": packed(final.right),
            **final.test.as_test(),
            **balance(self.training.images, final.right),
        }


def told_right(path: Path) -> tuple[bool, ...]:
    """Which test images the winner told right. Raises StorageError."""
    with content_of(path):
        return unpacked(read_json(path)["winner"])


def stored_runs(path: Path) -> list[dict[str, Any]]:
    """What earlier runs wrote: one entry for each effort that baselines were trained with. Raises StorageError."""
    found = read_json(path) if path.exists() else []
    with content_of(path):
        runs: list[dict[str, Any]] = found["runs"] if isinstance(found, dict) else found  # files of before are the list
        for run in runs:
            best, rows, lengths = run.get("best", []), run["networks"].values(), run["lengths"].values()
            if not all(type(length) is int and length > 0 for length in lengths):
                raise ValueError(f"lengths {[*lengths]}")
            if not (all(row["status"] for row in rows) and all(type(name) is str for name in best)):
                raise ValueError(f"networks {best}")
            _ = run["effort"]
    return runs
