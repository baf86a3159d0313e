"""Laws of one set of weights for a space: every network is what plain slicing makes of the largest one's weights."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search.accuracy import EstimatorSettings, estimator
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidChoice
from searchspace.nn import Network, build
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.shared.start import largest_spec, shared_network
from searchspace.nn.weights.transfer import transfer
from searchspace.preprocessing import Preprocessing
from searchspace.spaces.universal import universal_space
from searchspace.spec import Conventions, NetworkSpec
from tests.naive_slicing import TINY, naive_logits

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_statistics(network: Network) -> Network:
    """Batch norms of which each channel is another."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight.data, part.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator(2)))
            for values in (part.bias.data, part.running_mean):
                values.copy_(torch.rand(values.shape, generator=generator(3)) - 0.3)
    return network.eval()


def shared() -> SharedNetwork:
    found = shared_network(TINY, None, generator=generator())
    with_statistics(found.network)
    return found


def network_of(number: int) -> NetworkSpec:
    return TINY.spec(TINY.sample(random.Random(number)))


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 10**9))
def test_a_network_of_the_space_is_what_plain_slicing_makes_of_the_shared_weights(number: int) -> None:
    whole, spec = shared(), network_of(number)
    extracted, view = whole.extract(spec), whole.view(spec)
    with torch.no_grad():
        expected = naive_logits(whole.network.state_dict(), spec, IMAGES)
        assert torch.allclose(view(IMAGES), expected, atol=1e-5)
        assert torch.allclose(extracted(IMAGES), expected, atol=1e-5)
    assert extracted.spec == spec
    assert all(
        each.is_contiguous(memory_format=torch.channels_last) for each in extracted.parameters() if each.ndim > 3
    )


@settings(max_examples=15, deadline=None)
@given(number=st.integers(0, 10**9))
def test_the_gradients_of_a_view_are_those_of_plain_slicing(number: int) -> None:
    whole, spec = shared(), network_of(number)
    view = whole.view(spec).train()
    for part in view.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    view(IMAGES).square().sum().backward()
    whole.add_gradients(view)
    plain = {
        name: each.detach().clone().requires_grad_(each.is_floating_point()) for name, each in state(whole).items()
    }
    naive_logits(plain, spec, IMAGES, training=True).square().sum().backward()
    for name, weights in whole.network.named_parameters():
        expected = plain[name].grad
        if expected is None:
            assert weights.grad is None
        else:
            assert torch.allclose(weights.grad, expected, atol=1e-4 * max(1.0, float(expected.abs().max())))


def state(whole: SharedNetwork) -> dict[str, torch.Tensor]:
    return dict(whole.network.named_parameters()) | dict(whole.network.named_buffers())


def test_a_view_follows_the_shared_weights_and_an_extracted_network_does_not() -> None:
    whole, spec = shared(), network_of(0)
    view, extracted = whole.view(spec), whole.extract(spec)
    before = extracted(IMAGES)
    assert torch.equal(view(IMAGES), before)
    with torch.no_grad():
        for weights in whole.network.parameters():
            weights.mul_(1.5)
    assert torch.equal(extracted(IMAGES), before)
    assert not torch.allclose(view(IMAGES), before, atol=1e-2)


def test_statistics_of_a_view_are_its_own() -> None:
    whole = shared()
    before = {name: value.clone() for name, value in whole.network.state_dict().items()}
    whole.view(whole.spec).train()(IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in whole.network.state_dict().items())


def test_the_largest_network_from_a_parent_is_what_transfer_makes_of_it() -> None:
    choices = TINY.corner("largest") | {"stage2.kernel": 3, "stage2.width_mult": 0.5, "stage3.se": False}
    how = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    parent = with_statistics(build(TINY.spec(choices).with_preprocessing(how), generator=generator(7)))
    whole = shared_network(TINY, parent, generator=generator())
    expected = transfer(parent, whole.spec, generator=generator())
    assert expected.exact
    assert torch.allclose(whole.network(IMAGES), expected.network(IMAGES), atol=1e-5)
    assert whole.spec.preprocessing == how
    # and where nothing is left out, the parent's own network is still in it
    assert torch.allclose(whole.extract(parent.spec)(IMAGES).argmax(1), parent(IMAGES).argmax(1))


def test_narrow_networks_have_the_channels_of_a_parent_that_count_most() -> None:
    parent = with_statistics(build(TINY.spec(TINY.corner("largest")), generator=generator(7)))
    weights = parent.get_submodule("head.0.conv").weight
    with torch.no_grad():
        weights[-5:] *= 10
    narrow = shared_network(TINY, parent, generator=generator()).network.get_submodule("head.0.conv").weight[:5]
    norms = weights.flatten(1).norm(dim=1).sort(descending=True).values[:5]
    assert torch.allclose(narrow.flatten(1).norm(dim=1), norms)


def test_stages_have_the_activation_of_the_parent_where_the_space_has_it() -> None:
    parent = TINY.spec(TINY.corner("smallest"))
    spec = largest_spec(TINY, parent)
    assert {block.activation for block in spec.blocks if hasattr(block, "activation")} == {"relu"}
    assert largest_spec(TINY, None).blocks[1].activation == "swish"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stage2.kernel": (3, 5, 7)}, r"depthwise.conv.weight must be at most \(\d+, 1, 5, 5\), got \(\d+, 1, 7, 7\)"),
        ({"stage2.width_mult": (0.5, 3.0)}, "must be at most"),
        ({"stage3.layers": (1, 3)}, "it has a block stage3.2, and the shared network none of that name"),
    ],
)
def test_a_network_outside_is_refused_with_what_is_too_much(change: dict[str, tuple[int, ...]], told: str) -> None:
    wider = TINY.with_choices(change)
    with pytest.raises(InvalidChoice, match=f"outside the shared network of tiny: .*{told}.*--space"):
        shared().view(wider.spec(wider.corner("largest")))


def test_a_network_of_other_strides_classes_or_conventions_is_refused() -> None:
    whole, spec = shared(), network_of(0)
    stage = replace(TINY.stages[2], stride=1)
    other = replace(TINY, stages=(*TINY.stages[:2], stage))
    for wrong, told in (
        (other.spec(other.corner("smallest")), "stage3.0 must have stride 2, got 1"),
        (spec.with_classes(3), "classes must be 2, got 3"),
        (spec.with_conventions(Conventions(padding="same")), "padding='same'"),
    ):
        with pytest.raises(InvalidChoice, match=told):
            whole.view(wrong)


def test_blocks_that_shuffle_are_refused_by_their_kind() -> None:
    spec = zoo.get("shufflenet_v2", width=0.5, resolution=32)
    with pytest.raises(InvalidArgument, match=r"stage2.0 is a ShuffleUnitV2: leave such stages out of the space"):
        SharedNetwork(build(spec, generator=generator()))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "has stage1.block as a choice: judge by another --accuracy"),
        ({"*.block": ("UniversalIB",), "stage1.block": ("MBConv",)}, "further layers stage2_out"),
    ],
)
def test_a_space_whose_networks_are_no_parts_of_the_largest_is_refused(changes: dict[str, Any], told: str) -> None:
    space = universal_space(classes=2, resolution=32).with_choices(changes)
    with pytest.raises(InvalidArgument, match=told):
        shared_network(space, None, generator=generator())
    with pytest.raises(InvalidArgument, match=told):
        estimator("shared", EstimatorSettings(space=space))
