"""A whole search on a scripted device: what is measured, pruned, refused, stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import studies
from search.accuracy import register
from search.budget import LatencyBudget
from search.console import Progress
from search.data import load
from search.latency.interleave import Runtime
from search.latency.kernels import rough_cost
from search.latency.runtimes import runtime
from search.machinery import Machinery
from search.netadapt.last_stage import prune_winner
from search.netadapt.settings import LAST_STAGE
from search.pipeline import run_search
from search.report import report
from search.run import main
from search.training.recipe import Recipe
from searchspace.cost import macs
from searchspace.errors import InfeasibleBudget, InvalidArgument, InvalidTable, StudyMismatch
from searchspace.graph import lower
from searchspace.latency.estimate import layer_of
from searchspace.latency.table import LatencyTable
from searchspace.nn import build, load_network
from searchspace.nn.shared.network import SharedNetwork
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec
from tests.scripted import ScriptedEstimator, ScriptedTrainer, unbalanced_photos
from tests.small_search import (
    RESOLUTION,
    WIDER,
    TableDevice,
    TableTimer,
    flags,
    scripted_settings,
    space_in,
    table_of,
    with_table,
)

pytestmark = pytest.mark.usefixtures("one_thread")
register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return space_in(tmp_path)


@pytest.fixture
def wider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    """A space whose winner can be pruned, in trainings of two steps."""
    monkeypatch.setitem(LAST_STAGE, "short_steps", 2)
    return space_in(tmp_path, WIDER, resolution=64)


def smallest_ms(space: SearchSpace) -> float:
    return table_of(space).latency_ms(lower(space.spec(space.corner("smallest"))))


def largest_ms(space: SearchSpace) -> float:
    return table_of(space).latency_ms(lower(space.spec(space.corner("largest"))))


def test_baselines_that_cannot_be_told_are_refused_before_the_search(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    with pytest.raises(InvalidArgument, match="got --weights none: name the networks"):
        run_search(scripted_settings(tmp_path, 1000.0), quiet=True, baselines=("best",))
    assert not (tmp_path / "studies" / "s").exists()


def test_a_winner_above_the_budget_is_pruned_to_it(
    tmp_path: Path, wider: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    table, budget_ms = with_table(tmp_path, wider), 0.97 * largest_ms(wider)
    machinery = Machinery(device=TableDevice(), timer=TableTimer, trainer=ScriptedTrainer)
    found = run_search(scripted_settings(tmp_path, budget_ms, trials=4, resolution=64), quiet=True, machinery=machinery)
    folder = Path(found["folder"])
    spec = read_spec(folder / "best.json")
    assert found["within_budget"]
    assert 0.95 * budget_ms <= found["winner"]["measured_latency_ms"] <= budget_ms
    assert found["refined"]["start_ms"] > budget_ms
    assert found["refined"]["timed"]
    assert found["winner"]["macs"] == macs(spec) < studies.load("s")["macs"].max()
    assert studies.best("s").macs == macs(spec)
    assert found["winner"]["estimated_layers"] == len(table.missing(lower(spec)))
    assert found["winner"]["predicted_latency_ms"] == table.predict(spec).latency_ms
    build(spec).load_state_dict(load_file(folder / "best.safetensors"))
    assert len(studies.load(found["refined"]["study"])) == found["refined"]["proposals"]


def test_a_winner_that_is_over_the_budget_only_once_it_is_trained_is_pruned_from_the_weights_that_it_has(
    tmp_path: Path, wider: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    with_table(tmp_path, wider)
    budget_ms, fits = 0.97 * largest_ms(wider), list[tuple[Any, Any, Any]]()
    machinery = Machinery(
        device=TableDevice(0.7),  # before it is trained
        timer=TableTimer,
        trainer=lambda **given: ScriptedTrainer(**given, fits=fits),
    )
    found = run_search(scripted_settings(tmp_path, budget_ms, trials=4, resolution=64), machinery=machinery)
    told = " ".join(capsys.readouterr().err.split())
    assert "ms once it is trained, not within" in told
    assert "the next is taken" not in told
    assert found["within_budget"]
    assert found["winner"]["measured_latency_ms"] <= budget_ms
    assert found["refined"]["iterations"] > 0
    assert not found["rejected"]
    *_, first, second, onward = (state_file for _, _, state_file in fits)
    assert first == second != onward  # the second time what was trained is read


class ExtendedTable(TableDevice):
    """Writes down what table was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int, int, int]] = []

    def table_for(
        self, space: SearchSpace, *, runtime: Any, networks: Sequence[NetworkSpec] = (), **more: Any
    ) -> LatencyTable:
        identity = runtime.identity(space.resolution)
        self.asked.append((identity["runtime"], identity["threads"], space.resolution, len(networks)))
        table = table_of(space, identity)
        more_kernels = {layer.signature: rough_cost(layer) for spec in networks for layer in lower(spec).layers}
        return replace(table, kernels={**more_kernels, **table.kernels})


