"""search.prune_module: any module comes down to a budget, by importance, by the user's score, by time."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import search
from search.latency.measurement import Measurement
from search.latency.runtimes.eager import Eager
from search.netadapt.prune_module import PrunedModule
from search.netadapt.timing import Timing
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidArgument, MissingLatency, UnsupportedModule
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import trace, trace_shapes
from tests.search.netadapt.scripted import Own, ScriptedTimer, own_module
from tests.searchspace.nn.tracing.architectures.branching import CspDarknet, ShuffleNetV2
from tests.searchspace.nn.tracing.architectures.dense_outputs import Siamese, UNet
from tests.searchspace.nn.tracing.architectures.residual import ConvNeXtTiny
from tests.searchspace.nn.tracing.zeroed import filled, zero_channels

pytestmark = pytest.mark.usefixtures("one_thread", "place")


class Heads(nn.Module):
    """An image and a vector to labels and a map: two inputs, two heads in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.1)),
            *(nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.GELU()),
        )
        self.about = nn.Sequential(nn.Linear(5, 12), nn.ReLU())
        self.label, self.mask = nn.Linear(36, 4), nn.ConvTranspose2d(24, 2, 2, stride=2)

    def forward(self, image: Tensor, about: Tensor) -> dict[str, Tensor]:
        x = self.body(image)
        found = torch.cat([x.mean((2, 3)), self.about(about)], 1)
        return {"label": self.label(found), "mask": self.mask(x)}


class Case(NamedTuple):
    """A network and the shapes of its inputs."""

    make: type[nn.Module]
    shapes: tuple[tuple[int, ...], ...]


CASES = {
    "U-Net": Case(UNet, ((1, 1, 32, 48),)),
    "two heads": Case(Heads, ((1, 1, 16, 24), (1, 5))),
    "siamese": Case(Siamese, ((1, 1, 48, 48),) * 2),
    "CSP-Darknet": Case(CspDarknet, ((1, 3, 32, 32),)),
    "ConvNeXt-Tiny": Case(ConvNeXtTiny, ((1, 3, 32, 32),)),
    "ShuffleNetV2": Case(ShuffleNetV2, ((1, 3, 32, 32),)),
}


