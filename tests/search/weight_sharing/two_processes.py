"""One of the processes of torchrun that train a small shared network together; writes its weights to a file."""

import sys

import torch
from torch import Tensor

from search.training.recipe import Recipe
from search.weight_sharing.together import process_group
from search.weight_sharing.training import SharedRecipe, SharedTrainer
from tests.naive_slicing import TINY
from tests.scripted import dataset_of, two_halves


def trained() -> dict[str, Tensor]:
    """The parameters and statistics after four steps of 16 images."""
    recipe = SharedRecipe.following(Recipe(batch_size=16, learning_rate=0.02), from_weights=False)
    data = dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1))
    trainer = SharedTrainer.on(data, TINY, recipe=recipe, seed=3, device="cpu")
    return trainer.fit(images=64).network.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group() as is_first:
        state = trained()
        if is_first:
            torch.save(state, sys.argv[1])
