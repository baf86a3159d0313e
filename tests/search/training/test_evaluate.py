"""Accuracies with what is left open by the number of images."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search.training.evaluate import Accuracy, binomial_deviation, evaluate, wilson_interval
from tests.scripted import two_halves


class Left(nn.Module):
    """Says that the left half is bright (class 0) always, or where it is."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always
        self.scale = nn.Parameter(torch.ones(()))
        self.moved_in_inference_mode: bool | None = None

    def to(self, *args: Any, **kwargs: Any) -> "Left":
        self.moved_in_inference_mode = torch.is_inference_mode_enabled()
        return super().to(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[..., :8].mean((1, 2, 3)), x[..., 8:].mean((1, 2, 3))
        if self.always:
            left = right + 1
        return torch.stack((left, right), 1) * self.scale


@pytest.mark.parametrize(("always", "accuracy"), [(True, 0.5), (False, 1.0)])
def test_accuracy_is_the_share_of_right_images_in_any_batches(always: bool, accuracy: float) -> None:
    images, module = two_halves(40), Left(always=always)
    assert evaluate(module, images, device="cpu") == evaluate(module, images, device="cpu", batch_size=7) == accuracy
    assert evaluate(module, images, images=1, device="cpu") == 1.0
    found = Accuracy.of(module, images, device="cpu")
    assert (found.value, found.low, found.high) == (accuracy, *wilson_interval(accuracy, 40))
    assert found.as_test() == dict(zip(("test_accuracy", "test_low", "test_high", "test_images"), found, strict=True))


def test_a_network_that_was_evaluated_on_another_device_can_be_trained_on() -> None:
    module = Left(always=False)
    evaluate(module, two_halves(8), device="cpu")
    assert module.moved_in_inference_mode is False  # tensors made in inference mode cannot be trained


def test_wilson_interval_of_five_in_ten_is_the_textbooks() -> None:
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


@given(count=st.integers(1, 10**6), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_interval_holds_the_fraction_and_stays_a_fraction(count: int, share: float, confidence: float) -> None:
    fraction = round(share * count) / count
    low, high = wilson_interval(fraction, count, confidence)
    assert 0 <= low <= fraction + 1e-12
    assert fraction - 1e-12 <= high <= 1


@given(count=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_deviation_of_a_fraction_is_above_0_and_at_least_binomial(count: int, share: float) -> None:
    fraction = round(share * count) / count
    assert binomial_deviation(fraction, count) > 0
    assert binomial_deviation(fraction, count) >= math.sqrt(fraction * (1 - fraction) / count) - 1e-12
