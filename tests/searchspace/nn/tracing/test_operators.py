"""Operators of users' modules, one by one: what is cut computes what it did with the other channels at 0."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace import costs
from searchspace.nn import trace
from tests.searchspace.nn.tracing.architectures.residual import LayerNorm2d
from tests.searchspace.nn.tracing.test_architectures import some_channels, zero_channels

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = 6


class Between(nn.Module):
    """A part, or a function of it and a map of 8 channels, between two convolutions."""

    def __init__(self, part: nn.Module, run: Callable[["Between", Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.before, self.part, self.run = nn.Conv2d(3, 8, 3, padding=1), part, run
        with torch.no_grad():
            channels = self.middle(torch.zeros(1, 3, PIXELS, PIXELS)).shape[1]
        self.after = nn.Conv2d(channels, 4, 1)

    def middle(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.part(x) if self.run is None else self.run(self, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.middle(x))


class Scale(nn.Module):
    """A learned scale of each channel, in the shape that is given."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 8).reshape(shape))


class LastNorm(nn.LayerNorm):
    """LayerNorm over channels by permutations, as image models write it."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Rms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(dim=1, keepdim=True) + 1e-3) * self.g


def shuffled(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.reshape(b, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).reshape(b, c, h, w)


def gated(m: Between, x: Tensor) -> Tensor:
    a, b = m.part(x).chunk(2, dim=1)
    return a * torch.sigmoid(b)


def halves(x: Tensor) -> Tensor:
    c = x.shape[1] // 2
    return torch.cat([F.relu(x[:, c:]), x[:, :c]], 1)


def split(m: Between, x: Tensor) -> Tensor:
    first, second = torch.split(x, x.shape[1] // 2, dim=1)
    return first - F.mish(second)


def grid(m: Between, x: Tensor) -> Tensor:
    flat = m.part(F.adaptive_avg_pool2d(x, 1).flatten(1))
    return flat.view(flat.size(0), -1, 2, 2)


class FrozenNorm(nn.Module):
    """Batch norm of buffers alone, as detectors have it."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias", "mean", "var"):
            self.register_buffer(name, torch.linspace(0.5, 1.5, 8))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.reshape(1, -1, 1, 1) * (self.var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
        return x * scale + (self.bias.reshape(1, -1, 1, 1) - self.mean[:, None, None] * scale)


def by_shape(m: Between, x: Tensor) -> Tensor:
    """Code that asks sizes for numbers."""
    if x.dim() != 4 or x.shape[1] % 2:
        raise ValueError("odd")
    height, width = (int(size * 0.5) for size in x.size()[2:])
    pooled = [F.adaptive_avg_pool2d(x, (height, width))] * len(x.shape[2:])
    total = sum(y.view(*y.shape[:2], -1).sum(2) for y in pooled)
    return m.part[1:](m.part[:1](x * torch.zeros_like(x[:, :1]).sigmoid())) * total[:, :, None, None]


def with_coordinates(m: Between, x: Tensor) -> Tensor:
    rows = torch.linspace(0, 1, x.shape[2]).view(1, 1, -1, 1)
    return (x + rows) ** 3 * torch.tensor([2.0]) * x.flatten(2).max(dim=-1).values[..., None, None]


def side_by_side(m: Between, x: Tensor) -> Tensor:
    """As coordinate attention does it."""
    rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
    rows, columns = m.part(torch.cat([rows, columns], 2)).split([x.shape[2], x.shape[3]], 2)
    return x * rows.sigmoid() * columns.transpose(2, 3).sigmoid()


def stacked(m: Between, x: Tensor) -> Tensor:
    """As selective kernels do it."""
    both = torch.stack([m.part(x), F.relu(x)], 1)
    return (both * torch.softmax(both.mean((3, 4), keepdim=True), 1)).sum(1)


PARTS: dict[str, tuple[nn.Module, Callable[[Between, Tensor], Tensor] | None]] = {
    "LeakyReLU": (nn.LeakyReLU(0.2), None),
    "PReLU of one slope": (nn.PReLU(), None),
    "PReLU of one slope, twice": (nn.PReLU(), lambda m, x: m.part(m.part(x) - 1)),
    "a learned power, twice": (
        nn.ParameterList([nn.Parameter(torch.tensor([3.0]))]),
        lambda m, x: F.avg_pool2d((x.abs() + 1).pow(m.part[0] + 2), 2).pow(1 / (m.part[0] + 2)),
    ),
    "PReLU of a slope each": (nn.PReLU(8), None),
    "GELU by tanh": (nn.GELU(approximate="tanh"), None),
    "functions": (nn.Identity(), lambda m, x: F.elu(F.gelu(x).tanh().clamp(min=-0.5)) * 2.0 - 1 / (x.exp() + 1)),
    "hard swish by hand": (nn.Identity(), lambda m, x: x * F.relu6(x + 3) / 6),
    "GroupNorm": (nn.GroupNorm(4, 8), None),
    "GroupNorm of one group": (nn.GroupNorm(1, 8), None),
    "GroupNorm of a group each": (nn.GroupNorm(8, 8), None),
    "InstanceNorm": (nn.InstanceNorm2d(8, affine=True), None),
    "LayerNorm, channels first": (LayerNorm2d(8), None),
    "LayerNorm by permutations inside": (LastNorm(8), None),
    "LayerNorm by permutations outside": (
        nn.LayerNorm(8),
        lambda m, x: m.part(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    ),
    "LayerNorm of tokens": (nn.LayerNorm(8), lambda m, x: m.part(x.flatten(2).mT).transpose(1, 2).reshape(x.shape)),
    "LayerNorm of the map": (nn.LayerNorm((8, PIXELS, PIXELS)), None),
    "RMSNorm by hand": (Rms(), None),
    "scale": (Scale(8), lambda m, x: (x.permute(0, 2, 3, 1) * m.part.gamma).permute(0, 3, 1, 2)),
    "scale with axes": (Scale(1, 8, 1, 1), lambda m, x: m.part.gamma * x + x),
    "scale by a view": (Scale(8), lambda m, x: x.mul(m.part.gamma.view(1, -1, 1, 1))),
    "side by side": (nn.Conv2d(8, 8, 1), side_by_side),
    "stacked": (nn.Conv2d(8, 8, 1), stacked),
    "channels of coordinates": (
        nn.Identity(),
        lambda m, x: torch.cat([x, torch.arange(PIXELS).to(x).view(1, 1, 1, -1).expand(x.shape[0], 1, PIXELS, -1)], 1),
    ),
    "frozen batch norm": (FrozenNorm(), None),
    "position embedding": (Scale(1, 8, 1, 1), lambda m, x: x + m.part.gamma.expand(-1, -1, PIXELS, 1) * m.part.gamma),
    "values for each place": (
        nn.ParameterList([nn.Parameter(torch.ones(1, 8, PIXELS, PIXELS)), nn.Parameter(torch.ones(PIXELS, 1))]),
        lambda m, x: x.relu() * m.part[0] + m.part[1] / 2,
    ),
    "a learned power": (
        nn.ParameterList([nn.Parameter(torch.tensor([3.0]))]),
        lambda m, x: (x.abs() + 1).pow(m.part[0]),
    ),
    "sizes as numbers": (nn.Sequential(nn.ReLU(), nn.Identity(), nn.Conv2d(8, 8, 1)), by_shape),
    "coordinates and constants": (nn.Identity(), with_coordinates),
    "learned scalar": (nn.ParameterList([nn.Parameter(torch.tensor(0.3))]), lambda m, x: x + m.part[0] * F.relu(x)),
    "Upsample": (nn.Upsample(scale_factor=2, mode="bilinear"), None),
    "interpolate": (nn.Identity(), lambda m, x: F.interpolate(x, size=(9, 9)) + F.interpolate(x, scale_factor=1.5)),
    "ConvTranspose2d": (nn.ConvTranspose2d(8, 12, 3, 2, 1, output_padding=1), None),
    "ConvTranspose2d in groups": (nn.ConvTranspose2d(8, 12, 4, 2, groups=2), None),
    "ConvTranspose2d depthwise": (nn.ConvTranspose2d(8, 8, 4, 2, groups=8), None),
    "PixelShuffle": (nn.PixelShuffle(2), None),
    "PixelUnshuffle": (nn.PixelUnshuffle(3), None),
    "dilated": (nn.Conv2d(8, 10, 3, padding=2, dilation=2), None),
    "1x3 and odd padding": (nn.Conv2d(8, 10, (1, 3), stride=(1, 2), padding=(2, 0)), None),
    "chunk": (nn.Conv2d(8, 12, 1), gated),
    "split by shape": (nn.Identity(), split),
    "halves by slices": (nn.Identity(), lambda m, x: halves(x)),
    "channel shuffle by hand": (nn.Conv2d(8, 8, 3, padding=1, groups=2), lambda m, x: m.part(shuffled(x, 2))),
    "ChannelShuffle": (nn.ChannelShuffle(2), None),
    "used twice": (nn.Conv2d(8, 8, 3, padding=1), lambda m, x: m.part(F.relu(m.part(x)))),
    "self and self": (nn.Identity(), lambda m, x: torch.cat([x, F.relu(x), x], 1)),
    "attention over pixels": (nn.Conv2d(8, 1, 1), lambda m, x: x * torch.sigmoid(m.part(x))),
    "linear to map": (nn.Linear(8, 32), grid),
    "linear over channels": (nn.Linear(8, 10), lambda m, x: m.part(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
    "padding and cropping": (
        nn.ZeroPad2d(1),
        lambda m, x: F.pad(m.part(x), (0, 1, 0, 1), mode="replicate")[:, :, 1:, :-1],
    ),
    "largest of two": (nn.Conv2d(8, 8, 1), lambda m, x: torch.maximum(x, m.part(x)) / (1 + x.abs())),
    "pooling of all kinds": (
        nn.AdaptiveAvgPool2d(3),
        lambda m, x: (
            m.part(x) + x.amax((2, 3), keepdim=True) + x.sum((2, 3))[:, :, None, None] + x.mean(3)[..., None, :3]
        ),
    ),
}


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_an_operator_is_cut_with_the_channels_that_it_handles(name: str) -> None:
    torch.manual_seed(0)
    part, run = PARTS[name]
    module = Between(part, run).double().eval()
    for parameter in module.parameters():
        parameter.uniform_(-1.0, 1.0)
    network = trace(module, resolution=PIXELS)
    assert costs(network.graph).params == sum(parameter.numel() for parameter in module.parameters())
    image = torch.randn(1, 3, PIXELS, PIXELS, dtype=torch.double)
    groups = [group for group in network.groups() if not group.fixed]
    chosen = {group.name: some_channels(network, group, 0.6, random.Random(0)) for group in groups}
    kept = {name: units for name, units in chosen.items() if units is not None}
    assert "before" in kept
    cut = network.cut_all(kept)
    for group in groups:
        zero_channels(network, group, kept[group.name])
    torch.testing.assert_close(cut.module(image), module(image), rtol=1e-9, atol=1e-9)
    again = {group.name: some_channels(cut, group, 0.5, random.Random(1)) for group in cut.groups() if not group.fixed}
    smaller = cut.cut_all({name: units for name, units in again.items() if units is not None})
    assert smaller.module(image).shape == module(image).shape


class Heads(nn.Module):
    """A colour image and a depth image; a class, and a mask of the same image."""

    def __init__(self) -> None:
        super().__init__()
        self.colour, self.depth = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 8, 3, padding=1)
        self.body = nn.Conv2d(16, 12, 3, padding=1)
        self.label, self.mask = nn.Linear(12, 5), nn.Conv2d(12, 2, 1)

    def forward(self, colour: Tensor, depth: Tensor) -> dict[str, Tensor]:
        x = F.leaky_relu(self.body(torch.cat([self.colour(colour), F.gelu(self.depth(depth))], 1)))
        return {"label": self.label(x.mean((2, 3))), "mask": self.mask(x)}


@torch.no_grad()
def test_two_inputs_and_two_heads_keep_their_channels_and_all_between_can_be_cut() -> None:
    torch.manual_seed(0)
    module = Heads().double().eval()
    network = trace(module, in_channels=(3, 1), resolution=PIXELS)
    fixed = {group.name: group.fixed for group in network.groups() if group.fixed}
    assert fixed == {
        **dict.fromkeys(("input", "input depth"), "it holds the network's input"),
        **dict.fromkeys(("label", "mask"), "it holds the network's classes"),
    }
    images = [torch.randn(2, channels, PIXELS, PIXELS, dtype=torch.double) for channels in (3, 1)]
    kept = {"colour": [0, 3, 5], "depth": [1, 2], "body": [0, 1, 2, 8, 9, 10]}
    cut = network.cut_all(kept)
    for group in network.groups():
        if group.name in kept:
            zero_channels(network, group, kept[group.name])
    torch.testing.assert_close(cut.module(*images), module(*images), rtol=1e-9, atol=1e-9)
