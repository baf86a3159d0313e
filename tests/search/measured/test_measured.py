"""Tables of measured networks: read, learnt from, searched."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from search.measured.features import StageFeatures
from search.measured.networks import MeasuredNetworks, read_measured
from search.measured.search import TableSearch
from search.measured.surrogate import Surrogate
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidTable, StorageError
from searchspace.graph import lower
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices

ACCEL = Path(__file__).parents[4] / "shared" / "data" / "accel-nasbench-dev.csv"
SPACE = mnasnet_space().with_choices(
    {
        "*.activation": ("relu",),
        "*.width_mult": (1.0,),
        "*.layers": (1, 2),
        "stage7.layers": (0, 1),
        "*.kernel": (3, 5),
        "*.se": (False,),
    }
)


def truth(choices: Choices) -> tuple[float, float]:
    """Accuracy in percent and ms of a network: a smooth law of its costs and choices, no noise."""
    cost = costs(lower(SPACE.spec(choices)))
    kernels = sum(int(value) for name, value in choices.items() if name.endswith("kernel"))
    return 40 + 8 * np.log(cost.macs / 1e7) + 0.3 * kernels, cost.macs / 4e7 + 0.05 * kernels


def written(path: Path, count: int = 300, seed: int = 0, **changed: Any) -> Path:
    rng = random.Random(seed)
    rows = {tuple(choices.items()): choices for choices in (SPACE.sample(rng) for _ in range(count))}
    full = [{**dict.fromkeys(mnasnet_space().parameters(), None), **choices} for choices in rows.values()]
    for row, choices in zip(full, rows.values(), strict=True):
        row["accuracy"], row["latency"] = truth(choices)
    frame = pd.DataFrame(full, dtype=object)
    for name, value in changed.items():
        frame.loc[0, name.replace("__", ".")] = value
    frame.to_csv(path, index=False)
    return path


def searched(path: Path) -> TableSearch:
    return TableSearch.of(read_measured(path), accuracy="accuracy", latency="latency", limit_ms=5, confidence=0.95)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> MeasuredNetworks:
    return read_measured(written(tmp_path_factory.mktemp("table") / "networks.csv"))


def test_a_table_is_read_as_it_was_written(table: MeasuredNetworks) -> None:
    assert table.space.parameters() == SPACE.parameters()
    for choices, percent, ms in zip(
        table.choices, table.accuracy("accuracy"), table.latency_ms("latency"), strict=True
    ):
        assert truth(choices) == pytest.approx((100 * percent, ms))


def test_a_surrogate_ranks_networks_that_it_was_not_shown_and_knows_its_error(table: MeasuredNetworks) -> None:
    rng = random.Random(1)
    fresh = [table.space.sample(rng) for _ in range(100)]
    expected = np.array([truth(choices) for choices in fresh])
    features = StageFeatures(table.space)
    for column, values, positive in (
        (0, 100 * table.accuracy("accuracy"), False),
        (1, table.latency_ms("latency"), True),
    ):
        surrogate = Surrogate(features, table.choices, values, positive=positive)
        assert kendalltau(surrogate.predict(fresh), expected[:, column])[0] > 0.95
        low, high = surrogate.interval(fresh)
        assert np.mean((low <= expected[:, column]) & (expected[:, column] <= high)) > 0.85
        assert surrogate.fit.tau > 0.95


def test_leaving_one_out_in_closed_form_equals_fitting_again(table: MeasuredNetworks) -> None:
    """Length and noise are chosen anew by a second fit, so a network whose choice they hardly are is left out."""
    values, features = table.accuracy("accuracy"), StageFeatures(table.space)
    whole = Surrogate(features, table.choices, values)
    errors = []
    for left_out in range(0, 40, 10):
        kept = np.where(np.arange(len(values)) == left_out, np.nan, values)
        errors.append(Surrogate(features, table.choices, kept).predict([table.choices[left_out]])[0] - values[left_out])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(whole.fit.rmse, rel=1.0)


def test_features_do_not_depend_on_what_was_asked_before() -> None:
    rng = random.Random(2)
    networks = [mnasnet_space().sample(rng) for _ in range(60)]
    together = StageFeatures(mnasnet_space()).of(networks)
    for choices, row in zip(networks[::9], together[::9], strict=True):
        assert np.array_equal(StageFeatures(mnasnet_space()).of([choices])[0], row)


def test_the_search_finds_a_better_network_than_the_table_has_and_keeps_the_limit(table: MeasuredNetworks) -> None:
    limit = float(np.quantile(table.latency_ms("latency"), 0.3))
    search = TableSearch.of(table, accuracy="accuracy", latency="latency", limit_ms=limit, confidence=0.95)
    found = search.run(0)
    best = max(p for p, ms in zip(table.accuracy("accuracy"), table.latency_ms("latency"), strict=True) if ms <= limit)
    assert truth(found[0].choices)[0] / 100 >= best
    assert all(truth(each.choices)[1] <= limit * 1.01 for each in found)
    assert [each.accuracy for each in found] == sorted((each.accuracy for each in found), reverse=True)
    assert found == search.run(0)


def test_a_limit_below_every_network_is_told(table: MeasuredNetworks) -> None:
    search = TableSearch.of(table, accuracy="accuracy", latency="latency", limit_ms=0.01, confidence=0.95)
    with pytest.raises(InfeasibleBudget, match="the fastest of"):
        search.run(0)


def test_rows_of_one_network_count_by_their_mean_and_refuse_to_disagree(tmp_path: Path) -> None:
    frame = pd.read_csv(written(tmp_path / "networks.csv", 60))
    for difference, agrees in ((0.1, True), (50.0, False)):
        twice = pd.concat([frame, frame.iloc[:1].assign(accuracy=frame.accuracy[0] - difference)])
        twice.to_csv(tmp_path / "twice.csv", index=False)
        table = read_measured(tmp_path / "twice.csv")
        assert len(table.choices) == len(frame)
        assert "another row" in table.notes[0]
        if agrees:
            assert 100 * table.accuracy("accuracy")[0] == pytest.approx(frame.accuracy[0] - difference / 2)
        else:
            with pytest.raises(InvalidTable, match="lines 2 and 62 are of one network and disagree"):
                table.accuracy("accuracy")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stage3__kernel": 4}, "kernel must be an odd integer"),
        ({"stage3__kernel": None}, "line 2: stage3.kernel is empty"),
        ({"stage3__se": "maybe"}, "se must be true or false"),
        ({"accuracy": float("inf")}, "line 2: accuracy must be a finite number"),
        ({"accuracy": -3.0}, "accuracy must be an accuracy from 0 to 1"),
        ({"latency": 0.0}, "latency must be above 0"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    path = written(tmp_path / "networks.csv", 40, **changed)
    with pytest.raises(InvalidTable, match=words):
        searched(path)


def test_a_cell_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    table = read_measured(written(tmp_path / "networks.csv", 60, accuracy=None))
    assert Surrogate(StageFeatures(table.space), table.choices, table.accuracy("accuracy")).fit.networks == 59


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a CSV file"),
        ("a,b\n", "has no rows"),
        ("a,b\n1,2\n", "needs a column for every choice"),
        ("block0_e,block0_k,block0_l\n1,3,1\n", "lacks block0_se, block1_e, block1_k, block1_l and"),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "wrong.csv").write_text(text)
    with pytest.raises(InvalidTable, match=words):
        read_measured(tmp_path / "wrong.csv")
    with pytest.raises(StorageError, match="cannot read the table"):
        read_measured(tmp_path / "none.csv")


def test_columns_of_one_name_and_columns_that_teach_nothing_are_told(tmp_path: Path) -> None:
    frame = pd.read_csv(written(tmp_path / "a.csv", count=40))
    pd.concat([frame, frame[["accuracy"]]], axis=1).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(InvalidTable, match="two columns called 'accuracy'"):
        read_measured(tmp_path / "twice.csv")
    frame.assign(accuracy=60.0, latency=[1e308] + [1.0] * (len(frame) - 1)).to_csv(tmp_path / "same.csv", index=False)
    table = read_measured(tmp_path / "same.csv")
    with pytest.raises(InvalidTable, match=r"accuracy must differ among networks .* all have 60"):
        table.accuracy("accuracy")
    with pytest.raises(InvalidTable, match="latency must be above 0, and 1e"):
        table.latency_ms("latency")


def test_blanks_around_the_names_of_columns_are_no_part_of_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", count=40)
    header, _, rows = path.read_text().partition("\n")
    path.write_text(header.replace(",", " , ") + "\n" + rows)
    assert {"accuracy", "latency"} <= read_measured(path).columns.keys()


def test_a_column_that_is_not_there_is_named_with_its_nearest(table: MeasuredNetworks) -> None:
    with pytest.raises(InvalidTable, match="did you mean 'latency'"):
        table.latency_ms("latencies")


@pytest.mark.skipif(not ACCEL.exists(), reason="needs ../shared/data/accel-nasbench-dev.csv")
def test_accel_nasbench_networks_have_the_parameters_that_it_states() -> None:
    table = read_measured(ACCEL)
    for choices, millions in list(zip(table.choices, table.column("params_m"), strict=True))[::200]:
        assert costs(lower(table.space.spec(choices))).params / 1e6 == pytest.approx(millions, abs=1e-9)
