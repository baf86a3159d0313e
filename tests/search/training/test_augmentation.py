"""Batches: the right images, varied by a generator alone, in the memory format that convolutions want."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from search.training.augmentation import augmented, normalise, resized
from search.training.recipe import Recipe
from searchspace.preprocessing import OWN, Preprocessing

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
    torch.testing.assert_close(batch, (images[chosen].permute(0, 3, 1, 2).float() - 127.5) / 64)
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


IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    images = _images(2)
    expected = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(
        IMAGENET.std
    )[:, None, None]
    torch.testing.assert_close(normalise(images, IMAGENET), expected)
    batch = augmented(images, torch.arange(2), STILL, generator=_generator(), preprocessing=IMAGENET)
    torch.testing.assert_close(batch, expected)


def test_own_scale_is_bit_for_bit_one_number_for_all_channels() -> None:
    images = _images()
    assert torch.equal(normalise(images, OWN), (images.permute(0, 3, 1, 2).float() - 127.5) / 64)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("before", "after"), [(32, 96), (48, 224), (90, 32), (40, 40)])
def test_images_are_resized_as_pillow_resizes_them(interpolation: str, before: int, after: int) -> None:
    smooth = Image.fromarray(_images(1, 12, 12)[0].numpy()).resize((before, before), Image.Resampling.BICUBIC)
    one = torch.tensor(np.asarray(smooth))[None]
    expected = np.asarray(smooth.resize((after, after), Image.Resampling[interpolation.upper()])).astype(int)
    difference = np.abs(resized(one, after, interpolation)[0].numpy().astype(int) - expected)
    assert difference.max() <= 2  # Pillow rounds to 8 bits between rows and columns
    assert difference.mean() < 0.1


def test_a_batch_is_resized_after_it_is_moved_and_all_else_follows() -> None:
    images, chosen = _images(3), torch.tensor([2, 0])
    batch = augmented(images, chosen, STILL, generator=_generator(), pixels=40)
    assert batch.shape == (2, 3, 40, 40)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(batch, normalise(resized(images[chosen], 40)))
    greyed = augmented(images, chosen, replace(STILL, cutout=0.5), generator=_generator(), pixels=40)
    assert (greyed == 0).all(1).flatten(1).sum(1).min() >= 100


def test_images_are_turned_by_quarters_all_as_likely() -> None:
    images = torch.arange(4 * 4 * 3, dtype=torch.uint8).reshape(1, 4, 4, 3)
    recipe = Recipe().varied("rotate")
    batch = augmented(images, torch.zeros(400, dtype=torch.int64), recipe, generator=_generator())
    turned = [normalise(torch.rot90(images, count, (1, 2)))[0] for count in range(4)]
    counts = [sum(torch.equal(one, each) for one in batch) for each in turned]
    assert sum(counts) == 400
    assert min(counts) > 70


def test_a_crop_enlarges_a_part_and_a_tilt_keeps_the_middle() -> None:
    square = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    square[:, 12:20, 12:20] = 255
    chosen = torch.zeros(50, dtype=torch.int64)
    still = normalise(square)[0].sum()
    cropped = augmented(square, chosen, Recipe().varied("crop"), generator=_generator())
    assert (cropped.sum((1, 2, 3)) > still - 1).all()
    assert cropped.sum((1, 2, 3)).max() > still + 100
    tilted = augmented(square, chosen, Recipe().varied("tilt"), generator=_generator())
    assert tilted.sum((1, 2, 3)).sub(still).abs().max() < 30
    assert tilted.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(tilted, augmented(square, chosen, Recipe().varied("tilt"), generator=_generator()))
