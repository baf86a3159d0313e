"""A search for several budgets: one study, a finished network for each, which share what was learnt."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import search
import studies
from search.accuracy import register
from search.budgets import spread
from search.finalists import finalists_within
from search.front_files import draw
from search.least_time import check_time
from search.machinery import Machinery
from search.pipeline import run_search
from search.result import Result
from search.run import main
from search.session import StudyClock
from search.settings import Settings
from searchspace.errors import InfeasibleBudget, InvalidArgument, StudyMismatch
from searchspace.graph import lower
from searchspace.nn import load_network
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec
from tests.scripted import ScriptedEstimator, ScriptedTrainer
from tests.small_search import (
    RESOLUTION,
    TOML,
    TableDevice,
    flags,
    scripted_settings,
    space_in,
    table_of,
    with_table,
)

pytestmark = pytest.mark.usefixtures("one_thread")
WIDER = TOML.replace('"*.width_mult" = [0.25]', '"*.width_mult" = [0.5, 0.75, 1.0]')
CAN_DRAW = find_spec("matplotlib") is not None
Judge = Callable[[NetworkSpec], float]


def nobody_knows(spec: NetworkSpec) -> float:
    raise AssertionError


judged_by: list[Judge] = [nobody_knows]
register("scripted front")(
    lambda settings: ScriptedEstimator(lambda spec: judged_by[0](spec), epochs=settings.recipe.epochs)
)


class Place:
    """A folder with a space and its table, and searches in it whose networks measure what the table says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space: SearchSpace = space_in(folder, WIDER)
        self.table = with_table(folder, self.space)
        ends = [
            self.table.latency_ms(lower(self.space.spec(self.space.corner(which)))) for which in ("smallest", "largest")
        ]
        low, high = ends
        self.budgets = tuple(round(low + share * (high - low), 4) for share in (0.25, 0.6, 1.2))
        self.fits: list[tuple[nn.Module, Any, Path | None]] = []
        self.exported: list[Path] = []

    def settings(self, budgets: tuple[float, ...] | None = None, **more: Any) -> Settings:
        budgets = budgets or self.budgets
        given = {
            "trials": 4,
            "accuracy": "scripted front",
            "sampler": "random",
            "proxy_resolution": RESOLUTION,
            "overshoot": 1.0,
            "budgets_ms": budgets,
            **more,
        }
        return scripted_settings(self.folder, max(budgets), **given)

    def slower_is_better(self, spec: NetworkSpec) -> float:
        return min(0.99, self.table.latency_ms(lower(spec)) / 4)

    def faster_is_better(self, spec: NetworkSpec) -> float:
        return 1 - self.slower_is_better(spec) / 2

    def export(self, spec: Path) -> None:
        self.exported.append(spec)

    def machinery(self, **trainer: Any) -> Machinery:
        return Machinery(
            device=TableDevice(),
            trainer=lambda **given: ScriptedTrainer(
                **{"accuracy": judged_by[0], "fits": self.fits, **given, **trainer}
            ),
            export=self.export,
        )

    def run(self, settings: Settings | None = None, **trainer: Any) -> dict[str, Any]:
        return run_search(settings or self.settings(), quiet=True, machinery=self.machinery(**trainer))

    @property
    def study(self) -> Path:
        return self.folder / "studies" / "s"

    def trained_for(self, budget: float) -> int:
        """How often something was trained for the winner of a budget."""
        name = f"budget-{budget:g}ms"
        return sum(1 for _, _, file in self.fits if file is not None and file.parent.name == name)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images are made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(cache))
    monkeypatch.setattr("tests.search.test_front.judged_by", [nobody_knows])
    found = Place(tmp_path)
    judged_by[0] = found.slower_is_better
    return found


