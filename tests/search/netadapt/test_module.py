"""A user's own module goes down to a budget, or it is said what stands in the way."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from search.budget import CostModel
from search.data import Dataset, load
from search.latency.measurement import Measurement
from search.latency.runtimes import runtime
from search.latency.runtimes.eager import Eager
from search.netadapt.module import prune_module
from search.netadapt.timing import DeviceTimer, Timing
from search.training.trainer import TrainingDiverged, train
from searchspace.cost import layer_params_macs
from searchspace.errors import InfeasibleBudget, InvalidArgument, UnsupportedModule
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn.tracing.trace import trace

pytestmark = pytest.mark.usefixtures("one_thread")
MACS = CostModel("macs")


class Own(nn.Module):
    """A residual network as a user writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(12, 20, 3, 1, 1, bias=False), nn.BatchNorm2d(20), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(20, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.two(self.one(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(None, resolution=16, images=200, cache_dir=tmp_path_factory.mktemp("cache"))


def test_a_users_module_comes_down_to_the_budget_and_stays_as_it_was(images: Dataset) -> None:
    torch.manual_seed(0)
    module = Own()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    cost = MACS.cost(trace(module.eval(), resolution=32).graph)
    found = prune_module(
        module,
        train=images.train,
        validation=images.validation,
        cost_model=MACS,
        budget=0.7 * cost,
        resolution=32,
        step=0.15,
        shortlist=2,
        short_steps=2,
        validation_images=100,
    )
    after = MACS.cost(trace(found.module, resolution=32).graph)
    assert 0.5 * cost < after <= 0.7 * cost
    assert after == pytest.approx(found.steps[-1].cost)
    assert found.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_table_of_a_runtime_that_cannot_run_the_module_is_refused_before_any_training(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("search.netadapt.module.fit", None)
    graph = trace(Own().eval(), resolution=32).graph
    kernels = {layer.signature: 1e-6 * layer_params_macs(layer)[1] for layer in graph.layers}
    table = LatencyTable(runtime("onnxruntime").identity(32), 1.0, kernels, Correction(1.0, 0.1, 0.03))
    with pytest.raises(InvalidArgument, match=r"measures networks that searchspace\.nn built, got a"):
        prune_module(
            Own(),
            train=images.train,
            validation=images.validation,
            cost_model=CostModel("ms", table),
            budget=0.1,
            resolution=32,
        )


class Slower:
    """A device on which every cut is slower."""

    def check(self, module: nn.Module, resolution: int) -> None:
        pass

    def modules(self, before: nn.Module, after: nn.Module, resolution: int) -> Timing:
        return Timing(1.0, 1.5, 1.5, 1.5, 1.5, 12)


def test_a_cut_that_was_refused_is_not_tried_again(images: Dataset) -> None:
    said: list[str] = []
    cost = MACS.cost(trace(Own().eval(), resolution=32).graph)
    with pytest.raises(InfeasibleBudget, match=r"measures slower .* were tried"):
        prune_module(
            Own(),
            train=images.train,
            validation=images.validation,
            cost_model=MACS,
            budget=0.98 * cost,
            resolution=32,
            short_steps=0,
            validation_images=50,
            timer=cast("DeviceTimer", Slower()),
            line=said.append,
        )
    assert len(said) >= 2
    assert len(said) == len(set(said))


def test_a_cut_whose_training_diverges_is_not_taken_and_the_descent_goes_on(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def diverges_first(*args: Any, **given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise TrainingDiverged("the loss became nan")
        return train(*args, **given)

    monkeypatch.setattr("search.netadapt.module.fit", diverges_first)
    cost = MACS.cost(trace(Own().eval(), resolution=32).graph)
    found = prune_module(
        Own(),
        train=images.train,
        validation=images.validation,
        cost_model=MACS,
        budget=0.9 * cost,
        resolution=32,
        short_steps=2,
        shortlist=1,
        validation_images=50,
    )
    assert found.steps[-1].cost <= 0.9 * cost


def test_by_a_table_of_this_machine_a_module_is_timed_and_ends_where_it_measures_within_the_budget(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device takes a tenth more than the table says."""
    graph = trace(Own().eval(), resolution=32).graph
    kernels = {layer.signature: 1e-3 + 1e-6 * layer_params_macs(layer)[1] for layer in graph.layers}
    for part in (0.25, 0.5, 0.75):  # so that kernels of other channels are estimated
        for layer in graph.layers:
            small = layer._replace(in_shape=(max(3, round(part * layer.in_shape[0])), *layer.in_shape[1:]))
            kernels.setdefault(small.signature, 1e-3 + 1e-6 * layer_params_macs(small)[1])
    table = LatencyTable(Eager().identity(32), 1.0, kernels, Correction(1.0, 0.0, 0.03))
    cost_model, timed = CostModel("ms", table), 0

    class Device:
        def __init__(self, of: LatencyTable, *, seed: int) -> None:
            assert of is table

        def check(self, module: nn.Module, resolution: int) -> None:
            pass

        def modules(self, before: nn.Module, after: nn.Module, resolution: int) -> Timing:
            nonlocal timed
            timed += 1
            return Timing(1.0, 0.9, 0.9, 0.9, 0.9, 12)

        def module(self, module: nn.Module, resolution: int) -> Measurement:
            ms = 1.1 * cost_model.cost(trace(module, resolution=resolution).graph)
            return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)

    monkeypatch.setattr("search.netadapt.module.DeviceTimer", Device)
    budget, said = 0.9 * cost_model.cost(graph), list[str]()
    found = prune_module(
        Own(),
        train=images.train,
        validation=images.validation,
        cost_model=cost_model,
        budget=budget,
        resolution=32,
        short_steps=0,
        shortlist=1,
        validation_images=50,
        line=said.append,
    )
    assert found.measured is not None
    assert found.measured.latency_ms <= budget
    assert any("a little over the budget" in text for text in said)
    assert timed >= len(found.steps) > 0
    assert all(step.timing for step in found.steps)


def test_a_budget_out_of_reach_and_a_module_that_cannot_be_read_are_refused(images: Dataset, tmp_path: Path) -> None:
    class Odd(Own):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(super().forward(x)).real

    given = {"train": images.train, "validation": images.validation, "cost_model": MACS, "resolution": 32}
    quick = {"short_steps": 0, "shortlist": 1, "validation_images": 50, "step": 0.9}
    with pytest.raises(InfeasibleBudget, match="no channel group of the module can be cut further"):
        prune_module(Own(), budget=1.0, **given, **quick)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModule, match="fft"):
        prune_module(Odd(), budget=1e4, **given, **quick)  # type: ignore[arg-type]
    few = Own()
    few.head = nn.Linear(12, 5)
    with pytest.raises(InvalidArgument, match="10 classes and the module tells 5 apart"):
        prune_module(few, budget=1e4, **given, **quick)  # type: ignore[arg-type]
