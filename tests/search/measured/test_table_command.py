"""python -m search.run --table: what it writes, prints and refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import search
import studies
from search.run import main
from searchspace import strict_json
from searchspace.errors import InvalidArgument
from studies.__main__ import main as studies_main
from tests.search.measured.test_measured import truth, written


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a table, and the studies beside it."""
    place = tmp_path_factory.mktemp("table")
    written(place / "networks.csv", 80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHINAS_STUDIES", str(place))
        yield place


def flags(path: Path, *more: str) -> list[str]:
    columns = ("--latency-column", "latency", "--accuracy-column", "accuracy")
    return ["--budget-ms", "6", "--table", str(path), *columns, *more]


def test_a_table_gives_a_study_that_every_reader_knows_and_is_not_searched_twice(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "networks.csv"
    assert main(flags(path)) == 0
    text = capsys.readouterr().out
    assert "Best of networks-latency-6ms" in text
    assert f"search.finetune --network {place}/networks-latency-6ms/best.json" in text

    before = (place / "networks-latency-6ms" / "summary.json").read_bytes()
    assert main(flags(path, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == strict_json.loads(before)
    assert (place / "networks-latency-6ms" / "summary.json").read_bytes() == before

    found = search.find(6, table=path, latency_column="latency", accuracy_column="accuracy", quiet=True)
    assert found.report() in text
    best = studies.best("networks-latency-6ms")
    assert best.spec == found.spec
    assert best.accuracy == summary["found"][0]["accuracy"]
    assert best.predicted_latency_ms == summary["found"][0]["latency_ms"]
    assert truth(summary["found"][0]["choices"])[1] <= 6
    assert len(found.study) == len(summary["found"])
    with pytest.raises(InvalidArgument, match="trains nothing, so networks-latency-6ms has no weights"):
        _ = found.module

    assert studies_main([]) == 0
    assert studies_main(["networks-latency-6ms"]) == 0
    listing = capsys.readouterr().out
    assert "none trained" in listing
    assert "predicted" in listing
    assert "6  finished" in listing

    other = written(place / "other.csv", 60, seed=1)
    assert main(flags(other, "--study", "networks-latency-6ms")) == 2
    assert "has changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--minutes", "3"), "got --minutes: leave it out"),
        (("--weights", "none"), "got --weights: leave it out"),
        (("--no-ema",), "got --ema: leave it out"),
        (("--baselines", "best"), "got --baselines: leave it out"),
    ],
)
def test_a_flag_that_means_nothing_beside_a_table_is_refused(
    more: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(tmp_path / "none.csv", *more)) == 2
    assert words in capsys.readouterr().err


def test_a_table_and_its_column_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--budget-ms", "6", "--table", "networks.csv"]) == 2
    assert "--latency-column is missing" in capsys.readouterr().err
    assert main(["--budget-ms", "6", "--latency-column", "latency"]) == 2
    assert "--table is missing" in capsys.readouterr().err
