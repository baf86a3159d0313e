"""Images on their device."""

import warnings

import numpy as np
import torch

from search.training.order import resident
from tests.scripted import two_halves


def test_on_a_cpu_pixels_stay_in_their_memory_map() -> None:
    split = two_halves(4)
    split.pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, labels = resident(split, torch.device("cpu"))
    assert pixels.data_ptr() == split.pixels.ctypes.data
    np.testing.assert_array_equal(labels.numpy(), split.labels)
