"""search.prune: specs and users' own modules come down to a budget, or it is said what stands in the way."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import search
from search.budget import CostModel
from search.data import Dataset, load
from search.latency.reference import REFERENCE
from search.latency.runtimes import runtime
from search.latency.runtimes.eager import Eager
from search.netadapt.__main__ import text_of
from search.netadapt.api import Pruned, prune, replay_of
from search.netadapt.history import StoredHistory
from search.netadapt.inputs import Inputs
from searchspace import zoo
from searchspace.cost import layer_params_macs, macs
from searchspace.errors import InfeasibleBudget, InvalidArgument, MissingLatency, PhinasError, UnsupportedModule
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import load_weights, read_about, read_weights, trace
from searchspace.spec import read_spec
from tests.scripted_runtime import true_ms
from tests.search.netadapt.scripted import (
    MACS,
    Own,
    ScriptedTimer,
    own_module,
    phone_table,
    start,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread", "place")

QUICK: dict[str, Any] = {
    "short_steps": 2,
    "shortlist": 1,
    "validation_images": 60,
    "epochs": 1,
    "epoch_images": 64,
    "step": 0.2,
    "quiet": True,
}
OWN = QUICK | {"resolution": 32, "proxy_resolution": 16}


def module_macs_of(module: nn.Module) -> float:
    return MACS.cost(trace(module, resolution=32).graph)


def own_table(identity: Any) -> LatencyTable:
    """A table of the kernels of `Own` at 32 px and of narrower ones, on which time goes with multiply-adds."""
    kernels = {}
    for part in (1.0, 0.25, 0.5, 0.75):
        for layer in trace(own_module(), resolution=32).graph.layers:
            less = layer._replace(in_shape=(max(3, round(part * layer.in_shape[0])), *layer.in_shape[1:]))
            kernels.setdefault(less.signature, 1e-3 + 1e-6 * layer_params_macs(less)[1])
    return LatencyTable(identity, 1.0, kernels, Correction(1.0, 0.0, 0.03))


def test_a_users_module_comes_down_to_the_budget_and_stays_as_it_was(images: Dataset, place: Path) -> None:
    module = own_module()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    cost = module_macs_of(module)
    found = search.prune(module, data=images, budget_macs=0.7 * cost, **OWN)
    after = module_macs_of(found.module)
    assert 0.6 * cost < after <= 0.7 * cost
    assert found.summary["winner"]["cost"] == pytest.approx(after)
    assert found.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert (found.spec, found.fixed, found.summary["study"]) == (None, {}, None)
    assert not (place / "studies").exists()
    assert f"counted    {after:,.0f} MACs by fvcore" in found.report()
    folder = found.save(place / "own")
    assert read_weights(folder / "best.safetensors").keys() == found.module.state_dict().keys()


def test_by_a_table_of_this_machine_a_module_is_timed_and_ends_where_it_measures_within_the_budget(
    images: Dataset,
) -> None:
    """The device takes more than the table says."""
    table = own_table(Eager().identity(32))
    timer = ScriptedTimer(factor=1.1)
    budget = 0.9 * 1.1 * module_macs_of(own_module()) / 1e3
    found = prune(own_module(), data=images, budget_ms=budget, latency=table, timer=timer, **OWN)
    winner = found.summary["winner"]
    assert winner["held"] == "measured"
    assert winner["measured_latency_ms"] <= budget
    steps = found.summary["iterations"][1:]
    assert len(timer.pairs) >= len(steps) > 0
    assert all(step["ratio"] <= 1 for step in steps)


def test_a_table_of_a_runtime_that_cannot_run_the_module_is_refused_before_any_training(images: Dataset) -> None:
    pytest.importorskip("onnxruntime")
    table = own_table(runtime("onnxruntime").identity(32))
    with pytest.raises(InvalidArgument, match=r"measures networks that searchspace\.nn built, got a"):
        prune(own_module(), data=images, budget_ms=0.1, latency=table, **(OWN | {"short_steps": 10**6}))


class Mask(nn.Module):
    """Two outputs, of which one is a map."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mask, self.label = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.body(x))
        return self.label(x.mean((2, 3))), self.mask(x)


