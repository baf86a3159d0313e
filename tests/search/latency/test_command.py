"""python -m search.latency: flags and messages; measuring real networks is in the end-to-end tests of search.run."""

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.latency.__main__ import main
from search.latency.adapt import networks_to_measure
from search.latency.build import MANY_S, with_holdout_error
from search.latency.cache import Cache
from search.latency.runtimes import runtime
from search.latency.runtimes.eager import Eager
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable, read_table
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec

IMPORT = ["import", "--folder", "x", "--device", "phone", "--threads", "4", "--out", "t.json"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["measure"], "measure needs at least one --network"),
        (["build", "--network", "mnasnet_a1"], "--network belongs to measure and predict, got build"),
        (["measure", "--network", "mobilnet_v2"], "the zoo has no network 'mobilnet_v2'; did you mean mobilenet_v2"),
        (["measure", "--network", "none.json"], "cannot read the spec file none.json"),
        (["measure", "--network", "mnasnet_a1", "--seconds", "0"], "--seconds must be above 0, got 0"),
        (["measure", "--network", "mnasnet_a1", "--resolution", "31"], "at least the total stride 32, got 31"),
        (["predict"], "predict needs at least one --network"),
        (["predict", "--network", "mnasnet_a1", "--latency", "none.json"], "cannot read the latency table none.json"),
        (
            ["measure", "--network", "mnasnet_a1", "--latency", "a.json"],
            "--latency belongs to predict, check and adapt",
        ),
        (["check", "--out", "a.json"], "--out belongs to build, adapt and import, got check"),
        (["measure", "--network", "mnasnet_a1", "--threads", "0"], "--threads must be above 0, got 0"),
        (["adapt", "--out", "b.json"], "name that with --latency"),
        (["check", "--again"], "--again belongs to build, got check"),
        (["predict", "--network", "mnasnet_a1", "--seconds", "3"], "--seconds belongs to build, check, measure and"),
        (["measure", "--network", "mnasnet_a1", "--zoo"], "--zoo belongs to build and check, got measure"),
        (["export", "--folder", "x", "--runtime", "onnxruntime"], "--runtime belongs to build, check, measure, "),
        (["export", "--folder", "x", "--threads", "4"], "--threads belongs to build, check, measure, "),
        (["build", "--out", "/proc/none/t.json"], "cannot write /proc/none/t.json"),
        (["build", "--runtime", "tvm"], "the runtime must be one of eager, "),
        (["build", "--resolution", "-1"], "--resolution must be above 0, got -1"),
        (["build", "--networks", "100"], "--networks belongs to check, adapt and export, got build"),
        (["build", "--seed", "0"], "--seed belongs to check, adapt and export, got build"),
        (["measure", "--network", "mnasnet_a1", "--space", "s.toml"], "--space belongs to build, check, adapt and"),
        ([*IMPORT, "--resolution", "96"], "--resolution belongs to build, check, measure, "),
        ([*IMPORT, "--classes", "10"], "--classes belongs to build, check, measure, "),
        ([*IMPORT, "--cache-dir", "c"], "--cache-dir belongs to build, check, measure, predict and adapt, got import"),
    ],
)
def test_bad_input_ends_with_2_and_the_rule(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err


def test_given_networks_are_measured_each_at_its_own_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.5, resolution=64)
    (tmp_path / "small.json").write_text(spec.to_json())
    networks = ["--network", str(tmp_path / "small.json"), "--network", "shufflenet_v2"]
    flags = ["measure", *networks, "--cache-dir", str(tmp_path), "--seconds", "0.1"]
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["network"], row["resolution"]) for row in found["networks"]] == [
        ("mobilenet_v3_small_w0.5", 64),
        ("shufflenet_v2", 224),
    ]
    assert 0 < found["networks"][0]["latency_ms"] < found["networks"][1]["latency_ms"]
    assert main(flags) == 0
    assert "shufflenet_v2" in capsys.readouterr().out


def test_a_table_without_the_published_networks_is_measured_anew_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, Eager().identity(64), note=lambda _: None)
    cache.save(_table(64))
    anew: list[bool] = []

    def table_for(*_: object, **asked: Any) -> LatencyTable:
        anew.append(asked["anew"])
        return _table(64)

    monkeypatch.setattr("search.latency.build.table_for", table_for)
    flags = ["build", "--resolution", "64", "--cache-dir", str(tmp_path)]
    assert main([*flags, "--no-zoo"]) == 0
    assert main(flags) == 0
    assert "measured anew" in capsys.readouterr().err
    assert main([*flags, "--again"]) == 0
    assert anew == [False, True, True]


def _table(resolution: int = 224) -> LatencyTable:
    space = mnasnet_space(resolution=resolution)
    layers = [layer for seed in range(9) for layer in lower(space.spec(space.sample(random.Random(seed)))).layers]
    kernels = {layer.signature: 0.2 for layer in layers}
    return LatencyTable(Eager().identity(resolution), 5.0, kernels, Correction(1.0, 0.0, 0.03))


