"""Batches: the right images, varied by a generator alone, in the memory format that convolutions want."""

from dataclasses import replace

import pytest
import torch

from search.training.augmentation import CENTRE, SCALE, augmented, normalise
from search.training.recipe import Recipe

STILL = Recipe(shift=0.0)
VARIED = Recipe(shift=0.08, brightness=0.1, contrast=0.1, colour=0.1)


def _images(count: int = 6, height: int = 16, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_without_variation_a_batch_is_the_chosen_images_normalised() -> None:
    images, chosen = _images(), torch.tensor([4, 0, 4])
    batch = augmented(images, chosen, STILL, generator=_generator())
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(batch, (images[chosen].permute(0, 3, 1, 2).float() - CENTRE) / SCALE)
    torch.testing.assert_close(batch, normalise(images[chosen]))


@pytest.mark.parametrize("recipe", [VARIED, replace(VARIED, flip=True, cutout=0.4, shift=0.2)])
def test_the_same_generator_state_gives_the_same_batch(recipe: Recipe) -> None:
    images, chosen = _images(), torch.arange(6)
    first, second = (augmented(images, chosen, recipe, generator=_generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_images_are_mirrored_only_where_flip_is_set_and_then_about_half_of_them() -> None:
    images = _images(1)
    chosen = torch.zeros(400, dtype=torch.int64)
    plain, mirrored = normalise(images), normalise(images).flip(3)
    batch = augmented(images, chosen, replace(STILL, flip=True), generator=_generator())
    is_plain = (batch == plain).flatten(1).all(1)
    is_mirrored = (batch == mirrored).flatten(1).all(1)
    assert (is_plain ^ is_mirrored).all()
    assert 140 < int(is_mirrored.sum()) < 260
    assert not Recipe().flip


def test_a_shift_moves_by_at_most_its_bound_in_every_direction() -> None:
    height, width = 20, 30
    images = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    images[0, 10, 15] = 255
    recipe = Recipe(shift=0.1)
    batch = augmented(images, torch.zeros(500, dtype=torch.int64), recipe, generator=_generator())
    _, rows, columns = torch.nonzero(batch[:, 0] > 0, as_tuple=True)
    assert len(rows) == 500
    assert set((rows - 10).tolist()) == {-2, -1, 0, 1, 2}
    assert set((columns - 15).tolist()) == {-3, -2, -1, 0, 1, 2, 3}


def test_cutout_greys_one_square_of_its_side() -> None:
    images = torch.full((1, 40, 40, 3), 255, dtype=torch.uint8)
    recipe = Recipe(shift=0, cutout=0.25)
    batch = augmented(images, torch.zeros(200, dtype=torch.int64), recipe, generator=_generator())
    grey = (batch == 0).all(1)
    assert int(grey.flatten(1).sum(1).max()) == 100
    assert int(grey.any(2).sum(1).max()) == 10
    assert int(grey.any(1).sum(1).max()) == 10
