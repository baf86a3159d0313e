"""`build` and `lower` are two readings of one spec: they agree on names, shapes, parameters and MACs."""

import copy
import random

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hypothesis import given, settings
from torch import Tensor, nn

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import costs
from searchspace.errors import InvalidSpec
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.nn.layers import (
    Add,
    Affine,
    Branches,
    ChannelShuffle,
    Concat,
    ConvBNAct,
    DepthwiseConv2d,
    GlobalPool,
    PointwiseConv2d,
    Slice,
    SqueezeExcite,
)
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spec import NetworkSpec, Stage

LAYERS = (
    ConvBNAct,
    Branches,
    SqueezeExcite,
    Add,
    Concat,
    Affine,
    Slice,
    ChannelShuffle,
    nn.ZeroPad2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    GlobalPool,
    nn.Linear,
)
SMALL = NetworkSpec(
    "small",
    16,
    (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage(
            "body",
            (
                SeparableConv(out_channels=8, skip=True),
                MBConv(expand_channels=16, out_channels=12, kernel=5, stride=2, squeeze_channels=2),
            ),
        ),
        Stage("classifier", (Classifier(classes=5),)),
    ),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def image(spec: NetworkSpec, *, batch: int = 1, seed: int = 0) -> Tensor:
    shape = (batch, spec.in_channels, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run_hooked(spec: NetworkSpec) -> tuple[int, list[tuple[str, tuple[int, ...]]]]:
    """(multiply-adds of one image, [(module name, output shape)] of the layer modules in the order they ran)."""
    network = build(spec).eval()
    macs = [0]
    ran: list[tuple[str, tuple[int, ...]]] = []
    inside = {id(part) for one in network.modules() if isinstance(one, Branches) for part in [*one.modules()][1:]}
    rows = {layer.name for layer in lower(spec).layers}  # an activation may be one
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.register_forward_hook(
                lambda _, __, out, fan_in=fan_in: macs.__setitem__(0, macs[0] + out.numel() * fan_in)
            )
        if (isinstance(module, LAYERS) or name in rows) and id(module) not in inside:
            module.register_forward_hook(lambda _, __, out, name=name: ran.append((name, tuple(out.shape[1:]))))
    network(image(spec))
    return macs[0], ran


def check_against_lowering(spec: NetworkSpec) -> None:
    graph = lower(spec)
    total = costs(graph)
    assert sum(p.numel() for p in build(spec).parameters()) == total.params
    macs, ran = run_hooked(spec)
    assert macs == total.macs
    shapes = [(layer.name, layer.out_shape) for layer in graph.layers]
    assert [(name, (*shape, 1, 1)[:3]) for name, shape in ran] == shapes


@given(spec=...)
@settings(max_examples=12)
def test_built_module_and_lowered_graph_agree_on_names_shapes_parameters_and_macs(spec: NetworkSpec) -> None:
    check_against_lowering(spec)


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks_agree_with_their_modules(name: str) -> None:
    check_against_lowering(mnasnet_space().spec(KNOWN[name]).with_resolution(33))


@given(spec=...)
@settings(max_examples=5)
def test_macs_are_those_that_fvcore_counts(spec: NetworkSpec) -> None:
    analysis = FlopCountAnalysis(build(spec).eval(), image(spec))
    counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    assert counted["conv"] + counted["linear"] == costs(lower(spec)).macs


@given(spec=...)
@settings(max_examples=10)
def test_parameters_by_layer_are_those_of_the_module_of_that_name(spec: NetworkSpec) -> None:
    network = build(spec)
    for layer in costs(lower(spec)).layers:
        assert sum(p.numel() for p in network.get_submodule(layer.name).parameters()) == layer.params


def test_state_dict_names_are_stable() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def conv_norm(name: str) -> list[str]:
        return [f"{name}.conv.weight", *(f"{name}.norm.{entry}" for entry in norm)]

    assert list(build(SMALL).state_dict()) == [
        *conv_norm("stem.0"),
        *conv_norm("body.0.depthwise"),
        *conv_norm("body.0.project"),
        *conv_norm("body.1.expand"),
        *conv_norm("body.1.depthwise"),
        "body.1.squeeze.reduce.weight",
        "body.1.squeeze.reduce.bias",
        "body.1.squeeze.expand.weight",
        "body.1.squeeze.expand.bias",
        *conv_norm("body.1.project"),
        "classifier.0.linear.weight",
        "classifier.0.linear.bias",
    ]


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_one_seed_gives_one_set_of_weights_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (build(SMALL, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert states_equal(one, same)
    assert not states_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_torchs_own_seed_decides() -> None:
    built = []
    with torch.random.fork_rng():
        for _ in range(2):
            torch.manual_seed(7)
            built.append(build(SMALL))
    assert states_equal(*built)


def test_nothing_is_left_uninitialised() -> None:
    network = build(SMALL)
    for name, tensor in network.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.isfinite(tensor).all(), name
        if name.endswith((".bias", "running_mean", "num_batches_tracked")):
            assert not tensor.any(), name
        if name.endswith(("norm.weight", "running_var")):
            assert (tensor == 1).all(), name
    conv = network.get_submodule("body.1.project.conv")
    assert conv.weight.std().item() == pytest.approx((2 / 12) ** 0.5, rel=0.3)


def test_weights_and_activations_are_channels_last() -> None:
    network = build(SMALL).eval()
    for name, parameter in network.named_parameters():
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last), name
    x = image(SMALL, batch=2).to(memory_format=torch.channels_last)
    for stage in list(network)[:-1]:
        x = stage(x)
        assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (32, 8), (4, 4), (65, 31)])
def test_one_module_runs_at_any_height_and_width(size: tuple[int, int]) -> None:
    network = build(SMALL)
    x = torch.randn(2, 3, *size)
    for mode in (True, False):
        assert network.train(mode)(x).shape == (2, 5)


def test_resolution_does_not_change_the_weights() -> None:
    specs = (SMALL, SMALL.with_resolution(40))
    assert states_equal(*(build(spec, generator=torch.Generator().manual_seed(0)) for spec in specs))


def test_a_copy_is_independent_and_knows_its_spec() -> None:
    network = build(SMALL)
    twin = copy.deepcopy(network)
    assert twin.spec == SMALL
    assert states_equal(network, twin)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not states_equal(network, twin)


def test_gradients_reach_every_parameter() -> None:
    spec = mnasnet_space(classes=4, resolution=32).spec(KNOWN["mobilenet_v3_like"])
    network = build(spec, generator=torch.Generator().manual_seed(0))
    network(image(spec, batch=4)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_dropout_acts_in_training_only() -> None:
    spec = NetworkSpec("d", 8, (Stage("only", (ConvBN(out_channels=64), Classifier(dropout_percent=50))),))
    network, x = build(spec), image(spec, batch=2)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("name", ["forward", "training", "spec", "parameters"])
def test_a_stage_name_that_torch_needs_is_named(name: str) -> None:
    with pytest.raises(InvalidSpec, match=f"the stage name '{name}' is taken by torch modules"):
        build(NetworkSpec("n", 8, (Stage(name, (Classifier(),)),)))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 2), (3, 5), (4, 4), (8, 6)])
