"""Trains a detector for so many steps, or for so many seconds, and goes on where it was cut off.

For so many steps a training that is killed and started again ends in the same weights. By the clock the number of steps
is planned from the speed of this machine, anew at each look at validation images; it ends with the time all the same
where the machine becomes slower.
"""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scaling.efficientdet.loss import DetectionLoss, Losses
from scaling.efficientdet.matching import Objects
from scaling.efficientdet.module import Detector
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.spec import DetectorSpec
from search.cores import fitted_threads
from search.training.errors import TrainingDiverged, translated_out_of_memory
from search.training.evaluate import autocast, device_for
from search.training.state import decayed
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic, wrong_member

PLANNED, PLANNED_LATER = 0.94, 0.98  # of the seconds: what is left is for a machine that becomes slower
TIMED_STEPS = 2
MOMENTUM_STEPS = 15.0  # batch norms' statistics are those of the last 1/15 of the steps, where the network's are longer
KEEP_S = 30.0  # at most so many seconds of training are lost


Batch = tuple[Tensor, list[Objects]]
"""Images float32 (batch, channels, height, width), normalised, and what is on each."""


class Batches(Protocol):
    """Where a training's batches come from."""

    def since(self, step: int) -> Generator[Batch, None, None]:
        """Those of this step and the following, the same each time they are asked for."""


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe:
    """How detectors are trained.

    Attributes:
        learning_rate: Of AdamW, at its highest.
        backbone_rate: Of the learning rate, where the backbone has published weights; its batch-norm statistics stay
            then.
        frozen: Share of its blocks, from the image on, that stay as they are then: they see the largest maps, and edges
            are edges.
        warmup: Share of the steps in which the rate rises; then it falls by a cosine.
        ema_share: The moving average of the weights reaches over about this share of the steps.
        clip: Norm of the gradient at most.
        looks: At the validation images, the last one at the end.
        box_loss: See DetectionLoss.
    """

    batch_size: int = 8
    learning_rate: float = 2e-3
    backbone_rate: float = 0.3
    frozen: float = 0.33
    weight_decay: float = 1e-4
    warmup: float = 0.05
    ema_share: float = 0.02
    clip: float = 10.0
    looks: int = 8
    box_loss: str = "huber"

    def rate_at(self, share: float) -> float:
        """The learning rate where this share of the steps is done."""
        rise = min(1.0, share / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * min(1.0, share)))


@dataclass
class State:
    """Of a training: what a state file holds. `total`: planned steps, 0 while they are not planned."""

    step: int = 0
    total: int = 0
    seconds: float = 0.0
    finished: bool = False
    history: list[float] = field(default_factory=list)


