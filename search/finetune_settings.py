"""What defines a fine-tuning: the flags of `search.finetune`, checked once. No torch."""

from dataclasses import dataclass
from pathlib import Path

from search.settings import MAX_RESOLUTION, check_minutes
from search.sources import parse_source
from search.training import variation
from searchspace.arguments import check_flag

DEFAULT = "efficientnet_lite0"
SMALLEST = 32  # px, the total stride of all networks here
PIXELS = f"{SMALLEST} to {MAX_RESOLUTION} px, or auto"


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
        check_minutes("--minutes", self.minutes)
        variation.check_class_weights(self.class_weights)
        object.__setattr__(self, "augment", variation.checked(self.augment))
        check_flag("--seed", self.seed, 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")
        fits = self.resolution is None or SMALLEST <= self.resolution <= MAX_RESOLUTION
        check_flag("--resolution", self.resolution, fits, PIXELS)

    @property
    def study(self) -> str:
        """A name made of the network and the images."""
        plain = "".join(
            c if c.isalnum() else "-" for c in Path(parse_source(self.data or "digits").place).name.partition(".")[0]
        )
        return f"{plain.strip('-') or 'images'}-{Path(self.network).stem}-tuned"[:100]