def test_a_module_with_other_outputs_than_classes_is_refused(images: Dataset) -> None:
    with pytest.raises(InvalidArgument, match=r"got inputs \(\(3, 32, 32\),\) and outputs .*search\.prune_module"):
        search.prune(Mask(), data=images, budget_macs=1e3, **OWN)


def test_a_module_of_more_outputs_than_classes_says_which_are_taken(
    images: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InfeasibleBudget):
        search.prune(Own(classes=12), data=images, budget_macs=1.0, **(OWN | {"quiet": False}))
    assert (
        "tells 12 classes apart and the images have 10: its first outputs are taken for 0, 1" in capsys.readouterr().err
    )


def test_a_module_that_cannot_be_read_or_does_not_fit_is_refused(images: Dataset) -> None:
    class Odd(Own):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(super().forward(x)).real

    with pytest.raises(InfeasibleBudget, match=r"--moves channels this network comes down to"):
        prune(own_module(), data=images, budget_macs=1.0, **OWN)
    with pytest.raises(UnsupportedModule, match="fft"):
        prune(Odd(), data=images, budget_macs=1e4, **OWN)
    with pytest.raises(InvalidArgument, match="10 classes and the module tells 5 apart"):
        prune(Own(classes=5), data=images, budget_macs=1e4, **OWN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": None}, "needs resolution"),
        ({"study": "mine"}, "study is for networks of a spec"),
        ({"workers": 2}, "workers is for networks of a spec"),
        ({"moves": ("block",)}, r"moves is for networks of a spec.*got \('block',\)"),
        ({"criterion": "taylor"}, "criterion is for networks of a spec"),
        ({"fresh": True}, "fresh is for networks of a spec"),
    ],
)
def test_arguments_that_are_not_for_a_module_of_ones_own_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        prune(own_module(), budget_macs=1e4, **(OWN | arguments))


def test_a_spec_a_network_and_a_file_go_the_same_way(best: Path) -> None:
    """With weights beside the file, given as a file, in the network; all of it is kept as a study."""
    budget, images = 0.85 * macs(tiny()), load("digits:200", resolution=32)
    common = QUICK | {"budget_macs": budget, "proxy_resolution": 16, "epochs": 0}
    by_file = prune(best, data="digits:200", study="file", **common)
    by_spec = prune(tiny(), weights=best.with_suffix(".safetensors"), data=images, study="spec", **common)
    by_network = prune(start().module, data=images, study="network", **common)
    assert by_file.spec is not None
    assert macs(by_file.spec) <= budget
    assert by_file.spec == by_spec.spec == by_network.spec
    for found in (by_spec, by_network):
        assert {k: v for k, v in found.summary["winner"].items() if k != "network"} == {
            k: v for k, v in by_file.summary["winner"].items() if k != "network"
        }
    assert len(by_file.study) == by_file.summary["proposals"]
    assert by_file.module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    folder = by_file.save(best.parent / "kept")
    load_weights(read_spec(folder / "best.json"), read_weights(folder / "best.safetensors"))


def test_arguments_that_are_not_for_a_spec_are_named(best: Path, images: Dataset) -> None:
    with pytest.raises(InvalidArgument, match="give one budget"):
        prune(best, budgets=[])
    with pytest.raises(InvalidArgument, match="by --minutes or by --epochs, got both"):
        prune(best, budget_macs=1e4, minutes=1, **QUICK)
    with pytest.raises(InvalidArgument, match="--resolution must be auto, or 1 to 2048 px, got 0"):
        prune(best, budget_macs=1e4, resolution=0, **QUICK)
    with pytest.raises(InvalidArgument, match="workers read the images themselves"):
        prune(best, data=images, budget_macs=1e4, **(QUICK | {"workers": 2}))
    with pytest.raises(InvalidArgument, match="got --network tiny and no --weights"):
        prune(tiny(), budget_macs=1e4, **QUICK)