@dataclass(kw_only=True)
class DetectorTraining:
    """One training of one detector, in place; it ends with averaged weights, in eval mode, on the CPU.

    Attributes:
        look: Called at each look, with the averaged weights in the detector; gives what is kept in the history.
        on_progress: Hears the share that is done, and words.
        published: Whether the backbone has published weights.
        key: What tells this training from any other; a state file of another is left out, which `on_line` hears.
    """

    detector: Detector
    batches: Batches
    recipe: DetectionRecipe = field(default_factory=DetectionRecipe)
    published: bool = False
    look: Callable[[Detector], float] | None = None
    on_progress: Callable[[float, str], None] = lambda share, what: None
    on_line: Callable[[str], None] = lambda line: None
    state_file: Path | None = None
    key: str = ""
    device: str | None = None
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self.state, self._device = State(), device_for(self.device)
        self.detector.to(self._device)
        self._loss = DetectionLoss(self.detector.spec, box_loss=self.recipe.box_loss).to(self._device)
        if self.published:
            blocks = [block for stage in self.detector.backbone.children() for block in stage.children()]
            for block in blocks[: int(self.recipe.frozen * len(blocks))]:
                block.requires_grad_(False)
        trained = [each for each in self.detector.backbone.parameters() if each.requires_grad]
        backbone = decayed(trained, self.recipe.weight_decay)
        others = [p for name, p in self.detector.named_parameters() if not name.startswith("backbone.")]
        self._factors = [*([self.recipe.backbone_rate if self.published else 1.0] * len(backbone)), 1.0, 1.0]
        self._optimizer = torch.optim.AdamW([*backbone, *decayed(others, self.recipe.weight_decay)], lr=0.0, fused=True)
        self._average = [each.detach().clone() for each in self._floats()]
        self._saved_s = self._look_s = self._steps_s = self._began = self._before_s = 0.0
        self._begun_at = 0

    @translated_out_of_memory()
    def fit(self, *, seconds: float | None = None, steps: int | None = None) -> State:
        """Train for `seconds` from now, or `steps` in all. Raises TrainingDiverged, OutOfMemory, StorageError."""
        with fitted_threads() as fit_threads:
            return self._fit(seconds, steps, fit_threads)

    def _fit(self, seconds: float | None, steps: int | None, fit_threads: Callable[[], int]) -> State:
        began = self.clock()
        self._resume()
        before_s, state = self.state.seconds, self.state
        left_s = math.inf if seconds is None else max(0.0, seconds - before_s)
        if not state.total:
            self._train_mode()
            state.total = steps or self._planned(left_s)
            self._save()
        self._began, self._begun_at, self._before_s = began, state.step, before_s
        with closing(self.batches.since(state.step)) as batches:
            while state.step < state.total:
                self._timed_step(batches)
                state.seconds = self._spent_s() + before_s
                self.on_progress(state.step / state.total, "training the detector")
                if self._spent_s() + self._look_s > left_s:  # the machine has become slower
                    state.total = state.step
                if self._is_look():
                    fit_threads()
                    self._look()
                    self._replan(left_s)
                    self._save()
                elif state.seconds - self._saved_s > KEEP_S or state.step == state.total:
                    self._save()
        self._finish()
        return state

    def _timed_step(self, batches: Generator[Batch, None, None]) -> None:
        """One step, with the wait for its images."""
        began = self.clock()
        self._step(next(batches))
        self.state.step += 1
        self._steps_s += self.clock() - began

    def _spent_s(self) -> float:
        return self.clock() - self._began

    def _replan(self, left_s: float) -> None:
        """By the speed of this run so far, how many steps fit the seconds; kept with the look."""
        state, looks_left = self.state, self.recipe.looks - len(self.state.history)
        state.seconds = self._spent_s() + self._before_s
        if left_s == math.inf or state.step == state.total:
            return
        step_s = self._steps_s / (state.step - self._begun_at)
        fitting = (PLANNED_LATER * (left_s - self._spent_s()) - looks_left * self._look_s) / step_s
        state.total = state.step + max(1, int(fitting))

    def _planned(self, left_s: float) -> int:
        """Steps that fit the seconds, by some that are not taken."""
        kept = {name: value.clone() for name, value in self.detector.state_dict().items()}
        took = []
        with closing(self.batches.since(0)) as batches:
            for _ in range(1 + TIMED_STEPS):
                began = self.clock()
                self._backward(next(batches))
                took.append(self.clock() - began)
        self._optimizer.zero_grad(set_to_none=True)
        self.detector.load_state_dict(kept)
        if self.look is not None:
            self._looked()
        spent_s = sum(took) + (1 + self.recipe.looks) * self._look_s
        return max(1, int((PLANNED * left_s - spent_s) / min(took[1:])))

    def _is_look(self) -> bool:
        state = self.state
        due = state.total * (len(state.history) + 1) / self.recipe.looks
        return self.look is not None and (state.step >= due or state.step == state.total)

    def _train_mode(self) -> None:
        self.detector.train()
        momentum = max(self.detector.spec.conventions.norm_momentum, min(0.1, MOMENTUM_STEPS / (self.state.total or 1)))
        for name, norm in self.detector.named_modules():
            if isinstance(norm, nn.BatchNorm2d) and not name.startswith("backbone."):
                norm.momentum = momentum
        if self.published:  # a few images tell less of a map's statistics than ImageNet did
            for part in self.detector.backbone.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()

    def losses(self, batch: Batch) -> Losses:
        """Of the detector as it is on a batch."""
        images, objects = batch
        with autocast(self._device):
            outputs = self.detector(images.to(self._device, non_blocking=True))
        on_device = [Objects(*(part.to(self._device) for part in one)) for one in objects]
        found: Losses = self._loss(outputs, on_device)
        return found

    def _backward(self, batch: Batch) -> Tensor:
        total = self.losses(batch).total
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    def _step(self, batch: Batch) -> None:
        recipe, state = self.recipe, self.state
        self._train_mode()
        rate = recipe.rate_at((state.step + 0.5) / state.total)
        for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss must stay finite, got {loss:g} at step {state.step}: give a lower --learning-rate than "
                f"{recipe.learning_rate:g}, or look at the images and boxes"
            )
        nn.utils.clip_grad_norm_(self.detector.parameters(), recipe.clip)
        self._optimizer.step()
        reach = max(1.0, recipe.ema_share * state.total)
        decay = min((1 + state.step) / (10 + state.step), 1 - 1 / reach)
        with torch.no_grad():
            torch._foreach_lerp_(self._average, self._floats(), 1 - decay)

    def _floats(self) -> list[Tensor]:
        return [each for each in self.detector.state_dict().values() if each.is_floating_point()]

    def _look(self) -> None:
        if self.look is None:
            return
        found = self._looked()
        self.state.history.append(found)
        self.on_line(f"{found:.1%} AP50 of validation images after {self.state.step} of {self.state.total} steps")

    @torch.no_grad()
    def _looked(self) -> float:
        assert self.look is not None
        began = self.clock()
        kept = [each.clone() for each in self._floats()]
        self._copy(self._average)
        found = self.look(self.detector.eval())
        self._copy(kept)
        self._look_s = self.clock() - began
        return found

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for own, value in zip(self._floats(), values, strict=True):
            own.copy_(value)

    def _finish(self) -> None:
        self._copy(self._average)
        self.detector.eval().requires_grad_(True).to("cpu")
        for norm in self.detector.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = self.detector.spec.conventions.norm_momentum
        if not self.state.finished:
            self.state.finished = True
            self._save()

    def _save(self) -> None:
        if self.state_file is None:
            return
        buffer = io.BytesIO()
        content = {
            "key": self._key(),
            "state": asdict(self.state),
            "module": self.detector.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(content, buffer)
        write_atomic(self.state_file, buffer.getvalue())
        self._saved_s = self.state.seconds

    def _key(self) -> str:
        return f"{self.key} {asdict(self.recipe)} {self.published} {self.detector.spec.fingerprint()}"

    def _resume(self) -> None:
        if self.state_file is None or not self.state_file.exists():
            return
        before = copy.deepcopy((self.detector.state_dict(), self._optimizer.state_dict()))
        try:
            if wrong := wrong_member(self.state_file):
                raise ValueError(f"the checksum of {wrong} is wrong")
            content = torch.load(self.state_file, weights_only=True, map_location="cpu")
            if content["key"] != self._key():
                raise ValueError("it is of another training")
            self.detector.load_state_dict(content["module"])
            self._optimizer.load_state_dict(content["optimizer"])
            average = [each.to(self._device) for each in content["average"]]
            if [each.shape for each in average] != [each.shape for each in self._average]:
                raise ValueError("the averaged weights are of other sizes")
            self.state = _state_of(content["state"])
            self._average, self._saved_s = average, self.state.seconds
        except Exception as error:  # whatever a damaged file makes torch.load raise
            self.detector.load_state_dict(before[0])  # a part of it may be loaded
            self._optimizer.load_state_dict(before[1])
            said = str(error).partition("\n")[0] or type(error).__name__
            reason = "it cannot be read" if "weights_only" in said else said  # torch's advice is no user's
            self.on_line(f"{self.state_file} is left out, the training begins anew: {reason}")


def _state_of(stored: dict[str, Any]) -> State:
    """Raises ValueError, TypeError for what no training wrote."""
    state = State(**stored)
    counted = type(state.step) is int and type(state.total) is int and 0 <= state.step <= state.total
    seconds = isinstance(state.seconds, int | float) and 0 <= state.seconds < math.inf
    if not (counted and seconds and isinstance(state.history, list) and type(state.finished) is bool):
        raise ValueError("its state is none of a training")
    return state


def check_batch(spec: DetectorSpec, images: int) -> None:
    """Raises InvalidArgument where the smallest maps of a batch are one pixel: batch norms have no variance of it."""
    if images == 1 and spec.level_px(LEVELS[-1]) == 1:
        raise InvalidArgument(
            f"a batch must have at least 2 images at {spec.resolution} px, got 1: give more images to train and "
            "--batch-size 2, or --resolution 160"
        )