def test_three_budgets_end_in_a_finished_network_each_which_share_trials_and_table(place: Place) -> None:
    found = Result(place.run())
    df = studies.load("s")
    assert len(df) == 4
    assert df["fingerprint"].nunique() == 4  # none is judged for two budgets
    front = found.front
    assert [one.summary["budget_ms"] for one in front] == list(place.budgets)
    for one, budget in zip(front, place.budgets, strict=True):
        spec, winner = read_spec(one.folder / "best.json"), one.summary["winner"]
        assert winner["measured_latency_ms"] == place.table.latency_ms(lower(spec)) <= budget
        assert load_network(spec, one.folder / "best.safetensors").spec == spec == one.spec
        within = df[df["predicted_latency_ms"] <= budget]
        assert winner["search_accuracy"] == within["accuracy"].max()  # those judged for smaller budgets count
    assert [one.summary["winner"]["test_images"] for one in front] == [36] * 3
    assert [one.summary["times_tested"] for one in front] == [1] * 3
    accuracies = [one.summary["winner"]["validation_accuracy"] for one in front]
    assert accuracies == sorted(accuracies)
    rows = list(csv.DictReader((place.study / "front.csv").open()))
    assert [float(row["budget_ms"]) for row in rows] == list(place.budgets)
    assert [row["folder"] for row in rows] == [one.folder.name for one in front]
    assert found.summary["front"][0]["macs"] == front[0].summary["winner"]["macs"]
    assert not CAN_DRAW or (place.study / "front.png").stat().st_size > 1000
    assert place.exported == [one.folder / "best.json" for one in front]
    assert not [*place.study.rglob("*.ckpt"), *place.study.glob("candidate-*")]
    text = found.report()
    assert f"for {len(front)} budgets" in text
    assert all(one.folder.name in text for one in front)
    best = studies.best("s")  # commands that know one winner have the largest budget's
    assert (best.finished, best.spec) == (True, front[-1].spec)
    copied = found.save(place.folder / "copy")
    assert read_spec(copied / front[0].folder.name / "best.json") == front[0].spec


class Killed(BaseException):
    """As kill -9: nothing that follows is done."""


def test_a_run_killed_while_the_second_winner_trains_goes_on_and_leaves_the_first_as_it_is(place: Place) -> None:
    trained = 0

    def accuracy(spec: NetworkSpec) -> float:
        nonlocal trained
        trained += 1
        if place.trained_for(place.budgets[1]) and trained:
            raise Killed
        return place.slower_is_better(spec)

    with pytest.raises(Killed):
        place.run(accuracy=accuracy)
    first = place.study / f"budget-{place.budgets[2]:g}ms"
    kept = {path.name: path.read_bytes() for path in first.iterdir()}
    assert "summary.json" in kept
    assert not (place.study / "summary.json").exists()
    judged, before = len(studies.load("s")), place.trained_for(place.budgets[2])
    found = place.run()
    assert len(studies.load("s")) == judged == 4
    assert place.trained_for(place.budgets[2]) == before
    assert {path.name: path.read_bytes() for path in first.iterdir()} == kept
    assert [row["budget_ms"] for row in found["front"]] == list(place.budgets)
    trainings = len(place.fits)
    assert place.run() == found  # it is finished
    assert len(place.fits) == trainings
    more = place.run(place.settings(trials=5))
    assert len(studies.load("s")) == 5
    assert place.trained_for(place.budgets[2]) > before
    assert [one.summary["times_tested"] for one in Result(more).front] == [2] * 3


def test_a_network_that_is_best_within_two_budgets_is_trained_once_and_handed_over(place: Place) -> None:
    judged_by[0] = place.faster_is_better
    found = place.run()
    smallest, middle, largest = Result(found).front
    assert smallest.spec == middle.spec == largest.spec
    assert [place.trained_for(budget) for budget in place.budgets[:2]] == [0, 0]
    assert place.trained_for(place.budgets[2]) > 0
    assert [row["from_budget_ms"] for row in found["front"]] == [place.budgets[2]] * 2 + [None]
    assert "nothing larger within the budget is better" in " ".join(Result(found).report().split())
    for one in (smallest, middle):
        assert (one.folder / "best.safetensors").read_bytes() == (largest.folder / "best.safetensors").read_bytes()
        assert one.summary["within_budget"]


def test_a_smaller_network_that_is_better_once_trained_is_handed_over_for_larger_budgets(place: Place) -> None:
    """The front is monotone on validation images, however the trainings end."""
    found = place.run(accuracy=place.faster_is_better)  # candidates were judged otherwise
    front = Result(found).front
    accuracies = [one.summary["winner"]["validation_accuracy"] for one in front]
    assert accuracies == sorted(accuracies)
    assert front[2].spec == front[0].spec
    assert found["front"][2]["from_budget_ms"] == place.budgets[0]
    assert "better than what was trained for the larger budget" in found["front"][2]["why"]
    assert studies.best("s").spec == front[0].spec
    (front[2].folder / "best.safetensors").write_bytes(b"cut short")
    with pytest.raises(StudyMismatch, match="its network cannot be read"):
        place.run()
    (place.study / "best.json").unlink()
    trainings = len(place.fits)
    assert place.run()["front"] == found["front"]
    assert len(place.fits) == trainings  # it is copied again


