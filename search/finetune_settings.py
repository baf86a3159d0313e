"""What defines a fine-tuning: the flags of `search.finetune`, checked once. No torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from search.settings import MAX_RESOLUTION
from search.sources import parse_source
from search.training import variation
from searchspace.errors import InvalidArgument

DEFAULT = "efficientnet_lite0"
SMALLEST = 32  # px, the total stride of all networks here


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What defines a fine-tuning; how long it goes on is `minutes`."""

    network: str = DEFAULT
    data: str | None = None
    weights: str = "auto"
    ema: bool | None = None
    minutes: float = 10.0
    resolution: int | None = None  # None: by the images' own size
    seed: int = 0
    augment: str = variation.AUTO
    class_weights: str = variation.NONE

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise InvalidArgument(f"--minutes must be a number above 0, got {self.minutes:g}")
        variation.check_class_weights(self.class_weights)
        object.__setattr__(self, "augment", variation.checked(self.augment))
        if not 0 <= self.seed < 2**31:
            raise InvalidArgument(f"--seed must be an integer from 0 to 2147483647, got {self.seed}")
        if self.resolution is not None and not SMALLEST <= self.resolution <= MAX_RESOLUTION:
            raise InvalidArgument(
                f"--resolution must be {SMALLEST} to {MAX_RESOLUTION} px, or auto, got {self.resolution}"
            )

    @property
    def study(self) -> str:
        """A name made of the network and the images."""
        plain = "".join(
            c if c.isalnum() else "-" for c in Path(parse_source(self.data or "digits").place).name.partition(".")[0]
        )
        return f"{plain.strip('-') or 'images'}-{Path(self.network).stem}-tuned"[:100]
