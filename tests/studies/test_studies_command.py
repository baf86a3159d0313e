"""python -m studies: lists, shows, and says in one line what is wrong."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

from studies.__main__ import main
from studies.schema import Status, TrialRecord

MakeStudy = Callable[..., optuna.Study]
REPOSITORY = Path(__file__).parents[2]


def trained(accuracy: float, latency_ms: float) -> TrialRecord:
    return TrialRecord(
        status=Status.TRAINED,
        choices={"stage1.kernel": 3},
        params=1_500_000,
        macs=10**8,
        accuracy=accuracy,
        predicted_latency_ms=latency_ms,
        reward=accuracy,
        train_s=9.0,
    )


@pytest.fixture
def two_studies(make_study: MakeStudy, studies_root: Path) -> Path:
    make_study("digits-20ms", trained(0.5, 10.0), trained(0.7, 15.0), trained(0.6, 16.0), trained(0.9, 25.0))
    make_study("photos", budget_ms=5.0)
    return studies_root


def test_the_list_has_a_row_a_study(two_studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "digits-20ms" in text
    assert "70.0%" in text
    assert main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["trials"], row["accuracy"], row["latency_ms"], row["state"]) for row in rows] == [
        ("digits-20ms", 4, 0.7, 15.0, "stopped"),
        ("photos", 0, None, None, "stopped"),
    ]
    assert main(["--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("photos,0,0,,,5.0,stopped")


def test_a_damaged_study_does_not_hide_the_others(two_studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two_studies / "photos" / "study.db").write_text("no database " * 100)
    assert main([]) == 0
    text = capsys.readouterr().out
    assert "damaged" in text
    assert "digits-20ms" in text


def test_an_empty_folder_says_how_to_make_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "python -m search.run" in capsys.readouterr().out


def test_a_study_shows_best_trials_front_and_winner(two_studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    winner = {"trial": 1, "test_accuracy": 0.66, "test_low": 0.6, "test_high": 0.71, "measured_latency_ms": 18.5}
    summary = two_studies / "digits-20ms" / "summary.json"
    summary.write_text(json.dumps({"study": "digits-20ms", "winner": winner, "within_budget": True}))
    assert main(["digits-20ms"]) == 0
    text = capsys.readouterr().out
    assert "4 trials (4 trained), budget 20 ms, finished" in text
    assert "winner: trial 1, test accuracy 66.0% (60.0% to 71.0%), measured 18.50 ms, within the budget" in text
    assert main(["digits-20ms", "--json", "--top", "2"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["trial"] for row in content["best"]] == [3, 1]
    assert [row["trial"] for row in content["pareto"]] == [0, 1, 3]
    assert content["summary"]["winner"] == winner
    assert content["settings"]["budget_ms"] == 20.0


def test_csv_is_the_whole_frame(two_studies: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["digits-20ms", "--csv"]) == 0
    path = tmp_path / "trials.csv"
    path.write_text(capsys.readouterr().out)
    assert pd.read_csv(path)["stage1.kernel"].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["digits"], "did you mean digits-20ms"),
        (["../digits"], "1 to 100 letters"),
        (["--top", "0"], "at least 1"),
        (["--plot", "x.png"], "NAME"),
        (["digits-20ms", "--plot", "x.txt"], ".png, .svg, .pdf"),
        (["digits-20ms", "--speed"], "--speed"),
        (["digits-20ms", "--json", "--csv"], "not allowed with"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    studies_root: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    (studies_root / "digits-20ms").mkdir(parents=True)
    (studies_root / "digits-20ms" / "study.db").touch()
    try:
        code = main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_plot_is_drawn_or_names_the_extra_that_draws_it(
    two_studies: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "front.svg"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["digits-20ms", "--plot", str(path)]) == 2
    assert "phinas[plot]" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("PHINAS_STUDIES", str(two_studies))
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    assert main(["digits-20ms", "--plot", str(path)]) == 0
    assert "budget 20 ms" in path.read_text()


def test_help_imports_nothing_heavy_and_answers_at_once() -> None:
    code = (
        "import sys, time\nbegan = time.perf_counter()\nfrom studies.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'optuna', 'pandas', 'numpy', 'rich'} & set(sys.modules)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "exit codes: 0 done" in done.stdout
    assert time.perf_counter() - began < 3  # 0.15 s on a quiet machine


def test_a_reader_that_stops_reading_is_no_error(two_studies: Path) -> None:
    command = f"{sys.executable} -m studies digits-20ms --csv | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr == ""
