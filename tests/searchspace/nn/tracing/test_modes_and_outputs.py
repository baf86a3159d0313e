"""Heads of training mode alone, attention, outputs of any structure."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from searchspace import costs
from searchspace.nn import module_macs, trace
from tests.searchspace.nn.tracing.test_trace import Odd, filled, images
from tests.searchspace.nn.tracing.zeroed import zero_channels

pytestmark = pytest.mark.usefixtures("one_thread")


class Auxiliary(nn.Module):
    """GoogLeNet's way: a second head in training mode alone; a layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.never = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(3, 8, 1)
        self.head, self.aux = nn.Linear(8, 4), nn.Sequential(nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(216, 4))

    def forward(self, x: Tensor) -> Any:
        x = self.one(x)
        found = self.head(self.two(x.relu()).mean((2, 3)))
        return (found, self.aux(x)) if self.training else found


def test_a_head_of_training_mode_alone_stays_and_holds_what_it_reads() -> None:
    network = trace(Auxiliary().eval(), resolution=8)
    fixed = {group.name: group.fixed for group in network.groups()}
    assert fixed["one"] == "aux.0, aux.2 reads them, in training mode alone"
    assert fixed["two"] == ""
    assert [layer.name for layer in network.graph.layers if layer.weights] == ["one", "two", "head"]
    cut = network.cut("two", [0, 3, 4]).module
    assert [each.shape for each in cut.train()(torch.rand(2, 3, 8, 8))] == [(2, 4), (2, 4)]
    assert cut.get_parameter("never.weight").shape == (8, 3, 1, 1)


@dataclass
class Found:
    """Outputs of a detector."""

    boxes: Tensor
    maps: dict[str, Tensor]


class Pair(NamedTuple):
    first: Tensor
    second: Found


class Attention(nn.Module):
    """A block of a vision transformer, with a class token, and heads of a fixed size."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.rand(1, 1, 12))
        self.place, self.norm = nn.Parameter(torch.rand(1, 5, 12)), nn.LayerNorm(12)
        self.qkv, self.project = nn.Linear(12, 24), nn.Linear(8, 12)
        self.mlp, self.head = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12)), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        q, k, v = self.qkv(self.norm(x)).reshape(len(x), x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        found = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.project(found.transpose(1, 2).flatten(2))
        return self.head((x + self.mlp(x))[:, 0])


@torch.no_grad()
def test_attention_counts_its_products_and_is_cut_around_its_heads() -> None:
    module, image = filled(Attention), images()[..., :8, :8]
    network = trace(module, resolution=8)
    assert costs(network.graph).macs == module_macs(module, resolution=8).macs
    assert costs(network.graph).params == sum(parameter.numel() for parameter in module.parameters())
    kept = {"patches": [0, 2, 3, 5, 6, 9, 11], "mlp.0": list(range(7))}
    assert {group.name for group in network.groups() if not group.fixed} == kept.keys()
    cut = network.cut_all(kept)
    assert costs(cut.graph).macs == module_macs(cut.module, resolution=8).macs
    for group in network.groups():
        if group.name in kept:
            zero_channels(network, group, kept[group.name])
    module.token[..., [1, 4, 7, 8, 10]] = module.place[..., [1, 4, 7, 8, 10]] = 0
    torch.testing.assert_close(cut.module(image), module(image))


def test_named_tuples_and_dataclasses_are_outputs() -> None:
    network = trace(
        Odd(lambda m, x: Pair(m.last(y := m.more(m.conv(x))), Found(y.mean((2, 3)), {"same": y}))), resolution=8
    )
    assert network.outputs == ((6, 8, 8), (4, 8, 8), (6, 1, 1))
    assert {group.name for group in network.groups() if not group.fixed} == {"conv"}
