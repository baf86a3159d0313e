"""Modules that share a parameter stay tied: they are cut together, or held with the reason."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from searchspace.cost import costs
from searchspace.errors import UnsupportedModule
from searchspace.nn import network_bytes, trace
from tests.searchspace.nn.tracing.architectures.residual import LayerNorm2d
from tests.searchspace.nn.tracing.zeroed import zero_channels

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """Two convolutions of one shape, and whatever parts a test gives it."""

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def in_a_row(net: Net, x: Tensor) -> Tensor:
    return net.last(net.two(net.one(net.conv(x)).relu()).relu())


def zeroed(net: Net, gone: list[int]) -> None:
    for part in (net.conv, net.one, net.two):
        part.weight.data[gone] = 0
        part.bias.data[gone] = 0  # type: ignore[union-attr]


@pytest.mark.parametrize("with_bias", [False, True], ids=["weight", "weight and bias"])
def test_convolutions_with_one_weight_are_cut_together_and_stay_tied(with_bias: bool) -> None:
    net = Net(in_a_row).eval()
    net.two.weight = net.one.weight
    if with_bias:
        net.two.bias = net.one.bias
    zeroed(net, [1, 4])
    traced, image = trace(net, resolution=8), torch.rand(1, 3, 8, 8)
    assert {group.name: group.fixed for group in traced.groups()}["conv"] == ""
    cut = traced.cut("conv", [0, 2, 3, 5])
    small: Net = cut.module  # type: ignore[assignment]
    torch.testing.assert_close(small(image), net(image))
    assert small.one.weight is small.two.weight
    assert small.one.weight.shape == (4, 4, 3, 3)
    assert (small.one.bias is small.two.bias) == with_bias
    assert net.one.weight.shape == (6, 6, 3, 3)
    assert net.one.weight is net.two.weight
    if with_bias:
        assert costs(cut.graph).params == sum(each.numel() for each in small.parameters())
    assert len(network_bytes(small, {})) > 4 * sum(each.numel() for each in small.state_dict().values())


def test_a_frozen_tied_weight_stays_frozen_and_tied() -> None:
    net = Net(in_a_row)
    net.two.weight = net.one.weight.requires_grad_(False)
    small: Net = trace(net, resolution=8).cut("conv", [0, 1]).module  # type: ignore[assignment]
    assert small.one.weight is small.two.weight
    assert not small.one.weight.requires_grad
    assert small.conv.weight.requires_grad


def test_norms_and_linear_layers_with_one_weight_are_cut_together() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.b(net.one(net.a(net.conv(x)))).mean((2, 3))
        return net.d(net.c(y).relu())[:, :, None, None] + net.last(net.two(net.conv(x)))[:, :1]

    parts: dict[str, nn.Module] = {"a": nn.BatchNorm2d(6), "b": nn.BatchNorm2d(6)}
    net = Net(forward, **parts, c=nn.Linear(6, 6), d=nn.Linear(6, 6))
    net.b.weight, net.b.bias, net.d.weight = net.a.weight, net.a.bias, net.c.weight  # type: ignore[assignment]
    traced = trace(net, resolution=8)
    for group in traced.groups():
        if not group.fixed:
            small = traced.cut(group.name, range(len(group.cells) - 1)).module
            assert small.b.weight is small.a.weight
            assert small.d.weight is small.c.weight
            assert small.b.bias is small.a.bias


def bias_of_a_norm(net: Net) -> None:
    net.one.bias = net.norm.bias  # type: ignore[union-attr, assignment]


def bias_alone(net: Net) -> None:
    net.one.bias = net.two.bias


class Gamma(nn.Module):
    """A scale of each channel under a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


NORMS: dict[str, Callable[[], nn.Module]] = {
    "PReLU": lambda: nn.PReLU(6),
    "PReLU of one slope": nn.PReLU,
    "GroupNorm": lambda: nn.GroupNorm(2, 6),
    "LayerNorm": lambda: LayerNorm2d(6),
    "InstanceNorm": lambda: nn.InstanceNorm2d(6, affine=True),
}


@pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
@torch.no_grad()
def test_norms_and_slopes_with_one_weight_are_cut_together(make: Callable[[], nn.Module]) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.last(net.b(net.two(net.a(net.one(net.conv(x))))))

    net = Net(forward, a=make(), b=make()).eval()
    for name, parameter in net.a.named_parameters():
        parameter.uniform_(0.5, 1.5)
        setattr(net.b, name, parameter)
    traced, image = trace(net, resolution=8), torch.rand(1, 3, 8, 8)
    (group,) = (each for each in traced.groups() if each.name == "one")
    assert not group.fixed
    small: Net = traced.cut("one", kept := [0, 2, 3, 5]).module  # type: ignore[assignment]
    zero_channels(traced, group, kept)
    torch.testing.assert_close(small(image), net(image))
    shared = [dict(part.named_parameters()) for part in (small.a, small.b)]
    assert shared[0].keys() == shared[1].keys()
    assert all(each is shared[1][name] for name, each in shared[0].items())


@torch.no_grad()
def test_a_transposed_convolution_with_the_weight_of_a_convolution_is_cut_in_reverse() -> None:
    net = Net(
        lambda net, x: net.last(net.up(net.two(net.one(net.conv(x)).relu()).relu())), up=nn.ConvTranspose2d(6, 6, 3)
    )
    net.two.weight = net.up.weight  # type: ignore[assignment]
    traced, image = trace(net, resolution=8), torch.rand(1, 3, 8, 8)
    for name in ("one", "two"):
        (group,) = (each for each in traced.groups() if each.name == name)
        cut = traced.cut(name, kept := [0, 1, 4])
        zero_channels(traced, group, kept)
        torch.testing.assert_close(cut.module(image), net(image))
        assert cut.module.get_parameter("two.weight") is cut.module.get_parameter("up.weight")
        traced, net = cut, cut.module  # type: ignore[assignment]
    assert net.up.weight.shape == (3, 3, 3, 3)


def scales(net: Net) -> None:
    net.b.gamma = net.a.gamma  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tie", "named"),
    [(bias_of_a_norm, "norm"), (bias_alone, "one"), (scales, "a")],
    ids=["norm", "bias", "scales"],
)
def test_modules_that_share_a_parameter_in_different_ways_are_held(tie: Callable[[Net], None], named: str) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.last(net.b(net.two(net.a(net.one(net.norm(net.conv(x)))))))

    net = Net(forward, norm=nn.BatchNorm2d(6), a=Gamma(), b=Gamma())
    tie(net)
    reasons = [group.fixed for group in trace(net, resolution=8).groups()]
    assert f"{named} shares a parameter with another module, and cannot be cut together with it" in reasons


def test_one_weight_for_different_channels_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.last(net.two(net.one(net.conv(x))))
        return net.a(y.mean((2, 3))) + net.b(nn.functional.avg_pool2d(net.p(y), 4).flatten(1))

    net = Net(forward, a=nn.Linear(4, 5), b=nn.Linear(4, 5), p=nn.Conv2d(4, 1, 1))
    net.b.weight = net.a.weight  # type: ignore[assignment]
    with pytest.raises(UnsupportedModule, match=r"b \(Linear\).*the weights of a, which reads 4 channels where it 1"):
        trace(net, resolution=8)
