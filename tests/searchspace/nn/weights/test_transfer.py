"""Laws of weights for another network: the same, a grown, a pruned and any network of the default space."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from searchspace import zoo
from searchspace.blocks import MBConv, UniversalIB
from searchspace.channels.coupling import coupling
from searchspace.channels.steps import prune_group
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.build import Network
from searchspace.nn.weights.calibrate import calibrate, calibrating, watched
from searchspace.nn.weights.importance import scores
from searchspace.nn.weights.prune import prune_network
from searchspace.nn.weights.transfer import Transferred, transfer
from searchspace.preprocessing import OWN
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import Conventions, NetworkSpec
from searchspace.to_template import to_template

pytestmark = pytest.mark.usefixtures("one_thread")

PARENTS = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet_a1",
    "efficientnet_b0",
    "mobilenet_v1",
    "shufflenet_v2",
    "efficientnetv2_b0",
    "mobilenetv4_conv_small",
)


def trained(spec: NetworkSpec, seed: int = 0) -> Network:
    """A network whose batch norms are no fresh ones."""
    generator = torch.Generator().manual_seed(seed)
    network = build(spec, generator=generator).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = 0.5 + torch.rand(part.num_features, generator=generator)
            part.bias.data = torch.rand(part.num_features, generator=generator) - 0.3
            part.running_mean = 0.2 * torch.rand(part.num_features, generator=generator)
            part.running_var = 0.5 + torch.rand(part.num_features, generator=generator)
    return network


def moved(parent: Network, spec: NetworkSpec, seed: int = 1) -> Transferred:
    return transfer(parent, spec, generator=torch.Generator().manual_seed(seed))


def images(count: int = 2, pixels: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def parents() -> dict[str, Network]:
    return {name: trained(zoo.get(name, width=0.5, resolution=32, classes=5)) for name in PARENTS}


@pytest.mark.parametrize("name", PARENTS)
def test_the_same_spec_gives_the_same_logits(parents: dict[str, Network], name: str) -> None:
    found = moved(parents[name], parents[name].spec)
    assert (found.difference, found.reasons) == (0.0, ())
    assert torch.equal(found.network(images()), parents[name](images()))


def test_another_number_of_classes_has_a_new_head_and_the_same_features(parents: dict[str, Network]) -> None:
    parent = parents["mobilenet_v2"]
    found = moved(parent, parent.spec.with_classes(7))
    assert found.difference is None
    assert found.reasons == ("a new head: 7 classes for 5",)
    x = y = images()
    for mine, theirs in list(zip(found.network, parent, strict=True))[:-1]:
        x, y = mine(x), theirs(y)
    assert torch.equal(x, y)


@settings(max_examples=4)
@given(name=st.sampled_from(PARENTS), seed=st.integers(0, 10**6))
def test_every_network_of_the_default_space_takes_weights_from_every_parent(
    parents: dict[str, Network], name: str, seed: int
) -> None:
    space = mnasnet_space(classes=10, resolution=32)
    spec = space.spec(space.sample(random.Random(seed)))
    found, again = moved(parents[name], spec), moved(parents[name], spec)
    assert found.network.spec.with_conventions(spec.conventions).fingerprint() == spec.fingerprint()
    assert found.reasons
    assert found.network(images()).isfinite().all()
    calibrate(found.network, parents[name], found.origins, images(8))
    assert found.network(images()).isfinite().all()
    calibrate(again.network, parents[name], again.origins, images(8))
    for one, other in zip(found.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@settings(max_examples=3)
@given(
    name=st.sampled_from(["mobilenet_v2", "efficientnet_b0", "efficientnetv2_b0", "mobilenetv4_conv_small"]),
    depth=st.floats(1, 2.5),
    width=st.floats(1, 2),
)
def test_a_grown_network_computes_what_the_parent_does(
    parents: dict[str, Network], name: str, depth: float, width: float
) -> None:
    template = to_template(parents[name].spec)
    found = moved(parents[name], template.expand(resolution=32, depth=depth, width=width))
    assert found.exact or found.reasons


@pytest.mark.parametrize("name", ["mobilenet_v2", "mnasnet_a1", "efficientnetv2_b0", "mobilenetv4_conv_small"])
def test_a_pruned_network_is_the_cut_of_netadapt(parents: dict[str, Network], name: str) -> None:
    parent = parents[name]
    for group in [each for each in coupling(parent.spec) if not each.fixed][:4]:
        step = prune_group(parent.spec, group, group.counts[len(group.counts) // 2], scores(parent, group, "l2"))
        cut, found = prune_network(parent, step), moved(parent, step.spec)
        assert "fewer channels" in " ".join(found.reasons) or group.name.endswith("squeeze")
        for (where, one), other in zip(cut.state_dict().items(), found.network.state_dict().values(), strict=True):
            assert torch.equal(one, other), (group.name, where)


def test_a_new_squeeze_changes_nothing_and_a_larger_kernel_neither(parents: dict[str, Network]) -> None:
    parent = parents["mobilenet_v2"]
    stages = list(parent.spec.stages)
    blocks = stages[3].blocks
    stages[3] = replace(stages[3], blocks=tuple(replace(b, squeeze_channels=4, kernel=7) for b in blocks))  # type: ignore[call-arg]
    found = moved(parent, replace(parent.spec, stages=tuple(stages)))
    assert found.exact
    assert not found.reasons


def test_a_new_first_depthwise_convolution_changes_nothing_and_one_left_out_is_told(
    parents: dict[str, Network],
) -> None:
    parent = parents["mobilenet_v2"]
    stages = list(parent.spec.stages)
    blocks = [block for block in stages[3].blocks if isinstance(block, MBConv)]
    fields = ("expand_channels", "out_channels", "stride", "activation", "skip")
    wider = (
        UniversalIB(start_kernel=5, middle_kernel=3, **{name: getattr(block, name) for name in fields})
        for block in blocks
    )
    stages[3] = replace(stages[3], blocks=tuple(wider))
    found = moved(parent, replace(parent.spec, stages=tuple(stages)))
    assert found.exact
    assert not found.reasons
    back = moved(trained(found.network.spec), parent.spec)
    assert back.reasons == (f"{len(blocks)} layers left out",)


def test_the_parents_conventions_and_preprocessing_hold_and_another_eps_is_made_good(
    parents: dict[str, Network],
) -> None:
    own = Conventions(padding="same", norm_eps=1e-3)
    parent = trained(parents["mobilenet_v2"].spec.with_conventions(own).with_preprocessing(OWN))
    assert moved(parent, parents["mobilenet_v2"].spec).network.spec == parent.spec
    other = moved(parent, parent.spec.with_conventions(replace(own, norm_eps=2e-5)))
    assert other.network.spec.conventions.norm_eps == 2e-5
    assert other.exact


def test_calibration_leaves_the_parent_as_it_is(parents: dict[str, Network]) -> None:
    parent = parents["mobilenet_v2"]
    same = moved(parent, parent.spec)
    calibrate(same.network, parent, same.origins, images(16))
    assert torch.allclose(same.network(images()), parent(images()), atol=1e-3)


def test_the_pass_that_calibrates_a_network_gives_what_the_network_gives_afterwards(
    parents: dict[str, Network],
) -> None:
    for name in ("mobilenet_v2", "efficientnet_b0", "shufflenet_v2"):
        parent = parents[name]
        spec = to_template(parent.spec).expand(resolution=32, width=0.5)
        found, pixels = moved(parent, spec), images(16)
        with torch.no_grad(), calibrating(found.network, watched(parent, pixels), found.origins):
            during = found.network(pixels)
        assert torch.allclose(found.network(pixels), during, atol=1e-4 * float(during.abs().max()))


def test_what_a_parent_shows_serves_every_network(parents: dict[str, Network]) -> None:
    parent, pixels = parents["mobilenet_v2"], images(16)
    maps = watched(parent, pixels)
    narrow = to_template(parent.spec).expand(resolution=32, width=0.5)
    kept, fresh = moved(parent, narrow), moved(parent, narrow)
    for each in (moved(parent, parent.spec), kept):
        with torch.no_grad(), calibrating(each.network, maps, each.origins):
            each.network(pixels)
    calibrate(fresh.network, parent, fresh.origins, pixels)
    for one, other in zip(kept.network.state_dict().values(), fresh.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_networks_without_a_common_block_say_so(parents: dict[str, Network]) -> None:
    found = moved(parents["mobilenet_v2"], zoo.get("squeezenet1_1", resolution=64, classes=5))
    assert found.network(images(pixels=64)).isfinite().all()
    assert found.reasons == ("no block of mobilenet_v2_w0.5 has a counterpart: fresh weights",)


def test_another_number_of_input_channels_is_refused(parents: dict[str, Network]) -> None:
    with pytest.raises(InvalidArgument, match="reads 3 channels, the network 1"):
        moved(parents["mobilenet_v2"], replace(parents["mobilenet_v2"].spec, in_channels=1))
