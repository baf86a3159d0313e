"""The published weights by name: which network, where they are, licence, accuracy, preprocessing. No torch.

`published.csv` is the listing, one row each. `options` are those of `zoo.get`; `checksum` is the beginning of the
SHA-256 of the file as it was first published (.pth), by which a user's file is recognised.
"""

import csv
import difflib
import os
from dataclasses import KW_ONLY, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from searchspace.errors import InvalidArgument
from searchspace.preprocessing import Preprocessing
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import get

SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".bin")  # of files of weights
MEAN_STD = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "fraction": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "lite": ((127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)),
}
"""Means and deviations by name: timm's IMAGENET_DEFAULT and IMAGENET_INCEPTION, and EfficientNet-Lite's own."""


@dataclass(frozen=True)
class PublishedWeights:
    """One row of the listing.

    Attributes:
        name: timm's name with its tag, or for a package of weights the network's.
        network, options: what `zoo.get` takes.
        implementation: whose names the tensors have.
        package: the Python package that carries the weights; "" for the Hugging Face hub (`repo`).
        revision: of the hub's repository, a branch or a commit.
        checksum: the first 8 hexadecimal digits of the SHA-256 of the published .pth file; "" for none.
        top1: ImageNet top-1 in percent at `preprocessing.pixels`, as the publisher states it.
        norm_eps: batch norm's, where these weights were trained with another than the implementation's.
    """

    name: str
    _: KW_ONLY
    network: str
    options: dict[str, Any]
    implementation: str
    package: str
    revision: str
    checksum: str
    preprocessing: Preprocessing
    top1: float | None
    licence: str
    norm_eps: float | None = None

    @property
    def repo(self) -> str:
        """The hub's repository; "" for a package's weights."""
        return "" if self.package else f"timm/{self.name}"

    def spec(self) -> NetworkSpec:
        """The network, with its preprocessing; the implementation's batch norm comes with the weights."""
        return get(self.network, **self.options).with_preprocessing(self.preprocessing)


@cache
def listing() -> tuple[PublishedWeights, ...]:
    """All rows; of one network the first is the one that its name alone means."""
    with open(Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return tuple(_row(**fields) for fields in csv.DictReader(file))


def _row(*, options: str, pixels: str, statistics: str, interpolation: str, top1: str, **rest: str) -> PublishedWeights:
    mean, std = MEAN_STD[statistics]
    preprocessing = Preprocessing(mean=mean, std=std, interpolation=interpolation, pixels=int(pixels))
    named = dict(option.split("=") for option in options.split())
    norm_eps = named.pop("norm_eps", None)
    return PublishedWeights(
        **rest,
        norm_eps=float(norm_eps) if norm_eps else None,
        options={option: _value(text) for option, text in named.items()},
        preprocessing=preprocessing,
        top1=float(top1) if top1 else None,
    )


def _value(text: str) -> float | bool | str:
    if text in ("yes", "no"):
        return text == "yes"
    try:
        return float(text)
    except ValueError:
        return text


def file_of(text: str) -> Path | None:
    """The file that a FILE or NAME=FILE of --weights means; None for a name."""
    path = Path(text.partition("=")[2] or text)
    return path if "=" in text or path.suffix in SUFFIXES or os.path.isfile(path) else None


def check_names(weights: str) -> None:
    """Raises InvalidArgument for a name in a value of --weights that means no weights. Files are not looked at."""
    for each in () if weights in ("auto", "none") else map(str.strip, weights.split(",")):
        if file_of(each) is None:
            find(each.partition("@")[0])


def find(name: str) -> PublishedWeights:
    """The row that `name` means: its name, timm's name without the tag, or the zoo's name of the network.

    Raises InvalidArgument that tells the nearest names.
    """
    name = name.removeprefix("timm/")
    for matches in (
        lambda row: row.name == name,
        lambda row: row.name.partition(".")[0] == name,
        lambda row: row.network == name and row.options.keys() <= {"padding"},
    ):
        if found := next(filter(matches, listing()), None):
            return found
    forms = ((row.name, row.name.partition(".")[0], row.network) for row in listing())
    known = dict.fromkeys(each for of_kind in zip(*forms, strict=True) for each in of_kind)
    longer = [each for each in known if name and each.startswith(name)]
    near = (longer or difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5))[:3]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InvalidArgument(
        f"weights must be auto, none, files or names of the listing, got {name!r:.80}; {hint}"
        "python -m searchspace.zoo --weights lists them"
    )
