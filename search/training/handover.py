"""The last training of a network that is handed over: made good at the pixels where it is used, and tested there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from search.data import Dataset
from search.training.balance import balance
from search.training.deploy import adapt_to_deployed
from search.training.evaluate import Accuracy, told_right
from search.training.finetune import FineTuner
from search.training.recipe import FineTuning, Recipe
from search.training.trainer import Trainer

DEPLOY = 0.12  # of a training: what makes the network good at the deployed size


class HandedOver(NamedTuple):
    """Validation accuracy at the deployed size; epochs, 0 where the training was by seconds; seconds."""

    accuracy: float
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Handover:
    """Trains networks alike on `images`, to be used at `deployed_px`.

    Attributes:
        recipe: Of a training by epochs; how images are varied counts for one by seconds, too.
        seed: Of the images' order.
        trained_px: Pixels of a training by epochs.
        on_share: Is told the share of the training that is done.
        on_line: Takes lines that a user should read.
    """

    images: Dataset
    recipe: Recipe
    seed: int
    trained_px: int
    deployed_px: int
    on_share: Callable[[float], None] = lambda share: None
    on_line: Callable[[str], None] = lambda text: None

    def fine_tune(
        self, network: nn.Module, seconds: float, *, new_head: bool = False, state_file: Path | None = None
    ) -> HandedOver:
        """Fine-tune in place for so many seconds; it ends at the deployed size."""
        tuner = FineTuner.on(self.images, recipe=FineTuning().varied_as(self.recipe), seed=self.seed)
        tuned = tuner.fit(
            network,
            seconds=seconds,
            pixels=self.deployed_px,
            new_head=new_head,
            state_file=state_file,
            on_progress=lambda share, _: self.on_share(share),
            on_line=self.on_line,
        )
        return HandedOver(tuned.accuracy, 0, tuned.seconds)

    def train(self, network: nn.Module, *, state_file: Path | None = None, **how: Any) -> HandedOver:
        """Train in place by the recipe, then make it good at the deployed size. `how`: further of `Trainer.fit`."""
        outcome = Trainer.on(self.images, recipe=self.recipe, seed=self.seed).fit(
            network,
            state_file=state_file,
            on_step=lambda step, steps: self.on_share(step / steps),
            pixels=self.trained_px,
            **how,
        )
        accuracy = outcome.accuracy
        if self.deployed_px != self.trained_px:
            accuracy = adapt_to_deployed(
                network,
                self.images,
                pixels=self.deployed_px,
                seconds=DEPLOY * outcome.seconds,
                trained_at=self.trained_px,
                recipe=self.recipe,
                seed=self.seed,
                on_line=self.on_line,
            ).accuracy
        return HandedOver(accuracy, outcome.epochs, outcome.seconds)

    def test(self, network: nn.Module) -> tuple[Accuracy, float | None, dict[str, Any]]:
        """Tested once at the deployed size; beside it the accuracy at that of the training, where it is another.

        And what a summary says of classes of very different sizes, see `balance`.
        """
        split = self.images.open_test()
        right = told_right(network, split, pixels=self.deployed_px)
        other = self.trained_px != self.deployed_px
        as_trained = Accuracy.of(network, split, pixels=self.trained_px).value if other else None
        return Accuracy.counted(right), as_trained, balance(self.images, right.tolist())
