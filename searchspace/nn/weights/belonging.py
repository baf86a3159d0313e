"""Whether weights are of the network that they are given with: shapes do not tell activations, strides and padding."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch

from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.nn.build import Network
from searchspace.nn.weights.files import read_about, read_weights
from searchspace.nn.weights.published import load_weights
from searchspace.spec import NetworkSpec

_NAMED = 3  # differences that a message names
_OF_NO_LOGIT = ("dropout_percent", "norm_momentum")  # they say how a network trains


def load_network(
    spec: NetworkSpec, path: Path | str, *, ema: bool | None = None, note: Callable[[str], None] | None = None
) -> Network:
    """The network with the weights of a file of its own, under our names, in eval mode.

    `ema` and `note` as for `read_weights`. Raises StorageError, and InvalidArgument for weights that do not fit or
    whose file says that they are of another network.
    """
    network = load_weights(spec, read_weights(path, ema=ema, note=note), note=note or (lambda text: None))
    check_belongs(network.spec, path)
    return network.eval()


def check_belongs(spec: NetworkSpec, path: Path | str) -> None:
    """Raises InvalidArgument where a file's metadata say that its weights are of another network than `spec`.

    Name, resolution, number of classes and preprocessing do not count. A file without such metadata is of any network.
    """
    about = read_about(path)
    saved = saved_spec(about, path)
    if saved is not None and (apart := differences(spec, saved)):
        raise _other(spec, path, f"those of {saved.name}", apart)
    if (named := about.get("fingerprint")) not in (None, *_fingerprints(spec, saved, about)):
        raise _other(spec, path, f"those of {named}", [f"by their fingerprint; the network's is {spec.fingerprint()}"])


def check_alike(spec: NetworkSpec, saved: NetworkSpec, path: str, *, conventions: bool = True) -> None:
    """Raises InvalidArgument where weights of `saved` would fit `spec` in every shape, and it is another network.

    Weights of other shapes are transferred, and what they cannot give is told; nothing tells this. conventions: whether
    those count.
    """
    apart = differences(spec, saved, conventions=conventions)
    if apart and _shapes(spec) == _shapes(saved):
        raise _other(spec, path, f"those of {saved.name}", apart)


def saved_spec(about: Mapping[str, Any], path: Path | str) -> NetworkSpec | None:
    """The network that a file's metadata describe; None where they describe none. Raises InvalidSpec."""
    if "network" not in about:
        return None
    try:
        return NetworkSpec.from_json(json.dumps(about["network"]))
    except InvalidSpec as error:
        raise InvalidSpec(f"{path}: {error}") from None


def differences(spec: NetworkSpec, saved: NetworkSpec, *, conventions: bool = True) -> list[str]:
    """What tells two networks apart, in words. What changes no weight and no logit of given classes does not count."""
    found = []
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("the images have ", {"channels": spec.in_channels}, {"channels": saved.in_channels})
    ]
    if conventions:
        pairs.append(("", asdict(spec.conventions), asdict(saved.conventions)))
    ours, theirs = list(spec.walk()), list(saved.with_classes(spec.classes).walk())
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} blocks, in the file {len(theirs)}")
    for (where, _, block), (_, _, other) in zip(ours, theirs, strict=False):
        (kind, _), (other_kind, _) = block.identity(), other.identity()
        if kind != other_kind:
            found.append(f"{where} is {block.printed()}, in the file {other.printed()}")
        elif block.identity() != other.identity():
            pairs.append((f"{where}: ", block.to_dict(), other.to_dict()))
    for where, one, another in pairs:
        names = [name for name, value in one.items() if another[name] != value and name not in _OF_NO_LOGIT]
        found += [f"{where}{name.replace('_', ' ')} {one[name]}, in the file {another[name]}" for name in names]
    return found


def _fingerprints(spec: NetworkSpec, saved: NetworkSpec | None, about: Mapping[str, Any]) -> set[str]:
    """Those of `spec` at the resolutions and for the classes that the file may have been written for."""
    others = [about.get("deployed_at_px"), about.get("trained_at_px"), saved and saved.resolution]
    pixels = {spec.resolution, *(px for px in others if type(px) is int)}
    names = about.get("classes")
    classes = {spec.classes} | ({len(names)} if isinstance(names, list) and names else set())
    found = set()
    for one, px, count in product((spec, saved or spec), pixels, classes | {saved.classes if saved else spec.classes}):
        with suppress(InvalidSpec):  # too few pixels for its strides
            found.add(one.with_resolution(px).with_classes(count).fingerprint())
    return found


def _shapes(spec: NetworkSpec) -> list[torch.Size]:
    with torch.device("meta"):
        shapes = [tensor.shape for tensor in Network(spec).state_dict().values()]
    return shapes[:-2]  # without the classifier's


def _other(spec: NetworkSpec, path: Path | str, whose: str, apart: list[str]) -> InvalidArgument:
    more = f" and {len(apart) - _NAMED} more" if len(apart) > _NAMED else ""
    return InvalidArgument(
        f"weights must be those of the network that they are given with, {spec.name}; {path} are {whose} "
        f"({'; '.join(apart[:_NAMED])}{more}): give the files that belong together"
    )
