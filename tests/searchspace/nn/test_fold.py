"""Folded batch norms: the same function with fewer layers."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from searchspace.nn import Network, build, fold_batch_norm
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spec import NetworkSpec

pytestmark = pytest.mark.usefixtures("one_thread")


Trained = Callable[[NetworkSpec, int], Network]


@torch.no_grad()
def check_same_outputs(trained: Trained, spec: NetworkSpec, seed: int) -> None:
    network = trained(spec, seed).double()  # float32 alone errs by 1e-5 in deep networks
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = network(x)
    found = fold_batch_norm(network)(x)
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-12)


@given(spec=..., seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_a_folded_network_gives_the_eval_outputs(trained: Trained, spec: NetworkSpec, seed: int) -> None:
    check_same_outputs(trained, spec, seed)


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_fold(trained: Trained, name: str) -> None:
    check_same_outputs(trained, mnasnet_space().spec(KNOWN[name]).with_resolution(32), seed=0)


def test_folding_leaves_the_original_alone_and_no_batch_norm_behind(trained: Trained) -> None:
    network = trained(mnasnet_space(classes=4).spec(KNOWN["mnasnet_a1"]), seed=0).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not folded.training
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_folded_network_stays_channels_last_and_keeps_its_names() -> None:
    spec = mnasnet_space(classes=4).spec(KNOWN["mnasnet_a1"])
    folded = fold_batch_norm(build(spec))
    for name, parameter in folded.named_parameters():
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last), name
    names = {name for name, _ in build(spec).named_parameters() if ".norm." not in name}
    assert names < {name for name, _ in folded.named_parameters()}


@torch.no_grad()
def test_a_folded_network_put_back_into_training_mode_gives_the_same_outputs(trained: Trained) -> None:
    # No dropout and no batch norm are left, but the shortcuts of training are.
    spec = NetworkSpec.from_json(mnasnet_space(classes=4).spec(KNOWN["mobilenet_v2"]).to_json()).with_resolution(32)
    folded = fold_batch_norm(trained(spec, seed=0))
    folded.get_submodule("classifier.0.dropout").p = 0.0
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(folded.train()(x), folded.eval()(x), rtol=1e-4, atol=1e-4)
