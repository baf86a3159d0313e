"""Weights that a layer computes in each call: masks, norms, parametrizations."""

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune


def masked(layer: Any) -> None:
    """Some weights of a layer are masked, others by a second mask, and half of the biases."""
    prune.l1_unstructured(layer, "weight", 0.3)
    prune.random_unstructured(layer, "weight", 0.2)
    prune.l1_unstructured(layer, "bias", 0.5)


def old_weight_norm(layer: Any, dim: int | None = 0) -> None:
    """As torch had it before parametrizations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer, dim=dim)  # type: ignore[arg-type]


class Halved(nn.Module):
    """A parametrization as a user writes it."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def halved(layer: Any) -> None:
    """By a parametrization of one's own."""
    parametrize.register_parametrization(layer, "weight", Halved())


COMPUTED: dict[str, Callable[[Any], object]] = {
    "masks": masked,
    "weight norm, old": old_weight_norm,
    "weight norm of the whole, old": lambda layer: old_weight_norm(layer, None),
    "weight norm": parametrizations.weight_norm,
    "weight norm of the whole": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "spectral norm, old": nn.utils.spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "one's own": halved,
}
