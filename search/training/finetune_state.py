"""What a fine-tuning needs to go on, beside what any training does; and the new classifier that it begins with."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search.data import Split
from search.training.recipe import FineTuning
from search.training.ridge import pooled_features, ridge, set_classifier
from search.training.state import TrainingState, decayed
from searchspace.nn import Network
from searchspace.nn.build import block_modules

_PROBE = 64  # images that tell how many more there is time for


class FineTuningState(TrainingState):
    """A module under fine-tuning: rates fall towards its input, and its first blocks may be frozen.

    Attributes:
        images: Training images seen.
        image_s: Seconds of one and a pixel of it; 0 until it is known.
        spent: Seconds by what they were spent on.
    """

    recipe: FineTuning

    def __init__(self, module: nn.Module, recipe: FineTuning, class_weights: Tensor | None = None) -> None:
        self.images, self.image_s = 0, 0.0
        self.spent: dict[str, float] = {}
        super().__init__(module, recipe, class_weights)

    def _optimizer(self) -> torch.optim.Optimizer:
        blocks = blocks_of(self.module)
        frozen = round(self.recipe.frozen * len(blocks))
        groups = []
        for at, (block, rate) in enumerate(zip(blocks, self.recipe.rates(len(blocks)), strict=True)):
            block.requires_grad_(at >= frozen)
            for group in decayed(block.parameters(), self.recipe.weight_decay):
                if at >= frozen and group["params"]:
                    groups.append(group | {"share": rate})
        if self.recipe.adam:
            return torch.optim.AdamW(groups, lr=0.0, betas=(self.recipe.momentum, 0.99), fused=True)
        return torch.optim.SGD(groups, lr=0.0, momentum=self.recipe.momentum, nesterov=True, fused=True)

    def prepare(self) -> None:
        """Modes of a training step: dropout is off, and batch norms keep their statistics where the recipe says so."""
        self.module.train()
        still = (nn.Dropout, nn.modules.batchnorm._BatchNorm) if self.recipe.keeps_statistics else (nn.Dropout,)
        for part in self.module.modules():
            if isinstance(part, still):
                part.eval()
        blocks = blocks_of(self.module)
        for block in blocks[: round(self.recipe.frozen * len(blocks))]:
            block.eval()

    def mixed(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch and its targets, by the recipe's mixup."""
        if not self.recipe.mixup:
            return images, labels
        seed = int(torch.randint(1 << 62, (), generator=generator))
        first = float(np.random.default_rng(seed).beta(self.recipe.mixup, self.recipe.mixup))
        targets = nn.functional.one_hot(labels, classes).to(images.dtype)
        return first * images + (1 - first) * images.flip(0), first * targets + (1 - first) * targets.flip(0)

    def set_rate(self, rate: float | Tensor) -> None:
        """The classifier's learning rate in the next steps; the others have their shares of it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]

    @torch.no_grad()
    def use_average(self, images: Tensor, *, pixels: int | None = None) -> None:
        """As in any training; statistics that the recipe keeps are not taken again."""
        if not self.recipe.keeps_statistics:
            super().use_average(images, pixels=pixels)
            return
        for parameter, averaged in zip(self.module.parameters(), self.average, strict=True):
            parameter.copy_(averaged)
        self.module.eval()

    def restart_average(self) -> None:
        """The moving average begins at the present weights."""
        self.average = [parameter.detach().clone() for parameter in self.module.parameters()]

    def _content(self) -> dict[str, Any]:
        own = {"images": self.images, "image_s": self.image_s, "spent": self.spent}
        return super()._content() | own

    def _load(self, content: dict[str, Any]) -> None:
        super()._load(content)
        self.images, self.image_s = content["images"], content["image_s"]
        self.spent = content["spent"]


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The parts of a module from its input to its output: a network's blocks, or the children of another module."""
    if isinstance(module, Network):
        return block_modules(module)
    return list(module.children())


def fit_head(
    module: nn.Module,
    train: Split,
    *,
    pixels: int,
    images: int,
    seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    device: str | None = None,
    class_weights: Tensor | None = None,
) -> float | None:
    """Give a network a classifier fitted in closed form to the first `images`, as many as `seconds` allow.

    Batch-norm statistics stay; `class_weights` (classes,) are those of the loss. Returns its accuracy on images left
    out of the fit; None, and nothing is done, for a module that `searchspace.nn.build` did not make, or without images.
    """
    if not isinstance(module, Network) or not images:
        return None
    if seconds is not None:
        began, probe = clock(), min(_PROBE, images, len(train))
        pooled_features(module, train, pixels=pixels, images=probe, device=device)
        image_s = max(1e-9, (clock() - began) / probe)
        images = max(probe, min(images, int(seconds / image_s)))
    features = pooled_features(module, train, pixels=pixels, images=images, device=device)
    labels = torch.tensor(train.labels[: len(features)])
    fitted = ridge(features, labels, classes=module.spec.classes, class_weights=class_weights)
    set_classifier(module, fitted)
    return fitted.loo_accuracy
