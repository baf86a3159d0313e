"""The reference accuracy estimator: train a network from scratch for a short schedule and evaluate it.

One recipe for all candidates: warm-up and cosine decay, label smoothing, an exponential moving average of the
weights (EMA), batched augmentation. float32 and channels-last on a CPU; CUDA if there is one, with bf16 where it has
it, the steps of longer trainings as one CUDA graph. On a CPU same seed, threads and machine: same result, bit for bit,
also across a cut.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from search.training import cuda_graph
from search.training.augmentation import Augmentation, augmented, normalise
from search.training.cuda_graph import GraphedStep, Step
from searchspace.errors import PhinasError
from searchspace.files import write_atomic
from searchspace.nn.layers import InvertedResidual, ShuffleUnitModule

if TYPE_CHECKING:
    from search.data import Split

OnEpoch = Callable[[int, float], None]
OnStep = Callable[[int, int], None]

_LOSS_LOOKS = 16  # steps from one look at the loss to the next on a GPU, which has to be waited for each time
ONWARD_RATE = 0.5  # of the peak rate of a training from scratch: what was learnt is kept
_STATISTICS_IMAGES = 512  # batch-norm statistics of the EMA weights are taken over so many training images


class TrainingDiverged(PhinasError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The schedule of one training. The defaults are tuned for 160 steps from scratch, and hold for more.

    epochs, epoch_images: the effort. An epoch is a look at `epoch_images` training images, or at all of them where
        there are fewer; the next epoch goes on with those not seen yet. So a large data set makes no trial longer.
    epoch_validation: images of the validation split that are looked at after every epoch but the last, which takes all.
    batch_size, learning_rate (at its peak), momentum (Nesterov): of SGD.
    weight_decay: of matrices and kernels only, not of biases and batch norms.
    warmup_fraction: of all steps; the rate rises linearly from 0, then falls to 0 by a cosine.
    ema_fraction: the EMA looks back over this fraction of all steps, at first over all steps there are.
    zero_init_residual: residual branches start at 0 (the scale of their last batch norm, arXiv:1706.02677).
    flip, shift, brightness, contrast, colour, cutout: see `search.training.augmentation.Augmentation`. flip is wrong
    for digits.
    """

    epochs: int = 4
    epoch_images: int = 1280
    epoch_validation: int = 1000
    batch_size: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_fraction: float = 0.2
    label_smoothing: float = 0.1
    ema_fraction: float = 0.1
    zero_init_residual: bool = True
    flip: bool = False
    shift: float = 0.06
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    cutout: float = 0.0

    @classmethod
    def for_data(cls, data: str | None, *, epochs: int | None = None) -> Recipe:
        """The default recipe for a source of `search.data.load`: only real photographs are mirrored, digits are not."""
        recipe = cls(flip=data not in (None, "digits"))
        return recipe if epochs is None else replace(recipe, epochs=epochs)

    def onward(self, *, epochs: int) -> Recipe:
        """The recipe to train on by, from weights that were trained: they are not calmed, and the rate is lower."""
        return replace(self, epochs=epochs, zero_init_residual=False, learning_rate=ONWARD_RATE * self.learning_rate)

    def augmentation(self) -> Augmentation:
        """What varies between two looks at one image."""
        return Augmentation(
            flip=self.flip,
            shift=self.shift,
            brightness=self.brightness,
            contrast=self.contrast,
            colour=self.colour,
            cutout=self.cutout,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training came to.

    accuracy: of the EMA weights on the whole validation split, a fraction; history: after each epoch, on the first
    `epoch_validation` images of it, last the accuracy; seconds: of all runs of this training; epochs: done.
    """

    accuracy: float
    history: tuple[float, ...]
    seconds: float
    epochs: int


@dataclass
class _State:
    """All that a training needs to go on: what a checkpoint holds. Randomness is a function of seed and epoch."""

    module: nn.Module
    ema: list[Tensor]
    optimizer: torch.optim.Optimizer
    history: list[float]
    seconds: float = 0.0

    def save(self, path: Path, key: str) -> None:
        content = {
            "key": key,
            "module": self.module.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "seconds": self.seconds,
        }
        buffer = io.BytesIO()  # torch's own writer fails on a full disk with an error of its own
        torch.save(content, buffer)
        write_atomic(path, buffer.getvalue())

    def load(self, content: dict[str, Any]) -> None:
        self.module.load_state_dict(content["module"])
        self.optimizer.load_state_dict(content["optimizer"])
        for mine, stored in zip(self.ema, content["ema"], strict=True):
            mine.copy_(stored)
        self.history[:] = [float(accuracy) for accuracy in content["history"]]
        self.seconds = float(content["seconds"])


def train(
    module: nn.Module,
    *,
    train: Split,
    validation: Split,
    recipe: Recipe,
    seed: int,
    device: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
    deadline: Callable[[], bool] | None = None,
) -> Outcome:
    """Train `module` from scratch; it ends with the EMA weights, in eval mode, on the CPU.

    on_epoch(epoch from 1, accuracy) may raise to stop; on_step(step, all steps) is for progress; deadline() is asked
    after each epoch and ends the training there if true. With `checkpoint` each epoch is on disk before the next, and
    the same call goes on after its last epoch, to the same result; a checkpoint that is damaged or of another training
    is left out with a warning. Raises TrainingDiverged, StorageError; running out of memory passes through.
    """
    place = _place(device)
    began = time.perf_counter()
    data = _on(train, place)
    key = _key(module, train, recipe, seed)
    state = _start(module.to(place), recipe)
    if checkpoint is not None:
        state = _resumed(state, checkpoint, key, recipe)
    if state.history and on_step is not None:
        each = _steps_per_epoch(len(train), recipe)
        on_step(len(state.history) * each, recipe.epochs * each)
    seconds_before = state.seconds
    take = _step_of(state, recipe, len(train), place)
    for epoch in range(len(state.history), recipe.epochs):
        with _global_randomness(_seed(seed, "dropout", epoch), place):
            _epoch(state, take, *data, recipe, epoch, seed, on_step)
        last = epoch + 1 == recipe.epochs or (deadline is not None and deadline())
        some = len(validation) if last else recipe.epoch_validation
        with _ema_weights(state, data[0]):
            state.history.append(_accuracy(state.module, validation, some, place))
        state.seconds = seconds_before + time.perf_counter() - began
        if checkpoint is not None:
            state.save(checkpoint, key)
        if on_epoch is not None:
            on_epoch(epoch + 1, state.history[-1])
        if last:
            break
    _keep_ema(state, data[0])
    module.to("cpu").eval()
    return Outcome(
        accuracy=state.history[-1], history=tuple(state.history), seconds=state.seconds, epochs=len(state.history)
    )


def evaluate(module: nn.Module, split: Split, *, batch_size: int = 250, device: str | None = None) -> float:
    """Top-1 accuracy on a split, a fraction. The module is left in eval mode on `device` (CUDA if there is one)."""
    place = _place(device)
    return _accuracy(module.to(place), split, len(split), place, batch_size)


def wilson_interval(fraction: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a fraction seen in `count` independent cases (E. B. Wilson, 1927)."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = fraction + z * z / (2 * count)
    spread = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate at `step` (from 0) of `steps`: linear warm-up, then cosine to 0."""
    warmup = recipe.warmup_fraction * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, steps - warmup)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def _place(device: str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


_RESIDENT: WeakKeyDictionary[Split, tuple[Tensor, Tensor]] = WeakKeyDictionary()  # on a GPU


def _on(split: Split, place: torch.device) -> tuple[Tensor, Tensor]:
    """A split's pixels and labels as tensors where the training runs, whole.

    On a GPU they stay for as long as the split does: many short trainings copy them once.
    """
    import numpy as np

    if place.type == "cuda" and split in _RESIDENT:
        return _RESIDENT[split]
    found = torch.from_numpy(np.array(split.pixels)).to(place), torch.from_numpy(np.array(split.labels)).to(place)
    if place.type == "cuda":
        _RESIDENT[split] = found
    return found


def _seed(*parts: object) -> int:
    """A seed below 2**63 for one purpose of one training."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _key(module: nn.Module, split: Split, recipe: Recipe, seed: int) -> str:
    """What tells this training from every other."""
    digest = hashlib.blake2b(repr(module).encode(), digest_size=16)
    digest.update(split.labels.tobytes())
    digest.update(split.pixels[:: max(1, len(split) // 16)].tobytes())
    return f"{digest.hexdigest()} {seed} {asdict(recipe)}"


@contextmanager
def _global_randomness(seed: int, place: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global state: seed it here, and leave it outside as it was."""
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _start(module: nn.Module, recipe: Recipe) -> _State:
    if recipe.zero_init_residual:
        for part in module.modules():
            if isinstance(part, (InvertedResidual, ShuffleUnitModule)) and part.add is not None:
                part.branch_end.norm.get_parameter("weight").data.zero_()
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=True, fused=True)
    return _State(module, [p.detach().clone() for p in module.parameters()], optimizer, [])


