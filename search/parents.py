"""Which published weights a network that was named starts from: its own, or the nearest that can be had."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from searchspace.errors import InvalidArgument, PhinasError
from searchspace.nn.weights.belonging import check_alike
from searchspace.nn.weights.sources import Parent, resolve
from searchspace.spec import NetworkSpec

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def file_or_names(weights: str | Path) -> Path | str:
    """One file as a path; "auto", "none", names, NAME=FILE and several files as they are."""
    path = Path(weights)
    is_one = weights and not {"=", ","} & set(str(weights)) and path.suffix in SUFFIXES
    return path if isinstance(weights, Path) or is_one or os.path.isfile(path) else str(weights)


def published_parent(
    spec: NetworkSpec, weights: str | Path, *, name: str | None, ema: bool | None = None, note: Callable[[str], None]
) -> Parent:
    """The weights that `spec` starts from: of those that `weights` names, its own or else the nearest.

    Args:
        spec: The network.
        weights: As for `searchspace.nn.weights.sources.resolve`.
        name: The network's in the zoo, whose own weights "auto" takes, if they can be had.
        ema: As for `resolve`.
        note: Takes lines that a user should read.

    Raises InvalidArgument where there are none, and for those of another network of the same shapes.
    """
    parents = None
    if weights == "auto" and name is not None:
        try:
            parents = resolve(name, ema=ema, note=note)
        except PhinasError as error:
            note(f"{error}; the nearest weights that are here are taken")
    parents = parents or resolve(str(weights), ema=ema, note=note)
    if parents is None:
        raise InvalidArgument(
            f"this needs trained weights, got --weights {weights}{' and none are here' if weights == 'auto' else ''}: "
            "install some (python -m searchspace.zoo --weights lists them), or give a file"
        )
    parent = next((one for one in parents if one.network.spec.has_layers_of(spec)), None) or parents.nearest(spec)
    check_parent(spec, parent, is_of_zoo=name is not None)
    note(f"starts from the weights of {parent.name} ({parent.source})")
    return parent


def check_parent(spec: NetworkSpec, parent: Parent, *, is_of_zoo: bool) -> None:
    """Raises InvalidArgument where a file says that its weights, which fit `spec` in every shape, are of another one.

    is_of_zoo: the network was named, and takes the conventions of its weights.
    """
    if parent.says_network:
        check_alike(spec, parent.network.spec, parent.source, conventions=not is_of_zoo)


def as_published(spec: NetworkSpec, parent: Parent) -> NetworkSpec:
    """A network of the zoo as its own weights want it: with their padding, batch norm and preprocessing."""
    theirs = parent.network.spec
    return replace(spec, conventions=theirs.conventions, preprocessing=theirs.preprocessing)
