"""Networks as after training, for every test that compares outputs."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from searchspace.nn import Network, build
from searchspace.spec import NetworkSpec

Trained = Callable[[NetworkSpec, int], Network]


@pytest.fixture(scope="session")
def trained() -> Trained:
    """(spec, seed) -> a network in eval mode whose batch norms are not the identity, as after training."""

    def make(spec: NetworkSpec, seed: int) -> Network:
        generator = torch.Generator().manual_seed(seed)
        network = build(spec, generator=generator)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low in (
                    (module.weight, 0.5),
                    (module.bias, -0.5),
                    (module.running_mean, -0.5),
                    (module.running_var, 0.5),
                ):
                    tensor.data.uniform_(low, low + 1, generator=generator)
        return network.eval()

    return make
