"""Weights of a grown network: those of the network it grew from, and training from there on."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scaling.result import Result, Weights
from search.console import Progress, TimeLeft
from search.cores import limit_threads
from search.data import Dataset, load, native_resolution
from search.netadapt.origin import some
from search.parents import as_published, file_or_names, published_parent
from search.settings import Settings
from search.training.augmentation import preprocessing_of, weights_metadata
from search.training.auto_augment import AUGMENTATION, decide
from search.training.evaluate import evaluate
from search.training.finetune_state import fit_head
from search.training.handover import Handover
from search.training.recipe import FineTuning, Recipe
from search.training.variation import AUTO, NONE
from searchspace.errors import InvalidArgument
from searchspace.nn import build, load_network, network_bytes, read_about
from searchspace.nn.weights.grow import inherit
from searchspace.nn.weights.sources import Parent
from searchspace.nn.weights.transfer import transfer
from searchspace.template import Template

PUBLISHED_PX = 96  # of a training by epochs from published weights, at most


class Schedule(NamedTuple):
    """How a grown network is trained, and at which pixels.

    `epochs` or `minutes`: both None for no training. `data`: a source of `search.data.load`. `pixels`: to train at by
    epochs; None takes those of the small network's training, grown like the resolution. `seed`: of the splits, the new
    weights and the order of images. `augment`: a value of `--augment`, as `class_weights`.
    """

    epochs: int | None
    minutes: float | None
    data: str | None
    pixels: int | None
    seed: int
    augment: str = AUTO
    class_weights: str = NONE

    @property
    def trains(self) -> bool:
        """Whether there is any training."""
        return bool(self.epochs or self.minutes)

    def images(self, result: Result) -> Dataset:
        """The images for the one network of a result, no larger than they are or than it takes them."""
        return load(self.data, resolution=min(native_resolution(self.data), result.spec.resolution), seed=self.seed)

    def trained_px(self, result: Result, weights: Weights) -> int:
        """Pixels of a training by epochs."""
        deployed, before = result.spec.resolution, weights.about.get("trained_at_px")
        if weights.parent is not None:
            return self.pixels or min(deployed, PUBLISHED_PX)
        before = before if isinstance(before, int) else Settings.proxy_resolution
        return self.pixels or max(1, round(before * deployed / result.template.resolution))


def published_start(
    template: Template, weights: str | Path, *, name: str | None, ema: bool | None, quiet: bool
) -> tuple[Parent, Template]:
    """The published weights to start from, and the template as they want it. `name`: of the template in the zoo."""
    with Progress(lambda: None, quiet=quiet) as progress:
        spec = template.expand()
        parent = published_parent(spec, file_or_names(weights), name=name, ema=ema, note=progress.line)
    if name is not None and parent.network.spec.has_layers_of(spec):
        own = as_published(spec, parent)
        return parent, replace(template, conventions=own.conventions, preprocessing=own.preprocessing)
    return parent, template


def with_weights(
    result: Result,
    small: str | Path | None,
    schedule: Schedule,
    *,
    parent: Parent | None = None,
    ema: bool | None = None,
    out: str | Path | None = None,
    onnx: str | Path | None = None,
    quiet: bool = False,
) -> Result:
    """The result with weights: those of the file `small` or of `parent`, if any, and trained by the schedule.

    With `out` the spec is written before the training, and the weights beside it. Everything is read and checked
    before anything is written. Raises PhinasError.
    """
    with Progress(lambda: None, quiet=quiet) as progress:
        file = None if small is None else Path(small)
        weights = start(result, file, parent, ema=ema, seed=schedule.seed, note=progress.line)
    images = _images_for(weights, result, schedule) if schedule.trains else None
    result.grown[0].spec = weights.module.spec  # with the preprocessing of its weights
    result.save(out, onnx=onnx)
    if images is not None:
        train_on(weights, result, images, schedule, out=None if out is None else Path(out), quiet=quiet)
    elif out is not None:
        weights.save(Path(out))
    return replace(result, weights=weights)


def start(
    result: Result,
    small: Path | None,
    parent: Parent | None = None,
    *,
    ema: bool | None = None,
    seed: int,
    note: Callable[[str], None],
) -> Weights:
    """The grown network, with the weights of the file `small` or of `parent` in it, or (None of them) fresh ones.

    Raises StorageError for a file that is no weights file, InvalidArgument for weights of another network and for a
    network that shrinks.
    """
    generator = torch.Generator().manual_seed(seed)
    if parent is not None:
        found = transfer(parent.network, result.spec, generator=generator)
        about = {"fingerprint": result.spec.fingerprint(), "preprocessing": preprocessing_of(found.network).to_dict()}
        about |= {} if parent.classes is None else {"classes": list(parent.classes)}
        return Weights(
            module=found.network,
            about=about,
            parent=f"{parent.name} ({parent.source})",
            difference=found.difference,
            reasons=found.reasons,
        )
    if small is None:
        return Weights(module=build(result.spec, generator=generator).eval(), about={})
    depth, width, _ = result.grown[0].factors
    if min(depth, width) < 1:
        raise InvalidArgument(
            f"only a network that grows can inherit, got layers x {depth:.4g} and channels x {width:.4g}: give a "
            "larger phi or target, or leave --inherit out"
        )
    base, about = result.base.spec, read_about(small)
    deep = result.template.expand(depth=depth, name=base.name)
    inherited = inherit(load_network(base, small, ema=ema, note=note), deep, result.spec, generator=generator)
    return Weights(
        module=inherited.network,
        about={**about, "fingerprint": result.spec.fingerprint()},
        inherited_from=small,
        difference=inherited.difference,
        reasons=inherited.reasons,
    )


def _images_for(weights: Weights, result: Result, schedule: Schedule) -> Dataset:
    """Raises InvalidArgument for other splits than the weights come from, and for other classes."""
    split_seed = weights.about.get("split_seed", schedule.seed)
    if schedule.seed != split_seed:
        raise InvalidArgument(
            f"the small network was trained on the splits of --seed {split_seed}, got --seed {schedule.seed}: another "
            "seed would test the grown one on images that those weights have seen; leave --seed as it was"
        )
    images = schedule.images(result)
    if len(images.classes) != result.spec.classes:
        raise InvalidArgument(
            f"the network tells {result.spec.classes} classes apart and the data have {len(images.classes)}: "
            "give the data it was made for with --data"
        )
    if weights.inherited_from is not None and _are_other(weights, images):
        theirs, ours = some(weights.about["classes"]), some(images.classes)
        raise InvalidArgument(
            f"the weights must tell the classes of the data apart, {weights.inherited_from} tell {theirs}, and the "
            f"data have {ours}: give the data that they were trained on with --data, or --weights "
            f"{weights.inherited_from} in place of --inherit for a new classifier"
        )
    return images


def _are_other(weights: Weights, images: Dataset) -> bool:
    """Whether the weights are known to tell other classes apart than the images have."""
    return _named(weights) not in (None, list(images.classes))


def _named(weights: Weights) -> list[str] | None:
    """The classes that weights tell apart; None where their file names none, or not as many as they tell."""
    named = weights.about.get("classes")
    return named if isinstance(named, list) and len(named) == weights.module.spec.classes else None


def _classes_line(weights: Weights, images: Dataset) -> str | None:
    """What a person should know of the classes before a training goes on from weights."""
    if weights.inherited_from is None and (weights.parent is None or weights.difference is None):
        return None  # nothing was learnt yet, or the classifier is new
    if _are_other(weights, images):
        theirs, ours = some(weights.about["classes"]), some(images.classes)
        return f"the weights tell {theirs} apart, the data have {ours}: the network gets a new classifier"
    if _named(weights) is None:
        return f"the weights do not name their classes: they are taken to be those of the data, {some(images.classes)}"
    return None


def train_on(
    weights: Weights,
    result: Result,
    images: Dataset,
    schedule: Schedule,
    *,
    out: Path | None = None,
    quiet: bool = False,
) -> None:
    """Train on from `weights`, in place, make the network good at the pixels it is made for, and test it there.

    With `out` (the file of the spec) what is trained is on disk all the time, in a file beside it; the same call goes
    on from there.
    """
    network, epochs, minutes = weights.module, schedule.epochs or 0, schedule.minutes
    augmentation = decide(schedule.augment, schedule.data, images)
    recipe = replace(Recipe(), epochs=epochs, class_weights=schedule.class_weights).varied(augmentation.augment)
    if weights.inherited_from is not None or weights.parent is not None:
        recipe = recipe.onward(epochs=epochs)
    key = hashlib.sha256(network_bytes(network, {})).hexdigest()[:12]
    state_file = out and out.with_name(f".{out.stem}-{key}-{f'{minutes:g}m' if minutes else epochs}.ckpt")
    deployed, clock = result.spec.resolution, TimeLeft()
    limit_threads()
    trained_px = deployed if minutes else schedule.trained_px(result, weights)
    with Progress(clock.left_s, quiet=quiet) as progress:
        handover = Handover(
            images=images,
            recipe=recipe,
            seed=schedule.seed,
            trained_px=trained_px,
            deployed_px=deployed,
            on_share=lambda share: progress.update(clock.at(share), "training"),
            on_line=progress.line,
        )
        progress.line(augmentation.sentence())
        if line := _classes_line(weights, images):
            progress.line(line)
        is_new = weights.parent is not None and (weights.difference is None or _are_other(weights, images))
        before = evaluate(network, images.validation, pixels=trained_px)
        progress.line(f"before training: {before:.1%} validation accuracy at {trained_px} px")
        if minutes:
            outcome = handover.fine_tune(network, 60 * minutes, new_head=is_new, state_file=state_file)
        else:
            if is_new:
                fit_head(network, images.train, pixels=trained_px, images=FineTuning.head_images)
            outcome = handover.train(
                network,
                state_file=state_file,
                on_epoch=lambda epoch, value: progress.line(f"epoch {epoch} of {epochs}: {value:.1%} validation"),
            )
        tested, as_trained, balance = handover.test(network)
    shares = zip(("test", "low", "high", "test_images"), tested, strict=True)
    spent: dict[str, Any] = {AUGMENTATION: augmentation._asdict(), **balance}
    spent |= {"pixels": trained_px, "deployed_at": deployed, "epochs": outcome.epochs, "seconds": outcome.seconds}
    weights.trained = {"before": before, "after": outcome.accuracy, **dict(shares), "as_trained": as_trained, **spent}
    about = weights_metadata(
        images,
        seed=schedule.seed,
        preprocessing=network.spec.preprocessing,
        trained_at=trained_px,
        deployed_at=deployed,
    )
    weights.about = about | {"fingerprint": network.spec.fingerprint()}
    if out and state_file:
        weights.save(out)
        state_file.unlink(missing_ok=True)
