"""Fine-tunes a network that has weights already, for so many seconds, on images of another task."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import nn

from search.data import Dataset, Split
from search.training.augmentation import augmented, preprocessing_of
from search.training.errors import TrainingDiverged, translated_out_of_memory
from search.training.evaluate import device_for, evaluate
from search.training.recipe import Recipe

OnProgress = Callable[[float, str], None]
OnLine = Callable[[str], None]


class Tuned(NamedTuple):
    """What a fine-tuning came to.

    Attributes:
        history: Validation accuracy after each chunk of it, a fraction, the last on the whole split.
        seconds: Of all runs.
        images: Training images seen, with repetition.
    """

    history: tuple[float, ...]
    seconds: float
    images: int

    @property
    def accuracy(self) -> float:
        """At the end."""
        return self.history[-1]

    @property
    def epochs(self) -> int:
        """Validations."""
        return len(self.history)


@dataclass(frozen=True, kw_only=True)
class FineTuner:
    """Fine-tunes modules on the same images, from one seed."""

    train: Split
    validation: Split
    seed: int
    recipe: Recipe
    device: str | None = None  # None: CUDA if there is one
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def on(cls, images: Dataset, *, recipe: Recipe, seed: int = 0) -> Self:
        """The fine-tuner with the images of a data set."""
        return cls(train=images.train, validation=images.validation, recipe=recipe, seed=seed)

    @translated_out_of_memory()
    def fit(
        self,
        module: nn.Module,
        *,
        seconds: float,
        pixels: int,
        state_file: Path | None = None,
        on_progress: OnProgress | None = None,
        on_line: OnLine | None = None,
        teacher: nn.Module | None = None,
    ) -> Tuned:
        """Fine-tune `module` in place for `seconds`, to be used at `pixels`; it ends in eval mode, on the CPU.

        Its classifier must have the classes of the images. Raises TrainingDiverged, OutOfMemory, StorageError.
        """
        device, began, size = device_for(self.device), self.clock(), min(32, len(self.train))
        images, labels = torch.tensor(self.train.pixels).to(device), torch.tensor(self.train.labels).to(device)
        generator = torch.Generator().manual_seed(self.seed)
        module.to(device).train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-5)
        seen = 0
        while (share := (self.clock() - began) / max(seconds, 1e-9)) < 1 or seen == 0:
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
            chosen = torch.randint(len(labels), (size,), generator=generator)
            batch = augmented(
                images,
                chosen,
                self.recipe,
                generator=generator,
                preprocessing=preprocessing_of(module),
                pixels=pixels,
            )
            loss = nn.functional.cross_entropy(module(batch), labels[chosen.to(device)], label_smoothing=0.1)
            if not math.isfinite(loss.detach()):
                raise TrainingDiverged(f"the loss must stay finite, got {loss:g} while fine-tuning")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen += size
            if on_progress is not None:
                on_progress(min(1.0, share), f"fine-tuning at {pixels} px")
        accuracy = evaluate(module, self.validation, device=self.device, pixels=pixels)
        module.to("cpu").eval()
        return Tuned((accuracy,), self.clock() - began, seen)
