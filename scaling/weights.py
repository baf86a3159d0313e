"""Weights of a grown network: those of the network it grew from, and training from there on."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scaling.result import Result, Weights
from search.console import Progress, TimeLeft
from search.data import Dataset, load
from search.settings import Settings
from search.training.augmentation import weights_metadata
from search.training.evaluate import Accuracy, evaluate
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.errors import InvalidArgument
from searchspace.nn import build, load_weights, network_bytes, read_about, read_weights
from searchspace.nn.weights.grow import inherit


class Schedule(NamedTuple):
    """How a grown network is trained.

    `epochs`: None for no training. `data`: a source of `search.data.load`. `pixels`: to train at; None takes those of
    the small network's training, grown like the resolution. `seed`: of the splits, the new weights and the order of
    images.
    """

    epochs: int | None
    data: str | None
    pixels: int | None
    seed: int

    def images(self, result: Result, about: Mapping[str, Any]) -> Dataset:
        """The images for the one network of a result, where `about` is what is known of the small one's weights."""
        before = about.get("trained_at_px")
        before = before if isinstance(before, int) else Settings.proxy_resolution
        growth = result.spec.resolution / result.template.resolution
        return load(self.data, resolution=self.pixels or max(1, round(before * growth)), seed=self.seed)


def with_weights(
    result: Result,
    small: str | Path | None,
    schedule: Schedule,
    *,
    out: str | Path | None = None,
    onnx: str | Path | None = None,
    quiet: bool = False,
) -> Result:
    """The result with weights: those of the file `small`, if any, and trained by the schedule.

    With `out` the spec is written before the training, and the weights beside it. Everything is read and checked
    before anything is written. Raises PhinasError.
    """
    weights = start(result, None if small is None else Path(small), seed=schedule.seed)
    images = _images_for(weights, result, schedule) if schedule.epochs else None
    result.save(out, onnx=onnx)
    if images is not None:
        train_on(weights, images, schedule, out=None if out is None else Path(out), quiet=quiet)
    elif out is not None:
        weights.save(Path(out))
    return replace(result, weights=weights)


def start(result: Result, small: Path | None, *, seed: int) -> Weights:
    """The grown network, with the small network's weights in it or (None) fresh ones.

    Raises StorageError for a file that is no weights file, InvalidArgument for weights of another network and for a
    network that shrinks.
    """
    generator = torch.Generator().manual_seed(seed)
    if small is None:
        return Weights(module=build(result.spec, generator=generator).eval(), about={})
    depth, width, _ = result.grown[0].factors
    if min(depth, width) < 1:
        raise InvalidArgument(
            f"only a network that grows can inherit, got layers x {depth:.4g} and channels x {width:.4g}: give a "
            "larger phi or target, or leave --inherit out"
        )
    base, about = result.base.spec, read_about(small)
    if about.get("fingerprint") not in (None, base.fingerprint()):
        raise InvalidArgument(
            f"--inherit needs the weights of the network that grows, {base.name} ({base.fingerprint()}); {small} are "
            f"those of {about['fingerprint']}: give the files that belong together"
        )
    deep = result.template.expand(depth=depth, name=base.name)
    inherited = inherit(load_weights(base, read_weights(small)), deep, result.spec, generator=generator)
    return Weights(
        module=inherited.network,
        about={**about, "fingerprint": result.spec.fingerprint()},
        inherited_from=small,
        difference=inherited.difference,
        reasons=inherited.reasons,
    )


def _images_for(weights: Weights, result: Result, schedule: Schedule) -> Dataset:
    """Raises InvalidArgument for other splits than the weights come from, and for another number of classes."""
    split_seed = weights.about.get("split_seed", schedule.seed)
    if schedule.seed != split_seed:
        raise InvalidArgument(
            f"the small network was trained on the splits of --seed {split_seed}, got --seed {schedule.seed}: another "
            "seed would test the grown one on images that those weights have seen; leave --seed as it was"
        )
    images = schedule.images(result, weights.about)
    if len(images.classes) != result.spec.classes:
        raise InvalidArgument(
            f"the network tells {result.spec.classes} classes apart and the data have {len(images.classes)}: "
            "give the data it was made for with --data"
        )
    return images


def train_on(
    weights: Weights, images: Dataset, schedule: Schedule, *, out: Path | None = None, quiet: bool = False
) -> None:
    """Train on from `weights`, in place, by the recipe of the search, and test the network.

    With `out` (the file of the spec) each epoch is on disk before the next, in a file beside it; the same call goes on
    from there.
    """
    network, epochs = weights.module, schedule.epochs or 0
    recipe = Recipe.for_data(schedule.data, epochs=epochs)
    if weights.inherited_from is not None:
        recipe = recipe.onward(epochs=epochs)
    key = hashlib.sha256(network_bytes(network, {})).hexdigest()[:12]
    state_file = out and out.with_name(f".{out.stem}-{key}-{epochs}.ckpt")
    clock = TimeLeft()
    with Progress(clock.left_s, quiet=quiet) as progress:
        before = evaluate(network, images.validation)
        progress.line(f"before training: {before:.1%} validation accuracy at {images.resolution} px")
        outcome = Trainer.on(images, recipe=recipe, seed=schedule.seed).fit(
            network,
            state_file=state_file,
            on_step=lambda step, steps: progress.update(clock.at(step / steps), "training"),
            on_epoch=lambda epoch, value: progress.line(f"epoch {epoch} of {epochs}: {value:.1%} validation accuracy"),
        )
    tested = Accuracy.of(network, images.open_test())
    shares = zip(("test", "low", "high", "test_images"), tested, strict=True)
    spent = {"pixels": images.resolution, "epochs": outcome.epochs, "seconds": outcome.seconds}
    weights.trained = {"before": before, "after": outcome.accuracy, **dict(shares), **spent}
    about = weights_metadata(images, seed=schedule.seed, preprocessing=network.spec.preprocessing)
    weights.about = about | {"fingerprint": network.spec.fingerprint()}
    if out and state_file:
        weights.save(out)
        state_file.unlink(missing_ok=True)
