"""Published weights in and out: the implementations' own outputs, their keys in their order, and every misfit named.

tests/facts/published_weights.json holds, for networks of torchvision 0.29.1, timm 1.0.31 and efficientnet_lite_pytorch
0.1.0, the first 16 hex digits of the SHA-256 of their state dict's JSON [[key, shape], ...] in order, and the outputs
(first row's first 8, mean and standard deviation of all) that they give with the weights and the image of `states.fill`
and `states.image`. Most images are small: 64 px, or 75 px where maps of odd sizes tell kinds of padding apart.
Outputs agree to 1e-5 of the largest, save those of a case with a `tolerance` of its own: with these weights
EfficientNetV2-S's 40 blocks make of float32's rounding, which depends on memory format and processor, 4e-4 in the
first logits and 1e-2 in the mean of all: 1,680 in the facts, 1,666 to 2,122 on one processor, 2,123 in float64.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import costs
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.graph import lower
from searchspace.nn import (
    Network,
    build,
    load_published,
    published_conventions,
    to_published,
)
from searchspace.nn.weights.published import IMPLEMENTATIONS
from searchspace.spec import Conventions, NetworkSpec, Stage
from tests.searchspace.nn.weights.states import equal, filled, image, shapes

Case = dict[str, Any]
CASES: list[Case] = json.loads((Path(__file__).parents[3] / "facts" / "published_weights.json").read_text())
pytestmark = pytest.mark.usefixtures("one_thread")
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['implementation']}-{case['name']}")


@EVERY_CASE
def test_weights_have_the_names_order_and_shapes_of_their_implementation(case: Case) -> None:
    spec = zoo.get(**case["network"])
    entries = json.dumps([[key, list(shape)] for key, shape in shapes(spec, case["implementation"]).items()])
    assert hashlib.sha256(entries.encode()).hexdigest()[:16] == case["state_dict"]
    assert costs(lower(spec)).params == case["params"]


@EVERY_CASE
def test_weights_give_the_outputs_of_their_implementation_and_come_back_unchanged(case: Case) -> None:
    spec, implementation, output = zoo.get(**case["network"]), case["implementation"], case["output"]
    state = filled(spec, implementation)
    network = load_published(spec, state, implementation)
    assert not network.training
    assert network.spec == spec.with_conventions(network.spec.conventions)
    with torch.inference_mode():
        logits = network(image(case["resolution"]))
    assert list(logits.shape) == output["shape"]
    largest = max(output["std"], *map(abs, output["first"]))
    tolerance, of_all = case.get("tolerance", 1e-5) * largest, 10 * case.get("tolerance", 1e-6) * largest
    assert logits[0, :8].tolist() == pytest.approx(output["first"], rel=0, abs=tolerance)
    assert logits.mean().item() == pytest.approx(output["mean"], rel=0, abs=of_all)
    assert logits.std().item() == pytest.approx(output["std"], rel=0, abs=of_all)
    assert equal(to_published(network, implementation), state)


def test_the_facts_cover_every_family_of_all_implementations() -> None:
    named = {(case["implementation"], case["network"]["name"]) for case in CASES}
    assert {name for implementation, name in named if implementation == "timm"} >= {
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mnasnet_b1",
        "mnasnet_a1",
        "mnasnet_small",
        "efficientnet_b0",
        "fbnet_c",
        "single_path_nas",
    }
    assert {name for implementation, name in named if implementation == "torchvision"} >= {
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
        "mnasnet_b1",
        "efficientnet_b0",
        "shufflenet_v2",
        "squeezenet1_0",
        "squeezenet1_1",
    }
    assert {name for implementation, name in named if implementation == "efficientnet_lite_pytorch"} >= {
        "efficientnet_lite0",
        "efficientnet_b0",
    }
    assert {implementation for implementation, _ in named} == set(IMPLEMENTATIONS)


@pytest.mark.parametrize(
    ("implementation", "name", "key", "shape"),
    [
        ("timm", "mobilenet_v3_small", "blocks.0.0.se.conv_reduce.weight", [8, 16, 1, 1]),
        ("timm", "mobilenet_v3_small", "blocks.5.0.conv.weight", [576, 96, 1, 1]),
        ("timm", "mobilenet_v3_small", "conv_head.weight", [1024, 576, 1, 1]),
        ("timm", "mobilenet_v1", "blocks.4.1.conv_pw.weight", [1024, 1024, 1, 1]),
        ("timm", "mnasnet_a1", "blocks.1.1.conv_pwl.weight", [24, 144, 1, 1]),
        ("timm", "mnasnet_a1", "bn2.running_var", [1280]),
        ("torchvision", "mobilenet_v2", "features.1.conv.1.weight", [16, 32, 1, 1]),
        ("torchvision", "mobilenet_v2", "features.17.conv.3.bias", [160 * 2]),
        ("torchvision", "mobilenet_v3_small", "features.11.block.2.fc1.weight", [144, 576, 1, 1]),
        ("torchvision", "mobilenet_v3_small", "classifier.3.weight", [1000, 1024]),
        ("torchvision", "mnasnet_b1", "layers.6.weight", [16, 32, 1, 1]),
        ("torchvision", "mnasnet_b1", "layers.13.0.layers.6.weight", [320, 1152, 1, 1]),
        ("torchvision", "mnasnet_b1", "layers.15.running_mean", [1280]),
        ("torchvision", "efficientnet_b0", "features.7.0.block.2.fc1.weight", [48, 1152, 1, 1]),
        ("torchvision", "shufflenet_v2", "stage2.0.branch1.2.weight", [58, 24, 1, 1]),
        ("torchvision", "shufflenet_v2", "stage4.3.branch2.5.weight", [232, 232, 1, 1]),
        ("torchvision", "squeezenet1_0", "features.10.expand3x3.weight", [256, 64, 3, 3]),
        ("torchvision", "squeezenet1_1", "classifier.1.weight", [1000, 512, 1, 1]),
        ("efficientnet_lite_pytorch", "efficientnet_lite0", "_blocks.1._expand_conv.weight", [96, 16, 1, 1]),
        ("efficientnet_lite_pytorch", "efficientnet_lite4", "_blocks.0._bn1.running_var", [32]),
        ("efficientnet_lite_pytorch", "efficientnet_b7", "_blocks.54._se_reduce.bias", [160]),
    ],
)
def test_modules_have_the_names_of_the_implementation(
    implementation: str, name: str, key: str, shape: list[int]
) -> None:
    assert list(shapes(zoo.get(name), implementation)[key]) == shape


# Laws


SMALL = [name for name in zoo.names() if not zoo.is_grown(name)]


@settings(max_examples=8)
@given(
    name=st.sampled_from(SMALL),
    width=st.sampled_from((0.2, 0.35, 0.5)),
    depth=st.sampled_from((0.5, 1.0)),
    classes=st.integers(1, 9),
    padding=st.sampled_from(("half", "same")),
    implementation=st.sampled_from(tuple(IMPLEMENTATIONS)),
)
def test_a_zoo_network_gives_the_same_logits_after_a_round_trip(
    name: str, width: float, depth: float, classes: int, padding: str, implementation: str
) -> None:
    spec = zoo.get(name, width=width, depth=depth, classes=classes, padding=padding, resolution=48)
    try:
        spec = spec.with_conventions(published_conventions(spec, implementation))
    except InvalidArgument:
        assume(False)
    network = build(spec, generator=torch.Generator().manual_seed(1)).eval()
    again = load_published(spec, to_published(network, implementation), implementation)
    assert again.spec == spec
    with torch.inference_mode():
        assert torch.equal(again(image(48)), network(image(48)))


@settings(max_examples=8)
@given(spec=..., implementation=st.sampled_from(tuple(IMPLEMENTATIONS)))
def test_any_network_has_published_names_for_all_its_weights_or_an_error_that_says_the_families(
    spec: NetworkSpec, implementation: str
) -> None:
    network = build(spec)
    message, state = "", {}
    try:
        state = to_published(network, implementation)
    except InvalidArgument as error:
        message = str(error)
    if message:
        assert f"{implementation} has no network with the structure of " in message
        assert "its families are: " in message
        return
    assert sum(tensor.numel() for tensor in state.values()) == sum(t.numel() for t in network.state_dict().values())
    again = load_published(spec, state, implementation)
    assert again.spec.blocks == spec.blocks
    assert equal(again.state_dict(), network.state_dict())


def test_a_loaded_network_shares_no_memory_with_the_state_dict_and_neither_does_what_comes_back() -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=3)
    state = filled(spec, "timm")
    network = load_published(spec, state, "timm")
    back = to_published(network, "timm")
    assert all(tensor.is_contiguous() for tensor in back.values())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(7)
    assert equal(back, state)


def test_loading_draws_no_random_numbers() -> None:
    spec = zoo.get("shufflenet_v2", width=0.5)
    state = filled(spec, "torchvision")
    before = torch.get_rng_state()
    load_published(spec, state, "torchvision")
    assert torch.equal(torch.get_rng_state(), before)


def test_files_of_half_precision_become_float32_and_old_files_need_no_counters() -> None:
    spec = zoo.get("mobilenet_v2", width=0.35, classes=3)
    state = {key: tensor.half() for key, tensor in filled(spec, "torchvision").items() if "num_batches" not in key}
    back = to_published(load_published(spec, state, "torchvision"), "torchvision")
    assert all(torch.equal(back[key], tensor.float()) for key, tensor in state.items())
    assert {int(back[key]) for key in back.keys() - state.keys()} == {0}


# Structures that the zoo has no name for


def _minimal(spec: NetworkSpec) -> NetworkSpec:
    """MobileNetV3's minimal variant: 3x3, ReLU, no SE."""

    def plain(block: Any) -> Any:
        if isinstance(block, MBConv | SeparableConv):
            return replace(block, kernel=3, squeeze_channels=0, activation="relu")
        if isinstance(block, Classifier):
            return replace(block, hidden_activation="relu")
        return replace(block, activation="relu")

    return replace(spec, stages=tuple(replace(s, blocks=tuple(map(plain, s.blocks))) for s in spec.stages))


