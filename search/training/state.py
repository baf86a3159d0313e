"""All that a training needs to go on: the module, the moving average of its weights, the optimizer, its history."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from search.training.augmentation import prepared
from search.training.balance import cross_entropy
from search.training.evaluate import autocast
from search.training.recipe import Recipe
from searchspace.files import write_atomic, wrong_member
from searchspace.nn.blocks import residual_norms
from searchspace.nn.weights.statistics import renew_batch_norm

STATISTICS_IMAGES = 512  # training images that the averaged weights' batch-norm statistics are taken over


class TrainingState:
    """A module under training; randomness is a function of seed and epoch, so it is no part of this.

    `average` is the moving average (EMA) of the parameters, `history` the validation accuracy after each epoch,
    `finished` whether the training came to its end, which may be before its last epoch, `closing` the share of it at
    which it was cut short (None while it was not), `class_weights` what classes weigh in the loss (None: alike).
    """

    def __init__(self, module: nn.Module, recipe: Recipe, class_weights: Tensor | None = None) -> None:
        if recipe.zero_init_residual:
            for norm in residual_norms(module):
                norm.weight.data.zero_()
        self.module, self.recipe, self.class_weights = module, recipe, class_weights
        self.average = [p.detach().clone() for p in module.parameters()]
        self.optimizer = self._optimizer()
        self.history: list[float] = []
        self.seconds = 0.0
        self.finished = False
        self.closing: float | None = None

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = decayed(self.module.parameters(), self.recipe.weight_decay)
        return torch.optim.SGD(groups, lr=0.0, momentum=self.recipe.momentum, nesterov=True, fused=True)

    def save(self, path: Path, key: str) -> None:
        """Write a state file of the training that `key` tells from others. Raises StorageError."""
        buffer = io.BytesIO()  # torch's own writer fails on a full disk with an error of its own
        torch.save({"key": key} | self._content(), buffer)
        write_atomic(path, buffer.getvalue())

    def _content(self) -> dict[str, Any]:
        """What a state file holds, beside its key."""
        content = {"module": self.module.state_dict(), "ema": self.average, "optimizer": self.optimizer.state_dict()}
        return content | {
            "history": self.history,
            "seconds": self.seconds,
            "finished": self.finished,
            "closing": self.closing,
        }

    def resumed(self, path: Path, key: str) -> Self:
        """This training as its state file left it; as it is, if there is no file, or (with a warning) another's."""
        fresh = {name: value.clone() for name, value in self.module.state_dict().items()}
        try:
            if wrong := wrong_member(path):
                raise ValueError(f"the checksum of {wrong} is wrong")
            content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            # state files of before 2026-11-29 have another name for one of the recipe's fields
            if content["key"].replace("'calm_residuals'", "'zero_init_residual'") == key:
                self._load(content)
                return self
            reason = "it is of another training"
        except FileNotFoundError:
            return self
        except Exception as error:  # whatever a damaged file makes torch.load raise
            reason = str(error).partition("\n")[0] or type(error).__name__
        warnings.warn(f"the checkpoint {path} is left out, the training begins anew: {reason}", stacklevel=4)
        self.module.load_state_dict(fresh)
        return type(self)(self.module, self.recipe, self.class_weights)

    def _load(self, content: dict[str, Any]) -> None:
        self.module.load_state_dict(content["module"])
        self.optimizer.load_state_dict(content["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0  # it was a tensor if a CUDA graph was at work
        for average, stored in zip(self.average, content["ema"], strict=True):
            average.copy_(stored)
        self.history = [float(accuracy) for accuracy in content["history"]]
        self.seconds = float(content["seconds"])
        self.finished = bool(content.get("finished", False))  # files of before had it for fine-tunings only
        self.closing = content.get("closing")

    def set_rate(self, rate: float | Tensor) -> None:
        """The learning rate of the next steps. Given a tensor once, as a CUDA graph needs, its value is set."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, images: Tensor, target: Tensor) -> Tensor:
        """One step on images (batch, 3, height, width) and target (batch,); the loss before it."""
        with autocast(images.device):
            logits, smoothing = self.module(images), self.recipe.label_smoothing
            loss = cross_entropy(logits, target, weights=self.class_weights, smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the present weights."""
        torch._foreach_lerp_(self.average, list(self.module.parameters()), 1.0 - decay)

    @torch.no_grad()
    def use_average(self, images: Tensor, *, pixels: int | None = None) -> None:
        """Put the averaged weights into the module, in eval mode, with batch-norm statistics of their own.

        Averaged statistics would be of other weights; these are means over the first of the training `images` uint8
        (n, height, width, 3), at `pixels` (None: as they are stored).
        """
        for parameter, averaged in zip(self.module.parameters(), self.average, strict=True):
            parameter.copy_(averaged)
        first = images[:STATISTICS_IMAGES]
        batches = torch.chunk(first, max(1, len(first) // 128))
        with autocast(images.device):
            renew_batch_norm(self.module, (prepared(batch, self.module, pixels) for batch in batches))

    @contextmanager
    def with_average(self, images: Tensor, *, pixels: int | None = None) -> Iterator[None]:
        """The module has the averaged weights within the context."""
        present = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.use_average(images, pixels=pixels)
        yield
        self.module.load_state_dict(present)


def decayed(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups of an optimizer: kernels and matrices with weight decay, biases and batch norms without."""
    every = list(parameters)
    matrices, others = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
