"""A whole search on a scripted device: what is measured, pruned, refused, stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import studies
from search.accuracy import register
from search.budget import LatencyBudget
from search.console import Progress
from search.data import load
from search.latency.kernels import rough_cost
from search.latency.runtimes import runtime
from search.machinery import Machinery
from search.netadapt.last_stage import prune_winner
from search.pipeline import run_search
from search.report import report
from search.run import main
from search.settings import Settings
from search.training.finetune import FineTuner
from search.training.recipe import Recipe
from searchspace.cost import macs, params
from searchspace.errors import InfeasibleBudget, InvalidArgument, InvalidTable, StudyMismatch
from searchspace.graph import lower
from searchspace.latency.estimate import layer_of
from searchspace.latency.table import LatencyTable
from searchspace.nn import build, read_about
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.preprocessing import Preprocessing
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec
from tests.scripted import ScriptedEstimator, ScriptedTrainer
from tests.small_search import RESOLUTION, TableDevice, TableTimer, flags, space_in, table_of

pytestmark = pytest.mark.usefixtures("one_thread")
register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return space_in(tmp_path)


def smallest_ms(space: SearchSpace) -> float:
    return table_of(space).latency_ms(lower(space.spec(space.corner("smallest"))))


def largest_ms(space: SearchSpace) -> float:
    return table_of(space).latency_ms(lower(space.spec(space.corner("largest"))))


def settings(folder: Path, budget_ms: float, **more: Any) -> Settings:
    """A search whose networks are not trained, by the table in the folder."""
    given = {
        "data": "digits:60",
        "proxy_resolution": 32,
        "resolution": RESOLUTION,
        "epochs": 1,
        "trials": 2,
        "accuracy": "scripted",
        "weights": "none",
        "space_file": str(folder / "space.toml"),
        "latency": str(folder / "table.json"),
        "study": "s",
        **more,
    }
    return Settings(budget_ms=budget_ms, **given)


def with_table(folder: Path, space: SearchSpace) -> LatencyTable:
    table = table_of(space)
    (folder / "table.json").write_text(table.to_json())
    return table


def test_baselines_that_cannot_be_told_are_refused_before_the_search(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    with pytest.raises(InvalidArgument, match="got --weights none: name the networks"):
        run_search(settings(tmp_path, 1000.0), quiet=True, baselines=("best",))
    assert not (tmp_path / "studies" / "s").exists()


def test_a_winner_above_the_budget_is_pruned_to_it(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    table, budget_ms = with_table(tmp_path, space), 0.97 * largest_ms(space)
    machinery = Machinery(device=TableDevice(), timer=TableTimer, trainer=ScriptedTrainer)
    found = run_search(settings(tmp_path, budget_ms, trials=4), quiet=True, machinery=machinery)
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
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    with_table(tmp_path, space)
    budget_ms, fits = 0.97 * largest_ms(space), list[tuple[Any, Any, Any]]()
    machinery = Machinery(
        device=TableDevice(0.7),  # before it is trained
        timer=TableTimer,
        trainer=lambda **given: ScriptedTrainer(**given, fits=fits),
    )
    found = run_search(settings(tmp_path, budget_ms, trials=4), machinery=machinery)
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
    asked = settings(tmp_path, 1e3, latency=None, threads=1)
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
        run_search(settings(tmp_path, 1.01 * smallest_ms(space)), quiet=True)
    assert "s" not in studies.names()


def test_a_table_that_does_not_belong_to_the_search_is_refused(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = with_table(tmp_path, space)
    path = str(tmp_path / "table.json")
    assert main(["--budget-ms", "9", "--latency", path, "--resolution", "96"]) == 2
    assert "64 px, got 96" in capsys.readouterr().err
    assert main(["--budget-ms", "9", "--latency", path, "--runtime", "eager"]) == 2
    assert "got --latency and --runtime eager: give one of them" in capsys.readouterr().err
    assert main(["--budget-ms", "9", "--latency", str(tmp_path / "none.json")]) == 2
    poor = replace(table, kernels={key: ms for key, ms in table.kernels.items() if layer_of(key).kernel != 5})
    (tmp_path / "table.json").write_text(poor.to_json())
    with pytest.raises(InvalidTable, match="is no table of this search space"):
        run_search(settings(tmp_path, 1e3), quiet=True)


def scripted_run(folder: Path, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: run_search(settings(folder, 1e3, **more), quiet=True, machinery=Machinery(trainer=ScriptedTrainer))


class Published:
    """Stands for what finds weights: one network of the space, with weights of its own and a scale of its own."""

    def __init__(self, space: SearchSpace, *, sha256: str = "1") -> None:
        scale = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
        spec = space.spec(space.corner("largest")).with_classes(7).with_preprocessing(scale)
        network = build(spec, generator=torch.Generator().manual_seed(5)).eval()
        self.parents = Parents([Parent("lite", network, "a test", "Apache-2.0", 75.1, sha256)])
        self.asked: list[str] = []

    def __call__(self, weights: str, *, ema: bool | None, note: Callable[[str], None]) -> Parents | None:
        self.asked.append(weights)
        return None if weights == "none" else self.parents


class AnyTuner(FineTuner):
    """Leaves modules as they are."""

    def fit(self, module: Any, **_: Any) -> Any:
        module.eval()
        return SimpleNamespace(accuracy=0.7, epochs=1, seconds=1.0)


class ScriptedTuner(AnyTuner):
    """Without a time limit it is asked for as long as four trainings of candidates."""

    def fit(self, module: Any, *, images: int | None = None, **how: Any) -> Any:
        assert images == 4 * 60
        return super().fit(module, **how)


def test_with_published_weights_candidates_and_the_winner_start_from_them_and_their_scale_goes_with_the_result(
    tmp_path: Path, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    with_table(tmp_path, space)
    published = Published(space)
    machinery = Machinery(weights=published, tuner=ScriptedTuner)

    def run(**more: Any) -> dict[str, Any]:
        return run_search(
            settings(tmp_path, 1e3, **{"weights": "lite", "accuracy": "auto", **more}), machinery=machinery
        )

    found = run()
    assert "weights: lite (a test, licence Apache-2.0); RGB, float32" in capsys.readouterr().err
    stored = studies.load("s").attrs["settings"]
    assert (stored["weights"], stored["accuracy"], stored["weights_sha256"]) == ("lite", "frozen", ["1"])
    winner, spec = found["winner"], read_spec(Path(found["folder"]) / "best.json")
    assert (winner["parent"], winner["accuracy_at_training_px"]) == ("lite", 0.7)
    assert (winner["trained_at_px"], winner["tested_at_px"]) == (RESOLUTION, RESOLUTION)
    assert spec.preprocessing == Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))
    assert found["preprocessing"] == read_about(Path(found["folder"]) / "best.safetensors")["preprocessing"]
    printed = " ".join(report(found).split())
    assert "weights lite (a test, licence Apache-2.0), fine-tuned" in printed
    assert "--weights lite" in printed
    assert run(trials=3)["times_tested"] == 2  # it goes on with what it began with
    assert published.asked == ["lite", "lite"]
    published.parents = Published(space, sha256="2").parents
    with pytest.raises(StudyMismatch, match=r"the weights of --weights lite have changed"):
        run(trials=4)
    with pytest.raises(StudyMismatch, match="weights is 'none' and was 'lite'"):
        run(trials=4, weights="none", accuracy="frozen")


class ContestTuner(AnyTuner):
    """Says that the published network is the better one; writes down how far each was trained."""

    asked: ClassVar[list[tuple[float | None, str]]] = []

    def fit(self, module: Any, *, until: float | None = None, state_file: Path | None = None, **_: Any) -> Any:
        module.eval()
        self.asked.append((until, "" if state_file is None else state_file.name))
        return SimpleNamespace(accuracy=0.7 + params(module.spec) / 1e9, epochs=1, seconds=1.0)


def test_a_published_network_is_a_candidate_and_where_it_wins_the_contest_it_is_the_winner(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    register("equal")(lambda _: ScriptedEstimator(lambda _: 0.8))
    machinery = Machinery(weights=Published(space), tuner=ContestTuner)
    ContestTuner.asked.clear()
    found = run_search(
        settings(tmp_path, 1e3, weights="lite", accuracy="equal", trials=3), quiet=True, machinery=machinery
    )
    trials = studies.load("s")
    assert list(trials["network"].dropna()) == ["lite"]
    assert found["winner"]["network"] == "lite"
    assert found["contest"]["decided_by"].startswith("lite was the best")
    assert len(found["contest"]["tied"]) == 3
    *contest, last = ContestTuner.asked
    assert {until for until, _ in contest} == {0.08}
    assert last[0] is None
    assert found["published"] == {"network": "lite", "trial": 0, "is_winner": True}
    printed = " ".join(report(found).split())
    assert "lite was the best after equal images" in printed
    assert "the published network lite is the winner" in printed
    assert last[1] in {name for _, name in contest}  # the winner's training goes on with what the contest left


def test_without_published_weights_the_automatic_estimator_trains_from_scratch(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    asked = settings(tmp_path, 1e3, weights="auto", accuracy="auto", trials=1)
    machinery = Machinery(weights=lambda weights, **_: None, trainer=ScriptedTrainer)
    found = run_search(asked, quiet=True, machinery=machinery)
    assert (found["settings"]["weights"], found["settings"]["accuracy"]) == ("none", "training")
    assert (found["weights"], found["winner"]["parent"]) == (None, None)


def test_auto_takes_published_weights_for_images_of_ones_own_but_not_for_the_embedded_task(
    tmp_path: Path, space: SearchSpace
) -> None:
    with_table(tmp_path, space)
    for label in ("a", "b"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(40):
            Image.new("RGB", (8, 8), (number, 5 * number, 40 * (label == "a"))).save(
                tmp_path / "own" / label / f"{number}.png"
            )
    for source, weights in (("digits:60", "none"), (str(tmp_path / "own"), "lite")):
        asked = settings(tmp_path, 1e3, weights="auto", trials=1, data=source, study=f"of-{weights}")
        machinery = Machinery(weights=Published(space), trainer=ScriptedTrainer, tuner=AnyTuner)
        assert run_search(asked, quiet=True, machinery=machinery)["settings"]["weights"] == weights


def test_shared_weights_are_trained_within_the_budget_once_and_kept_with_the_study(
    tmp_path: Path, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_table(tmp_path, space)
    budget_ms = (smallest_ms(space) + largest_ms(space)) / 2
    seen = list[NetworkSpec]()
    view = SharedNetwork.view
    monkeypatch.setattr(SharedNetwork, "view", lambda self, spec: seen.append(spec) or view(self, spec))
    machinery = Machinery(weights=lambda weights, **_: None, trainer=ScriptedTrainer, device=TableDevice())
    found = run_search(settings(tmp_path, budget_ms, accuracy="shared", overshoot=1.0), quiet=True, machinery=machinery)
    kept = (Path(found["folder"]) / "shared.pt").read_bytes()
    table = table_of(space)
    assert all(table.latency_ms(lower(spec)) <= budget_ms for spec in seen)
    assert len({spec.fingerprint() for spec in seen}) > 1
    asked = settings(tmp_path, budget_ms, accuracy="shared", overshoot=1.0, trials=3)
    run_search(asked, quiet=True, machinery=machinery)
    assert (Path(found["folder"]) / "shared.pt").read_bytes() == kept


def test_fine_tuning_from_no_weights_is_refused_before_any_work(tmp_path: Path, space: SearchSpace) -> None:
    with_table(tmp_path, space)
    with pytest.raises(InvalidArgument, match="--accuracy finetune needs published weights"):
        run_search(settings(tmp_path, 1e3, accuracy="finetune"), quiet=True)
    assert "s" not in studies.names()


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
    run_search(settings(tmp_path, 1e3, seed=5), fresh=True, quiet=True, machinery=Machinery(trainer=ScriptedTrainer))
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
