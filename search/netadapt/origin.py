"""The weights that a pruning starts from: a file of the network itself, or those of a published network."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from search.data import Dataset
from search.netadapt.settings import Settings
from search.parents import as_published, published_parent
from search.training.start import transferred
from searchspace import zoo
from searchspace.errors import InvalidArgument, StorageError
from searchspace.nn import Network, check_belongs, load_weights, read_about, read_weights, weights_classes
from searchspace.preprocessing import OWN, Preprocessing
from searchspace.spec import NetworkSpec, read_spec

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Weights, before it is known what their network is to tell apart.

    Attributes:
        parent: The network that has them, in eval mode.
        spec: The network that is to have them, at its own resolution.
        about: What their file says of them.
        source: Where they come from, in words; "" for those of a network that was given.
        is_published: Whether they know the classes of another data set, whatever their number.
    """

    parent: Network
    spec: NetworkSpec
    about: dict[str, Any]
    source: str
    is_published: bool = False

    def network(self, resolution: int, images: Dataset, *, seed: int, note: Note) -> tuple[Network, bool]:
        """The network at a resolution for these images, and whether its head is new: then it is not trained yet."""
        spec, classes = self.spec.with_resolution(resolution), images.classes
        named = self.about.get("classes")
        if not self.is_published and spec.classes == len(classes) and named in (None, list(classes)):
            if named is None:
                note(f"the weights do not name their classes: they are taken to be those of the data, {some(classes)}")
            return load_weights(spec, self.parent.state_dict()).eval(), False
        wanted, generator = spec.with_classes(len(classes)), torch.Generator().manual_seed(seed)
        found = transferred(self.parent, wanted, images=images.train, generator=generator, pixels=resolution)
        theirs = f"{spec.classes} classes" if named is None else some(named)
        note(f"the weights know {theirs}, the images have {some(classes)}: the network gets a new head")
        for reason in found.reasons:
            note(reason)
        return found.network, True


def read_origin(settings: Settings, given: NetworkSpec | Network | None, *, note: Note) -> Origin:
    """The weights that the settings name. `given`: in place of the spec's file; a Network brings its own weights.

    Raises PhinasError.
    """
    path, weights = settings.network, settings.weights
    is_name = given is None and path.suffix != ".json" and not os.path.exists(path) and zoo.is_name(str(path))
    if given is None:
        given = zoo.get(str(path)) if is_name else read_spec(path)
    spec = given.spec if isinstance(given, Network) else given
    if spec.in_channels != 3:
        raise InvalidArgument(
            f"--network must be one for images of 3 channels, which all data here have; {spec.name} takes "
            f"{spec.in_channels}: give another network"
        )
    if isinstance(weights, str):
        name = str(path) if is_name else None
        parent = published_parent(spec, weights, name=name, ema=settings.ema, note=note)
        if is_name and parent.network.spec.has_layers_of(spec):
            spec = as_published(spec, parent)
        source = f"{parent.name} ({parent.source})"
        return Origin(parent=parent.network, spec=spec, about={}, source=source, is_published=True)
    return _own(spec, given, settings, note)


def _own(spec: NetworkSpec, given: NetworkSpec | Network, settings: Settings, note: Note) -> Origin:
    """Weights of the network itself; with another number of classes, where the file says so or has them."""
    about: dict[str, Any] = {}
    weights = settings.weights
    if weights is not None:
        about = read_about(weights)
        try:
            state = read_weights(weights, ema=settings.ema, note=note)
        except StorageError as error:
            if not settings.weights_beside:
                raise
            raise StorageError(f"{error}; --weights auto starts from published ones") from None
    else:
        assert isinstance(given, Network)
        state = given.state_dict()
    spec = spec.with_classes(len(about["classes"]) if "classes" in about else weights_classes(spec, state))
    if spec.preprocessing is None and "preprocessing" in about:
        how = Preprocessing.from_dict(about["preprocessing"], f"{weights}: preprocessing")
        spec = spec.with_preprocessing(None if how == OWN else how)
    network = load_weights(spec, state).eval()
    if weights is not None:
        check_belongs(spec, weights)
    return Origin(parent=network, spec=spec, about=about, source=str(weights or ""))


def some(names: Sequence[str]) -> str:
    """The first of several names."""
    return f"{len(names)} classes ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
