"""Where published weights lie on this machine: installed packages. No torch."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from searchspace.zoo.published import PublishedWeights

SUFFIXES = (".pth", ".safetensors")


class Place(NamedTuple):
    """A file of weights on this machine, and where it came from, in words."""

    path: Path
    source: str


def installed(row: PublishedWeights) -> Place | None:
    """The file in the installed package that carries it; none of the package's code runs."""
    if not row.package:
        return None
    try:
        found = distribution(row.package)
    except PackageNotFoundError:
        return None
    for file in found.files or ():
        if file.suffix in SUFFIXES and (path := Path(str(found.locate_file(file)))).is_file():
            return Place(path, f"package {row.package} {found.version}")
    return None


def local(row: PublishedWeights) -> Place | None:
    """Where the weights already are on this machine, if they are."""
    return installed(row)
