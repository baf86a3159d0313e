"""One training of a detector in its folder: data, start, training, one test, files."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from scaling.efficientdet import fitting
from scaling.efficientdet.anchor_choice import choose_scale, with_scale
from scaling.efficientdet.augment_boxes import Augmentation
from scaling.efficientdet.binding import bind, check_content, check_flags
from scaling.efficientdet.coco_map import CocoMap
from scaling.efficientdet.detection_data import load
from scaling.efficientdet.evaluating import check_measurable, counts, evaluate
from scaling.efficientdet.examples import DetectionData
from scaling.efficientdet.feeding import TrainingFeed, check_channels
from scaling.efficientdet.module import Detector
from scaling.efficientdet.readers.scenes import DEFAULT_RESOLUTION
from scaling.efficientdet.saved import SPEC, WEIGHTS, load_detector, save_detector
from scaling.efficientdet.spec import Anchors, DetectorSpec, check_resolution, read_detector
from scaling.efficientdet.starting import AUTO, Started, start
from scaling.efficientdet.training import DetectionRecipe, DetectorTraining, State, check_batch
from search.console import Progress, TimeLeft
from search.cores import limit_threads
from search.data.readers.embedded import is_digits
from search.session import locked
from searchspace.arguments import check_flag
from searchspace.errors import InvalidArgument
from searchspace.files import content_of, read_json, write_json

SUMMARY, STATE = "summary.json", "training.ckpt"
DEFAULT_MINUTES = 20.0
DEFAULT_PX = 320  # of photographs
LOOK_IMAGES = 100
CLOSING = 0.06  # of the time, for the test and the files


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a training is asked for: the flags of `python -m scaling.efficientdet train`. Raises InvalidArgument."""

    data: str | None = None
    phi: int = 0
    backbone: str | None = None
    detector: str | None = None
    resolution: int | None = None
    weights: str = AUTO
    minutes: float | None = None
    steps: int | None = None
    batch_size: int = DetectionRecipe.batch_size
    learning_rate: float = DetectionRecipe.learning_rate
    seed: int = 0

    def __post_init__(self) -> None:
        if self.detector is not None and (self.phi or self.backbone):
            raise InvalidArgument(f"--detector says phi and backbone, got {self.detector} and others: leave one out")
        if self.resolution is not None:
            check_resolution(self.resolution)
        if self.minutes is not None and self.steps is not None:
            raise InvalidArgument(f"give --minutes or --steps, got {self.minutes:g} and {self.steps}: leave one out")
        for flag, value, most in (
            ("--minutes", self.minutes, 1e6),
            ("--steps", self.steps, 1e9),
            ("--batch-size", self.batch_size, 1024),
            ("--learning-rate", self.learning_rate, 10.0),
        ):
            check_flag(flag, value, value is None or 0 < value <= most, f"above 0, at most {most:g}")
        check_flag("--seed", self.seed, 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")

    @property
    def seconds(self) -> float | None:
        """For everything; None where --steps limits it."""
        return None if self.steps else 60 * (self.minutes or DEFAULT_MINUTES)

    @property
    def name(self) -> str:
        """Of the folder, made of data, detector and pixels."""
        stem = "digits" if self.data is None else Path(self.data).name.partition(".")[0].replace(":", "-")
        which = f"d{self.phi}" if self.detector is None else Path(self.detector).stem
        return f"{stem}-{which}-{self.spec(1).resolution}px"

    def spec(self, classes: int) -> DetectorSpec:
        """The detector that is asked for, for so many classes. Raises PhinasError."""
        if self.detector is None:
            pixels = self.resolution or (DEFAULT_RESOLUTION if is_digits(self.data) else DEFAULT_PX)
            return fitting.detector(self.phi, backbone=self.backbone, classes=classes, resolution=pixels)
        found = read_detector(self.detector).with_classes(classes)
        return found if self.resolution is None else found.with_resolution(self.resolution)


class Trained(NamedTuple):
    """A trained detector in eval mode, the names of its classes, what summary.json holds, and where it is."""

    detector: Detector
    classes: tuple[str, ...]
    summary: dict[str, Any]
    folder: Path


def train(settings: Settings, folder: Path, *, quiet: bool = False) -> Trained:
    """Train, test once and write; the same settings again go on where it was cut off, and a finished one is read.

    Raises PhinasError; KeyboardInterrupt passes with everything kept.
    """
    began = time.monotonic()
    limit_threads()
    in_use = f"another process trains in {folder}: wait until it ends, stop it, or give another --out"
    clock = TimeLeft(settings.seconds)
    with locked(folder, in_use), Progress(clock.left_s, quiet=quiet) as progress:
        check_flags(folder, asdict(settings))
        asked = settings.spec(1)  # a detector that cannot be is told before images are read
        check_channels(asked)
        data = load(settings.data, seed=settings.seed, resolution=asked.resolution, progress=_reading(progress))
        check_content(folder, asked.fingerprint(), data)
        if all((folder / name).exists() for name in (SUMMARY, SPEC, WEIGHTS)):
            progress.line(f"{folder} is finished: nothing is trained")
            saved = load_detector(folder)
            with content_of(folder / SUMMARY):
                summary = dict(read_json(folder / SUMMARY))
            return Trained(saved.detector, saved.classes, summary, folder)
        return _trained(settings, folder, data, progress, clock, began)


def _trained(
    settings: Settings, folder: Path, data: DetectionData, progress: Progress, clock: TimeLeft, began: float
) -> Trained:
    progress.line(
        f"images: {data.name}, {len(data.train)} to train, {len(data.validation)} to validate, {len(data.test)} to "
        f"test, {len(data.classes)} classes"
    )
    for note in data.notes:
        progress.line(note)
    for part in ("train", "test"):
        check_measurable(getattr(data, part), f"the {part} images")
    wanted = settings.spec(len(data.classes))
    check_batch(wanted, min(settings.batch_size, len(data.train)))
    if wanted.anchors == Anchors():  # those of a file may be chosen
        scale = choose_scale(wanted, data.train)
        progress.line(scale.sentence())
        wanted = with_scale(wanted, scale.scale)
    started = start(
        wanted,
        backbone=settings.backbone,
        is_asked_for=settings.backbone is not None or settings.detector is not None,
        weights=settings.weights,
        seed=settings.seed,
        images=data.train,
        note=progress.line,
    )
    bind(folder, asdict(settings), settings.spec(1).fingerprint(), data)
    state = _fit(settings, folder, data, started, progress, clock, began)
    test = evaluate(started.detector, data.test, data.classes, on_progress=progress.update)
    summary = _summary(settings, data, started, state, test)
    save_detector(folder, started.detector, data.classes, {"trained_at_px": started.detector.spec.resolution})
    write_json(folder / SUMMARY, summary)
    return Trained(started.detector, data.classes, summary, folder)


def _fit(
    settings: Settings,
    folder: Path,
    data: DetectionData,
    started: Started,
    progress: Progress,
    clock: TimeLeft,
    began: float,
) -> State:
    batch = min(settings.batch_size, len(data.train))
    recipe = DetectionRecipe(batch_size=batch, learning_rate=settings.learning_rate)
    some = data.validation[:LOOK_IMAGES]
    looks = any(counts(each) for each in some)
    if not looks:
        progress.line(f"none of the first {len(some)} validation images has an object: nothing is shown before the end")
    feed = TrainingFeed(
        spec=started.detector.spec,
        examples=data.train,
        how=Augmentation(scale=data.sizes, flip=0.5 if data.mirrors else 0.0),
        batch_size=batch,
        seed=settings.seed,
    )
    training = DetectorTraining(
        detector=started.detector,
        batches=feed,
        recipe=recipe,
        published=started.parent is not None,
        look=(lambda detector: evaluate(detector, some, data.classes).ap50) if looks else None,
        on_progress=lambda share, what: progress.update(clock.at(share), what),
        on_line=progress.line,
        state_file=folder / STATE,
        key=f"{data.fingerprint} {settings.seed} {settings.minutes} {settings.steps} {started.parent}",
    )
    if settings.seconds is None:
        return training.fit(steps=settings.steps)
    return training.fit(seconds=(1 - CLOSING) * settings.seconds - (time.monotonic() - began))


def _summary(settings: Settings, data: DetectionData, started: Started, state: State, test: CocoMap) -> dict[str, Any]:
    spec = started.detector.spec
    return {
        "detector": spec.name,
        "resolution": spec.resolution,
        "classes": list(data.classes),
        "data": settings.data,
        "data_fingerprint": data.fingerprint,
        "images": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
        "weights": started.parent,
        "steps": state.total,
        "seconds": state.seconds,
        "validation_ap50": state.history,
        "test": test._asdict(),
        "settings": asdict(settings),
    }


def _reading(progress: Progress) -> Any:
    return lambda done, total: progress.update(done / max(1, total), "reading images")