def test_a_table_in_a_file_predicts_networks_at_any_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phone.json").write_text(_table().to_json())
    flags = ["predict", "--network", "mnasnet_a1", "--network", "efficientnet_b1"]
    flags += ["--latency", str(tmp_path / "phone.json")]
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["networks"]
    assert [row["resolution"] for row in found] == [224, 240]
    for row, name in zip(found, ("mnasnet_a1", "efficientnet_b1"), strict=True):
        layers = lower(zoo.get(name)).layers
        assert row["latency_ms"] == pytest.approx(0.2 * len(layers), rel=0.25)
        assert row["low_ms"] < row["latency_ms"] < row["high_ms"]
    assert len(found[0]["estimated"]) < len(found[1]["estimated"])
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "layers estimated" in out
    assert "efficientnet_b1" in out


def test_without_a_file_the_device_s_own_table_predicts_or_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["predict", "--network", "mnasnet_a1", "--cache-dir", str(tmp_path)]
    assert main(flags) == 2
    assert "search.latency build" in capsys.readouterr().err
    Cache(tmp_path, Eager().identity(224), note=lambda _: None).save(_table())
    assert main(flags) == 0


def test_a_device_that_is_not_here_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = replace(_table(64), identity={**Eager().identity(64), "runtime": "eager torch on mps"})
    (tmp_path / "gpu.json").write_text(table.to_json())
    flags = ["--cache-dir", str(tmp_path)]
    for asked in (["build", "--device", "tpu"], ["check", "--latency", str(tmp_path / "gpu.json")]):
        assert main([*asked, *flags]) == 2
        assert "finds here (cpu" in capsys.readouterr().err
    assert main(["export", "--folder", str(tmp_path), "--device", "cpu"]) == 2
    assert "--device belongs to" in capsys.readouterr().err


def test_a_table_of_another_setting_than_asked_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text(_table(64).to_json())
    for flag, own, asked in (("dtype", "fp32", "bf16"), ("device", "cpu", "cuda"), ("runtime", "eager", "onnxruntime")):
        for action in (["check"], ["predict", "--network", "mnasnet_a1"]):
            assert main([*action, "--latency", str(tmp_path / "t.json"), f"--{flag}", asked]) == 2
            assert f"is a table of {flag} {own}, got --{flag} {asked}" in capsys.readouterr().err


def test_a_table_of_another_resolution_than_asked_is_told_and_estimates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(*_: object, **__: object) -> None:
        raise InvalidArgument("enough")

    monkeypatch.setattr("search.latency.check.check", checked)
    (tmp_path / "t.json").write_text(_table(64).to_json())
    for action in (["check", "--no-zoo"], ["predict", "--network", "mnasnet_a1"]):
        for resolution, told in (("96", True), ("64", False), (None, False)):
            asked = ["--resolution", resolution] if resolution else []
            main([*action, "--latency", str(tmp_path / "t.json"), *asked])
            note = "the table is of 64 px: its kernels at 96 px are estimated"
            assert (note in capsys.readouterr().err) == told


def test_a_table_of_another_device_checks_nothing_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = _table(64)
    other = replace(table, identity={**table.identity, "machine": "a phone"})
    (tmp_path / "phone.json").write_text(other.to_json())
    assert main(["check", "--latency", str(tmp_path / "phone.json"), "--resolution", "64", "--networks", "1"]) == 2
    assert "a phone" in capsys.readouterr().err


def test_building_takes_the_seconds_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def built(*_: object, budget_s: float, **__: object) -> LatencyTable:
        asked.append(budget_s)
        return _table(64)

    monkeypatch.setattr("search.latency.build.table_for", built)
    monkeypatch.setattr("search.latency.__main__._judged", lambda _, table, __: with_holdout_error(table, [0.01]))
    for flags in (["build"], ["build", "--seconds", "30"]):
        assert main([*flags, "--resolution", "64", "--cache-dir", str(tmp_path)]) == 0
    assert asked == [MANY_S, 30.0]


def test_a_table_is_written_to_a_file_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_holdout_error(_table(64), [0.02, -0.01])
    monkeypatch.setattr("search.latency.build.table_for", lambda *_, **__: table)
    Cache(tmp_path, Eager().identity(64), note=lambda _: None).save(table)
    flags = ["build", "--resolution", "64", "--cache-dir", str(tmp_path)]
    assert main([*flags, "--out", str(tmp_path / "my" / "t.json")]) == 0
    assert read_table(tmp_path / "my" / "t.json") == table