def test_mobilenet_v3s_variant_takes_small_steps_alike(best: Path, place: Path) -> None:
    cost = macs(tiny())
    small_steps = QUICK | {"step": None, "algorithm": "mobilenetv3", "moves": ("channels",), "study": "v3"}
    prune(best, data="digits:200", budget_macs=0.95 * cost, **small_steps)
    iterations = StoredHistory(place / "studies" / "v3", keep_all=True).iterations
    assert len(iterations) > 2
    for before, after in pairwise(iterations):
        assert after.target == pytest.approx(max(before.cost - 0.01 * cost, 0.95 * cost))


def test_one_pruning_leaves_a_network_for_each_budget(best: Path) -> None:
    table = phone_table(tiny())
    budgets = [round(share * table.latency_ms(lower(tiny())), 4) for share in (0.9, 0.8)]
    found = prune(best, data="digits:200", latency=table, budgets=budgets, **(QUICK | {"step": 0.1})).summary["budgets"]
    assert [one["budget"] for one in found] == budgets
    for one in found:
        spec = read_spec(Path(one["network"]))
        load_weights(spec, read_weights(Path(one["network"]).with_suffix(".safetensors")))
        assert one["cost"] == pytest.approx(table.predict(lower(spec)).latency_ms)
        assert 0.8 * one["budget"] <= one["cost"] <= one["budget"]
        assert 0 <= one["test_accuracy"] < 1
    assert [one["iteration"] for one in found] == sorted({one["iteration"] for one in found})


@pytest.mark.usefixtures("scripted_runtimes")
def test_by_a_table_of_this_device_a_spec_ends_within_the_measured_budget(best: Path) -> None:
    """Every cut is timed, by the table's own runtime."""
    here = runtime("scripted", threads=1)
    table = replace(phone_table(tiny()), identity=here.identity(32), reference_ms=true_ms(REFERENCE))
    whole = true_ms(tiny())
    found = prune(best, data="digits:200", latency=table, budget_ms=0.8 * whole, **(QUICK | {"moves": ("block",)}))
    assert (found.summary["timed"], found.summary["held"]) == (True, "measured")
    assert found.summary["winner"]["measured_latency_ms"] <= 0.8 * whole
    steps = found.summary["iterations"][1:]
    assert steps
    assert all(step["ratio"] <= 1 for step in steps)


def test_where_nothing_is_measured_the_prediction_is_within_the_budget_with_95_percent(best: Path, place: Path) -> None:
    table = phone_table(tiny())
    budget = 0.85 * table.latency_ms(lower(tiny()))
    common = QUICK | {"epochs": 0, "latency": table, "budget_ms": budget, "study": "phone", "data": "digits:200"}
    found = prune(best, **common)
    winner, again = found.summary["winner"], table.predict(lower(read_spec(place / "studies" / "phone" / "best.json")))
    assert found.summary["held"] == "predicted"
    assert winner["predicted_latency_ms"] == pytest.approx(again.latency_ms)
    assert winner["cost"] == pytest.approx(again.latency_ms)
    assert again.estimated  # pruned to counts that the table does not hold: less sure
    limit = table.prediction_limit_ms(budget, 0.95)
    assert 0.9 * limit <= again.latency_ms <= limit
    assert again.high_ms <= budget
    assert (winner["predicted_low_ms"], winner["predicted_high_ms"]) == pytest.approx((again.low_ms, again.high_ms))
    text = f"({again.low_ms:.2f} to {again.high_ms:.2f} in 9 of 10 networks), {len(again.estimated)} of its layers est"
    assert text in found.report()