def test_without_a_given_table_that_of_this_device_is_measured_by_the_runtime_and_threads_that_were_asked_for(
    tmp_path: Path, space: SearchSpace
) -> None:
    device = ExtendedTable()
    asked = scripted_settings(tmp_path, 1e3, latency=None, threads=1)
    run_search(asked, quiet=True, machinery=Machinery(device=device, timer=TableTimer, trainer=ScriptedTrainer))
    assert device.asked == [("eager torch", 1, RESOLUTION, 0)]


def test_a_winner_that_a_second_measurement_finds_within_the_budget_stays_as_it_is(space: SearchSpace) -> None:
    network = build(space.spec(space.corner("smallest")), generator=torch.Generator().manual_seed(0)).eval()
    device = ExtendedTable()
    identity = runtime(threads=1).identity(RESOLUTION)
    given: dict[str, Any] = {
        "budget": LatencyBudget(1e3, table_of(space, identity), device=device),
        "timer": TableTimer,
        "images": load("digits:60", resolution=16),
        "augment": "shift",
        "recipe": Recipe(),
        "data": "digits:60",
        "seed": 0,
        "space": space,
        "progress": Progress(lambda: None, quiet=True),
    }
    found = prune_winner(network, fixed_table=False, name="near", **given)
    assert found.network.spec == network.spec
    assert all(torch.equal(a, b) for a, b in zip(found.network.parameters(), network.parameters(), strict=True))
    assert device.asked == [("eager torch", 1, RESOLUTION, 2)]  # two networks of fewer channels
    assert not found.table.missing(lower(found.network.spec))
    assert found.measured.latency_ms <= 1e3
    assert found.pruning["iterations"] == 0
    best = studies.best("near")  # the start, which is no trial
    assert (best.trial, best.spec) == (-1, network.spec)
    assert "test_accuracy" not in best.summary["winner"]  # the search tests, once


