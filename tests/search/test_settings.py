"""Settings: what a search is asked to do."""

import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.report import command, grow_command
from search.run import find, main, parser
from search.settings import Settings, check_same
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument, StudyMismatch


@pytest.mark.parametrize(
    "flags",
    [
        ["--budget-ms", "0"],
        ["--budget-ms", "-3"],
        ["--budget-ms", "nan"],
        ["--budget-ms", "inf"],
        ["--budget-ms", "20", "--resolution", "31"],
        ["--budget-ms", "20", "--proxy-resolution", "0"],
        ["--budget-ms", "20", "--trials", "0"],
        ["--budget-ms", "20", "--minutes", "-1"],
        ["--budget-ms", "20", "--epochs", "0"],
        ["--budget-ms", "20", "--seed", "-1"],
        ["--budget-ms", "20", "--reward", "accuracy"],
        ["--budget-ms", "20", "--sampler", "grid"],
        ["--budget-ms", "20", "--until-settled", "--sampler", "random"],
        ["--budget-ms", "20", "--confidence", "1"],
        ["--budget-ms", "20", "--confidence", "0.4"],
        ["--budget-ms", "20", "--runtime", "tvm"],
    ],
)
def test_a_flag_out_of_range_exits_2_and_names_the_value(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    message = capsys.readouterr().err
    assert flags[-1] in message
    assert "Traceback" not in message


@pytest.mark.parametrize("flags", [["--budget-ms", "twenty"], [], ["--budget-ms", "20", "--trails", "3"]])
def test_an_unreadable_command_line_exits_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert capsys.readouterr().err.count("\n") == 1


def settings_of(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> Settings:
    """What the command line asks for."""
    asked: list[Settings] = []
    monkeypatch.setattr("search.pipeline.run_search", lambda settings, **_: asked.append(settings) or {})
    find(**{name: value for name, value in vars(parser().parse_args(words)).items() if name != "json"})
    return asked[0]


def test_every_flag_reaches_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (
        "--budget-ms 7 --data a --minutes 3 --trials 4 --study s --seed 5 --resolution 96 --proxy-resolution 64 "
        "--reward mnas-soft --sampler random --space f.toml --epochs 6 --images 7 --confidence 0.8 --overshoot 1.5 "
        "--runtime onnxruntime --threads 3 --accuracy training --weights a.pth,efficientnet_lite0 --no-ema"
    )
    assert settings_of(monkeypatch, flags.split()) == Settings(
        budget_ms=7,
        data="a",
        minutes=3,
        trials=4,
        study="s",
        seed=5,
        resolution=96,
        proxy_resolution=64,
        reward="mnas-soft",
        sampler="random",
        space_file="f.toml",
        epochs=6,
        images=7,
        confidence=0.8,
        overshoot=1.5,
        runtime="onnxruntime",
        threads=3,
        accuracy="training",
        weights="a.pth,efficientnet_lite0",
        ema=False,
    )
    assert settings_of(monkeypatch, ["--budget-ms", "7", "--resolution", "auto"]) == Settings(
        budget_ms=7, auto_resolution=True
    )


def test_a_budget_alone_gives_the_default_minutes_and_trials_alone_give_no_limit() -> None:
    assert Settings(budget_ms=20).time_limit_s == 9 * 60
    assert Settings(budget_ms=20, trials=3).time_limit_s is None
    assert Settings(budget_ms=20, trials=3, minutes=2).time_limit_s == 120


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (None, "digits-20ms"),
        ("/somewhere/cifar10-train.tar", "cifar10-train-20ms"),
        ("photos.tar.gz", "photos-20ms"),
        ("user/beans", "beans-20ms"),
        ("my photos/", "my-photos-20ms"),
    ],
)
def test_the_study_is_named_after_data_and_budget(data: str | None, name: str) -> None:
    assert Settings(budget_ms=20, data=data).study_name == name


def test_minutes_trials_and_name_do_not_define_a_study_and_every_other_setting_does() -> None:
    base = Settings(budget_ms=20)
    assert Settings(budget_ms=20, minutes=5, trials=9, study="x").identity() == base.identity()
    check_same("s", base.identity(), base.identity())
    for other in (Settings(budget_ms=21), Settings(budget_ms=20, seed=1), Settings(budget_ms=20, epochs=2)):
        with pytest.raises(StudyMismatch, match="other settings"):
            check_same("s", base.identity(), other.identity())


def test_a_study_that_is_older_than_a_setting_goes_on_and_had_the_default_of_it() -> None:
    old = {key: value for key, value in Settings(budget_ms=20).identity().items() if key != "runtime"}
    check_same("s", old, Settings(budget_ms=20).identity())
    with pytest.raises(StudyMismatch, match="runtime is 'onnxruntime' and was 'eager'"):
        check_same("s", old, Settings(budget_ms=20, runtime="onnxruntime").identity())