def test_a_study_goes_on_with_the_table_that_it_was_begun_with(best: Path) -> None:
    table = phone_table(tiny())
    budget = 0.85 * table.latency_ms(lower(tiny()))
    common = QUICK | {"epochs": 0, "budget_ms": budget, "study": "phone", "data": "digits:200"}
    first = prune(best, latency=table, **common)
    assert prune(best, latency=table, **common).spec == first.spec
    with pytest.raises(PhinasError, match="was made with other settings: the latency table is another"):
        prune(best, latency=phone_table(tiny(), scale=0.99), **common)


def test_outcomes_of_timing_tests_are_replayed_only_where_networks_are_timed(best: Path, images: Dataset) -> None:
    table = phone_table(tiny())
    budget = 0.9 * macs(tiny()) / 1e3
    common = QUICK | {"epochs": 0, "latency": table, "budget_ms": budget, "data": "digits:200"}
    timer, again = ScriptedTimer(), ScriptedTimer()
    first = prune(best, timer=timer, study="one", **common)
    assert prune(best, timer=again, study="two", replay="one", **common).spec == first.spec
    assert len(timer.pairs) > len(again.pairs) == 0
    with pytest.raises(InvalidArgument, match="nothing is timed here"):
        prune(best, study="three", replay="one", **common)
    other = Inputs(network=start(zoo.get("mobilenet_v3_small", width=0.35, classes=10)), images=images, seed=0)
    with pytest.raises(InvalidArgument, match="must name a pruning of the same network"):
        replay_of(StoredHistory(best.parent / "studies" / "one", keep_all=True), timer, other)


class SlowBelow(ScriptedTimer):
    """A device on which whatever is below `ms` is slower."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self.ms = ms

    def pair(self, before: Any, after: Any) -> Any:
        self.all_slower = macs(before) / 1e3 <= self.ms
        return super().pair(before, after)


def test_what_became_of_the_budgets_is_told_where_the_smallest_is_missed(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = (round(share * macs(tiny()) / 1e3, 3) for share in (0.9, 0.7))
    common = QUICK | {"epochs": 0, "latency": phone_table(tiny()), "data": "digits:200"}
    found = prune(best, budgets=(first, last), timer=SlowBelow(first), **common)
    assert [one["budget"] for one in found.summary["budgets"]] == [first]
    assert found.summary["missed"]["budgets"] == [last]
    assert found.spec is not None
    assert macs(found.spec) / 1e3 <= first
    with pytest.raises(InfeasibleBudget, match="measure slower on this device"):
        text_of(found, as_json=False)
    assert f"missed     {last:.2f} ms: all" in capsys.readouterr().out
    with pytest.raises(InfeasibleBudget, match="measure slower on this device"):
        text_of(found, as_json=True)
    assert json.loads(capsys.readouterr().out)["missed"] == found.summary["missed"]


def test_a_network_within_the_budget_is_handed_back(best: Path) -> None:
    found = prune(best, data="digits:200", budget_macs=1e12, **QUICK)
    assert isinstance(found, Pruned)
    assert found.spec == tiny()
    assert "nothing to do" in found.report()


def test_the_result_is_what_the_files_say(best: Path, place: Path) -> None:
    found = prune(best, data="digits:200", budget_macs=0.9 * macs(tiny()), study="one", **QUICK)
    about = read_about(place / "studies" / "one" / "best.safetensors")
    assert found.spec is not None
    assert about["fingerprint"] == found.spec.fingerprint()
    state = read_weights(place / "studies" / "one" / "best.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.module.state_dict().items())
    assert CostModel("macs").cost(lower(found.spec)) == found.summary["winner"]["cost"]


def test_a_table_that_has_not_measured_an_operator_of_a_module_points_to_the_way_that_times_it(images: Dataset) -> None:
    table = replace(own_table(Eager().identity(32)), kernels={})
    with pytest.raises(MissingLatency, match=r"search\.prune_module\(module, inputs, budget_ms"):
        prune(own_module(), data=images, budget_ms=1.0, latency=table, **OWN)