def _resumed(state: _State, path: Path, key: str, recipe: Recipe) -> _State:
    """The state of the checkpoint; a fresh one if there is none, or none of this training."""
    fresh = {name: value.clone() for name, value in state.module.state_dict().items()}
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if content["key"] == key:
            state.load(content)
            return state
        reason = "it is of another training"
    except FileNotFoundError:
        return state
    except Exception as error:  # whatever a damaged file makes torch.load raise
        reason = str(error).partition("\n")[0] or type(error).__name__
    warnings.warn(f"the checkpoint {path} is left out, the training begins anew: {reason}", stacklevel=3)
    state.module.load_state_dict(fresh)
    return _start(state.module, recipe)


def _step_of(state: _State, recipe: Recipe, images: int, place: torch.device) -> Step:
    """One step of this training: on a GPU, where there are many to come, as a graph."""
    step = partial(_step, state, recipe)
    steps = _steps_per_epoch(images, recipe) * (recipe.epochs - len(state.history))
    if place.type != "cuda" or steps < cuda_graph.FEWEST_STEPS:
        return step
    for group in state.optimizer.param_groups:
        group["lr"] = torch.zeros((), device=place)
    return GraphedStep(step)


def _epoch(
    state: _State,
    take: Step,
    pixels: Tensor,
    labels: Tensor,
    recipe: Recipe,
    epoch: int,
    seed: int,
    on_step: OnStep | None,
) -> None:
    size = min(recipe.batch_size, len(labels))
    per_epoch = _steps_per_epoch(len(labels), recipe)
    steps = per_epoch * recipe.epochs
    augmentation = recipe.augmentation()
    generator = torch.Generator().manual_seed(_seed(seed, "augmentation", epoch))
    state.module.train()
    for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
        rate = learning_rate(step, steps, recipe)
        for group in state.optimizer.param_groups:
            if isinstance(take, GraphedStep):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        chosen = _batch(len(labels), size, step, seed).to(labels.device, non_blocking=True)
        images = augmented(pixels, chosen, augmentation, generator=generator)
        loss = take(images, labels[chosen])
        looks = loss.device.type == "cpu" or step % _LOSS_LOOKS == 0 or (step + 1) % per_epoch == 0
        if looks and not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss must stay finite, got {loss:g} in epoch {epoch + 1} of {recipe.epochs} at learning rate "
                f"{rate:.2g}: lower the recipe's learning_rate ({recipe.learning_rate:g}), or look at the images"
            )
        _follow(state, min(1 - 1 / max(1.0, recipe.ema_fraction * steps), (1 + step) / (10 + step)))
        if on_step is not None:
            on_step(step + 1, steps)


