"""Parallel branches become one convolution that computes the same, in this project's networks and in others'."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search.budget import CostModel
from searchspace import zoo
from searchspace.blocks import RepConv
from searchspace.cost import costs
from searchspace.deployed import deployed, trained
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.nn.build import Network
from searchspace.nn.layers import Branches
from searchspace.nn.reparametrise import reparametrise, with_branches
from searchspace.nn.weights.published import load_any, load_published, to_published
from searchspace.nn.weights.transfer import transfer
from searchspace.spec import NetworkSpec
from tests.channel_checks import filled

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("repvgg_a0", "mobileone_s0", "mobileone_s4")


def image(channels: int = 3, size: int = 32) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.double)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_deployed_network_computes_what_the_trained_one_does_and_is_of_its_spec(name: str) -> None:
    network = filled(zoo.get(name, width=0.25, resolution=32, classes=7), 0, scale=0.5)
    small = reparametrise(network)
    assert isinstance(small, Network)
    assert small.spec == deployed(network.spec) != network.spec
    assert not any(isinstance(part, Branches) for part in small.modules())
    assert [(key, value.shape) for key, value in build(small.spec).state_dict().items()] == [
        (key, value.shape) for key, value in small.state_dict().items()
    ]
    expected = network(image())
    torch.testing.assert_close(small(image()), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_training_form_takes_weights_of_the_deployed_one(name: str) -> None:
    spec = zoo.get(name, width=0.25, resolution=32, classes=7)
    small = reparametrise(filled(spec, 0, scale=0.5))
    assert isinstance(small, Network)
    network = with_branches(small, build(spec).double())
    expected = small(image())
    torch.testing.assert_close(network(image()), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_weights_of_one_form_given_for_the_other_are_converted_and_it_is_told(name: str) -> None:
    spec = zoo.get(name, width=0.25, resolution=32, classes=7)
    network = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    small = reparametrise(network)
    assert isinstance(small, Network)
    expected = network(image().float())
    for given, asked in ((network, small.spec), (small, spec)):
        for implementation in ("timm", None):
            told: list[str] = []
            if implementation:
                found = load_published(asked, to_published(given, implementation), implementation, note=told.append)
            else:
                found, whose = load_any(asked.with_classes(5), given.state_dict(), note=told.append)
                assert whose is None
            assert found.spec == asked
            assert len(told) == 1
            assert "form of" in told[0]
            torch.testing.assert_close(
                found(image().float()), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
            )


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("repvgg_a0", deployed),
        ("mobileone_s4", deployed),
        ("mobileone_s0", lambda spec: trained(deployed(spec), branches=2)),
        ("repvgg_a0", lambda spec: zoo.get("repvgg_a0", width=0.25, depth=1.5, resolution=32, classes=7)),
    ],
)
@torch.no_grad()
def test_a_network_of_the_other_form_of_other_branches_or_deeper_starts_as_its_parent(
    name: str, form: Callable[[NetworkSpec], NetworkSpec]
) -> None:
    spec = zoo.get(name, width=0.25, resolution=32, classes=7)
    pairs = [(spec, form(spec)), *([(form(spec), spec)] if deployed(form(spec)) == deployed(spec) else [])]
    for own, other in pairs:
        parent = filled(own, 0, scale=0.5).float()
        moved = transfer(parent, other, generator=torch.Generator().manual_seed(1))
        assert moved.difference is not None
        assert moved.difference < 1e-3  # rounding in float32, through 40 layers
        assert not moved.reasons or own is spec


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_timed_as_one_and_the_training_form_is_told_from_the_deployed(name: str) -> None:
    spec = zoo.get(name)
    small = deployed(spec)
    assert trained(small, branches=4 if name == "mobileone_s0" else 1) == spec
    assert deployed(small) == small
    assert [layer.signature for layer in lower(small).layers] == [layer.signature for layer in lower(spec).layers]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", ["macs", "params"])
def test_a_budget_counts_the_deployed_form(name: str, unit: str) -> None:
    spec = zoo.get(name)
    model, found = CostModel(unit), costs(lower(deployed(spec)))
    assert (
        model.cost(lower(spec)) == (found.macs if unit == "macs" else found.params) < getattr(costs(lower(spec)), unit)
    )


# Deployed parameters and MACs at 224 px: RepVGG's README and Table 3 of MobileOne's paper print them rounded.
@pytest.mark.parametrize(
    ("name", "mega_params", "mega_macs"),
    [
        ("repvgg_a0", 8.30, 1.4),
        ("repvgg_a1", 12.78, 2.4),
        ("repvgg_a2", 25.49, 5.1),
        ("mobileone_s0", 2.1, 0.275),
        ("mobileone_s1", 4.8, 0.825),
        ("mobileone_s2", 7.8, 1.299),
        ("mobileone_s3", 10.1, 1.896),
        ("mobileone_s4", 14.8, 2.978),
    ],
)
def test_the_deployed_form_has_the_papers_parameters_and_macs(name: str, mega_params: float, mega_macs: float) -> None:
    found = costs(lower(deployed(zoo.get(name))))
    assert found.params / 1e6 == pytest.approx(mega_params, abs=0.06)
    assert found.macs / 1e9 == pytest.approx(mega_macs, rel=0.03)


class Plain(nn.Module):
    """RepVGG's block as its authors write it: 3x3, 1x1 and the input itself, each with a batch norm."""

    def __init__(self, channels: int, out: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.identity = nn.BatchNorm2d(channels) if channels == out and stride == 1 else None
        self.dense = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(out)
        )
        self.small = nn.Sequential(nn.Conv2d(channels, out, 1, stride, groups=groups, bias=False), nn.BatchNorm2d(out))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = 0 if self.identity is None else self.identity(x)
        out += self.dense(x) + self.small(x)
        return self.act(out)


