"""What a refinement begins with: the network and its images, the table that counts its budget, what times it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.console import Progress
from search.data import Dataset, load
from search.latency import table_for
from search.latency.cache import Cache, default_dir
from search.latency.runtimes import is_here, runtime
from search.netadapt.settings import Settings
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.netadapt.variants import shrunk, variants
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.nn import Network, load_weights, read_about, read_weights, weights_classes
from searchspace.serialize import read_spec
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the files say: the network in eval mode, what was written about its weights, its images."""

    network: Network
    about: dict[str, Any]
    images: Dataset
    seed: int


def read_given(settings: Settings, progress: Progress) -> Given:
    """The network with its weights, and the images. Raises PhinasError."""
    published = _is_zoo(settings.network)
    spec = zoo.get(str(settings.network)) if published else read_spec(settings.network)
    if spec.in_channels != 3:
        raise InvalidArgument(
            f"--network must be one for images of 3 channels, which all data here have; {spec.name} takes "
            f"{spec.in_channels}: give another network"
        )
    about = read_about(settings.weights)
    pixels = settings.proxy_resolution or about.get("trained_at_px") or spec.resolution
    _check_pixels(spec, pixels)
    state = read_weights(settings.weights)
    classes = len(about["classes"]) if "classes" in about else weights_classes(spec, state) if published else None
    if classes not in (None, spec.classes):
        spec = spec.with_classes(classes)
    if about.get("fingerprint") not in (None, spec.fingerprint()):
        raise InvalidArgument(
            f"--weights must be those of the network {spec.name} ({spec.fingerprint()}), got {settings.weights} of "
            f"{about['fingerprint']}: give the files that belong together"
        )
    network = load_weights(spec, state).eval()
    broken = [name for name, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InvalidArgument(
            f"weights must be finite, those of {broken[0]} in {settings.weights} are not: train the network anew"
        )
    seed = _seed_of(settings, about)
    images = load(
        settings.data,
        resolution=pixels,
        seed=seed,
        progress=lambda done, total: progress.update(done / max(1, total), "reading images"),
    )
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
    for note in images.notes:
        progress.line(note)
    return Given(network=network, about=about, images=images, seed=seed)


def _seed_of(settings: Settings, about: dict[str, Any]) -> int:
    """That of the splits. Raises InvalidArgument."""
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


def _is_zoo(path: Path) -> bool:
    return path.suffix != ".json" and not path.exists() and str(path) in zoo.names()


def table_of(settings: Settings, spec: NetworkSpec, progress: Progress) -> LatencyTable | None:
    """The table that the budget is counted by: --latency, or this machine's with kernels of lighter networks; None for
    a budget in MACs or parameters."""
    if settings.unit != "ms":
        return None
    if settings.latency:
        table = read_table(settings.latency)
        if (pixels := table.identity["resolution"]) != spec.resolution:
            progress.line(
                f"the table is of {pixels} px: kernels of the network, at {spec.resolution} px, are estimated"
            )
        return table
    return table_for(
        _space_of(settings, spec),
        networks=[spec, *shrunk(spec), *variants(spec)],
        progress=progress.update,
        note=progress.line,
        runtime=runtime(settings.runtime, threads=settings.threads),
    )


def _space_of(settings: Settings, spec: NetworkSpec) -> SearchSpace:
    """The space of the table that is taken: that of the network's own resolution if there is one, such as a search at
    it leaves behind, else of the usual one."""
    own = runtime(settings.runtime, threads=settings.threads).identity(spec.resolution)
    has = Cache(default_dir(), own, note=lambda _: None).table() is not None
    return mnasnet_space(resolution=spec.resolution) if has else mnasnet_space()


def timer_of(table: LatencyTable | None, seed: int, progress: Progress) -> PairedTimer | None:
    """What times networks, if the table is of this machine as this process has it."""
    if table is None:
        progress.line("no cut is timed: this budget says nothing of a device; --budget-ms has each cut measured here")
        return None
    if is_here(table.identity):
        return DeviceTimer(table, seed=seed)
    progress.line(
        f"no cut is timed: the table is of another device or setting ({describe(table.identity)}); run this command "
        "there to have each cut measured"
    )
    return None
