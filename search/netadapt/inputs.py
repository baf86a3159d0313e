"""What a pruning begins with: the network and its images, the table that counts its budget, what times it."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.console import Progress
from search.data import Dataset, load
from search.latency import table_for
from search.latency.cache import Cache, default_dir
from search.latency.runtimes import is_this_machine, runtime
from search.netadapt.modules import PrunableModule
from search.netadapt.prunable import Prunable
from search.netadapt.settings import Settings
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.netadapt.variants import shrunk, variants
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.nn import Network, load_weights, read_about, read_weights, trace, weights_classes
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The network in eval mode, its images, the seed of their splits and of all trainings.

    pixels: That proposals are compared and trained at; None for those of the images.
    """

    network: Prunable
    images: Dataset
    seed: int
    pixels: int | None = None


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
    path = settings.network
    is_published = network is None and path.suffix != ".json" and not path.exists() and zoo.is_name(str(path))
    if network is None:
        network = zoo.get(str(path)) if is_published else read_spec(path)
    spec = network.spec if isinstance(network, Network) else network
    if spec.in_channels != 3:
        raise InvalidArgument(
            f"--network must be one for images of 3 channels, which all data here have; {spec.name} takes "
            f"{spec.in_channels}: give another network"
        )
    weights, about = settings.weights, {} if settings.weights is None else read_about(settings.weights)
    state = read_weights(weights) if weights else network.state_dict() if isinstance(network, Network) else {}
    pixels = settings.proxy_resolution or about.get("trained_at_px") or spec.resolution
    _check_pixels(spec, pixels)
    classes = len(about["classes"]) if "classes" in about else weights_classes(spec, state) if is_published else None
    if classes not in (None, spec.classes):
        spec = spec.with_classes(classes)
    if about.get("fingerprint") not in (None, spec.fingerprint()):
        raise InvalidArgument(
            f"--weights must be those of the network {spec.name} ({spec.fingerprint()}), got {weights} of "
            f"{about['fingerprint']}: give the files that belong together"
        )
    module = load_weights(spec, state).eval()
    broken = [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InvalidArgument(
            f"weights must be finite, those of {broken[0]} in {weights or spec.name} are not: train the network anew"
        )
    seed = _seed_of(settings, about)
    images = _images(settings, images, pixels, seed, progress)
    if len(images.classes) != spec.classes:
        raise InvalidArgument(
            f"the network tells {spec.classes} classes apart and the data have {len(images.classes)}: give the data "
            "that it was trained on with --data"
        )
    named = about.get("classes")
    if named is not None and list(named) != list(images.classes):
        raise InvalidArgument(
            f"the network was trained on the classes {_some(named)}, the data have {_some(images.classes)}: give the "
            "data that it was trained on with --data"
        )
    if "split_seed" not in about:
        progress.line(
            f"the weights do not say which images they were trained on: images are split by --seed {seed}, and those "
            "of the test may be among them"
        )
    return Inputs(network=PrunableSpec(module), images=images, seed=seed)


def module_inputs(
    module: nn.Module, settings: Settings, progress: Progress, *, resolution: int, images: Dataset | None = None
) -> Inputs:
    """A copy of a user's module, traced at `resolution` px, and the images. Raises PhinasError."""
    traced = trace(copy.deepcopy(module).cpu().eval(), resolution=resolution)
    seed = settings.seed or 0
    images = _images(settings, images, settings.proxy_resolution or resolution, seed, progress)
    classes = traced.graph.layers[-1].out_shape[0]
    if classes < len(images.classes):
        raise InvalidArgument(
            f"the images have {len(images.classes)} classes and the module tells {classes} apart: give the data that "
            "it was trained on"
        )
    return Inputs(network=PrunableModule(traced, note=progress.line), images=images, seed=seed)


def _images(settings: Settings, given: Dataset | None, pixels: int, seed: int, progress: Progress) -> Dataset:
    def update(done: int, total: int) -> None:
        progress.update(done / max(1, total), "reading images")

    images = given or load(settings.data, resolution=pixels, seed=seed, progress=update)
    for note in images.notes:
        progress.line(note)
    return images


def _seed_of(settings: Settings, about: dict[str, Any]) -> int:
    seed = int(about.get("split_seed", 0) if settings.seed is None else settings.seed)
    if seed != about.get("split_seed", seed):
        raise InvalidArgument(
            f"the network was trained on the splits of --seed {about['split_seed']}, got --seed {seed}: another seed "
            "would test it on images that its weights have seen; leave --seed out"
        )
    return seed


def _check_pixels(spec: NetworkSpec, pixels: int) -> None:
    try:
        spec.check_room(pixels)
    except InvalidSpec as error:
        raise InvalidArgument(
            f"--proxy-resolution must leave every kernel of {spec.name} room, got {pixels} px: {error}"
        ) from None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