class Residual(nn.Module):
    """Two branches that are no convolutions of one input stay a sum; the convolutions beside them are merged."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.deep = (
            nn.Conv2d(8, 8, 5, 1, 2),
            nn.Conv2d(8, 8, 3, 1, 1),
            nn.Conv2d(8, 8, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.deep(torch.relu(x)) + x + self.second(x)


def fill_norms(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight, part.running_var):
                values.data = 0.5 + torch.rand(values.shape, generator=generator)
            for values in (part.bias, part.running_mean):
                values.data = torch.randn(values.shape, generator=generator)
    return module.double().eval()


@pytest.mark.parametrize(
    ("module", "convolutions"),
    [
        (nn.Sequential(Plain(3, 8, 2), Plain(8, 8, 1), Plain(8, 8, 1, groups=4), Plain(8, 8, 1, groups=8)), 4),
        (nn.Sequential(nn.Conv2d(3, 8, 1), Residual()), 3),
    ],
)
@torch.no_grad()
def test_anyones_module_is_deployed_with_one_convolution_for_each_sum_of_branches(
    module: nn.Module, convolutions: int
) -> None:
    fill_norms(module)
    small = reparametrise(module)
    assert sum(isinstance(part, nn.Conv2d) for part in small.modules()) == convolutions
    assert not any(isinstance(part, nn.BatchNorm2d) for part in small.modules())
    torch.testing.assert_close(small(image()), module(image()), rtol=1e-9, atol=1e-9)


def test_branches_of_different_strides_or_paddings_stay_a_sum() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=0), nn.Conv2d(3, 4, 5, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) + self.two(x)

    module = Apart().double().eval()
    small = reparametrise(module)
    assert sum(isinstance(part, nn.Conv2d) for part in small.modules()) == 2
    torch.testing.assert_close(small(image()), module(image()))


def test_a_skip_whose_shape_changes_is_refused() -> None:
    from searchspace.errors import InvalidSpec

    with pytest.raises(InvalidSpec, match="stride 1 and equal channels, got stride 2 for 8 -> 8"):
        RepConv(out_channels=8, stride=2, branches=1, skip=True).check(8)
