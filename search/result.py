"""What a finished job found, as its files say: for notebooks and scripts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.errors import InvalidArgument, PhinasError, StudyMismatch
from searchspace.files import content_of, copy_files, read_json
from searchspace.spec import NetworkSpec, read_spec
from studies.storage import BEST, SUMMARY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from searchspace.nn import Network

# By the kind of a summary, the module whose `report(summary)` is its text.
_REPORTS = {
    "search": "search.report",
    "front": "search.front_report",
    "table": "search.measured.job",
    "finetune": "search.finetune",
}
_FILES = (BEST, "best.safetensors", "best.onnx", SUMMARY, "trials.csv", "front.csv", "front.png")


@dataclass(frozen=True)
class Result:
    """A study that came to its end, and the network that it found. `summary` is the content of summary.json."""

    summary: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return Path(self.summary["folder"])

    @cached_property
    def spec(self) -> NetworkSpec:
        """The network that was found."""
        return read_spec(self.folder / BEST)

    @cached_property
    def module(self) -> Network:
        """The trained network as a `torch.nn.Module` in eval mode.

        It takes float32 (n, 3, height, width) as `prepare` gives it, and returns logits (n, classes), in the order of
        `summary["classes"]`. Raises InvalidArgument for a search by a table of measured networks: nothing is trained.
        """
        if self.summary.get("kind") == "table":
            raise InvalidArgument(
                f"a search by a table of measured networks trains nothing, so {self.summary['study']} has no weights: "
                f"train its network on your images with search.finetune(DATA, network='{self.folder / BEST}')"
            )
        from searchspace.nn import load_network

        return load_network(self.spec, (self.folder / BEST).with_suffix(".safetensors"))

    @cached_property
    def front(self) -> list[Result]:
        """One result for each budget of a search for several, the smallest first; else this one alone.

        Budgets without a network are left out; `summary["front"]` says why they have none.
        Raises StorageError where a budget's summary.json cannot be read.
        """
        if self.summary.get("kind") != "front":
            return [self]
        folders = [self.folder / row["folder"] for row in self.summary["front"] if row["folder"] is not None]
        own = {"study": self.summary["study"]}
        return [Result({**read_json(folder / SUMMARY), **own, "folder": str(folder)}) for folder in folders]

    def check(self, way_out: str) -> None:
        """Raises StudyMismatch, with the way out, where the network's files are gone, damaged or of two networks."""
        try:
            for each in self.front:
                _ = each.module
        except PhinasError as error:
            raise StudyMismatch(
                f"{self.folder} is finished and its network cannot be read ({error}): restore its files from a copy, "
                f"or {way_out}"
            ) from None

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Square RGB images uint8 (n, height, width, 3) as the module's input.

        They are resized to the deployed size (`spec.resolution`) and normalised as the weights want it
        (`spec.preprocessing`): `result.module(result.prepare(images)).argmax(1)` are their classes.
        """
        import torch

        from search.training.augmentation import normalise, resized
        from searchspace.preprocessing import OWN

        how = self.spec.preprocessing or OWN
        return normalise(resized(torch.tensor(images), self.spec.resolution, how.interpolation), how)

    @property
    def study(self) -> pd.DataFrame:
        """All trials, one row each, by `studies.load`; `study.attrs["name"]` is the study's name.

        Raises InvalidArgument for a fine-tuning, which has none.
        """
        if self.summary.get("kind") == "finetune":
            raise InvalidArgument(
                f"a fine-tuning tries one network, so {self.summary['study']} has no trials: its validation accuracies "
                "stand in summary['history']"
            )
        import studies

        return studies.load(self.summary["study"])

    def report(self) -> str:
        """What the command prints. Raises StorageError for a damaged summary that was read back."""
        with content_of(self.folder / SUMMARY):
            home = import_module(_REPORTS[self.summary.get("kind", "search")])
            text: str = home.report(self.summary)
        return text

    def save(self, folder: str | Path) -> Path:
        """Copy best.json, best.safetensors, summary.json and trials.csv to `folder`, which is made if it is missing.

        Of a search for several budgets, each one's folder too. Raises StorageError if it cannot be written.
        """
        folder = Path(folder)
        copy_files(self.folder, folder, _FILES)
        for each in self.front:
            if each is not self:
                each.save(folder / each.folder.name)
        return folder