def test_a_new_table_is_checked_by_fresh_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.latency.build.table_for", lambda *_, **__: _table(64))
    flags = ["build", "--resolution", "64", "--cache-dir", str(tmp_path), "--seconds", "1"]
    assert main(flags) == 0
    told = capsys.readouterr().out
    assert "20 fresh networks of the space, predicted and measured: " in told
    kept = Cache(tmp_path, Eager().identity(64), note=lambda _: None).table()
    assert kept is not None
    assert len(kept.holdout_errors) == 20
    assert replace(kept, correction=_table(64).correction, holdout_errors=()) == _table(64)
    assert (
        0.25 < (kept.relative_error / with_holdout_error(_table(64), kept.holdout_errors).relative_error) ** 2 <= 1.0
    )  # less its noise
    monkeypatch.setattr("search.latency.build.table_for", lambda *_, **__: kept)
    monkeypatch.setattr("search.latency.__main__._judged", None)  # not measured again, and told again
    assert main(flags) == 0
    assert capsys.readouterr().out == told


def test_a_table_is_adapted_to_what_is_measured_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = networks_to_measure(mnasnet_space(resolution=64), count=5, seed=1)
    kernels = {layer.signature: 0.2 for spec in specs for layer in lower(spec).layers}
    table = LatencyTable({**Eager().identity(64), "machine": "a phone"}, 5.0, kernels, Correction(1.0, 0.0, 0.03))
    (tmp_path / "phone.json").write_text(table.to_json())
    flags = ["adapt", "--resolution", "64", "--networks", "5", "--seconds", "0.1", "--cache-dir", str(tmp_path)]
    flags += ["--latency", str(tmp_path / "phone.json"), "--out", str(tmp_path / "here.json")]
    with monkeypatch.context() as nothing_measured:
        nothing_measured.setattr(sys.modules["search.latency.measurement"], "measure_without_table", None)
        assert main([*flags, "--networks", "3"]) == 2
        assert "at least 4 networks, got 3" in capsys.readouterr().err
        assert main([*flags, "--resolution", "96"]) == 2
        assert "must be that of the table" in capsys.readouterr().err
    assert main(flags) == 0
    assert "adapted from" in capsys.readouterr().out
    new = read_table(tmp_path / "here.json")
    assert new.identity == Eager().identity(64)
    assert new.kernels.keys() == table.kernels.keys()


def _check_flags(tmp_path: Path) -> list[str]:
    (tmp_path / "t.json").write_text(_table(64).to_json())
    flags = ["check", "--latency", str(tmp_path / "t.json"), "--resolution", "64", "--seconds", "0.1"]
    return [*flags, "--networks", "3", "--no-zoo"]


def test_a_check_tells_of_its_figures_coverage_and_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_check_flags(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "3 networks, " in out
    for figure in ("within 10 %", "within 5 %", "mean error", "bias", "worst", "Spearman", "MACs alone"):
        assert figure in out
    assert "measure within their interval" in out
    assert out.count("off by") == 3
    assert len(re.findall(r"predicted \d+\.\d\d ms \(\d+\.\d\d to \d+\.\d\d\), measured \d+\.\d\d ms", out)) == 3
    assert "most wrong: " in out


def test_a_check_adds_the_published_networks_whose_kernels_the_table_can_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def checked(_: LatencyTable, specs: list[NetworkSpec], **__: object) -> None:
        asked.extend((spec.name, spec.resolution) for spec in specs)
        raise InvalidArgument("enough")

    monkeypatch.setattr("search.latency.check.check", checked)
    assert main([flag for flag in _check_flags(tmp_path) if flag != "--no-zoo"]) == 2
    told = capsys.readouterr().err
    assert "left out, of kinds of kernels that the table has none of: mobilenet_v1, " in told
    assert len(asked) == 3 + 3 * 6
    assert {("mnasnet_b1", 96), ("mnasnet_b1_w0.75", 64), ("mnasnet_b1_w0.5", 32)} < {*asked}  # `build` has other ones


def test_a_check_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    assert main([*_check_flags(tmp_path), "--plot", str(tmp_path / "check.svg")]) == 0
    assert (tmp_path / "check.svg").read_text().startswith("<?xml")


def test_what_is_wrong_with_a_check_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.latency.check.check", None)
    (tmp_path / "t.json").write_text(_table(64).to_json()[:5000])
    assert main(["check", "--plot", str(tmp_path / "check.bmp")]) == 2
    assert "--plot needs a file that ends in .png" in capsys.readouterr().err
    assert main(["check", "--latency", str(tmp_path / "t.json")]) == 2
    assert "t.json: a latency table must be the JSON" in capsys.readouterr().err


def test_predicting_from_a_file_does_without_torch(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(_table().to_json())
    code = (
        "import sys; from search.latency.__main__ import main; "
        f"code = main(['predict', '--network', 'mnasnet_a1', '--latency', {str(tmp_path / 't.json')!r}]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_table_in_a_file_is_checked_with_its_own_runtime_threads_and_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    table = replace(_table(64), identity=runtime("onnxruntime", threads=1).identity(64))
    (tmp_path / "ort.json").write_text(table.to_json())
    flags = ["check", "--latency", str(tmp_path / "ort.json"), "--no-zoo", "--networks", "2", "--seconds", "0.1"]
    assert main(flags) == 0
    assert "onnxruntime, 1 threads" in capsys.readouterr().out
