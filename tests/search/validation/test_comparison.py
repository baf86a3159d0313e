"""The command's second half: estimators judge once, what is kept, what is said of them, the figure."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import search
from search.accuracy import EstimatorSettings, register
from search.schedule import PREPARE_SHARE
from search.settings import DEFAULT_MINUTES
from search.validate import main, validate
from search.validation.comparison import SEED_ROW, Comparison
from search.validation.files import ReferenceFiles, Trained
from search.validation.scores import Judged, spec_of
from search.validation.settings import Settings
from searchspace.errors import InvalidArgument, StorageError
from tests.scripted import ScriptedEstimator
from tests.small_search import TOML

pytestmark = pytest.mark.usefixtures("one_thread")

Command = Callable[..., list[str]]
made: list[ScriptedEstimator] = []
given: list[EstimatorSettings] = []


def scripted(settings: EstimatorSettings) -> ScriptedEstimator:
    given.append(settings)
    made.append(ScriptedEstimator(epochs=settings.recipe.epochs))
    return made[-1]


register("scripted by size")(scripted)


def trained(number: int, accuracy: float, *, seed: int = 0, macs: int = 100, depth: int = 1) -> Trained:
    return Trained(
        network=f"n{number}", kind="random", fingerprint=f"f{number}", seed=seed, accuracy=accuracy, judged=100,
        seconds=1.0, images=1, parent="", price=1.0, macs=macs, params=number, depth=depth,
    )  # fmt: skip


def compared(scores: dict[str, Judged], rows: list[Trained]) -> Comparison:
    first = [row for row in rows if row.seed == 0]
    sizes = {
        of: Judged({row.fingerprint: float(getattr(row, of)) for row in first}, 0.0, 0.0)
        for of in ("macs", "params", "depth")
    }
    return Comparison.of(rows, scores | sizes, band=1.2, seed=0, pixels=32, threads=1)


def of(values: list[float], *, seconds: float = 1.0, prepare_s: float = 0.0) -> Judged:
    return Judged({f"f{number}": value for number, value in enumerate(values)}, seconds, prepare_s)


ACCURACIES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_the_best_estimator_is_the_one_that_orders_best_of_those_that_are_quick_enough() -> None:
    rows = [trained(number, accuracy, macs=100 + number % 2) for number, accuracy in enumerate(ACCURACIES)]
    rows += [trained(number, 0.9 - 0.1 * number, seed=1) for number in (0, 1)]
    rows += [trained(2, 0.85, seed=1)]
    names = ("training", "frozen", "finetune")
    right, nearly, wrong = ACCURACIES, [0.2, 0.1, *ACCURACIES[2:]], ACCURACIES[::-1]
    found = compared(
        dict(zip(names, (of(right, seconds=9.1), of(nearly, seconds=1, prepare_s=240), of(wrong)), strict=True)), rows
    )
    assert list(found.agreements)[:2] == ["training", "params"]
    assert found.verdict()["best"] == "frozen"  # 9.1 s for 30 candidates are more than half of 9 minutes
    assert found.quick == ["frozen", "finetune"]
    assert found.ceiling is not None
    assert found.ceiling.value == pytest.approx(-1 / 3)  # of two seeds: 0.9, 0.8, 0.85 for 0.1, 0.2, 0.3
    text = found.report()
    assert "frozen is the best of those that judge 30 candidates in 50% of the default 9 minutes" in " ".join(
        text.split()
    )
    assert found.frame.loc["finetune", "tau"] == -1
    assert found.frame.loc[SEED_ROW, "networks"] == 3

    slow = compared({"training": of(right, seconds=1.0, prepare_s=241)}, rows)
    assert slow.verdict() == {"best": None}
    assert "No estimator judges 30 candidates" in slow.report()


def test_what_is_asked_stands_beside_what_is_reached() -> None:
    rows = [trained(n, a, macs=100 + n, depth=-n) for n, a in enumerate(ACCURACIES)]
    rows += [trained(n, a, seed=1) for n, a in enumerate(ACCURACIES)]
    found = compared({"frozen": of([0.2, 0.1, *ACCURACIES[2:]])}, rows)
    verdict = found.verdict()
    assert verdict["ceiling"] == 1
    assert verdict["of_ceiling"] == pytest.approx(13 / 15)
    assert verdict["rival"] == "macs"  # which are right here, depth is wrong
    assert verdict["lead"]["value"] == pytest.approx(13 / 15 - 1)
    assert verdict["lead"]["low"] <= verdict["lead"]["value"] <= verdict["lead"]["high"] <= 0
    assert "It reaches 0.87 of the ceiling; 0.7 is asked." in found.report()


def test_without_second_trainings_there_is_no_ceiling() -> None:
    found = compared({"frozen": of(ACCURACIES)}, [trained(n, a) for n, a in enumerate(ACCURACIES)])
    assert found.ceiling is found.verdict()["of_ceiling"] is None
    assert "The ceiling is not known" in found.report()
    with pytest.raises(InvalidArgument, match="needs 3 trained networks, got 2"):
        compared({}, [trained(0, 0.1), trained(1, 0.2), trained(1, 0.2, seed=1)])


def test_estimators_judge_once_and_never_see_held_out_images(command: Command, tmp_path: Path, capsys: Any) -> None:
    made.clear()
    flags = [*command("--networks", "3", "--twice", "0.4", "--json"), "--accuracy", "scripted by size"]
    assert main(flags) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in found["estimators"]}
    assert names == {
        "scripted by size",
        "synflow",
        "naswot",
        "jacob_cov",
        "zen_score",
        "macs",
        "params",
        "depth",
        SEED_ROW,
    }
    assert made[-1].calls == 3
    from search.data import load

    validation = load("digits:60", resolution=48).validation
    shown = made[-1].prepared_with.validation
    assert len(shown) == len(validation) // 2
    assert (shown.pixels == validation.pixels[: len(shown)]).all()
    space, within = given[-1].space, given[-1].within
    assert space is not None
    assert within is not None
    assert within(space.spec(space.corner("smallest")))
    assert not within(space.spec(space.corner("largest")).with_resolution(96))
    assert given[-1].seconds == pytest.approx(PREPARE_SHARE * 60 * DEFAULT_MINUTES)

    capsys.readouterr()
    assert main(flags) == 0
    again = json.loads(capsys.readouterr().out)
    assert made[-1].calls == 0
    assert made[-1].prepared_with is None
    assert again == found

    scores = tmp_path / "set.scores.csv"
    kept = scores.read_text()
    assert main([*flags, "--epochs", "7"]) == 0  # other scores, beside the first ones
    assert made[-1].calls == 3
    assert scores.read_text().startswith(kept)


def test_as_is_trains_nothing_and_an_unknown_set_is_told(command: Command, tmp_path: Path, capsys: Any) -> None:
    flags = [*command("--twice", "0"), "--accuracy", "scripted by size"]
    assert main([*flags, "--networks", "3", "--as-is"]) == 2
    assert "there is no reference set" in capsys.readouterr().err
    assert main([*flags, "--networks", "3"]) == 0
    before = (tmp_path / "set.csv").read_text()
    capsys.readouterr()
    assert main([*flags, "--networks", "9", "--as-is"]) == 0
    assert (tmp_path / "set.csv").read_text() == before
    assert "3 networks trained fully" in capsys.readouterr().out
    assert main([*flags, "--as-is", "--seed", "3"]) == 2
    assert "seed is 3 and was 0" in capsys.readouterr().err


def test_the_function_has_the_commands_flags_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = inspect.signature(search.validate).parameters
    assert {"budget_macs", "data", "minutes_each", "as_is", "plot"} < keywords.keys()
    with pytest.raises(InvalidArgument, match="--accuracy must be of"):
        validate("a.csv", budget_macs=1e6, accuracy="guessing")
    with pytest.raises(InvalidArgument, match="--band must be a factor of at least 1"):
        validate("a.csv", budget_macs=1e6, band=0.5)
    with pytest.raises(InvalidArgument, match=r"must be a file that ends in \.csv"):
        validate("a.txt", budget_macs=1e6)
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "space.toml").write_text(TOML)
    found = validate(
        tmp_path / "set.csv",
        budget_macs=0.665e6,
        data="digits:60",
        space=tmp_path / "space.toml",
        resolution=32,
        images_each=32,
        networks=3,
        twice=0,
        accuracy="scripted by size",
        plot=tmp_path / "tau.svg",
        quiet=True,
    )
    assert found.agreements["scripted by size"].networks == 3
    assert "scripted by size" in (tmp_path / "tau.svg").read_text()


def test_a_row_of_another_network_is_refused() -> None:
    space = Settings(budget_macs=1e6, resolution=32).search_space(classes=10)
    choices = space.corner("smallest")
    spec = space.spec(choices)
    row = {**vars_of(trained(0, 0.1)), "fingerprint": spec.fingerprint()}
    assert spec_of(Trained(**{**row, "choices": json.dumps(choices)}), space) == spec
    assert spec_of(Trained(**{**row, "spec": spec.to_json()}), space) == spec
    other = space.corner("largest")
    with pytest.raises(StorageError, match="the search space is another one, or the file was changed"):
        spec_of(Trained(**{**row, "choices": json.dumps(other)}), space)
    with pytest.raises(StorageError, match="must hold a network, and does not"):
        spec_of(Trained(**{**row, "choices": "{"}), space)
    for wrong in ("[1]", "7", '{"stem.kernel": 99}'):
        with pytest.raises(StorageError, match="the row of n0 must hold a network, and does not"):
            spec_of(Trained(**{**row, "choices": wrong}), space)


def vars_of(row: Trained) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def test_a_network_that_cannot_be_judged_is_kept_without_a_score(command: Command, tmp_path: Path) -> None:
    from search.training.errors import TrainingFailed

    def failing(settings: Any) -> ScriptedEstimator:
        return ScriptedEstimator(epochs=1, fail={2: TrainingFailed("it is outside")})

    register("scripted and failing")(failing)
    assert main([*command("--networks", "3", "--twice", "0"), "--accuracy", "scripted and failing"]) == 0
    rows = [row for row in ReferenceFiles.named(tmp_path / "set.csv").scores() if row.estimator.endswith("failing")]
    assert [row.failed for row in rows] == ["", "it is outside", ""]
    assert [row.score is None for row in rows] == [False, True, False]
    assert isinstance(rows[0].deviation, float)