def _steps_per_epoch(images: int, recipe: Recipe) -> int:
    return max(1, min(recipe.epoch_images, images) // min(recipe.batch_size, images))


def _batch(images: int, size: int, step: int, seed: int) -> Tensor:
    """The images of a step: every image once in a random order, then again in another one; a rest is left out."""
    each = images // size
    at = step % each * size
    return _order(images, seed, step // each)[at : at + size]


@lru_cache(maxsize=1)
def _order(images: int, seed: int, number: int) -> Tensor:
    return torch.randperm(images, generator=torch.Generator().manual_seed(_seed(seed, "order", number)))


def _step(state: _State, recipe: Recipe, images: Tensor, target: Tensor) -> Tensor:
    """One step of SGD; the loss before it, not waited for."""
    with _precision(images.device):
        logits = state.module(images)
        loss = nn.functional.cross_entropy(logits, target, label_smoothing=recipe.label_smoothing)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    return loss.detach()


def _precision(place: torch.device) -> torch.autocast:
    return torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda" and torch.cuda.is_bf16_supported())


@torch.no_grad()
def _follow(state: _State, decay: float) -> None:
    """Move the EMA towards the present weights."""
    torch._foreach_lerp_(state.ema, list(state.module.parameters()), 1.0 - decay)


@torch.no_grad()
def _keep_ema(state: _State, pixels: Tensor) -> None:
    """Put the EMA weights into the module, with batch-norm statistics of their own.

    Averaged statistics would be of other weights; these are means over the first training images.
    """
    for mine, averaged in zip(state.module.parameters(), state.ema, strict=True):
        mine.copy_(averaged)
    state.module.eval()
    norms = [part for part in state.module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    some = pixels[:_STATISTICS_IMAGES]
    for batch in torch.chunk(some, max(1, len(some) // 128)):
        with _precision(pixels.device):
            state.module(normalise(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    state.module.eval()


@contextmanager
def _ema_weights(state: _State, pixels: Tensor) -> Iterator[None]:
    """Within the context the module has the EMA weights."""
    own = {name: value.detach().clone() for name, value in state.module.state_dict().items()}
    _keep_ema(state, pixels)
    try:
        yield
    finally:
        state.module.load_state_dict(own)


@torch.inference_mode()
def _accuracy(module: nn.Module, split: Split, images: int, place: torch.device, batch_size: int = 250) -> float:
    """Top-1 accuracy on the first `images` of a split."""
    pixels, labels = split.pixels[:images], split.labels[:images]
    module.eval()
    right = 0
    for start in range(0, len(labels), batch_size):
        batch = torch.tensor(pixels[start : start + batch_size]).to(place)
        with _precision(place):
            logits = module(normalise(batch))
        right += int((logits.argmax(1).cpu() == torch.tensor(labels[start : start + batch_size])).sum())
    return right / max(1, len(labels))
