"""Families and rules in one table, on the command line: text, JSON, latency, measurement, plot."""

import json
from pathlib import Path
from typing import Any

import pytest

from scaling import report
from scaling.api import compound
from scaling.compound import main
from scaling.formula import RULES
from search.latency import Measurement
from searchspace.cost import macs
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec, read_spec
from searchspace.zoo.efficientnet import B0


def as_json(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main([*flags, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_several_phis_are_a_family_in_one_table(capsys: pytest.CaptureFixture[str], table_file: Path) -> None:
    data = as_json(capsys, "--phi", "0,1,2,3", "--latency", str(table_file))
    rows = data["phi"]
    assert [row["phi"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["fingerprint"] == data["base"]["fingerprint"]
    assert [row["resolution"] for row in rows] == [224, 258, 296, 341]
    for figure in ("params", "macs", "activation_bytes"):
        values = [row[figure] for row in rows]
        assert values == sorted(set(values))
    latencies = [row["latency"] for row in rows]
    assert all(one["low_ms"] < one["latency_ms"] < one["high_ms"] for one in latencies)
    assert not latencies[0]["estimated"]
    assert latencies[1]["estimated"]
    assert main(["--phi", "0,1,2,3", "--latency", str(table_file)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:6] == ["phi", "depth", "width", "px", "params", "MACs"]
    assert "a made-up device" in out


def test_compare_shows_every_rule_to_the_same_target(capsys: pytest.CaptureFixture[str]) -> None:
    rows = as_json(capsys, "--target-macs", "800e6", "--compare")["rule"]
    assert [row["rule"] for row in rows] == list(RULES)
    assert all(row["macs"] <= 800e6 for row in rows)
    assert all(row["macs"] >= 0.98 * 800e6 or row["rule"] == "depth" for row in rows)  # layers alone are coarse
    by_rule = {row["rule"]: row for row in rows}
    # arXiv:2103.06877: at equal MACs, wider networks have fewer activations, deeper and finer ones more
    assert by_rule["width"]["activation_bytes"] < by_rule["fast"]["activation_bytes"]
    assert by_rule["fast"]["activation_bytes"] < by_rule["compound"]["activation_bytes"]
    assert by_rule["compound"]["activation_bytes"] < by_rule["resolution"]["activation_bytes"]


def test_a_table_with_latencies_fits_100_columns(capsys: pytest.CaptureFixture[str], table_file: Path) -> None:
    assert main(["--phi", "3", "--compare", "--latency", str(table_file)]) == 0
    tables = capsys.readouterr().out.split("\n\n")[:2]
    assert [part.split()[0] for part in tables] == ["rule", "rule"]  # its factors, then its costs
    for part in tables:
        lines = part.splitlines()
        assert max(map(len, lines)) <= 100
        assert [line.split()[0] for line in lines[2:9]] == ["base", *RULES]


@pytest.mark.parametrize(
    ("flag", "value", "figure"),
    [("target_macs", 1e9, "macs"), ("target_params", 9e6, "params"), ("target_ms", 30.0, "ms")],
)
def test_a_target_is_met_and_written(flag: str, value: float, figure: str, tmp_path: Path, table_file: Path) -> None:
    out = tmp_path / "grown.json"
    target: dict[str, Any] = {flag: value}
    result = compound(latency=table_file, out=out, **target)
    data = report.as_dict(result)
    assert data["target"] == {"flag": "--" + flag.replace("_", "-"), "value": value}
    formula = data["formula"]
    found = formula["latency"]["latency_ms"] if figure == "ms" else formula[figure]
    assert 0.98 * value <= found <= value
    assert read_spec(out) == NetworkSpec.from_json(json.dumps(formula["spec"]))
    assert "% from it" in report.as_text(result)


def test_a_phi_with_a_table_shows_latency_and_what_each_dimension_does(
    table_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--phi", "1", "--latency", str(table_file)]
    data = as_json(capsys, *flags)
    alone = {name: row["latency"]["latency_ms"] for name, row in data["by_dimension"].items()}
    assert list(alone) == ["depth", "width", "resolution"]
    base = data["base"]["latency"]["latency_ms"]
    assert all(base < ms < data["formula"]["latency"]["latency_ms"] for ms in alone.values())
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "90 % interval" in out
    assert "by dimension, x base" in out
    assert max(map(len, out.splitlines())) <= 100


def test_measured_latency_stands_beside_the_predicted(latencies: LatencyTable) -> None:
    result = compound(phi=[-7, -6], latency=latencies)

    def timed(specs: list[NetworkSpec]) -> list[Measurement]:
        ms = [10.0 * (at + 1) for at in range(len(specs))]
        return [Measurement(latency_ms=m, low_ms=m, high_ms=m, rounds=9, raw_median_ms=m, noisy=m > 25) for m in ms]

    result.measure(by=timed)
    costs = result.table().split("\n\n")[1].splitlines()
    assert costs[0].split()[-3:] == ["measured", "off", "by"]
    rows = [line.split() for line in costs[2:5]]
    assert [row[-2] for row in rows[:2]] == ["10.00", "20.00"]
    assert rows[2][-3::2] == ["30.00", "noisy"]


def test_a_family_is_drawn(tmp_path: Path, table_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'plot'")
    path = tmp_path / "family.svg"
    assert main(["--phi", "0,1,2", "--latency", str(table_file), "--plot", str(path)]) == 0
    assert "predicted latency" in capsys.readouterr().out or path.read_text().startswith("<?xml")


def test_onnx_is_written_for_a_device(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "small.onnx"
    assert main(["--network", "squeezenet1_1", "--phi", "-5", "--onnx", str(path)]) == 0
    (image,) = onnx.load(path).graph.input
    assert [one.dim_value for one in image.type.tensor_type.shape.dim] == [1, 3, 111, 111]


def test_coefficients_come_from_a_file_or_a_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"alpha": 1.1, "beta": 1.2, "gamma": 1.1, "more": "ignored"}')
    formula = as_json(capsys, "--phi", "2", "--coefficients", str(path))["formula"]
    assert (formula["depth"], formula["width"], formula["resolution"]) == (1.21, 1.44, 271)
    formula = as_json(capsys, "--phi", "1", "--rule", "width")["formula"]
    assert (formula["depth"], formula["resolution"]) == (1, 224)
    assert macs(B0.expand(width=2**0.5)) == formula["macs"]


@pytest.mark.parametrize("text", ["{}", "[1]", '{"alpha": "1"}', '{"alpha": 0.5, "beta": 1, "gamma": 1}', "nonsense"])
def test_a_damaged_coefficients_file_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    assert main(["--coefficients", str(path)]) == 2
    assert "c.json" in capsys.readouterr().err


def test_a_table_says_what_was_written_and_how_to_keep_one_of_several(
    tmp_path: Path, table_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grown.json"
    assert main(["--phi", "1", "--table", "--out", str(out)]) == 0
    assert f"Written to {out}." in capsys.readouterr().out
    assert as_json(capsys, "--phi", "1", "--table", "--out", str(out))["written"] == str(out)
    assert main(["--phi", "0,1,2", "--rule", "width", "--latency", str(table_file)]) == 0
    text = capsys.readouterr().out
    assert "python -m scaling.compound --phi 2 --rule width --out grown.json" in text
    assert main(["--compare", "--target-macs", "800e6"]) == 0
    assert "--target-macs 800000000 --rule resolution --out grown.json" in capsys.readouterr().out