def test_the_time_that_is_left_is_shared_by_the_budgets_that_are_left(place: Place) -> None:
    now = [0.0]
    limits: list[float | None] = []

    class Watched(ScriptedTrainer):
        def fit(self, module: nn.Module, **how: Any) -> Any:
            if how.get("state_file") is not None and how.get("seconds") is not None:
                limits.append(how["seconds"])
                now[0] += 100.0
            return super().fit(module, **how)

    machinery = Machinery(
        device=TableDevice(),
        trainer=lambda **given: Watched(**given, accuracy=place.slower_is_better, seconds_each=100.0),
        export=lambda spec: None,
        now=lambda: now[0],
    )
    run_search(place.settings(minutes=30), quiet=True, machinery=machinery)
    assert len(limits) == 3
    first, second, third = (float(seconds or 0.0) for seconds in limits)
    assert 500 < first < 600  # a third of 1800 s, less the end
    assert 750 < second < 850  # a half of the 1700 s that are left
    assert 1500 < third < 1600


def test_a_network_that_all_budgets_end_in_has_the_time_of_all(place: Place) -> None:
    now = [0.0]
    seconds: list[float] = []

    class Watched(ScriptedTrainer):
        def fit(self, module: nn.Module, **how: Any) -> Any:
            if how.get("state_file") is not None and how.get("seconds") is not None:
                seconds.append(how["seconds"])
            return super().fit(module, **how)

    machinery = Machinery(
        device=TableDevice(), trainer=lambda **given: Watched(**given), export=lambda spec: None, now=lambda: now[0]
    )
    judged_by[0] = lambda spec: 0.9 if place.table.latency_ms(lower(spec)) <= place.budgets[0] else 0.3
    found = run_search(place.settings(minutes=30), quiet=True, machinery=machinery)
    assert [row["from_budget_ms"] for row in found["front"]] == [place.budgets[2]] * 2 + [None]
    (only,) = seconds
    assert 1600 < only < 1800  # not a third of it


def within_at_first(limit_ms: float) -> Callable[..., Any]:
    """As finalists_within, but for the budget `limit_ms`, within which nothing measures."""

    def found(search: Any, ms: float) -> Any:
        if ms == limit_ms:
            raise InfeasibleBudget("none of the trained networks is within it")
        return finalists_within(search, ms)

    return found


