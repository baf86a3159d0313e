"""How many images a network tells right, and how sure that is."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from search.data import Split
from search.training.augmentation import prepared

Enough = Callable[[int], bool]  # (images told so far) -> whether to stop there

TEST_FIELDS = ("test_accuracy", "test_low", "test_high", "test_images")  # an Accuracy in a summary


class Accuracy(NamedTuple):
    """Top-1 accuracy on some images with its 95 % interval (Wilson's), all fractions."""

    value: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, module: nn.Module, split: Split, *, device: str | None = None, pixels: int | None = None) -> Self:
        """Of a module on a split; see `evaluate`."""
        return cls.counted(told_right(module, split, device=device, pixels=pixels))

    @classmethod
    def counted(cls, right: Tensor) -> Self:
        """Where it is known of each image whether it was told right: bool (n,)."""
        value = int(right.sum()) / len(right)
        return cls(value, *wilson_interval(value, len(right)), len(right))

    def as_test(self) -> dict[str, float]:
        """The fields of a summary that hold the accuracy on the test split."""
        return dict(zip(TEST_FIELDS, self, strict=True))


def evaluate(
    module: nn.Module,
    split: Split,
    *,
    images: int | None = None,
    batch_size: int = 250,
    device: str | None = None,
    pixels: int | None = None,
    enough: Enough | None = None,
) -> float:
    """Top-1 accuracy on the first `images` of a split (None: all), a fraction.

    Images are resized to `pixels` (None: as they are stored) and prepared as the module's spec says (OWN where it has
    none). The module is left in eval mode on `device` (None: CUDA if there is one). `enough`, asked after each batch,
    may stop earlier: any beginning of a split has the classes in about their proportions.
    """
    right = told_right(module, split, images=images, batch_size=batch_size, device=device, pixels=pixels, enough=enough)
    return int(right.sum()) / max(1, len(right))


def told_right(
    module: nn.Module,
    split: Split,
    *,
    images: int | None = None,
    batch_size: int = 250,
    device: str | None = None,
    pixels: int | None = None,
    enough: Enough | None = None,
) -> Tensor:
    """Which of the images are told right: bool (n,), on the CPU; see `evaluate`."""
    where = device_for(device)
    module.to(where).eval()  # outside inference mode: what is moved can be trained later
    stored, labels = split.pixels[:images], split.labels[:images]
    right = torch.zeros(len(labels), dtype=torch.bool)
    with torch.inference_mode():
        for start in range(0, len(labels), batch_size):
            batch = torch.tensor(stored[start : start + batch_size]).to(where)
            with autocast(where):
                logits = module(prepared(batch, module, pixels))
            told = start + len(batch)
            right[start:told] = logits.argmax(1).cpu() == torch.tensor(labels[start:told])
            if enough is not None and enough(told):
                return right[:told]
    return right


def wilson_interval(fraction: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a fraction seen in `count` independent cases (E. B. Wilson, 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = fraction + z * z / (2 * count)
    spread = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def binomial_deviation(fraction: float, count: int) -> float:
    """The standard deviation of a fraction seen in `count` independent cases, never 0.

    One success and one failure are added (Laplace's rule of succession), as 20 right of 20 do not prove all.
    """
    smoothed = (fraction * count + 1) / (count + 2)
    return math.sqrt(smoothed * (1 - smoothed) / count)


def device_for(name: str | None) -> torch.device:
    """The device of that name; None for CUDA if there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU that has it, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" and torch.cuda.is_bf16_supported())
