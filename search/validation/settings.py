"""What defines a reference set: the flags of `search.validate`, checked once. No torch."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.settings import MAX_RESOLUTION, check_minutes, resolved_source
from search.settings import Settings as SearchSettings
from search.training import variation
from searchspace.arguments import check_flag
from searchspace.errors import InvalidArgument
from searchspace.spaces.presets import space_of
from searchspace.spaces.space import SearchSpace

BAND = (0.5, 1.5)  # of the budget: the prices of the networks in the reference set
PREPARE_MINUTES = 2.7  # what the default job gives an estimator that trains something once: 0.3 of its 9 minutes
SMALLEST = 32  # px, the total stride of all networks here


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the networks of a reference set are chosen and trained.

    Attributes:
        budget_ms: The middle of the band of prices, in ms by a latency table; None for a budget of MACs.
        budget_macs: The same in MACs, at `resolution`; None for a budget of ms.
        data: The images, as for a search.
        latency: The file of a latency table; None for this machine's own.
        weights: What networks start from, as for a search.
        ema: Which weights of a file with two sets, as for a search.
        resolution: Pixels that networks are trained and judged at, and their MACs are counted at.
        networks: How many.
        twice: The share of the networks that are trained a second time, by the next seed.
        minutes_each: Of each training.
        images_each: Training images that each one sees, with repetition, in place of minutes.
        judged_images: Held-out validation images that tell a network's accuracy, at most.
        space_file: A preset, or a TOML file that changes the search space.
        seed: Of the choice of networks, of the splits and of the first trainings.
        augment: How training images are varied, as for a search.
        class_weights: What classes weigh in trainings, as for a search.

    Raises InvalidArgument.
    """

    budget_ms: float | None = None
    budget_macs: float | None = None
    data: str | None = None
    latency: str | None = None
    weights: str = SearchSettings.weights
    ema: bool | None = None
    resolution: int = 64
    networks: int = 30
    twice: float = 0.5
    minutes_each: float = 5.0
    images_each: int | None = None
    judged_images: int = 3000
    space_file: str | None = None
    seed: int = 0
    augment: str = variation.AUTO
    class_weights: str = variation.NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", variation.checked(self.augment))
        variation.check_class_weights(self.class_weights)
        if (self.budget_ms is None) == (self.budget_macs is None):
            raise InvalidArgument(
                "a reference set has --budget-ms (by a latency table) or --budget-macs (counted), one of both; got "
                f"{self.budget_ms} ms and {self.budget_macs} MACs"
            )
        if self.latency is not None and self.budget_ms is None:
            raise InvalidArgument("--latency is the table that prices networks in ms: give --budget-ms with it")
        for flag, number in (("--budget-ms", self.budget_ms), ("--budget-macs", self.budget_macs)):
            check_flag(flag, number, number is None or 0 < number < math.inf, "a number above 0")
        check_minutes("--minutes-each", self.minutes_each)
        check_flag("--twice", self.twice, 0 <= self.twice <= 1, "a share from 0 to 1")
        check_flag("--networks", self.networks, self.networks >= 3, "an integer of at least 3")
        images = self.images_each
        for flag, count in (
            ("--images-each", 1 if images is None else images),
            ("--judged-images", self.judged_images),
        ):
            check_flag(flag, count, count >= 1, "an integer of at least 1")
        check_flag("--seed", self.seed, 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")
        in_range = SMALLEST <= self.resolution <= MAX_RESOLUTION
        check_flag("--resolution", self.resolution, in_range, f"{SMALLEST} to {MAX_RESOLUTION} px")

    @property
    def budget(self) -> float:
        """In ms or MACs."""
        return self.budget_ms or self.budget_macs or 0.0

    def search_space(self, *, classes: int) -> SearchSpace:
        """The space that random networks are drawn from."""
        return space_of(self.space_file, classes=classes, resolution=self.resolution)

    def identity(self) -> dict[str, Any]:
        """What rows of one file must agree in; a set may grow by more networks and more second trainings."""
        own = asdict(self)
        for free in ("networks", "twice", "augment"):
            del own[free]
        if self.images_each is not None:
            del own["minutes_each"]
        if self.class_weights == variation.NONE:  # as in sets of before
            del own["class_weights"]
        own["data"] = None if self.data in (None, "digits") else Path(resolved_source(str(self.data))).name
        own["space_file"] = self.space_file and Path(self.space_file).name
        own["latency"] = self.latency and Path(self.latency).name
        return own