def test_a_search_for_another_device_goes_by_its_table_and_measures_nothing(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    table, budget_ms = table_of(space), 1.12 * smallest_ms(space)
    words = flags(tmp_path, "--trials", "2", "--study", "phone", "--overshoot", "1", "--baselines", "squeezenet1_1")
    words[1] = f"{budget_ms:.3f}"
    assert main(words) == 0
    printed = capsys.readouterr()
    out = " ".join(printed.out.split())
    assert "nothing is measured: the table is of another device" in printed.err
    assert "not measured" in out
    assert "TFLite" in out
    assert "left out: squeezenet1_1: the latency table has no kernels like some of its" in out
    summary = json.loads((tmp_path / "studies" / "phone" / "summary.json").read_text())
    assert summary["within_budget"]
    assert summary["winner"]["measured_latency_ms"] is None
    assert summary["winner"]["predicted_latency_ms"] <= table.prediction_limit_ms(budget_ms, 0.95) * 1.001
    assert ("of its layers estimated" in out) == (summary["winner"]["estimated_layers"] > 0)
    assert summary["resolution"] == RESOLUTION  # the table's own
    assert studies.load("phone")["measured_latency_ms"].isna().all()
    assert studies.best("phone").measured_latency_ms is None


def test_a_budget_that_a_table_of_another_device_cannot_promise_is_refused(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    with pytest.raises(InfeasibleBudget, match="no network of the space surely meets"):
        run_search(scripted_settings(tmp_path, 1.01 * smallest_ms(space)), quiet=True)
    assert "s" not in studies.names()


def test_a_table_that_does_not_belong_to_the_search_is_refused(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = with_table(tmp_path, space)
    path = str(tmp_path / "table.json")
    assert main(["--budget-ms", "9", "--latency", path, "--resolution", "96"]) == 2
    assert f"{RESOLUTION} px, got 96" in capsys.readouterr().err
    assert main(["--budget-ms", "9", "--latency", path, "--runtime", "eager"]) == 2
    assert "got --latency and --runtime eager: give one of them" in capsys.readouterr().err
    assert main(["--budget-ms", "9", "--latency", str(tmp_path / "none.json")]) == 2
    poor = replace(table, kernels={key: ms for key, ms in table.kernels.items() if layer_of(key).kernel != 5})
    (tmp_path / "table.json").write_text(poor.to_json())
    with pytest.raises(InvalidTable, match="is no table of this search space"):
        run_search(scripted_settings(tmp_path, 1e3), quiet=True)


def scripted_run(folder: Path, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: run_search(
        scripted_settings(folder, 1e3, **more), quiet=True, machinery=Machinery(trainer=ScriptedTrainer)
    )


class Timed(TableDevice):
    """Keeps the threads that tables are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def table_for(self, space: SearchSpace, *, runtime: Runtime, **_: Any) -> LatencyTable:
        self.threads.append(runtime.identity(space.resolution)["threads"])
        return table_of(space, runtime.identity(space.resolution))


def test_a_study_begun_where_others_hold_the_cores_times_networks_with_one_thread_to_its_end(
    tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.latency.runtimes.default_threads", lambda: 2)
    device = Timed()
    for study, held in (("held", (True, False)), ("quiet", (False, True))):
        for trials, is_held in enumerate(held, 1):
            asked = scripted_settings(tmp_path, 1e3, latency=None, trials=trials, study=study)
            run_search(
                asked,
                quiet=True,
                machinery=Machinery(
                    device=device,
                    timer=TableTimer,
                    trainer=ScriptedTrainer,
                    are_cores_held=lambda is_held=is_held: is_held,  # type: ignore[misc]
                ),
            )
    assert device.threads == [1, 1, 2, 2]


def test_shared_weights_are_trained_within_the_budget_once_and_kept_with_the_study(
    tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_table(tmp_path, space)
    budget_ms = (smallest_ms(space) + largest_ms(space)) / 2
    seen = list[NetworkSpec]()
    view = SharedNetwork.view
    monkeypatch.setattr(SharedNetwork, "view", lambda self, spec: seen.append(spec) or view(self, spec))
    machinery = Machinery(weights=lambda weights, **_: None, trainer=ScriptedTrainer, device=TableDevice())
    found = run_search(
        scripted_settings(tmp_path, budget_ms, accuracy="shared", overshoot=1.0), quiet=True, machinery=machinery
    )
    kept = (Path(found["folder"]) / "shared.pt").read_bytes()
    table = table_of(space)
    assert all(table.latency_ms(lower(spec)) <= budget_ms for spec in seen)
    assert len({spec.fingerprint() for spec in seen}) > 1
    asked = scripted_settings(tmp_path, budget_ms, accuracy="shared", overshoot=1.0, trials=3)
    run_search(asked, quiet=True, machinery=machinery)
    assert (Path(found["folder"]) / "shared.pt").read_bytes() == kept


def test_a_finished_study_with_another_space_or_table_is_not_taken_for_it(tmp_path: Path, space: SearchSpace) -> None:
    table = with_table(tmp_path, space)
    scripted_run(tmp_path)()
    space_in(tmp_path, (tmp_path / "space.toml").read_text().replace("[3, 5]", "[3, 5, 7]"))
    with pytest.raises(StudyMismatch, match="made with other settings: the search space is another"):
        scripted_run(tmp_path)()
    space_in(tmp_path)
    (tmp_path / "table.json").write_text(replace(table, reference_ms=2.0).to_json())
    with pytest.raises(StudyMismatch, match="table is"):
        scripted_run(tmp_path, trials=3)()


def test_other_settings_are_refused_and_fresh_sets_the_study_aside(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    scripted_run(tmp_path)()
    with pytest.raises(StudyMismatch, match=r"seed is 5 and was 0.*--fresh"):
        scripted_run(tmp_path, seed=5)()
    run_search(
        scripted_settings(tmp_path, 1e3, seed=5), fresh=True, quiet=True, machinery=Machinery(trainer=ScriptedTrainer)
    )
    assert studies.names() == ["s", "s.1"]
    assert studies.load("s").attrs["settings"]["seed"] == 5
    assert studies.load("s.1").attrs["settings"]["seed"] == 0


def test_more_trials_extend_a_finished_study_and_the_test_images_count_as_used_again(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    first, second = scripted_run(tmp_path)(), scripted_run(tmp_path, trials=3)()
    assert [len(studies.load("s")), first["times_tested"], second["times_tested"]] == [3, 1, 2]
    assert scripted_run(tmp_path, trials=3)() == second
    folder = Path(second["folder"])
    (folder / "best.safetensors").write_bytes(b"cut short")
    with pytest.raises(StudyMismatch, match=r"its network cannot be read .* or delete best\.json, and this command"):
        scripted_run(tmp_path, trials=3)()
    (folder / "best.json").unlink()
    assert scripted_run(tmp_path, trials=3)()["winner"]["trial"] == second["winner"]["trial"]
    load_network(read_spec(folder / "best.json"), folder / "best.safetensors")


def test_a_run_that_is_refused_before_it_begins_leaves_no_study(tmp_path: Path, space: SearchSpace) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    assert main(flags(tmp_path, "--study", "refused", "--data", str(tmp_path / "photos"))) == 2
    tight = flags(tmp_path, "--study", "refused")
    tight[1] = "0.001"
    assert main(tight) == 2
    assert not (tmp_path / "studies" / "refused").exists()
    assert "refused" not in studies.names()


def test_a_damaged_study_is_refused_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "studies" / "broken"
    folder.mkdir(parents=True)
    (folder / "study.db").write_bytes(b"no database" * 1000)
    assert main(flags(tmp_path, "--study", "broken")) == 2
    assert "damaged" in capsys.readouterr().err
    assert (folder / "study.db").read_bytes() == b"no database" * 1000


def test_a_budget_below_the_fastest_network_exits_2_and_names_its_latency(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(tmp_path, "--study", "tight")
    words[1] = "0.0001"
    assert main(words) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "no network of the space" in message
    assert "ms" in message


def test_where_classes_are_of_very_different_sizes_balanced_accuracy_stands_beside_the_winners(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    photos = unbalanced_photos(tmp_path / "photos")
    machinery = Machinery(device=TableDevice(), timer=TableTimer, trainer=ScriptedTrainer)
    asked = scripted_settings(tmp_path, 1000.0, data=str(photos), class_weights="balanced")
    found = run_search(asked, quiet=True, machinery=machinery)
    winner = found["winner"]
    assert 0 <= winner["test_balanced_accuracy"] <= 1
    assert (winner["largest_class"], winner["smallest_class"]) == (["many", 16], ["few", 2])
    assert "of which 'many' has 16 training images and 'few' 2" in report(found)
    with pytest.raises(StudyMismatch, match="--class-weights is 'none' and was 'balanced'"):
        run_search(replace(asked, class_weights="none"), quiet=True, machinery=machinery)