def test_depthwise_shortcuts_of_training_change_no_value_and_no_gradient(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    fast, plain = (
        kind(6, 6, kernel, stride, kernel // 2, groups=6, bias=False) for kind in (DepthwiseConv2d, nn.Conv2d)
    )
    check_same_training(fast, plain, torch.randn(2, 6, *size))


@pytest.mark.parametrize("bias", [False, True])
def test_pointwise_shortcuts_of_training_change_no_value_and_no_gradient(bias: bool) -> None:
    torch.manual_seed(0)
    check_same_training(PointwiseConv2d(6, 4, 1, bias=bias), nn.Conv2d(6, 4, 1, bias=bias), torch.randn(2, 6, 5, 3))


def check_same_training(fast: nn.Conv2d, plain: nn.Conv2d, x: Tensor) -> None:
    fast.load_state_dict(plain.state_dict())
    results = []
    for conv in (fast, plain):
        leaf = x.clone().to(memory_format=torch.channels_last).requires_grad_()
        out = conv(leaf)
        out.square().sum().backward()
        results.append([out, leaf.grad, *(parameter.grad for parameter in conv.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_random_networks_of_the_default_space_train_one_step() -> None:
    space = mnasnet_space(classes=3, resolution=32)
    spec = space.spec(space.sample(random.Random(5)))
    network = build(spec, generator=torch.Generator().manual_seed(0))
    x, y = image(spec, batch=4), torch.tensor([0, 1, 2, 0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()
    assert torch.isfinite(nn.functional.cross_entropy(network(x), y))


def test_a_network_is_built_on_the_cpu_whatever_the_default_device() -> None:
    with torch.device("meta"):
        network = build(SMALL, generator=torch.Generator().manual_seed(0))
    again = build(SMALL, generator=torch.Generator().manual_seed(0))
    for built, expected in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert built.device.type == "cpu"
        assert torch.equal(built, expected)
