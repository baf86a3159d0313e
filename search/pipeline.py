"""From settings to a winner: images, latency table, budget, loop, winner, files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

from search import data
from search.accuracy import AccuracyEstimator, EstimatorSettings, estimator
from search.accuracy.protocol import EPOCHS, TIME
from search.baselines import Baselines, check_names
from search.budget import CostModel, LatencyBudget
from search.candidates import PricedSpace, starting_points
from search.console import Progress
from search.cores import limit_threads
from search.data.readers.registry import open_source
from search.decided import decided
from search.deployed import final_resolution, judged_resolution
from search.earlier import earlier_study
from search.finished import about_images, finished_summary
from search.front import Front
from search.kept_candidates import KeptCandidates
from search.latency.runtimes import runtime
from search.least_time import check_time
from search.long_training import LongTraining
from search.loop import Search, recover
from search.machinery import Machinery
from search.published import Published, published_candidates, usual_forms
from search.renamed import begun_on
from search.results import write_results
from search.schedule import PREPARE_SHARE
from search.session import StudyClock, bind, check_study, given_table, opened_study, stored_settings
from search.settings import AUTO, Settings, check_command, check_same, px_text
from search.sizes import VALUE_BYTES, SizeLimits
from search.study_augment import decide_in
from search.study_budgets import with_budgets
from search.training.effort import WHOLE
from search.training.recipe import FineTuning, Recipe
from search.training.variation import before
from search.turns import Turn
from search.winner import WinnerSelection
from searchspace.errors import InvalidArgument, InvalidData, PhinasError
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.nn.weights.sources import Parents
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec
from studies.frame import write_trials_csv
from studies.storage import folder as study_folder
from studies.storage import open_study

STARTS = 2  # known networks that are tried first; the sampler has the rest


def run_search(
    settings: Settings,
    *,
    fresh: bool = False,
    quiet: bool = False,
    baselines: Sequence[str] = (),
    machinery: Machinery | None = None,
    began: float | None = None,
) -> dict[str, Any]:
    """The whole job of `python -m search.run`; gives the content of summary.json.

    `baselines` are names of the zoo that are trained like the winner when the search is done (search.baselines). The
    time limit counts from `began`, a reading of the machinery's clock (None: now).
    Raises a PhinasError for anything the user can mend; KeyboardInterrupt passes with everything kept.
    """
    machinery = machinery or Machinery()
    began = machinery.now() if began is None else began
    limit_threads()
    if baselines and settings.winners > 1:
        raise InvalidArgument(
            f"--baselines stands beside one winner, got {settings.winners} budgets: leave it out, or search with "
            f"--budget-ms {settings.budget_ms:g} --baselines under another --study"
        )
    settings.search_space(classes=2)  # a mistake in --space is told before images are read
    name = settings.study_name
    if settings.study is None and not fresh and not study_folder(name).exists():
        name = _renamed(settings) or name
    if not study_folder(name).exists():
        if settings.from_study is not None:
            open_study(settings.from_study, create=False)
        open_source(settings.data)  # a mistake in --data is told before a study is made
    with opened_study(name, fresh=fresh) as study:
        stored = stored_settings(study)
        if stored is not None:
            check_command(name, stored, "search.run")
            settings = settings.going_on_with(stored)
            check_same(name, stored, settings.identity())
        spent_s = float(study.user_attrs.get("spent_s", 0.0))
        clock = StudyClock(settings.time_limit_s, spent_before_s=spent_s, now=machinery.now, began=began)
        with Progress(clock.left_s, quiet=quiet) as progress:
            return Pipeline(settings, study, clock, progress, machinery).run(baselines)


def _renamed(settings: Settings) -> str | None:
    """The study of these settings that was begun on the same images before they were renamed."""
    for name in begun_on(settings.data):
        try:
            stored = stored_settings(open_study(name, create=False))
            if stored is not None:
                check_command(name, stored, "search.run")
                check_same(name, stored, settings.going_on_with(stored).identity())
                return name
        except PhinasError:  # another study
            continue
    return None


@dataclass(frozen=True)
class Pipeline:
    """One run of a search in its open study."""

    settings: Settings
    study: optuna.Study
    clock: StudyClock
    progress: Progress
    machinery: Machinery
    parents: Parents | None = None  # see `_resolved`

    @property
    def folder(self) -> Path:
        """The study's."""
        return study_folder(self.study.study_name)

    def run(self, baselines: Sequence[str]) -> dict[str, Any]:
        """Search, unless that is done, and compare with baselines; gives the summary."""
        name = self.study.study_name
        summary = finished_summary(self.settings, self.study, note=self.progress.line)
        if summary is not None:
            self.progress.line(f"the study {name!r} is finished; give more --minutes or --trials to go on")
            return self._resolved()._compared(summary, baselines) if baselines else summary
        try:
            pipeline = self._resolved()
            check_names(baselines, pipeline.parents)  # told before the search
            pipeline, images = pipeline._prepared()
            summary = pipeline._search(images)
        finally:
            self.study.set_user_attr("spent_s", self.clock.elapsed_s())
            write_trials_csv(name)
        return pipeline._compared(summary, baselines) if baselines else summary

    def _resolved(self) -> "Pipeline":
        """This run with its weights at hand, and every `auto` decided."""
        is_new = stored_settings(self.study) is None
        settings, parents = decided(self.settings, self.machinery, is_new=is_new, note=self.progress.line)
        return replace(self, settings=settings, parents=parents)

    def _prepared(self) -> tuple["Pipeline", data.Dataset]:
        """This run with its images, and what `--augment` comes to for them. Raises PhinasError before any work."""
        settings = self.settings
        trains = self._estimator.trains  # told before anything takes time if there are no weights for it
        if stored_settings(self.study) is None:
            settings.check_epochs(trains=trains)
        if settings.latency is None:
            runtime(settings.runtime, threads=settings.threads)  # told before images are read if it is not installed
        else:
            settings.check_table(read_table(Path(settings.latency)), settings.search_space(classes=2))
        self._check_time()
        images = self._images()
        if len(images.classes) < 2:
            raise InvalidData(f"a search needs at least 2 classes, got {len(images.classes)}: add class folders")
        check_study(self.study, about_images(settings, images), images=images)
        self._check_time(images)
        found = decide_in(self.study, settings.augment, settings.data, images)
        self.progress.line(found.sentence())
        return replace(self, settings=replace(settings, augment=found.augment)), images

    def _search(self, images: data.Dataset) -> dict[str, Any]:
        progress = self.progress
        space = self.settings.search_space(classes=len(images.classes))
        progress.line(f"search space: {space.name}, {space.size():.3g} networks at {px_text(space.resolutions)} px")
        earlier = earlier_study(self.settings.from_study, space, own=self.study.study_name)
        table = self._table(space)
        estimates = ", others are estimated" if table.quick else ""
        progress.line(f"latency table: {len(table.kernels)} kernels{estimates}, error {table.relative_error:.1%}")
        # The cost model estimates kernels that a table of another device lacks.
        priced = PricedSpace(
            space,
            CostModel("ms", table),
            confidence=self.settings.confidence,
            limits=SizeLimits.of(vars(self.settings)),
            value_bytes=VALUE_BYTES.get(table.identity.get("dtype", ""), 4),
        )
        settings, budgets = with_budgets(
            self.settings, priced, table, self.machinery.device, self.study, note=progress.line
        )
        self = replace(self, settings=settings)
        turns = [Turn(budget, self._published(priced, budget)) for budget in budgets]
        versions = {package: version(package) for package in ("torch", "optuna", "numpy")}
        about, name = self._about(images, space, table), self.study.study_name
        bind(self.study, about, images=images, table=table, note=progress.line, name=name, versions=versions)
        known, cut_off = recover(self.study)
        judge = self._judge(lambda spec: priced.is_within(spec, budgets[-1].prediction_limit_ms))
        judge.prepare(images, on_progress=lambda share: progress.update(share, "preparing the estimator"))
        if known or cut_off:
            progress.line(f"going on with {len(known)} networks tried before; {cut_off} cut off are run again")
        search = Search(
            self.study,
            settings,
            priced,
            budgets[-1],
            judge,
            self.clock,
            progress,
            known,
            starts=starting_points(space)[:STARTS] if self.parents is None else (),
            published=turns[-1].published,
            turns=turns,
            prior=earlier,
        )
        progress.left_s = search.schedule.left_s
        search.run()
        training, weights = self._training(images), None if self.parents is None else self.parents.describe()
        if len(turns) > 1:
            summary = Front(search, training, images, self.folder, self.machinery, weights).finish()
        else:
            selection = WinnerSelection(search, training, images, self.folder, self.machinery.timer)
            summary = write_results(search, selection.select_winner(), images, self.folder, weights=weights)
        KeptCandidates(self.folder).forget()
        self.study.set_user_attr("finished", [settings.time_limit_s, settings.trials])
        return summary

    def _check_time(self, images: data.Dataset | None = None) -> None:
        """See `check_time`; a study in which something was judged goes on in any time."""
        if not self.study.get_trials(deepcopy=False):
            recipe = self._recipe if self._estimator.trains else None
            check_time(self.settings, self.clock, images, recipe, self.machinery.device, self.machinery.rough_ms)

    def _published(self, priced: PricedSpace, budget: LatencyBudget) -> list[Published]:
        """The published networks that are candidates."""
        if self.parents is None or self.settings.sampler == "random" or self._estimator.only_space:
            return []
        return published_candidates(
            self.parents,
            sizes=priced.space.resolutions[::-1],
            classes=priced.space.classes,
            upper_ms=priced.counted_ms,
            limit_ms=budget.first_prediction_limit_ms,
        )

    @property
    def _judged_px(self) -> int:
        """Pixels of the images that candidates are judged by; an estimator from published weights resizes them."""
        settings = self.settings
        if self.parents is None:
            return settings.proxy_resolution
        return judged_resolution(data.native_resolution(settings.data), settings.proxy_resolution, settings.resolutions)

    def _images(self, pixels: int | None = None, known: data.Dataset | None = None) -> data.Dataset:
        """The images at so many pixels (None: those of candidates); `known` are those at other pixels, told already."""
        settings, progress = self.settings, self.progress
        pixels = pixels or self._judged_px
        if known is not None and known.resolution == pixels:
            return known
        images = data.load(
            settings.data,
            resolution=pixels,
            seed=settings.seed,
            images=settings.images,
            progress=lambda done, total: progress.update(done / max(1, total), "reading images"),
        )
        if known is not None:
            return images
        progress.line(
            f"images: {images.name}, {len(images.train)} to train and {len(images.validation)} to validate at "
            f"{images.resolution} px, {len(images.classes)} classes"
        )
        for note in images.notes:
            progress.line(note)
        return images

    def _table(self, space: SearchSpace) -> LatencyTable:
        settings = self.settings
        if settings.latency is not None:
            table = read_table(Path(settings.latency))
            if not self.machinery.device.is_of(table):
                self.progress.line(
                    f"nothing is measured: the table is of another device or setting ({describe(table.identity)})"
                )
            return table
        return self.machinery.device.table_for(
            space,
            networks=()
            if self.parents is None
            else usual_forms(self.parents, sizes=space.resolutions, classes=space.classes),
            seed=settings.seed,
            progress=self.progress.update,
            note=self.progress.line,
            runtime=runtime(settings.runtime, threads=settings.threads),
        )

    @cached_property
    def _estimator(self) -> AccuracyEstimator:
        return self._judge(None)

    def _judge(self, within: Callable[[NetworkSpec], bool] | None) -> AccuracyEstimator:
        """The estimator of candidates, for those that are `within` the budget."""
        limit_s, stored = self.clock.limit_s, self.study.user_attrs.get("settings")
        settings = EstimatorSettings(
            recipe=self._recipe,
            seed=self.settings.seed,
            equal=TIME if stored is None else stored.get("equal", EPOCHS),
            whole=WHOLE if stored is None else stored.get("frozen", {}).get("whole", 1.0),
            parents=self.parents,
            space=self.settings.search_space(classes=2),
            within=within,
            seconds=None if limit_s is None else PREPARE_SHARE * limit_s,
            folder=self.folder,
            keep=KeptCandidates(self.folder).keep,
            largest=self.settings.resolutions[-1],
        )
        return estimator(self.settings.accuracy, settings)

    @property
    def _recipe(self) -> Recipe:
        """Of short trainings; what `--augment auto` comes to is not known before images are."""
        settings, recipe = self.settings, Recipe()
        augment = before(settings.data) if settings.augment == AUTO else settings.augment
        epochs, weights = settings.epochs or recipe.epochs, settings.class_weights
        return replace(recipe, epochs=epochs, class_weights=weights).varied(augment)

    def _training(self, images: data.Dataset) -> LongTraining:
        """What trains the winner and the baselines."""
        settings, recipe = self.settings, self._recipe
        largest = settings.resolutions[-1]
        native = data.native_resolution(settings.data)
        large = self._images(final_resolution(native, images.resolution, largest), images)
        tuner = None
        if self.parents is not None:
            tuning = FineTuning().varied_as(recipe)
            tuner = self.machinery.tuner(
                train=large.train, validation=large.validation, recipe=tuning, seed=settings.seed
            )
        return LongTraining(
            trainer=self.machinery.trainer(
                train=images.train, validation=images.validation, recipe=recipe, seed=settings.seed
            ),
            tuner=tuner,
            parents=self.parents,
            images=large,
            largest=largest,
            limit_s=None if settings.time_limit_s is None else settings.time_limit_s / settings.winners,
            progress=self.progress,
            clock=self.machinery.now,
        )

    def _about(self, images: data.Dataset, space: SearchSpace, table: LatencyTable) -> dict[str, Any]:
        """What defines the study."""
        return {
            **self.settings.identity(),
            **about_images(self.settings, images),
            "space": space.to_dict(),
            "recipe": self._recipe.identity(),
            **self._estimator.identity(),
            "device": table.identity,
            **given_table(self.settings.latency, table),
            **({} if self.parents is None else {"weights_sha256": [parent.sha256 for parent in self.parents]}),
        }

    def _compared(self, summary: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        images = self._images()
        space = self.settings.search_space(classes=len(images.classes))
        table = self._table(space)
        bind(self.study, self._about(images, space, table), table=table)
        budget = LatencyBudget(
            self.settings.budget_ms, table, confidence=self.settings.confidence, device=self.machinery.device
        )
        training = replace(self._training(images), limit_s=float(summary["spent_s"]))  # as long as the search was
        compared = Baselines(self.settings, training, budget, self.progress, self.folder, self.machinery.weights)
        return compared.compare(summary, names)
