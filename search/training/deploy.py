"""Makes weights good at the deployed size: a network trained at 48 px does not tell at 224 px what it told at 48.

An image shown at more pixels has larger things in it, for which batch norm's statistics and the classifier are wrong
(FixRes, arXiv:1906.06423, section 3). That paper moves from 224 to 320 px and mends both; here sizes may be five times
apart, and the layers in between have to learn, too: from their own network, as it was at the size it was trained at.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search.data import Dataset, Split
from search.training.augmentation import augmented, prepared, preprocessing_of
from search.training.balance import class_weights, cross_entropy
from search.training.errors import TrainingDiverged, TrainingFailed, translated_out_of_memory
from search.training.evaluate import autocast, binomial_deviation, device_for, evaluate
from search.training.recipe import Recipe
from search.training.ridge import pooled_features, ridge, set_classifier
from searchspace.errors import InvalidArgument
from searchspace.nn import Network
from searchspace.nn.weights.statistics import renew_batch_norm

STATISTICS_IMAGES = 512  # that batch norm's statistics are taken over
STATISTICS_BATCH = 64
LOOKED_AT = 2000  # validation images, at most, that tell which stage is better
LOOKING = 0.04  # of the seconds, for each look at them
CLASSIFIER = 0.15  # of the seconds, for the features that the classifier is fitted to
UNLIMITED_IMAGES = 20_000  # shown while all layers learn, where no time is set
BATCH = 32
RATE = 0.02  # at the beginning; it falls to 0 by a cosine
DECAY = 0.98  # of the moving average of the weights, a step
OWN_ANSWERS = 0.7  # of the loss: what the network itself says at the size that it was trained at
GROWING = 0.6  # of the time: sizes grow evenly in their logarithm, as a step of 1.1 is soon learnt and one of 5 is not
SIZE_STEP = 16  # pixels, of the sizes between

OnLine = Callable[[str], None]


class Stage(NamedTuple):
    """The network after a stage: its accuracy on validation images at the deployed size, seconds, images shown."""

    name: str
    accuracy: float
    seconds: float
    images: int


class Adapted(NamedTuple):
    """What became of the weights. `kept` is the stage that was best on `looked_at` validation images; the module is so.

    `at_training_size` is the accuracy on the same images at the size of the training, before any stage.
    """

    pixels: int
    trained_at: int
    kept: str
    accuracy: float
    at_training_size: float
    looked_at: int
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def deviation(self) -> float:
        """The standard deviation of `accuracy`, from the number of images alone."""
        return binomial_deviation(self.accuracy, self.looked_at)

    def sentence(self) -> str:
        """What a person wants to know of it."""
        steps = ", ".join(f"{stage.name} {stage.accuracy:.1%}" for stage in self.stages)
        return (
            f"validation at {self.pixels} px: {steps}; kept: {self.kept}, beside {self.at_training_size:.1%} at the "
            f"{self.trained_at} px it was trained at ({self.looked_at} images, {self.seconds:.0f} s)"
        )


@translated_out_of_memory()
def adapt_to_deployed(
    module: nn.Module,
    images: Dataset,
    *,
    pixels: int,
    seconds: float | None = None,
    shown: int = UNLIMITED_IMAGES,
    trained_at: int | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_line: OnLine | None = None,
) -> Adapted:
    """Make the weights of `module`, trained at `trained_at` pixels, good at `pixels`; in place, about in `seconds`.

    Stages: batch norm's statistics anew at that size; the classifier fitted there, in closed form (of a `Network`);
    all layers of the network as it was, on images that grow to the deployed size, from labels and from its own answers
    at the size of its training, for the rest of the time; the classifier fitted again. The stage that tells most
    validation images right at the deployed size is kept, of equals the first: weights that a stage makes worse are
    never taken, and one that fails is left out. It ends in eval mode, on the CPU.

    Args:
        module: Trained, as `augmentation.normalise` feeds it.
        images: Of its task.
        pixels: The deployed size.
        seconds: For all of it; None for as long as `shown` images take.
        shown: Images from which all layers learn where no time is set: the same every time.
        trained_at: Pixels; None for those of `images`.
        recipe: How images are varied while all layers learn; None: moved a little.
        seed: Of the images' order and variation.
        device: None for CUDA if there is one.
        clock: Of the seconds.
        on_line: Is told each stage.

    Raises InvalidArgument, OutOfMemory.
    """
    if seconds is not None and not seconds > 0:
        raise InvalidArgument(f"seconds must be above 0, got {seconds:g}")
    job = _Adaptation(
        module, images, pixels, trained_at or images.resolution, seconds, shown, recipe or Recipe(), seed, device, clock
    )
    try:
        return job.run(on_line or (lambda line: None))
    finally:
        module.to("cpu").eval()


@dataclass
class _Adaptation:
    module: nn.Module
    images: Dataset
    pixels: int
    trained_at: int
    seconds: float | None
    shown: int
    recipe: Recipe
    seed: int
    device: str | None
    clock: Callable[[], float]

    def run(self, say: OnLine) -> Adapted:
        """All stages, each told to `say`; the module has the weights of the best one."""
        began = self.clock()
        teacher = copy.deepcopy(self.module).to(device_for(self.device)).eval()
        self._validation = self._some(self.images.validation, self._affordable(LOOKING, most=LOOKED_AT, least=100))
        looked_at = len(self._validation)
        stages = [self._looked_at("as trained", began, 0)]
        best, weights = stages[0], _weights(self.module)
        if self.pixels == self.trained_at:
            same = best.accuracy
            return Adapted(self.pixels, self.trained_at, best.name, same, same, looked_at, tuple(stages))
        before = evaluate(self.module, self._validation, device=self.device, pixels=self.trained_at)
        say(f"{best.name}: {best.accuracy:.1%} at {self.pixels} px, {before:.1%} at {self.trained_at} px")

        def stage(name: str, work: Callable[[], int], start: dict[str, Tensor]) -> None:
            nonlocal best, weights
            at = self.clock()
            self.module.load_state_dict(start)
            try:
                stages.append(self._looked_at(name, at, work()))
            except TrainingFailed as error:
                say(f"{name}: left out, {error}")
                return
            say(f"{name}: {stages[-1].accuracy:.1%} at {self.pixels} px, {stages[-1].images} images")
            if stages[-1].accuracy > best.accuracy:
                best, weights = stages[-1], _weights(self.module)

        stage("batch norm", self._renew, weights)
        if isinstance(self.module, Network):
            stage("classifier", self._fit_classifier, weights)
        again_s = stages[-1].seconds  # what comes behind: a look, and in a Network the classifier with another one
        behind_s = stages[0].seconds + again_s * isinstance(self.module, Network)
        left = None if self.seconds is None else self.seconds - behind_s - (self.clock() - began)
        if left is None or left > 0:
            stage("all layers", lambda: self._train(teacher, left), teacher.state_dict())
            is_late = self.seconds is not None and self.clock() - began + again_s > self.seconds
            if best.name == "all layers" and isinstance(self.module, Network) and not is_late:
                stage("classifier again", self._fit_classifier, weights)
        self.module.load_state_dict(weights)
        return Adapted(self.pixels, self.trained_at, best.name, best.accuracy, before, looked_at, tuple(stages))

    def _looked_at(self, name: str, began: float, images: int) -> Stage:
        accuracy = evaluate(self.module, self._validation, batch_size=50, device=self.device, pixels=self.pixels)
        return Stage(name, accuracy, self.clock() - began, images)

    def _affordable(self, share: float, *, most: int, least: int) -> int:
        """So many images can be answered at the deployed size in a share of the time."""
        if self.seconds is None:
            return most
        at = self.clock()
        evaluate(self.module, self._some(self.images.train, 16), device=self.device, pixels=self.pixels)
        each = (self.clock() - at) / 16
        return max(least, min(most, int(share * self.seconds / max(each, 1e-9))))

    def _some(self, split: Split, count: int) -> Split:
        return Split(split.pixels[:count], split.labels[:count])

    def _renew(self) -> int:
        count = min(STATISTICS_IMAGES, len(self.images.train))
        renew_batch_norm(self.module, self._batches(count))
        return count

    def _batches(self, count: int) -> Iterator[Tensor]:
        where = device_for(self.device)
        first = self.images.train.pixels[:count]
        for start in range(0, count, STATISTICS_BATCH):
            batch = torch.tensor(first[start : start + STATISTICS_BATCH]).to(where)
            with autocast(where):
                yield prepared(batch, self.module, self.pixels)

    def _fit_classifier(self) -> int:
        assert isinstance(self.module, Network)
        count = min(len(self.images.train), self._affordable(CLASSIFIER, most=10_000, least=200))
        features = pooled_features(
            self.module, self.images.train, pixels=self.pixels, images=count, batch_size=50, device=self.device
        )
        labels = torch.tensor(self.images.train.labels[:count])
        fitted = ridge(features, labels, classes=len(self.images.classes), class_weights=self._weights())
        set_classifier(self.module.cpu(), fitted)
        return count

    def _train(self, teacher: nn.Module, seconds: float | None) -> int:
        """All layers, at growing sizes and then at the deployed one; the mean of the latest weights is taken."""
        where, began = device_for(self.device), self.clock()
        module, train = self.module.to(where), self.images.train
        size = min(BATCH, len(train))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=1e-4)
        average = [p.detach().clone() for p in module.parameters()]
        generator = torch.Generator().manual_seed(self.seed)
        order, seen = torch.randperm(len(train), generator=generator), 0
        module.train()
        while (done := self._share(seen, began, seconds)) < 1 or not seen:
            at = size_at(done, trained_at=self.trained_at, pixels=self.pixels)
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * min(1.0, done))) * min(1.0, (seen / size + 1) / 10)
            chosen = order[(torch.arange(size) + seen) % len(train)].numpy()
            batch, labels = (torch.tensor(values[chosen]).to(where) for values in (train.pixels, train.labels))
            loss = self._loss(module, teacher, *self._both(batch, at, generator), labels)
            if not math.isfinite(loss.detach()):
                raise TrainingDiverged(f"the loss must stay finite, got {loss:g} while adapting to {self.pixels} px")
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            seen += size
            steps = seen // size
            with torch.no_grad():
                torch._foreach_lerp_(average, list(module.parameters()), 1 - min(DECAY, (1 + steps) / (10 + steps)))
        with torch.no_grad():
            for parameter, mean in zip(module.parameters(), average, strict=True):
                parameter.copy_(mean)
        self._renew()
        return seen

    def _both(self, batch: Tensor, at: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same variation of the images at the size of the training and at `at`."""
        vary = partial(
            augmented,
            batch,
            torch.arange(len(batch), device=batch.device),
            self.recipe,
            generator=generator,
            preprocessing=preprocessing_of(self.module),
        )
        drawn = generator.get_state()
        known = vary(pixels=self.trained_at)
        generator.set_state(drawn)
        return known, vary(pixels=at)

    def _loss(self, module: nn.Module, teacher: nn.Module, known: Tensor, shown: Tensor, labels: Tensor) -> Tensor:
        with autocast(shown.device):
            with torch.no_grad():
                answers = teacher(known).softmax(1)
            logits = module(shown)
            weights = self._weights()
            weights = None if weights is None else weights.to(shown.device)
            of_labels = cross_entropy(logits, labels, weights=weights, smoothing=self.recipe.label_smoothing)
            of_answers = nn.functional.cross_entropy(logits, answers)
            return OWN_ANSWERS * of_answers + (1 - OWN_ANSWERS) * of_labels

    def _weights(self) -> Tensor | None:
        return class_weights(self.recipe.class_weights, self.images.train.labels)

    def _share(self, seen: int, began: float, seconds: float | None) -> float:
        """Of the training that is done."""
        return seen / self.shown if seconds is None else (self.clock() - began) / seconds


def size_at(done: float, *, trained_at: int, pixels: int) -> int:
    """The pixels shown after a share of the training: from `trained_at`, which is known, to the deployed size."""
    share = done / GROWING
    if share >= 1:
        return pixels
    exact = trained_at * (pixels / trained_at) ** share
    least, most = sorted((trained_at, pixels))
    return int(max(least, min(most, round(exact / SIZE_STEP) * SIZE_STEP)))


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