def test_timms_minimal_mobilenet_v3_has_its_3_924_288_parameters_and_no_se() -> None:
    state = filled(_minimal(zoo.get("mobilenet_v3_large", padding="same")), "timm")
    learnt = [tensor.numel() for key, tensor in state.items() if key.endswith(("weight", "bias"))]
    assert sum(learnt) == 3_924_288
    assert not any(".se." in key for key in state)


def test_timms_mobilenetv1_100h_has_a_conv_head_and_5_282_600_parameters() -> None:
    spec = zoo.get("mobilenet_v1")
    head = Stage("head", (ConvBN(out_channels=1024, activation="relu6"),))
    state = filled(replace(spec, stages=(*spec.stages[:-1], head, spec.stages[-1])), "timm")
    assert sum(tensor.numel() for key, tensor in state.items() if key.endswith(("weight", "bias"))) == 5_282_600
    assert state["conv_head.weight"].shape == (1024, 1024, 1, 1)


@pytest.mark.parametrize(
    ("name", "options", "implementation", "step"),
    [
        ("shufflenet_v1", {"groups": 3}, "torchvision", "no implementation known here"),
        ("shufflenet_v1", {"groups": 8}, "timm", "no implementation known here"),
        ("shufflenet_v2", {}, "timm", "'torchvision'"),
        ("squeezenet1_0", {}, "timm", "'torchvision'"),
        ("mobilenet_v1", {}, "torchvision", "'timm'"),
        ("mnasnet_a1", {}, "torchvision", "'timm'"),
        ("mnasnet_small", {}, "torchvision", "'timm'"),
        ("fbnet_c", {}, "torchvision", "'timm'"),
        ("single_path_nas", {}, "torchvision", "'timm'"),
        ("efficientnet_lite0", {"depth": 0.5}, "torchvision", "'timm' and 'efficientnet_lite_pytorch'"),
        ("mobilenet_v3_small", {}, "efficientnet_lite_pytorch", "'torchvision' and 'timm'"),
    ],
)
def test_a_structure_without_a_family_is_refused_with_the_families_and_who_has_it(
    name: str, options: dict[str, Any], implementation: str, step: str
) -> None:
    spec = zoo.get(name, **options)
    said = f"{implementation} has no network with the structure of '{spec.name}'; its families are: .*: {step}"
    with pytest.raises(InvalidArgument, match=said):
        load_published(spec, {}, implementation)
    with pytest.raises(InvalidArgument, match=said):
        published_conventions(spec, implementation)
    with torch.device("meta"):
        network = Network(spec)
    with pytest.raises(InvalidArgument, match=said):
        to_published(network, implementation)