def test_what_a_study_decided_is_not_decided_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = Settings(budget_ms=20, auto_resolution=True)
    own = Settings(budget_ms=20, resolution=96, weights="a.pth, efficientnet_lite0", accuracy="finetune").identity()
    assert own["weights"] == f"{tmp_path / 'a.pth'},efficientnet_lite0"
    named = Settings(budget_ms=20, weights="mobilenet_v2=b.pth").identity()
    assert named["weights"] == f"mobilenet_v2={tmp_path / 'b.pth'}"
    assert asked.going_on_with(own).identity() == own
    before = Settings(budget_ms=20, accuracy="training").identity()
    del before["weights"], before["ema"]
    older = asked.going_on_with(before)
    assert (older.weights, older.accuracy, older.resolution) == ("none", "training", 224)
    check_same("s", before, older.identity())
    with pytest.raises(StudyMismatch, match="weights is 'efficientnet_lite0' and was 'none'"):
        check_same("s", before, Settings(budget_ms=20, weights="efficientnet_lite0", accuracy="training").identity())


def test_a_study_that_does_not_tell_its_table_goes_on_and_one_that_does_is_held_to_it() -> None:
    base = Settings(budget_ms=20, latency="phone.json").identity()
    check_same("s", base, base | {"table": "a"})
    check_same("s", base | {"table": "a"}, base | {"table": "a"})
    with pytest.raises(StudyMismatch, match=r"the content of --latency .*phone\.json has changed"):
        check_same("s", base | {"table": "a"}, base | {"table": "b"})


def test_a_study_whose_recipe_has_the_names_of_before_goes_on() -> None:
    asked = Settings(budget_ms=20).identity() | {"recipe": asdict(Recipe())}
    old = dict(asked["recipe"])
    old["calm_residuals"] = old.pop("zero_init_residual")
    check_same("s", asked | {"recipe": old}, asked)
    with pytest.raises(StudyMismatch, match=r"trainings are other ones.*zero_init_residual"):
        check_same("s", asked | {"recipe": old | {"calm_residuals": False}}, asked)


def test_a_mismatch_names_each_setting_that_differs_with_both_values() -> None:
    with pytest.raises(StudyMismatch) as error:
        check_same("s", Settings(budget_ms=20).identity(), Settings(budget_ms=25, seed=3).identity())
    assert "--budget-ms is 25 and was 20" in str(error.value)
    assert "--seed is 3 and was 0" in str(error.value)
    assert "--fresh" in str(error.value)


def test_epochs_are_refused_where_no_candidate_is_trained_by_them() -> None:
    settings = Settings(budget_ms=20, epochs=2, accuracy="frozen")
    settings.check_epochs(trains=True)
    replace(settings, trials=3).check_epochs(trains=False)  # the winner's training is measured by them
    with pytest.raises(InvalidArgument, match=r"--epochs .* got 2 and --accuracy frozen, which makes none: leave"):
        settings.check_epochs(trains=False)


def test_settings_name_the_flag_in_their_error() -> None:
    with pytest.raises(InvalidArgument, match="--budget-ms must be a number of ms above 0, got 0"):
        Settings(budget_ms=0)


def test_the_command_that_is_printed_goes_on_with_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (
        "--budget-ms 12.3456789 --data 'my photos/a' --seed 5 --resolution 96 --reward mnas-soft --sampler random "
        "--space f.toml --epochs 6 --images 7 --confidence 0.8 --runtime onnxruntime --ema"
    )
    settings = settings_of(monkeypatch, shlex.split(flags))
    printed = shlex.split(command(settings.identity(), study="s"))
    assert printed[:3] == ["python", "-m", "search.run"]
    again = settings_of(monkeypatch, printed[3:])
    assert again.identity() == settings.identity()
    assert again.study_name == "s"
    default = settings_of(monkeypatch, ["--budget-ms", "20"])
    assert command(default.identity(), study="digits-20ms") == "python -m search.run --budget-ms 20 --study digits-20ms"


def test_one_file_is_one_setting_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    absolute = Settings(budget_ms=1, data=str(tmp_path / "gone"), space_file=str(tmp_path / "s.toml")).identity()
    assert Settings(budget_ms=1, data="./gone", space_file="s.toml").identity() == absolute
    (tmp_path / "gone").rmdir()
    assert Settings(budget_ms=1, data="./gone", space_file="s.toml").identity() == absolute
    assert Settings(budget_ms=1, data="digits").identity() == Settings(budget_ms=1).identity()
    assert Settings(budget_ms=1, data="user/name").identity()["data"] == "user/name"


def test_the_command_that_grows_a_winner_names_its_data_and_the_seed_of_its_splits() -> None:
    words = shlex.split(grow_command({"data": "my photos", "seed": 3}, Path("studies/one")))
    assert words[words.index("--data") + 1] == "my photos"
    assert words[words.index("--seed") + 1] == "3"
    assert words[words.index("--inherit") + 1] == "studies/one/best.safetensors"
    assert "--seed" not in grow_command({"data": None, "seed": 0}, Path("studies/one"))


def test_a_job_too_short_for_pruning_looks_at_no_network_over_the_budget() -> None:
    assert [Settings(budget_ms=20, minutes=minutes).candidates_overshoot for minutes in (2, 5)] == [1.0, 1.15]
    assert Settings(budget_ms=20, trials=1).candidates_overshoot == 1.15
    assert Settings(budget_ms=20, minutes=30, overshoot=1.0).candidates_overshoot == 1.0
