"""Weights of a grown network: those of the network it grew from, and training from there on."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scaling.growth import Grown
from search.console import Progress, TimeLeft
from search.data import Dataset, load
from search.settings import Settings
from search.training.augmentation import weights_metadata
from search.training.evaluate import Accuracy, evaluate
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.nn import Network, build, load_weights, network_bytes, read_about, read_weights
from searchspace.nn.weights.grow import Inherited, inherit
from searchspace.template import Template


class Start(NamedTuple):
    """Where training begins: a network in eval mode, what its weights came from, what was written about those, and the
    images to train with, if any."""

    network: Network
    inherited: Inherited | None
    about: dict[str, Any]
    images: Dataset | None = None


class Trained(NamedTuple):
    """Accuracies are fractions of the validation split before and after, and of the test split at the end."""

    before: float
    after: float
    test: float
    low: float
    high: float
    test_images: int
    pixels: int
    epochs: int
    seconds: float


def start(template: Template, grown: Grown, weights: Path | None, *, seed: int) -> Start:
    """The grown network, with the small network's weights in it or (None) fresh ones.

    Raises StorageError for a file that is no weights file, InvalidArgument for weights of another network and for a
    network that shrinks.
    """
    generator = torch.Generator().manual_seed(seed)
    if weights is None:
        return Start(build(grown.spec, generator=generator).eval(), None, {})
    depth, width, _ = grown.factors
    if min(depth, width) < 1:
        raise InvalidArgument(
            f"only a network that grows can inherit, got layers x {depth:.4g} and channels x {width:.4g}: give a "
            "larger phi or target, or leave --inherit out"
        )
    base = template.expand()
    about = read_about(weights)
    if about.get("fingerprint") not in (None, base.fingerprint()):
        raise InvalidArgument(
            f"--inherit needs the weights of the network that grows, {base.name} ({base.fingerprint()}); {weights} are "
            f"those of {about['fingerprint']}: give the files that belong together"
        )
    small = load_weights(base, read_weights(weights))
    deep = template.expand(depth=depth, name=base.name)
    inherited = inherit(small, deep, grown.spec, generator=generator)
    return Start(inherited.network, inherited, about)


def with_images(
    begin: Start, template: Template, grown: Grown, *, data: str | None, pixels: int | None, seed: int
) -> Start:
    """The same with images of so many pixels; None: those of the small network's training, grown like the resolution.

    Raises InvalidArgument for data of another number of classes, and for other splits than the weights come from.
    """
    split_seed = begin.about.get("split_seed", seed)
    if seed != split_seed:
        raise InvalidArgument(
            f"the small network was trained on the splits of --seed {split_seed}, got --seed {seed}: another seed "
            "would test the grown one on images that those weights have seen; leave --seed as it was"
        )
    pixels = pixels or proxy_resolution(template, grown, begin.about)
    images = load(data, resolution=pixels, seed=seed)
    if len(images.classes) != begin.network.spec.classes:
        raise InvalidArgument(
            f"the network tells {begin.network.spec.classes} classes apart and the data have {len(images.classes)}: "
            "give the data it was made for with --data"
        )
    return begin._replace(images=images)


def classes_of(template: Template, grown: Grown, *, data: str | None, pixels: int | None, seed: int) -> int:
    """How many classes the images have that a network without weights will be trained with. Raises PhinasError."""
    return len(load(data, resolution=pixels or proxy_resolution(template, grown, {}), seed=seed).classes)


def proxy_resolution(template: Template, grown: Grown, about: dict[str, Any]) -> int:
    """Pixels to train at: those of the small network's training, or of a search's, grown like the resolution."""
    before = about.get("trained_at_px")
    before = before if isinstance(before, int) else Settings.proxy_resolution
    return max(1, round(before * grown.factors.resolution / template.resolution))


def train_on(begin: Start, *, data: str | None, epochs: int, seed: int, out: Path, quiet: bool = False) -> Trained:
    """Train from where `begin` stands on its images, by the recipe of the search, and write the weights to `out`.

    `data` is the name of the images. Each epoch is on disk before the next, in a checkpoint beside `out`; the same call
    goes on there.
    """
    images = begin.images
    assert images is not None
    pixels = images.resolution
    # Branches of the small network are at work already, so none is calmed: a new one is, by inheritance.
    recipe = Recipe.for_data(data, epochs=epochs)
    if begin.inherited is not None:
        recipe = recipe.onward(epochs=epochs)
    begun = network_bytes(begin.network, {})
    state_file = out.with_name(f".{out.stem}-{hashlib.sha256(begun).hexdigest()[:12]}-{epochs}.ckpt")
    clock = TimeLeft()
    with Progress(clock.left_s, quiet=quiet) as progress:
        before = evaluate(begin.network, images.validation)
        progress.line(f"before training: {before:.1%} validation accuracy at {pixels} px")
        outcome = Trainer.on(images, recipe=recipe, seed=seed).fit(
            begin.network,
            state_file=state_file,
            on_step=lambda step, steps: progress.update(clock.at(step / steps), "training"),
            on_epoch=lambda epoch, value: progress.line(f"epoch {epoch} of {epochs}: {value:.1%} validation accuracy"),
        )
    tested = Accuracy.of(begin.network, images.open_test())
    about = weights_metadata(images, seed=seed) | {"fingerprint": begin.network.spec.fingerprint()}
    write_weights(begin.network, out, about)
    state_file.unlink(missing_ok=True)
    return Trained(before, outcome.accuracy, *tested, pixels, outcome.epochs, outcome.seconds)


def write_weights(network: Network, out: Path, about: dict[str, Any]) -> None:
    """The weights as safetensors, with what is known about them. Raises StorageError."""
    write_atomic(out, network_bytes(network, about))