def test_a_budget_within_which_nothing_measures_has_no_network_and_the_others_have(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.front.finalists_within", within_at_first(place.budgets[0]))
    found = place.run()
    first = found["front"][0]
    assert (first["budget_ms"], first["within_budget"]) == (place.budgets[0], False)
    assert (first["network"], first["folder"]) == (None, None)
    assert [one.summary["budget_ms"] for one in Result(found).front] == list(place.budgets[1:])
    assert not (place.study / f"budget-{place.budgets[0]:g}ms").exists()
    text = " ".join(Result(found).report().split())
    assert f"{place.budgets[0]:g} ms has no network: none of the trained networks is within it" in text
    assert (place.study / "front.png").exists() == CAN_DRAW
    trainings = len(place.fits)
    assert place.run() == found  # it is finished
    assert len(place.fits) == trainings
    from studies.__main__ import main as listed

    assert listed(["s"]) == 0


def test_where_no_budget_has_a_network_that_is_the_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Any:
        raise InfeasibleBudget("none of the trained networks is within it")

    monkeypatch.setattr("search.front.finalists_within", nothing)
    with pytest.raises(InfeasibleBudget, match="none of the trained networks"):
        place.run()
    assert place.fits == []


def test_budgets_define_the_study(place: Place) -> None:
    place.run()
    with pytest.raises(StudyMismatch, match=r"--budgets is .* and was "):
        place.run(place.settings(place.budgets[1:]))
    with pytest.raises(StudyMismatch, match="--budgets is not given and was "):
        place.run(place.settings(budgets_ms=None))


def test_pareto_spreads_budgets_from_the_fastest_network_to_the_largest_and_keeps_them(place: Place) -> None:
    largest = place.budgets[2]
    found = place.run(place.settings((largest,), budgets_ms=None, pareto=3))
    fastest = place.table.latency_ms(lower(place.space.spec(place.space.corner("smallest"))))
    budgets = found["budgets_ms"]
    ratio = (largest / fastest) ** (1 / 3)
    assert budgets == pytest.approx([fastest * ratio, fastest * ratio**2, largest], rel=0.01)
    assert fastest < budgets[0]
    assert place.run(place.settings((largest,), budgets_ms=None, pareto=3)) == found
    with pytest.raises(InvalidArgument, match="--pareto 20 needs budgets that differ"):
        place.run(place.settings((1.1 * fastest,), budgets_ms=None, pareto=20, trials=20, study="near"))


def test_budgets_of_pareto_keep_their_distance_once_they_are_rounded() -> None:
    with pytest.raises(InvalidArgument, match="--pareto 2 needs budgets that differ"):
        spread(10.0, 10.0 * 1.0205**2, 2)  # 10.2 is rounded up to 10.3


def test_a_budget_that_no_network_meets_is_named_before_anything_is_trained(place: Place) -> None:
    with pytest.raises(InfeasibleBudget, match=r"a budget of 1e-05 ms"):
        place.run(place.settings((1e-5, *place.budgets)))
    assert place.fits == []
    assert studies.names() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "exactly one of --budget-ms and --budgets must be given, got none of them"),
        (["--budget-ms", "5", "--budgets", "5,10"], "got both"),
        (["--budgets", "5,10", "--pareto", "3"], "--pareto spreads budgets up to --budget-ms"),
        (["--budgets", "5"], "--budget-ms for one"),
        (["--budgets", "5,-1"], "ms above 0"),
        (["--budgets", "5,0"], "ms above 0"),
        (["--budgets", "10,5,10"], "must differ by at least 2%, got 10 and 10"),
        (["--budgets", "5,ten"], "got 'ten'"),
        (["--budgets", "5,10", "--trials", "1"], "at least 1 for each of the 2 budgets"),
        (["--budgets", "5,10", "--reward", "mnas-soft"], "--reward must be feasible"),
        (["--budgets", "5,10", "--baselines"], "--baselines stands beside one winner"),
        (["--budget-ms", "5", "--pareto", "1"], "--pareto must be 2 to 20 budgets"),
        (["--budgets", "5,10", "--table", "a.csv", "--latency-column", "ms"], "got --budgets"),
    ],
)
def test_budgets_that_cannot_be_meant_exit_2_and_are_told(
    words: list[str], told: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1


def test_unsorted_budgets_are_put_in_order_and_name_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []
    monkeypatch.setattr("search.pipeline.run_search", lambda settings, **_: asked.append(settings) or {})
    search.find(budgets_ms=[20, 5, 10])
    assert (asked[0].budgets_ms, asked[0].budget_ms) == ((5, 10, 20), 20)
    assert asked[0].study_name == "digits-5-10-20ms"
    assert Settings(budget_ms=20, pareto=4).study_name == "digits-20ms-pareto4"


def test_the_command_prints_the_table_and_the_study_is_listed_with_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, with real trainings of a few images and a table of another device."""
    words = flags(place.folder, "--trials", "3", "--study", "real", "--overshoot", "1")
    space_in(place.folder, WIDER)
    (place.folder / "TFLite.json").write_text(table_of(place.space).to_json())
    words[:2] = ["--budgets", f"{1.08 * place.budgets[0]:.4f},{1.2 * place.budgets[2]:.4f}"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "Networks of real for 2 budgets" in printed.out
    folder = place.folder / "studies" / "real"
    front = json.loads((folder / "summary.json").read_text())["front"]
    for row in front:
        assert (folder / row["folder"] / "best.onnx").exists()
        assert f"{row['budget_ms']:g} ms: " in printed.err  # progress names the budget
    again = next(line for line in printed.out.splitlines() if "python -m search.run --budgets" in line)
    assert "--budget-ms" not in again
    from studies.__main__ import main as listed

    assert listed(["real"]) == 0
    assert front[0]["folder"] in capsys.readouterr().out


def test_without_matplotlib_there_is_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert not draw([], tmp_path / "front.png", "s")
    assert [*tmp_path.iterdir()] == []


def test_the_least_time_counts_a_winner_for_each_budget(place: Place) -> None:
    def told(**budgets: Any) -> str:
        settings = place.settings(trials=None, minutes=50 / 60, **budgets)
        try:
            check_time(settings, StudyClock(settings.time_limit_s), None, None, TableDevice(), lambda pixels: 1.0)
        except InvalidArgument as error:
            return str(error)
        return ""

    assert told(budgets_ms=None) == ""  # 20 s to measure, test and write one
    assert "at least about 1.1 on this machine" in told()
    assert "measuring, testing and writing them 60 s" in told()
