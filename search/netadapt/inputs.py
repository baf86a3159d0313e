"""What a pruning begins with: the network and its images, the table that counts its budget, what times it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from search.budget import CostModel
from search.console import Progress
from search.data import Dataset, load, native_resolution
from search.deployed import auto_resolution
from search.latency import table_for
from search.latency.cache import Cache, default_dir
from search.latency.runtimes import is_this_machine, runtime
from search.netadapt.modules import PrunableModule
from search.netadapt.origin import Note, Origin, read_origin
from search.netadapt.prunable import Prunable
from search.netadapt.settings import Settings
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.netadapt.trainable import in_float32, make_trainable, take_grey
from search.netadapt.variants import shrunk, variants
from searchspace.errors import InvalidArgument, InvalidSpec, MissingLatency, UnsupportedModule
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.nn import Network, TracedNetwork, trace
from searchspace.nn.cuttable import cuttable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

TRAINED_PX = 96  # proposals for a published network: larger images say little more of which is best


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The network in eval mode, its images, the seed of their splits and of all trainings.

    Attributes:
        pixels: That proposals are compared and trained at; None for those of the images.
        is_new: Whether the network's head is new, so that it is fine-tuned before it is pruned.
        source: Where its weights come from, in words.
    """

    network: Prunable
    images: Dataset
    seed: int
    pixels: int | None = None
    is_new: bool = False
    source: str = ""

    @property
    def trained_px(self) -> int:
        """Pixels that proposals are trained at."""
        return self.pixels or self.images.resolution

    @property
    def deployed_px(self) -> int:
        """Pixels that the network is priced, timed and tested at; those of a user's own module are its training's."""
        return self.trained_px if self.network.spec is None else self.network.spec.resolution


def read_inputs(
    settings: Settings,
    progress: Progress,
    *,
    network: NetworkSpec | Network | None = None,
    images: Dataset | None = None,
) -> Inputs:
    """The network with its weights, and the images. Raises PhinasError.

    network: instead of the spec's file; a Network brings its own weights. images: instead of those of --data.
    """
    origin = read_origin(settings, network, note=progress.line)
    native = native_resolution(settings.data) if images is None else images.resolution
    deployed = _deployed(settings, origin, native, progress.line)
    pixels = _pixels(settings, origin, deployed, images)
    seed = int(origin.about.get("split_seed", 0) if settings.seed is None else settings.seed)
    images = _images(settings, images, min(native, deployed), seed, progress)
    module, is_new = origin.network(deployed, images, seed=seed, note=progress.line)
    if is_new:
        _check_new(settings)
    else:
        _check_seed(origin.about, seed, progress)
    return Inputs(
        network=PrunableSpec(module), images=images, seed=seed, pixels=pixels, is_new=is_new, source=origin.source
    )


def _deployed(settings: Settings, origin: Origin, native: int, note: Note) -> int:
    """The pixels that the network is priced, timed and tested at."""
    wanted, latency = settings.resolution, settings.latency
    if wanted is None and (not origin.is_published or latency is not None):
        wanted = origin.spec.resolution
        if origin.is_published and latency is not None:
            table = read_table(latency) if isinstance(latency, Path) else latency
            wanted = table.identity["resolution"]
    if not isinstance(wanted, int):
        wanted, why, _ = auto_resolution(native)
        note(f"deployed at {wanted} px: {why}")
    _check_pixels("--resolution", origin.spec, wanted)
    return wanted


def _pixels(settings: Settings, origin: Origin, deployed: int, images: Dataset | None) -> int:
    """The pixels that proposals are trained and compared at."""
    found = settings.proxy_resolution or origin.about.get("trained_at_px")
    if not found and images is not None and not origin.is_published:
        found = images.resolution
    of_images = origin.is_published or settings.resolution is not None
    found = int(found or (min(deployed, TRAINED_PX) if of_images else deployed))
    _check_pixels("--proxy-resolution", origin.spec, found)
    return found


def _check_new(settings: Settings) -> None:
    for flag, value in (("--epochs", settings.epochs), ("--epoch-images", settings.epoch_images)):
        if value is not None:
            raise InvalidArgument(
                f"{flag} trains on a network that knows the classes of the images; one with a new head is fine-tuned "
                f"by minutes, got {flag} {value}: give --minutes in its place"
            )


def _check_seed(about: dict[str, Any], seed: int, progress: Progress) -> None:
    """Raises InvalidArgument for other splits than the weights were trained on."""
    if "split_seed" not in about:
        progress.line(
            f"the weights do not say which images they were trained on: images are split by --seed {seed}, and those "
            "of the test may be among them"
        )
    elif seed != about["split_seed"]:
        raise InvalidArgument(
            f"the network was trained on the splits of --seed {about['split_seed']}, got --seed {seed}: another seed "
            "would test it on images that its weights have seen; leave --seed out"
        )


