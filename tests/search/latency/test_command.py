"""python -m search.latency: flags, messages, and what its commands do on a scripted machine."""

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.latency.__main__ import main
from search.latency.adapt import networks_to_measure
from search.latency.cache import Cache
from search.latency.runtimes.eager import Eager
from searchspace import zoo
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable, read_table
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted_runtime import ScriptedRuntime, true_ms

pytestmark = pytest.mark.usefixtures("scripted_runtimes")

SCRIPTED = ["--runtime", "scripted", "--threads", "2"]
IMPORT = ["import", "--folder", "x", "--device", "phone", "--threads", "4", "--out", "t.json"]
NARROW = """[choices]
"*.expand_ratio" = [3]
"*.kernel" = [3]
"*.se" = [false]
"*.activation" = ["relu"]
"*.layers" = [1, 2]
"*.width_mult" = [0.75]
"stage1.expand_ratio" = [1]
"""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["measure"], "required: --network; see python -m search.latency measure --help"),
        (["build", "--network", "mnasnet_a1"], "--network belongs to measure and predict, got build"),
        (["measure", "--network", "mobilnet_v2"], "the zoo has no network 'mobilnet_v2'; did you mean mobilenet_v2"),
        (["measure", "--network", "none.json"], "cannot read the spec file none.json"),
        (["measure", "--network", "mnasnet_a1", "--seconds", "0"], "--seconds: must be a number of seconds above 0, "),
        (["measure", "--network", "mnasnet_a1", "--resolution", "31"], "at least the total stride 32, got 31"),
        (["predict"], "required: --network"),
        (["predict", "--network", "mnasnet_a1", "--latency", "none.json"], "cannot read the latency table none.json"),
        (
            ["measure", "--network", "mnasnet_a1", "--latency", "a.json"],
            "--latency belongs to check, predict and adapt, got measure",
        ),
        (["check", "--out", "a.json"], "--out belongs to build, adapt and import, got check"),
        (
            ["measure", "--network", "mnasnet_a1", "--threads", "0"],
            "--threads: must be an integer from 1 to 1024, got '0'",
        ),
        (["adapt", "--out", "b.json"], "required: --latency"),
        (["import", "--folder", "x", "--out", "b.json"], "required: --device, --threads"),
        (["export"], "required: --folder"),
        (["check", "--again"], "--again belongs to build, got check"),
        (["predict", "--network", "mnasnet_a1", "--seconds", "3"], "--seconds belongs to build, check, measure and"),
        (["measure", "--network", "mnasnet_a1", "--zoo"], "--zoo belongs to build and check, got measure"),
        (["export", "--folder", "x", "--runtime", "onnxruntime"], "--runtime belongs to build, check, measure, "),
        (["export", "--folder", "x", "--threads", "4"], "--threads belongs to build, check, measure, "),
        (["export", "--folder", "x", "--device", "cpu"], "--device belongs to build, check, measure, "),
        (["build", "--out", "/proc/none/t.json"], "cannot write /proc/none/t.json"),
        (["build", "--runtime", "tvm"], "the runtime must be one of eager, "),
        (["build", "--resolution", "-1"], "--resolution: must be an integer above 0, got '-1'"),
        (["build", "--networks", "100"], "--networks belongs to check, adapt and export, got build"),
        (["build", "--seed", "0"], "--seed belongs to check, adapt and export, got build"),
        (["measure", "--network", "mnasnet_a1", "--space", "s.toml"], "--space belongs to build, check, adapt and"),
        ([*IMPORT, "--resolution", "96"], "--resolution belongs to build, check, measure, "),
        ([*IMPORT, "--classes", "10"], "--classes belongs to build, check, measure, "),
        ([*IMPORT, "--cache-dir", "c"], "--cache-dir belongs to build, check, measure, predict and adapt, got import"),
        (["build", "--colour", "red"], "unrecognized arguments: --colour red; see python -m search.latency --help"),
        (["bild"], "invalid choice: 'bild'"),
    ],
)
def test_bad_input_ends_with_2_and_the_rule(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err


def test_given_networks_are_measured_each_at_its_own_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = zoo.get("mobilenet_v3_small", width=0.5, resolution=64)
    (tmp_path / "small.json").write_text(small.to_json())
    networks = ["--network", str(tmp_path / "small.json"), "--network", "shufflenet_v2"]
    flags = ["measure", *networks, *SCRIPTED, "--cache-dir", str(tmp_path), "--seconds", "0.1"]
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["network"], row["resolution"]) for row in found["networks"]] == [
        ("mobilenet_v3_small_w0.5", 64),
        ("shufflenet_v2", 224),
    ]
    for row, spec in zip(found["networks"], (small, zoo.get("shufflenet_v2")), strict=True):
        assert row["latency_ms"] == pytest.approx(true_ms(spec), rel=1e-3)
    assert main(flags) == 0
    assert "shufflenet_v2" in capsys.readouterr().out


