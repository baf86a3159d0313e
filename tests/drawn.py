"""Drawn shapes as images: what tells left from right and up from down, for tests and benchmarks of augmentation."""

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from search.data import Dataset, Split
from tests.scripted import dataset_of

PIXELS = 48
Draw = Callable[[ImageDraw.ImageDraw], None]


def arrow(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle([8, 22, 30, 26], fill=255)
    draw.polygon([(28, 14), (28, 34), (42, 24)], fill=255)


def six(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([14, 22, 34, 42], outline=255, width=4)
    draw.arc([14, 4, 44, 52], 180, 270, fill=255, width=4)


def stem_and_bowl(draw: ImageDraw.ImageDraw) -> None:
    draw.line([14, 4, 14, 42], fill=255, width=4)
    draw.ellipse([14, 20, 36, 42], outline=255, width=4)


def house(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle([12, 24, 36, 42], fill=255)
    draw.polygon([(8, 24), (40, 24), (24, 6)], fill=255)


def tree(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([10, 6, 38, 34], fill=255)
    draw.rectangle([21, 30, 27, 44], fill=255)


def disc(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([12, 12, 36, 36], fill=255)


def ring(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse([10, 10, 38, 38], outline=255, width=5)


def picture(draw: Draw, change: int, drawn: random.Random) -> NDArray[np.uint8]:
    """A shape, mirrored (-1) or turned by so many quarters, moved, tilted, in colours, on noise."""
    mask = Image.new("L", (PIXELS, PIXELS))
    draw(ImageDraw.Draw(mask))
    mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if change < 0 else mask.rotate(90 * change)
    moved = (drawn.randint(-4, 4), drawn.randint(-4, 4))
    share = np.asarray(mask.rotate(drawn.uniform(-8, 8), translate=moved), dtype=np.float64)[:, :, None] / 255
    ground, ink = (np.array([drawn.randint(low, low + 110) for _ in range(3)]) for low in (0, 140))
    noise = np.random.default_rng(drawn.randrange(2**32)).normal(0, 14, (PIXELS, PIXELS, 3))
    return (ground + share * (ink - ground) + noise).clip(0, 255).astype(np.uint8)


def drawn_images(*classes: tuple[Draw, tuple[int, ...]], count: int = 120, seed: int = 0) -> Dataset:
    """So many images; a class is a shape with the ways it is seen in."""
    drawn = random.Random(seed)
    labels = np.arange(count) % len(classes)
    pixels = [picture(classes[label][0], drawn.choice(classes[label][1]), drawn) for label in labels]
    stacked, a_fifth = np.stack(pixels), count // 5
    train, validation = (
        Split(stacked[at], labels[at].astype(np.int64)) for at in (slice(a_fifth, None), slice(a_fifth))
    )
    return dataset_of(train, validation, classes=len(classes))