def module_inputs(
    module: nn.Module, settings: Settings, progress: Progress, *, resolution: int, images: Dataset | None = None
) -> Inputs:
    """A copy of a user's module, traced at `resolution` px, and the images. Raises PhinasError."""
    traced = _traced(in_float32(cuttable(module, progress.line), progress.line), resolution, progress.line)
    if len(traced.inputs) > 1 or len(traced.outputs) != 1 or traced.outputs[0][1:] != (1, 1):
        raise InvalidArgument(
            f"search.prune trains on images and their classes, so that a module must take one image and give (batch, "
            f"classes), got inputs {traced.inputs} and outputs {traced.outputs}: prune it with "
            "search.prune_module(module, inputs, ...), which takes your own score and training"
        )
    seed = settings.seed or 0
    images = _images(settings, images, settings.proxy_resolution or resolution, seed, progress)
    classes = traced.graph.layers[-1].out_shape[0]
    if classes < len(images.classes):
        raise InvalidArgument(
            f"the images have {len(images.classes)} classes and the module tells {classes} apart: give the data that "
            "it was trained on"
        )
    if classes > len(images.classes):
        progress.line(
            f"the module tells {classes} classes apart and the images have {len(images.classes)}: its first outputs "
            f"are taken for {', '.join(images.classes[:5])}{' and so on' if len(images.classes) > 5 else ''}"
        )
    make_trainable(traced.module, images.train.pixels[:2], classes, progress.line)
    return Inputs(network=PrunableModule(traced, note=progress.line), images=images, seed=seed)


def _traced(module: nn.Module, resolution: int, note: Note) -> TracedNetwork:
    """As `trace`, for colour images or, where the module takes one channel, for their mean."""
    try:
        return trace(module, resolution=resolution)
    except UnsupportedModule as error:
        try:
            grey = trace(module, in_channels=1, resolution=resolution)
        except UnsupportedModule:
            first = next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), 3)
            if first in (1, 3):
                raise error from None
            raise InvalidArgument(
                f"search.prune trains on images of 3 channels or their mean, and the first convolution of the "
                f"{type(module).__name__} takes {first}: prune it with search.prune_module(module, inputs, ...), which "
                "takes your own score and training"
            ) from None
    note(f"the {type(module).__name__} takes images of one channel: it gets the mean of three")
    take_grey(grey.module)
    return grey


def _images(settings: Settings, given: Dataset | None, pixels: int, seed: int, progress: Progress) -> Dataset:
    def update(done: int, total: int) -> None:
        progress.update(done / max(1, total), "reading images")

    images = given or load(settings.data, resolution=pixels, seed=seed, progress=update)
    for note in images.notes:
        progress.line(note)
    return images


def _check_pixels(flag: str, spec: NetworkSpec, pixels: int) -> None:
    try:
        spec.check_room(pixels)
        if flag == "--resolution":
            spec.with_resolution(pixels)
    except InvalidSpec as error:
        raise InvalidArgument(f"{flag} must leave every kernel of {spec.name} room, got {pixels} px: {error}") from None


def table_of(
    settings: Settings, network: Prunable, progress: Progress, *, build: Callable[..., LatencyTable] = table_for
) -> LatencyTable | None:
    """The table that the budget is counted by; None for a budget in MACs or parameters.

    It is --latency, or this machine's, in which the kernels of lighter forms of a spec are measured first.
    """
    if settings.unit != "ms":
        return None
    pixels, spec = network.graph.in_shape[1], network.spec
    if settings.latency is not None:
        table = read_table(settings.latency) if isinstance(settings.latency, Path) else settings.latency
        if (of_table := table.identity["resolution"]) != pixels:
            progress.line(f"the table is of {of_table} px: kernels of the network, at {pixels} px, are estimated")
        return table
    return build(
        _space_of(settings, pixels),
        networks=[] if spec is None else [spec, *shrunk(spec), *variants(spec)],
        progress=progress.update,
        note=progress.line,
        runtime=runtime(settings.runtime or "eager", threads=settings.threads),
    )


def _space_of(settings: Settings, pixels: int) -> SearchSpace:
    """The space whose table is taken: at the network's own resolution if this machine has one, else the usual one."""
    identity = runtime(settings.runtime or "eager", threads=settings.threads).identity(pixels)
    is_there = Cache(default_dir(), identity, note=lambda _: None).table() is not None
    return mnasnet_space(resolution=pixels) if is_there else mnasnet_space()


def check_priced(network: Prunable, cost_model: CostModel) -> None:
    """Raises MissingLatency where the table has not measured an operator of a module of a user's own."""
    if network.spec is None:
        try:
            cost_model.cost(network.graph)
        except MissingLatency as error:
            raise MissingLatency(
                f"{error}; a module of your own is timed whole by search.prune_module(module, inputs, budget_ms=...)"
            ) from None


def timer_of(table: LatencyTable | None, inputs: Inputs, progress: Progress) -> PairedTimer | None:
    """What times networks, if the table is of this machine as this process has it."""
    if table is None:
        progress.line("no cut is timed: this budget says nothing of a device; --budget-ms has each cut measured here")
        return None
    if is_this_machine(table.identity):
        return DeviceTimer(table, seed=inputs.seed, resolution=inputs.network.graph.in_shape[1])
    progress.line(
        f"no cut is timed: the table is of another device or setting ({describe(table.identity)}); run this command "
        "there to have each cut measured"
    )
    return None
