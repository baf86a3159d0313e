"""Weights of another network: a variant of the same name is taken as what it is, anything else is refused by name."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from searchspace import zoo
from searchspace.blocks import Classifier
from searchspace.errors import InvalidArgument
from searchspace.nn import build, fold_batch_norm, load_published, load_weights, to_published, weights_classes
from searchspace.spec import NetworkSpec
from searchspace.zoo.variants import siblings
from tests.searchspace.nn.weights.states import State, equal, filled

pytestmark = pytest.mark.usefixtures("one_thread")

# One name, several networks


@pytest.mark.parametrize(
    ("implementation", "name", "scaling", "option", "params"),
    [
        ("torchvision", "mobilenet_v3_large", {"width": 0.75}, {"rounding": "torchvision"}, 3_377_576),
        ("torchvision", "mobilenet_v3_large", {"width": 0.5}, {"rounding": "torchvision"}, 1_734_576),
        ("torchvision", "mobilenet_v3_small", {"width": 0.75}, {"rounding": "torchvision"}, 1_653_920),
        ("torchvision", "mobilenet_v3_small", {"width": 0.5}, {"rounding": "torchvision"}, 917_264),
        ("timm", "mobilenet_v2", {"width": 1.1, "depth": 1.2}, {"fixed_ends": True}, 4_516_520),
        ("timm", "mobilenet_v2", {"width": 1.2, "depth": 1.4}, {"fixed_ends": True}, 5_831_144),
    ],
)
def test_weights_of_the_same_zoo_network_under_another_option_are_loaded_as_what_they_are(
    implementation: str, name: str, scaling: dict[str, float], option: dict[str, Any], params: int
) -> None:
    released = zoo.get(name, **scaling, **option, classes=7, resolution=96)
    asked = zoo.get(name, **scaling, classes=7, resolution=96).with_name("mine")
    classifier = released.blocks[-1]
    assert isinstance(classifier, Classifier)
    network = load_published(asked, filled(released, implementation), implementation)
    assert network.spec.blocks == released.blocks != asked.blocks
    assert (network.spec.name, network.spec.resolution, network.spec.classes) == ("mine", 96, 7)
    weights = sum(p.numel() for p in network.parameters())
    features = list(network.parameters())[-2].shape[1]
    assert weights + (1000 - 7) * (features + 1) == params


def test_the_other_way_round_and_at_width_1_there_is_nothing_to_choose() -> None:
    asked = zoo.get("mobilenet_v3_small", width=0.5, rounding="torchvision")
    released = zoo.get("mobilenet_v3_small", width=0.5)
    assert load_published(asked, filled(released, "timm"), "timm").spec.blocks == released.blocks
    assert list(siblings(zoo.get("mobilenet_v3_small"))) == []
    assert list(siblings(zoo.get("efficientnet_b0"))) == []


def test_a_network_that_is_none_of_the_zoo_has_no_siblings() -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.5)
    stage = spec.stages[3]
    wider = replace(stage, blocks=(replace(stage.blocks[0], expand_channels=97), *stage.blocks[1:]))
    assert list(siblings(replace(spec, stages=(*spec.stages[:3], wider, *spec.stages[4:])))) == []


# Misfits

SPEC = zoo.get("shufflenet_v2", width=0.5, classes=5)


@pytest.fixture
def fitting() -> State:
    return filled(SPEC, "torchvision")


def _refused(state: object, *said: str, spec: NetworkSpec = SPEC) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_published(spec, state, "torchvision")  # type: ignore[arg-type]
    for part in said:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_missing_entry_is_named(fitting: State) -> None:
    del fitting["stage3.1.branch2.3.weight"]
    _refused(
        fitting,
        f"these are not torchvision's weights of '{SPEC.name}' with 5 classes: "
        "missing: stage3.1.branch2.3.weight. Give the very network that was saved",
    )


def test_an_entry_of_another_shape_is_named_with_both_shapes(fitting: State) -> None:
    fitting = fitting | {"conv1.0.weight": torch.zeros(24, 1, 3, 3)}
    _refused(fitting, "wrong: conv1.0.weight is 24 x 1 x 3 x 3, the network needs 24 x 3 x 3 x 3. Give the")


def test_another_number_of_classes_is_said() -> None:
    _refused(
        filled(SPEC.with_classes(9), "torchvision"),
        "fc.bias is 9, the network needs 5. Give the file's number of classes: spec.with_classes(9)",
    )


def test_an_entry_left_over_is_named(fitting: State) -> None:
    _refused(fitting | {"aux.weight": torch.zeros(1)}, "left over: aux.weight. ")


def test_what_is_no_tensor_of_numbers_is_named(fitting: State) -> None:
    key = "conv1.1.bias"
    _refused(fitting | {key: [0.0] * 24}, f"{key} is a list and no dense tensor")
    _refused(fitting | {key: torch.zeros(24, dtype=torch.int64)}, f"{key} is torch.int64, not floating-point")
    _refused(fitting | {key: torch.zeros(24, device="meta")}, f"{key} is a Tensor and no dense tensor")


def test_another_networks_weights_are_refused_with_the_first_few_names() -> None:
    mnasnet = filled(zoo.get("mnasnet_b1", width=0.2, classes=5), "torchvision")
    _refused(
        mnasnet, "missing: conv1.0.weight, conv1.1.weight, ", " more; left over: layers.0.weight, layers.1.weight, "
    )
    _refused({}, "missing: conv1.0.weight")
    spec = zoo.get("mobilenet_v2", width=0.35, classes=5)
    _refused(filled(spec, "timm"), "left over: conv_stem.weight", spec=spec)
    wider = zoo.get("mobilenet_v2", width=0.5, classes=5)
    _refused(filled(wider, "torchvision"), "wrong: features.2.conv.", " more. Give the very ", spec=spec)


def test_what_is_no_state_dict_is_refused() -> None:
    _refused([1], "a state dict must map names to tensors, got list: ")
    _refused(build(SPEC), "got Network: take model.state_dict()")


def test_an_unknown_implementation_is_named() -> None:
    for call in (lambda: load_published(SPEC, {}, "keras"), lambda: to_published(build(SPEC), "keras")):
        with pytest.raises(
            InvalidArgument, match="must be one of torchvision, timm, efficientnet_lite_pytorch, got 'keras'"
        ):
            call()


def test_only_a_whole_network_is_published() -> None:
    with pytest.raises(InvalidArgument, match="batch norms folded"):
        to_published(fold_batch_norm(build(SPEC)), "torchvision")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"a network that searchspace\.nn built, got Linear"):
        to_published(nn.Linear(1, 1), "torchvision")  # type: ignore[arg-type]


def test_weights_under_our_own_names_are_as_strict() -> None:
    network = build(SPEC)
    assert equal(load_weights(SPEC, network.state_dict()).state_dict(), network.state_dict())
    with pytest.raises(InvalidArgument, match=r"these are not weights of .*: missing: stem\.0\.conv\.weight, "):
        load_weights(SPEC, filled(SPEC, "torchvision"))


def test_the_classes_of_weights_are_told_where_nothing_else_differs() -> None:
    generator = torch.Generator().manual_seed(0)
    assert weights_classes(SPEC, build(SPEC.with_classes(9), generator=generator).state_dict()) == 9
    assert weights_classes(SPEC, build(SPEC, generator=generator).state_dict()) == SPEC.classes
    other = zoo.get("mobilenet_v2", classes=9, width=0.5)
    assert weights_classes(SPEC, build(other, generator=generator).state_dict()) == SPEC.classes