def test_torchvision_has_no_network_whose_skips_or_expansions_are_not_its_own() -> None:
    spec = zoo.get("mobilenet_v2")
    for field, value in (("skip", False), ("kernel", 5), ("activation", "relu"), ("squeeze_channels", 4)):
        stage = spec.stages[2]
        last = replace(stage.blocks[-1], **{field: value})
        stages = (*spec.stages[:2], replace(stage, blocks=(*stage.blocks[:-1], last)), *spec.stages[3:])
        with pytest.raises(InvalidArgument, match="torchvision has no network with the structure"):
            load_published(replace(spec, stages=stages), {}, "torchvision")


# Batch norm


@pytest.mark.parametrize(
    ("implementation", "name", "options", "eps", "momentum"),
    [
        ("torchvision", "mobilenet_v2", {}, 1e-5, 0.1),
        ("torchvision", "mobilenet_v3_large", {}, 1e-3, 0.01),
        ("torchvision", "mobilenet_v3_small", {"width": 0.5}, 1e-3, 0.01),
        ("torchvision", "mnasnet_b1", {}, 1e-5, 3e-4),
        ("torchvision", "shufflenet_v2", {}, 1e-5, 0.1),
        ("torchvision", "efficientnet_b4", {}, 1e-5, 0.1),
        ("torchvision", "efficientnet_b5", {}, 1e-3, 0.01),
        ("torchvision", "efficientnet_b7", {}, 1e-3, 0.01),
        ("timm", "mobilenet_v3_large", {}, 1e-5, 0.1),
        ("timm", "efficientnet_b7", {}, 1e-5, 0.1),
        ("timm", "efficientnet_b0", {"padding": "same"}, 1e-3, 0.1),
        ("timm", "mobilenet_v3_small", {"padding": "same"}, 1e-3, 0.1),
        ("timm", "efficientnet_lite0", {}, 1e-5, 0.1),
        ("timm", "tf_efficientnet_lite0", {}, 1e-3, 0.1),
        ("efficientnet_lite_pytorch", "efficientnet_lite0", {}, 1e-3, 0.01),
        ("efficientnet_lite_pytorch", "efficientnet_b0", {"padding": "half"}, 1e-3, 0.01),
    ],
)
def test_batch_norm_is_the_implementations(
    implementation: str, name: str, options: dict[str, Any], eps: float, momentum: float
) -> None:
    spec = zoo.get(name, **options)
    padding = "same" if implementation == "efficientnet_lite_pytorch" else spec.conventions.padding
    assert published_conventions(spec, implementation) == Conventions(
        padding=padding, norm_eps=eps, norm_momentum=momentum
    )


def test_a_loaded_network_has_the_batch_norm_that_its_spec_says_and_norm_eps_overrides_it() -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.35, rounding="torchvision", classes=2)
    state = filled(spec, "torchvision")
    for norm_eps, expected in ((None, 1e-3), (1e-4, 1e-4)):
        network = load_published(spec, state, "torchvision", norm_eps=norm_eps)
        assert network.spec.conventions == Conventions(norm_eps=expected, norm_momentum=0.01)
        norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(expected, 0.01)}
    with pytest.raises(InvalidSpec, match="norm_eps must be a number above 0"):
        load_published(spec, state, "torchvision", norm_eps=-1.0)
