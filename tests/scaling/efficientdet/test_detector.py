"""Detectors are values: any backbone and any list of nodes is priced, built and stored, or refused with the rule."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.efficientdet.graph import lower, part_of
from scaling.efficientdet.module import Fuse, SeparableConv, build
from scaling.efficientdet.neck import LEVELS, Neck, Node, bifpn, fpn, panet
from scaling.efficientdet.presets import get, scaled
from scaling.efficientdet.spec import Anchors, read_detector, taps_of, write_detector
from scaling.efficientdet.weights import load_published, to_published
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidArgument, InvalidSpec, PhinasError
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scaling.efficientdet.small import small

SPACE = mnasnet_space(classes=3)
pytestmark = pytest.mark.usefixtures("one_thread")


def parameters(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize("resolution", [160, 192])
def test_pixels_that_leave_odd_maps_give_the_shapes_of_the_graph(resolution: int) -> None:
    spec = small(bifpn(8, 2)).with_resolution(resolution)
    graph = lower(spec)
    read = {index for layer in graph.layers for index in layer.inputs}
    expected = [layer.out_shape for place, layer in enumerate(graph.layers) if place not in read]
    with torch.inference_mode():
        classes, boxes = build(spec).eval()(torch.zeros(1, 3, resolution, resolution))
    assert [tuple(each.shape[1:]) for each in (*classes, *boxes)] == expected
    assert [shape[1] for shape in expected[:5]] == [-(-resolution // 2**level) for level in LEVELS]


@given(seed=st.integers(0, 2**32 - 1), neck=st.sampled_from((bifpn, fpn, panet)), cells=st.integers(1, 2))
@settings(max_examples=8)
def test_any_backbone_of_the_space_builds_under_any_neck_with_the_parameters_and_shapes_of_its_graph(
    seed: int, neck: Callable[..., Neck], cells: int
) -> None:
    rng = random.Random(seed)
    backbone = SPACE.spec(SPACE.sample(rng))
    spec = replace(scaled(backbone, phi=0, classes=3, resolution=128), neck=neck(rng.choice((8, 24)), cells))
    graph, detector = lower(spec), build(spec).eval()
    assert costs(graph).params == parameters(detector)
    read = {index for layer in graph.layers for index in layer.inputs}
    expected = [layer.out_shape for place, layer in enumerate(graph.layers) if place not in read]
    with torch.inference_mode():
        classes, boxes = detector(torch.zeros(1, 3, 128, 128))
    assert [tuple(each.shape[1:]) for each in (*classes, *boxes)] == expected
    assert {part_of(layer.name) for layer in graph.layers} == {"backbone", "neck", "class_head", "box_head"}


def test_a_layers_name_is_that_of_its_module() -> None:
    spec = small()
    modules = dict(build(spec).named_modules())
    for layer in lower(spec).layers:
        name, _, last = layer.name.rpartition(".")
        known = {"up", "pool"} | {f"p{level}" for level in LEVELS}
        parts = [part for part in layer.name.split(".") if part not in known]
        where = ".".join(parts)
        if parts[0].endswith("head") and parts[1] == "convs":
            where = where.replace(f"convs.{parts[2]}", f"convs.{parts[2]}.conv")
        assert where in modules or where.removesuffix(".add") in modules, (layer.name, where, name, last)


def test_heads_count_once_in_parameters_and_at_each_level_in_macs() -> None:
    one, two = (costs(lower(replace(small(), head_depth=depth))) for depth in (1, 2))
    pixels = sum((128 >> level) ** 2 for level in LEVELS)
    convolutions, norms = 2 * (8 * 9 + 8 * 8 + 8), 2 * len(LEVELS) * 2 * 8
    assert two.params - one.params == convolutions + norms
    assert two.macs - one.macs == 2 * (8 * 9 + 8 * 8) * pixels


def test_maps_pass_a_fresh_neck_and_its_heads_without_being_blurred() -> None:
    for part in build(small(head_depth=2), generator=torch.Generator().manual_seed(0)).modules():
        if isinstance(part, SeparableConv):
            kernel = part.depthwise.get_parameter("conv.weight").detach().clone()
            middle = kernel[:, :, 1, 1].clone()
            kernel[:, :, 1, 1] = 0
            assert (middle > kernel.abs().amax((1, 2, 3))[:, None]).all()


def test_each_level_has_a_batch_norm_of_its_own() -> None:
    conv = build(small()).eval().class_head.get_submodule("convs.0")
    with torch.no_grad():
        before = conv(torch.ones(1, 8, 4, 4), 1)
        conv.get_parameter("norms.0.bias").add_(1.0)
        after = [conv(torch.ones(1, 8, 4, 4), level) for level in (0, 1)]
    assert torch.equal(after[1], before)
    assert not torch.equal(after[0], before)


def test_fast_weights_are_positive_and_sum_to_one_and_softmax_and_sum_are_what_they_say() -> None:
    maps = [torch.full((1, 1, 1, 1), value) for value in (1.0, 2.0, 4.0)]
    fused = {}
    for fusion in ("fast", "softmax", "sum"):
        node = build(small(bifpn(8, 1, fusion=fusion))).neck.get_submodule("cells.0.4.fuse")
        assert isinstance(node, Fuse)
        if node.weight is not None:
            with torch.no_grad():
                node.weight.copy_(torch.tensor([1.0, -1.0, 3.0]))
        node.act = torch.nn.Identity()
        fused[fusion] = node(maps).item()
    weights = torch.tensor([1.0, -1.0, 3.0]).softmax(0)
    assert fused["sum"] == 7.0
    assert fused["softmax"] == pytest.approx((weights * torch.tensor([1.0, 2.0, 4.0])).sum().item())
    assert fused["fast"] == pytest.approx((1 * 1.0 + 3 * 4.0) / (4 + 1e-4))


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("efficientnet_b0", ("stage3.1", "stage5.2", "stage7.0")),
        ("mobilenet_v1", ("stage3.1", "stage4.5", "stage5.1")),
        ("shufflenet_v2", ("stage2.3", "stage3.7", "stage4.3")),
    ],
)
def test_taps_are_the_last_blocks_of_their_stride_before_the_wide_convolution(
    network: str, taps: tuple[str, ...]
) -> None:
    spec = zoo.get(network)
    found = taps_of(spec)
    strides = [stage.partition(".")[0] for stage in found]
    assert len(found) == 3 == len(set(strides))
    assert found == taps


def test_a_spec_comes_back_from_its_file_and_its_fingerprint_is_not_of_its_name(tmp_path: Path) -> None:
    for spec in (get("d0"), small(), get("d7").with_classes(3)):
        write_detector(tmp_path / "d.json", spec)
        assert read_detector(tmp_path / "d.json") == spec
        assert replace(spec, name="other").fingerprint() == spec.fingerprint()
        assert spec.with_classes(7).fingerprint() != spec.fingerprint()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: get("d8"), "d0, d1"),
        (lambda: scaled(zoo.get("squeezenet1_1"), phi=0), "strides 8, 16 and 32.*none at 32"),
        (lambda: scaled(zoo.get("mobilenet_v2"), phi=8), "--phi must be an integer from 0 to 7"),
        (lambda: scaled(zoo.get("mobilenet_v2"), phi=0, resolution=300), "multiple of 32.*got 300: give 288"),
        (lambda: replace(small(), taps=("stage1.0",)), "strides 8, 16 and 32"),
        (lambda: small(classes=0), "classes must be an integer from 1"),
        (lambda: Node(2, (0, 1)), "level must be one of"),
        (lambda: Node(3, (0, 0)), "different indices"),
        (lambda: Node(3, (0, 1), "mean"), "one of fast, softmax, sum"),
        (lambda: Neck(channels=8, cells=1, nodes=(Node(3, (0, 6)),), outputs=(5, 1, 2, 3, 4)), "nodes before it"),
        (lambda: Neck(channels=8, cells=1, nodes=(), outputs=(0, 1, 2, 3)), "outputs must be of the levels"),
        (lambda: Anchors(scale=0.0), "above 0"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_rule(make: Callable[[], object], said: str) -> None:
    with pytest.raises(PhinasError, match=said):
        make()


def test_a_file_that_is_no_detector_or_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(zoo.get("mobilenet_v2").to_json())
    with pytest.raises(InvalidSpec, match="detector"):
        read_detector(path)
    write_detector(path, small())
    path.write_text(path.read_text().replace('"head_depth": 1', '"head_depth": 2'))
    with pytest.raises(InvalidSpec, match="checksum"):
        read_detector(path)
    with pytest.raises(PhinasError, match="cannot read"):
        read_detector(tmp_path / "absent.json")


def test_weights_that_are_not_the_detectors_are_refused_by_name() -> None:
    spec = small()
    state = to_published(build(spec))
    assert len(state) == len(build(spec).state_dict())
    with pytest.raises(InvalidArgument, match=r"class_net\.predict\.conv_pw\.weight"):
        load_published(spec.with_classes(5), state)
    name = "fpn.cell.0.fnode.0.combine.edge_weights"
    with pytest.raises(InvalidArgument, match=f"missing: {name}; left over: extra"):
        load_published(spec, {key: value for key, value in state.items() if key != name} | {"extra": torch.ones(1)})
    with pytest.raises(InvalidArgument, match="one of effdet"):
        load_published(spec, state, "detectron")
