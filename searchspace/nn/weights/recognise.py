"""Which network a user's file of weights is of: said in the file, beside it, known by its sum, or found by trying."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from searchspace.cost import params
from searchspace.deployed import deployed
from searchspace.errors import InvalidArgument, InvalidSpec, PhinasError
from searchspace.nn.build import Network
from searchspace.nn.weights.belonging import check_belongs, saved_spec
from searchspace.nn.weights.files import read_about, read_weights
from searchspace.nn.weights.published import load_any
from searchspace.preprocessing import Preprocessing
from searchspace.spec import NetworkSpec, read_spec
from searchspace.strict_json import loads
from searchspace.zoo import catalogue
from searchspace.zoo.published import MEAN_STD, PublishedWeights, find, listing

_USUAL = {"torchvision": ("imagenet", "bilinear"), "timm": ("imagenet", "bicubic")}
_LITE = ("lite", "bicubic")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Recognised(NamedTuple):
    """A file's network with its weights; `row` where the listing has these very weights."""

    network: Network
    row: PublishedWeights | None
    licence: str | None


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recognise(path: Path, *, name: str = "", ema: bool | None = None, note: Callable[[str], None]) -> Recognised:
    """The network of a file and its weights, for as many classes as the file has; `note` says what is assumed.

    name: of the network, where the user gave it: of the listing or the zoo. Else what the file's metadata say (one of
    this project's own), a spec beside it (NAME.json beside NAME.safetensors), timm's config.json beside it, the
    listing's checksum; else all networks of the listing and the zoo are tried.
    Raises PhinasError for a file that cannot be read, is quantised, fits none (with the first entry that differs), or
    says that it is of another network.
    """
    state = read_weights(path, ema=ema, note=note)
    config = _config(path)
    try:
        row, spec = _said(path, name, config)
    except InvalidSpec as error:
        raise InvalidSpec(f"{error}; NAME={path} says which network it is") from None
    if spec is None:
        spec = _tried(state, path, note)
    try:
        network, implementation = load_any(spec, state, norm_eps=row.norm_eps if row else None, note=note)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from None
    check_belongs(network.spec, path)
    if network.spec.preprocessing is None and implementation:
        statistics, interpolation = _USUAL.get(implementation, _LITE)
        mean, std = MEAN_STD[statistics]
        preprocessing = config.preprocessing or Preprocessing(mean=mean, std=std, interpolation=interpolation)
        network.spec = network.spec.with_preprocessing(preprocessing)
        if not config.preprocessing:
            note(f"{path}: its preprocessing is not said; that of {implementation}: {preprocessing.sentence()}")
    return Recognised(network, row, config.licence or (row.licence if row else None))


class _Config(NamedTuple):
    """What timm's config.json beside a file says."""

    name: str = ""
    preprocessing: Preprocessing | None = None
    licence: str | None = None


def _config(path: Path) -> _Config:
    try:
        data = loads((path.parent / "config.json").read_bytes())
        published = data["pretrained_cfg"]
        name = ".".join(filter(None, (data["architecture"], published.get("tag"))))
        size = published.get("test_input_size") or published["input_size"]
        own = {name: published[name] for name in ("mean", "std", "interpolation")}
        preprocessing = Preprocessing.from_dict({**own, "pixels": size[-1]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, PhinasError):
        return _Config()
    return _Config(name, preprocessing, published.get("license"))


def _said(path: Path, name: str, config: _Config) -> tuple[PublishedWeights | None, NetworkSpec | None]:
    """The row of the listing and the spec that are known without a look at the tensors."""
    if name:
        if catalogue.is_name(name):
            return None, catalogue.get(name)
        row = find(name)
        return row, row.spec()
    if (saved := saved_spec(read_about(path), path)) is not None:
        return None, saved
    beside = path.with_suffix(".json")
    if beside != path and beside.is_file():
        return None, read_spec(beside)
    digest = sha256(path)
    for row in listing():
        if row.name == config.name or (row.checksum and digest.startswith(row.checksum)):
            return row, row.spec()
    return None, None


def _tried(state: Mapping[str, Any], path: Path, note: Callable[[str], None]) -> NetworkSpec:
    """The network whose parameters the file has, up to the number of classes, and whose every entry fits."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    total = sum(value.numel() for key, value in tensors.items() if not key.endswith(_STATISTICS))
    biases = {value.shape[0] for value in tensors.values() if value.ndim == 1}
    nearest, least = None, float("inf")
    for spec in _candidates():
        one, two = (params(spec.with_classes(classes)) for classes in (1, 2))
        classes, rest = divmod(total - (2 * one - two), two - one)
        if rest == 0 and classes in biases:
            try:
                load_any(spec, state)
            except InvalidArgument:
                pass
            else:
                padding = f", with padding {spec.conventions.padding!r}"
                note(f"{path} holds weights of {spec.name}{padding}, told by its entries; NAME={path} says otherwise")
                return spec.with_preprocessing(None)
        apart = abs(params(spec) - total)
        nearest, least = (spec, apart) if apart < least else (nearest, least)
    assert nearest is not None
    try:
        load_any(nearest, state)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"{path} holds weights of no network known here; of the nearest in parameters: {error}. If its network is "
            f"known, put its spec beside it ({path.with_suffix('.json').name}) or give NAME={path}"
        ) from None
    raise AssertionError("fits, but for its number of parameters")


def _candidates() -> Iterator[NetworkSpec]:
    """The zoo's networks, then the listing's others, then what is deployed of them, each once."""
    seen = set()
    known = [*map(catalogue.get, catalogue.names()), *(row.spec() for row in listing())]
    for spec in (*known, *map(deployed, known)):
        if (mark := spec.fingerprint()) not in seen:
            seen.add(mark)
            yield spec