def narrow(tmp_path: Path) -> list[str]:
    """Flags of a build that is quick: a small space at few pixels."""
    (tmp_path / "narrow.toml").write_text(NARROW)
    flags = ["--space", str(tmp_path / "narrow.toml"), "--resolution", "64", "--classes", "10", "--seconds", "0.01"]
    return [*flags, *SCRIPTED, "--cache-dir", str(tmp_path)]


def test_a_table_is_built_validated_by_holdout_networks_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["build", "--no-zoo", *narrow(tmp_path), "--out", str(tmp_path / "my" / "t.json")]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert "20 holdout networks of the space, predicted and measured: 100% within 10 %" in printed
    table = read_table(tmp_path / "my" / "t.json")
    assert len(table.holdout_errors) == 20
    assert Cache(tmp_path, ScriptedRuntime().identity(64), note=print).table() == table
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert main(flags) == 0  # neither built nor validated again
    assert capsys.readouterr().out == printed
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == before


@pytest.mark.slow
def test_a_table_without_the_published_networks_is_measured_anew_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = _built(tmp_path, "--no-zoo")
    small = read_table(path)
    assert "measured anew" not in capsys.readouterr().err
    _built(tmp_path)
    assert "all of it is measured anew, with them" in capsys.readouterr().err
    table = read_table(path)
    assert table.missing(lower(zoo.get("squeezenet1_1", resolution=64, classes=10))) == []
    assert len(table.kernels) > 3 * len(small.kernels)
    _built(tmp_path)
    assert "measured anew" not in capsys.readouterr().err
    assert read_table(path) == table


def _built(tmp_path: Path, *flags: str) -> list[Path]:
    assert main(["build", *flags, *narrow(tmp_path)]) == 0
    return list(tmp_path.glob("latency-*.json"))


def test_measuring_again_measures_everything_again(tmp_path: Path) -> None:
    (path,) = _built(tmp_path, "--no-zoo")
    table = read_table(path)
    path.write_text(replace(table, kernels=dict.fromkeys(table.kernels, 1.0)).to_json())
    _built(tmp_path, "--no-zoo", "--again")
    assert read_table(path).kernels == pytest.approx(table.kernels, rel=1e-3)


def _table(resolution: int = 224) -> LatencyTable:
    space = mnasnet_space(resolution=resolution)
    layers = [layer for seed in range(9) for layer in lower(space.spec(space.sample(random.Random(seed)))).layers]
    kernels = {layer.signature: 0.2 for layer in layers}
    return LatencyTable(Eager().identity(resolution), 5.0, kernels, Correction(1.0, 0.0, 0.03))


def _scripted_table() -> LatencyTable:
    return replace(_table(64), identity=ScriptedRuntime().identity(64))


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
    own = ["build", "--device", "tpu", "--cache-dir", str(tmp_path)]
    for flags in (own, ["check", "--latency", str(tmp_path / "gpu.json")]):
        assert main(flags) == 2
        assert "finds here (cpu" in capsys.readouterr().err


def test_a_table_of_another_setting_than_asked_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text(_table(64).to_json())
    for flag, own, asked in (("dtype", "fp32", "bf16"), ("device", "cpu", "cuda"), ("runtime", "eager", "onnxruntime")):
        for action in (["check"], ["predict", "--network", "mnasnet_a1"]):
            assert main([*action, "--latency", str(tmp_path / "t.json"), f"--{flag}", asked]) == 2
            assert f"is a table of {flag} {own}, got --{flag} {asked}" in capsys.readouterr().err