def macs_of(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    return costs(trace_shapes(module, [shape[1:] for shape in shapes]).graph).macs


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_half_of_the_macs_compute_what_the_module_did_with_the_other_channels_at_0(name: str) -> None:
    make, shapes = CASES[name]
    module, inputs = filled(make), tuple(torch.randn(shape) for shape in shapes)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    whole = macs_of(module, *shapes)
    found = search.prune_module(module, inputs, budget_macs=whole / 2, step=0.15, quiet=True)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert type(found.module) is make
    assert not found.module.training
    assert 0.45 * whole < macs_of(found.module, *shapes) == found.after["macs"] <= whole / 2
    assert found.before["macs"] == whole
    assert found.after["params"] == sum(parameter.numel() for parameter in found.module.parameters())
    network = trace_shapes(module, [shape[1:] for shape in shapes])
    for group in network.groups():
        if group.name in found.kept:
            zero_channels(network, group, list(found.kept[group.name]))
    equal(found.module(*inputs), module(*inputs))


def equal(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            equal(found[key], value)
    else:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_shapes_do_as_well_as_examples_and_budgets_in_parameters_as_well_as_in_macs() -> None:
    module = filled(Heads)
    params = sum(parameter.numel() for parameter in module.parameters())
    found = [
        search.prune_module(module, inputs, budget_params=0.6 * params, quiet=True)
        for inputs in (((1, 1, 16, 24), (1, 5)), (torch.zeros(3, 1, 16, 24), torch.zeros(3, 5)))
    ]
    assert found[0].kept == found[1].kept
    assert found[0].after["params"] == sum(each.numel() for each in found[0].module.parameters()) <= 0.6 * params
    assert search.prune_module(own_module(), (1, 3, 32, 32), budget_macs=1e9, quiet=True).kept == {}


def test_what_keep_names_stays_whole_and_is_among_what_was_not_pruned() -> None:
    module = own_module()
    found = search.prune_module(
        module, (1, 3, 32, 32), budget_macs=0.7 * macs_of(module, (1, 3, 32, 32)), keep=["one"], quiet=True
    )
    assert found.module.get_submodule("one.0").get_parameter("weight").shape[0] == 20
    assert found.fixed == {"one.0": "keep says that it stays as it is"}
    assert found.channels.keys() == {"stem.0"}
    assert "one.0: not pruned, keep says that it stays as it is" in found.report()
    with pytest.raises(InvalidArgument, match=r"keep must name channel groups, .*got 'on'; the nearest are"):
        search.prune_module(module, (1, 3, 32, 32), budget_macs=1e5, keep=["on"], quiet=True)


# The user's score and training


def stem_channels(module: nn.Module) -> int:
    return int(module.get_submodule("stem.0").get_parameter("weight").shape[0])


def test_cuts_are_compared_by_the_users_score() -> None:
    """About: one score is for a narrow stem, one for a wide one."""
    module, budget = own_module(), 0.7 * macs_of(own_module(), (1, 3, 32, 32))

    def pruned(score: Callable[[nn.Module], float]) -> PrunedModule:
        return search.prune_module(module, (1, 3, 32, 32), budget_macs=budget, score=score, quiet=True)

    narrow, wide = pruned(lambda each: -stem_channels(each)), pruned(stem_channels)
    assert stem_channels(narrow.module) < stem_channels(wide.module) == 12
    assert [step.score for step in wide.steps] == [12.0] * len(wide.steps)


def test_each_network_is_trained_by_the_users_own_loop_and_what_it_learnt_stays() -> None:
    images, maps = torch.randn(4, 1, 16, 24), torch.randn(4, 2, 16, 24)
    about, seen, draws = torch.randn(4, 5), [], []

    def train(module: nn.Module) -> None:
        module.train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.mse_loss(module(images, about)["mask"], maps)
            loss.backward()
            optimizer.step()
        seen.append(float(loss.detach()))
        draws.append(float(torch.rand(())))

    module = filled(Heads)
    budget = macs_of(module, (1, 1, 16, 24), (1, 5)) / 2
    how: dict[str, Any] = {"budget_macs": budget, "train": train, "step": 0.1, "quiet": True}
    found = search.prune_module(module, (images, about), **how)
    assert len(seen) == len(found.steps) > 2
    assert seen[-1] < F.mse_loss(module(images, about)["mask"], maps)
    assert not found.module.training
    first = draws[:]
    torch.rand(7)
    again = search.prune_module(module, (images, about), **how)
    assert draws[len(first) :] == first
    assert found.kept == again.kept
    with torch.no_grad():
        equal(again.module(images, about), found.module(images, about))


@torch.no_grad()
def test_units_are_numbered_as_in_the_module_that_was_given_also_after_trainings() -> None:
    """A training that changes nothing leaves what is left of the module as it was."""
    for make, shape in ((ShuffleNetV2, (1, 3, 32, 32)), (Own, (1, 3, 32, 32))):
        module, image = filled(make), torch.randn(shape)
        budget = 0.7 * macs_of(module, shape)
        found = search.prune_module(module, image, budget_macs=budget, train=lambda _: None, step=0.15, quiet=True)
        network = trace(module, resolution=32)
        for group in network.groups():
            if group.name in found.kept:
                zero_channels(network, group, list(found.kept[group.name]))
        equal(found.module(image), module(image))


# Time


class ByMacs(ScriptedTimer):
    """A device on which a module takes what it has in MACs, and half as much again with fewer than 16 channels in
    `one`."""

    def ms(self, subject: Any) -> float:
        slow = subject.get_submodule("one.0").get_parameter("weight").shape[0] < 16
        return (1.5 if slow else 1.0) * macs_of(subject, (1, 3, 32, 32)) / 1e3

    def alone(self, subject: Any) -> Measurement:
        ms = self.ms(subject)
        return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=1, raw_median_ms=ms, noisy=False)

    def pair(self, before: Any, after: Any) -> Timing:
        ratio = self.ms(after) / self.ms(before)
        return Timing(self.ms(before), self.ms(after), ratio, ratio, ratio, 12)


def test_a_budget_in_ms_is_met_by_measured_time_and_what_measures_slower_is_not_taken() -> None:
    module = own_module()
    whole = macs_of(module, (1, 3, 32, 32)) / 1e3
    found = search.prune_module(module, (1, 3, 32, 32), budget_ms=0.7 * whole, timer=ByMacs(), quiet=True)
    assert found.before["ms"] == whole
    assert 0.6 * whole < found.after["ms"] <= 0.7 * whole
    assert found.module.get_submodule("one.0").get_parameter("weight").shape[0] >= 16
    with pytest.raises(InfeasibleBudget, match=r"got 0\.10 ms: the module comes down to \d+\.\d+ ms at the least"):
        search.prune_module(module, (1, 3, 32, 32), budget_ms=0.1, timer=ByMacs(), quiet=True)


class InVectors(ByMacs):
    """A device that computes 8 channels at once, and tells times apart that differ by more than 5 %."""

    def ms(self, subject: Any) -> float:
        layers = [layer for layer in subject.modules() if isinstance(layer, nn.Conv2d)]
        return sum(
            math.prod(math.ceil(channels / 8) for channels in (layer.in_channels, layer.out_channels))
            for layer in layers
        )

    def pair(self, before: Any, after: Any) -> Timing:
        ratio = self.ms(after) / self.ms(before) + 0.01
        return Timing(self.ms(before), self.ms(after), ratio, ratio - 0.05, ratio + 0.05, 12)


def test_half_of_the_time_is_reached_where_single_channels_save_none() -> None:
    module = nn.Sequential(*(nn.Conv2d(24 if at else 3, 24, 3, padding=1) for at in range(3)), nn.Conv2d(24, 4, 1))
    whole = InVectors().ms(module)
    found = search.prune_module(module, (1, 3, 32, 32), budget_ms=whole / 2, timer=InVectors(), quiet=True)
    assert found.after["ms"] <= whole / 2
    assert [step.name[2:] for step in found.steps[:3]] == ["to 16 channels"] * 3
    assert all(one.cost <= before.cost for before, one in pairwise(found.steps))


@pytest.mark.slow
def test_without_a_table_this_machine_times_what_no_table_has_measured() -> None:
    found = search.prune_module(filled(Heads), ((1, 1, 16, 24), (1, 5)), budget_ms=1e3, quiet=True)
    assert 0 < found.before["ms"] == found.after["ms"] < 1e3


def test_a_table_that_has_not_measured_an_operator_says_so_and_what_to_do() -> None:
    table = LatencyTable(Eager().identity(32), 1.0, {}, Correction(1.0, 0.0, 0.03))
    with pytest.raises(MissingLatency, match=r"leave latency out: then the module is timed on this machine"):
        search.prune_module(own_module(), (1, 3, 32, 32), budget_ms=1.0, latency=table, quiet=True)


# Refusals


class HardWired(Own):
    """Its code asserts a number of channels that a Graph knows nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.one(x)
        torch._assert(inner.shape[1] == 20, "one must give 20 channels")
        out: Tensor = self.head(torch.relu(x + self.two(inner)).mean((2, 3)))
        return out


def test_a_group_that_the_modules_code_does_not_allow_to_be_cut_is_left_whole_and_named() -> None:
    torch.manual_seed(0)
    module = HardWired().eval()
    budget = 0.6 * macs_of(module, (1, 3, 32, 32))
    for train in (None, lambda _: None):
        found = search.prune_module(module, (1, 3, 32, 32), budget_macs=budget, train=train, quiet=True)
        assert found.after["macs"] <= budget
        assert "one must give 20 channels" in found.fixed["one.0"]
        assert found.channels.keys() == {"stem.0"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one budget: budget_macs, budget_params or budget_ms, got 0 of them"),
        ({"budget_macs": 1e4, "budget_ms": 1.0}, "give one budget.*got 2 of them"),
        ({"budget_macs": float("nan")}, "budget_macs must be a number above 0, got nan"),
        ({"budget_macs": 1e5, "inputs": (3, 32, 32)}, r"each input must be an example or its shape.*got \(3, 32, 32\)"),
        (
            {"budget_macs": 1e5, "inputs": torch.zeros(1, 3, 32, 32, dtype=torch.long)},
            "floating-point numbers, got torch.int64",
        ),
        ({"budget_macs": 1e5, "step": 1.0}, "step must be a share above 0 and below 1, got 1.0"),
        ({"budget_macs": 1e5, "shortlist": 0}, "shortlist must be at least 1, got 0"),
        ({"budget_macs": 1e5, "latency": "table.json"}, "latency is for budget_ms, got it with budget_macs"),
        ({"budget_macs": 1e5, "score": 3}, "score must be"),
        ({"budget_macs": 1e5, "score": lambda _: "good"}, "score must give a number.*got 'good'"),
        ({"budget_macs": 1e5, "score": lambda _: float("nan")}, "score must give a number.*got nan"),
    ],
)
def test_arguments_that_make_no_sense_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        search.prune_module(own_module(), **({"inputs": (1, 3, 32, 32), "quiet": True} | given))


def test_a_budget_below_the_smallest_possible_names_the_smallest() -> None:
    with pytest.raises(
        InfeasibleBudget, match=r"got 1e-06 M MACs: the module comes down to [\d.]+ M MACs at the least"
    ):
        search.prune_module(own_module(), (1, 3, 32, 32), budget_macs=1.0, quiet=True)


def test_modules_that_cannot_be_pruned_are_refused_in_one_sentence() -> None:
    class Odd(Own):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(super().forward(x)).real

    with pytest.raises(UnsupportedModule, match="fft"):
        search.prune_module(Odd(), (1, 3, 32, 32), budget_macs=1e4, quiet=True)
    with pytest.raises(InvalidArgument, match="needs 2 inputs, got 1"):
        search.prune_module(Heads(), (1, 1, 16, 24), budget_macs=1e4, quiet=True)
    damaged = own_module()
    torch.nn.init.constant_(damaged.get_submodule("head").get_parameter("bias"), float("nan"))
    with pytest.raises(UnsupportedModule, match=r"weights must be finite.*head\.bias"):
        search.prune_module(damaged, (1, 3, 32, 32), budget_macs=1e5, quiet=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_module_keeps_its_dtype_and_computed_weights_become_plain(dtype: torch.dtype) -> None:
    module = own_module().to(dtype)
    nn.utils.parametrizations.weight_norm(module.get_submodule("one.0"))
    found = search.prune_module(module, (1, 3, 32, 32), budget_macs=3e5, quiet=True)
    assert {each.dtype for each in found.module.parameters()} == {dtype}
    assert "one.0.weight" in found.module.state_dict()


def test_a_training_that_diverges_is_named() -> None:
    def train(module: nn.Module) -> None:
        torch.nn.init.constant_(module.get_submodule("head").get_parameter("weight"), float("inf"))

    with pytest.raises(InvalidArgument, match=r"train must leave finite weights, got .* in head\.weight"):
        search.prune_module(own_module(), (1, 3, 32, 32), budget_macs=1e5, train=train, quiet=True)