def test_a_table_of_another_resolution_than_asked_is_told_and_estimates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.json").write_text(_scripted_table().to_json())
    check = ["check", "--no-zoo", "--networks", "1", "--seconds", "0.01"]
    for command in (check, ["predict", "--network", "mnasnet_a1"]):
        for resolution, noted in (("96", True), ("64", False), (None, False)):
            asked = ["--resolution", resolution] if resolution else []
            assert main([*command, "--latency", str(tmp_path / "t.json"), *asked]) == 0
            note = "the table is of 64 px: its kernels at 96 px are estimated"
            assert (note in capsys.readouterr().err) == noted


def test_a_table_of_another_device_checks_nothing_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = _table(64)
    other = replace(table, identity={**table.identity, "machine": "a phone"})
    (tmp_path / "phone.json").write_text(other.to_json())
    assert main(["check", "--latency", str(tmp_path / "phone.json"), "--resolution", "64", "--networks", "1"]) == 2
    assert "a phone" in capsys.readouterr().err


def test_a_table_is_adapted_to_what_is_measured_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = networks_to_measure(mnasnet_space(resolution=64), count=5, seed=1)
    kernels = {layer.signature: 0.2 for spec in specs for layer in lower(spec).layers}
    phone = ScriptedRuntime(identity={"machine": "a phone"}).identity(64)
    (tmp_path / "phone.json").write_text(LatencyTable(phone, 5.0, kernels, Correction(1.0, 0.0, 0.03)).to_json())
    flags = ["adapt", "--resolution", "64", "--networks", "5", "--seconds", "0.1", "--cache-dir", str(tmp_path)]
    flags += ["--latency", str(tmp_path / "phone.json"), "--out", str(tmp_path / "here.json"), *SCRIPTED]
    assert main([*flags, "--networks", "3"]) == 2
    assert "at least 4 networks, got 3" in capsys.readouterr().err
    assert main([*flags, "--resolution", "96"]) == 2
    assert "must be that of the table" in capsys.readouterr().err
    assert not list(tmp_path.glob("reference-*"))  # nothing was measured
    assert main(flags) == 0
    assert "adapted from" in capsys.readouterr().out
    new = read_table(tmp_path / "here.json")
    assert new.identity == ScriptedRuntime().identity(64)
    assert new.kernels.keys() == kernels.keys()


def _check_flags(tmp_path: Path) -> list[str]:
    (tmp_path / "t.json").write_text(_scripted_table().to_json())
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
    assert "largest errors: " in out


def test_a_check_adds_the_published_networks_whose_kernels_the_table_can_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(flag for flag in _check_flags(tmp_path) if flag != "--no-zoo"), "--json"]) == 0
    out, err = capsys.readouterr()
    (line,) = (line for line in err.splitlines() if "of kinds of kernels that the table has none of: " in line)
    left_out = set(line.rpartition(": ")[2].split(", "))
    assert {"efficientnet_lite0", "mobilenet_v1", "mobilenetv4_conv_small", "squeezenet1_0"} <= left_out
    checked = [(row["network"], row["resolution"]) for row in json.loads(out)["check"]["networks"]]
    priced = {*zoo.representatives()} - left_out
    assert len(checked) == 3 + 3 * len(priced)
    # `build` measures other widths and resolutions.
    assert {("mnasnet_b1", 96), ("mnasnet_b1_w0.75", 64), ("mnasnet_b1_w0.5", 32)} < {*checked}


def test_a_check_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra: plot")
    assert main([*_check_flags(tmp_path), "--plot", str(tmp_path / "check.svg")]) == 0
    assert (tmp_path / "check.svg").read_text().startswith("<?xml")


def test_what_is_wrong_with_a_check_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.json").write_text(_table(64).to_json()[:5000])
    assert main(["check", "--cache-dir", str(tmp_path), "--plot", str(tmp_path / "check.bmp")]) == 2
    assert "--plot needs a file that ends in .png" in capsys.readouterr().err
    assert main(["check", "--latency", str(tmp_path / "t.json")]) == 2
    assert "t.json: a latency table must be the JSON" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


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
    table = replace(_table(64), identity=ScriptedRuntime(threads=7).identity(64))
    (tmp_path / "t.json").write_text(table.to_json())
    flags = ["check", "--latency", str(tmp_path / "t.json"), "--no-zoo", "--networks", "2", "--seconds", "0.1"]
    assert main(flags) == 0
    assert "scripted, 7 threads" in capsys.readouterr().out
