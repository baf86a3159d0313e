"""`python -m searchspace.zoo`: the list, one network, its files, latency from a table, mistakes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scaling.compound import main as compound
from searchspace import zoo
from searchspace.cost import macs, params
from searchspace.describe import stage_table
from searchspace.errors import MissingLatency
from searchspace.graph import lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spec import NetworkSpec, read_spec
from searchspace.zoo.__main__ import main

IDENTITY: Identity = {
    "schema": SCHEMA,
    "machine": "a test",
    "runtime": "eager torch",
    "threads": 1,
    "dtype": "float32",
    "batch": 1,
    "memory_format": "channels_last",
    "resolution": 224,
    "versions": {"torch": "2"},
}


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    code = main(list(flags))
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    code, out, err = run(capsys, *flags, "--json")
    assert (code, err) == (0, "")
    data: dict[str, Any] = json.loads(out)
    return data


def listed(text: str) -> dict[str, list[str]]:
    """The cells of the list's rows by network."""
    rows = (line.split() for line in text.splitlines() if line.startswith(zoo.names()))
    return {row[0]: row[1:] for row in rows}


def table_of(*specs: NetworkSpec, resolution: int = 224) -> LatencyTable:
    """Every kernel of the networks takes 0.01 ms; a network is 1 ms + twice its kernels."""
    kernels = {layer.signature: 0.01 for spec in specs for layer in lower(spec).layers}
    return LatencyTable({**IDENTITY, "resolution": resolution}, 5.0, kernels, Correction(2.0, 1.0, 0.03))


def test_the_list_has_every_network_with_its_costs_pixels_accuracy_and_source(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    rows = listed(out)
    assert tuple(rows) == zoo.names()
    assert rows["mobilenet_v3_large"][:6] == ["5.48", "M", "217", "M", "224", "75.2"]
    assert "arXiv:1905.02244, Table 3" in out
    assert rows["efficientnet_b7"][:6] == ["66.3", "M", "37.7", "G", "600", "84.3"]
    assert rows["squeezenet1_1"][5] == "-"
    assert "ms" not in out.splitlines()[2].split()
    assert out.rstrip().splitlines()[-4] == "Next:"
    assert max(map(len, out.splitlines())) <= 100


def test_the_list_as_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    data = as_json(capsys)
    assert data["latency_table"] is None
    for row in data["networks"]:
        spec = zoo.get(row["name"])
        assert (row["params"], row["macs"], row["resolution"]) == (params(spec), macs(spec), spec.resolution)
        assert (row["fingerprint"], row["latency_ms"]) == (spec.fingerprint(), None)
        assert row["top1"] == zoo.published_top1(row["name"])


def test_the_list_takes_the_options_that_all_networks_have(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in as_json(capsys, "--width", "0.5", "--classes", "10")["networks"]}
    for name, row in rows.items():
        assert row["params"] == params(zoo.get(name, width=0.5, classes=10))
        assert row["top1"] is None, "an accuracy on ImageNet is of 1000 classes"
    rows = {row["name"]: row for row in as_json(capsys, "--width", "0.5")["networks"]}
    assert (rows["mobilenet_v1"]["top1"], rows["mobilenet_v1"]["top1_source"]) == (63.7, "Table 6")
    assert rows["mobilenet_v2"]["top1"] is None


def test_a_table_predicts_every_network_with_an_interval_and_says_what_it_estimates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    v3, small = zoo.get("mobilenet_v3_large"), zoo.get("mnasnet_small")
    path, table = tmp_path / "table.json", table_of(v3, small, zoo.get("efficientnet_b1"))
    path.write_text(table.to_json())
    code, out, err = run(capsys, "--latency", str(path))
    assert (code, err) == (0, "")
    rows = listed(out)
    found = table.predict(v3)
    assert found.latency_ms == pytest.approx(1 + 0.02 * len(lower(v3).layers))
    assert rows["mobilenet_v3_large"][6:9] == [
        f"{found.latency_ms:.2f}",
        f"({found.low_ms:.2f}-{found.high_ms:.2f})",
        "0",
    ]
    by_name = {row["name"]: row for row in as_json(capsys, "--latency", str(path))["networks"]}
    lacking = []
    for name, row in by_name.items():
        keys = ("latency_ms", "latency_low_ms", "latency_high_ms", "estimated_layers")
        try:
            one = table.predict(zoo.get(name))
        except MissingLatency:
            lacking.append(name)
            assert [row[key] for key in keys] == [None] * 4
            assert rows[name][6:9] == ["-"] * 3
        else:
            assert [row[key] for key in keys] == [one.latency_ms, one.low_ms, one.high_ms, len(one.estimated)]
            layers = len(lower(zoo.get(name)).layers)
            assert rows[name][8] == (f"~{len(one.estimated)}/{layers}" if one.estimated else "0")
    assert [name for name, row in rows.items() if row[8] == "0"] == [
        "mobilenet_v3_large",
        "mnasnet_small",
        "efficientnet_b1",
    ]
    assert {"squeezenet1_1", "shufflenet_v1", "shufflenet_v2"} <= {*lacking}
    assert len(lacking) < len(rows) * 2 / 3
    assert f"-: {len(lacking)} networks have kinds of kernels that the table has none of; python -m search" in out
    assert "python -m search.latency build --zoo measures the zoo's" in out
    others = sum(bool(row["estimated_layers"]) and row["resolution"] != 224 for row in by_name.values())
    assert others > 5
    assert f"the table is for 224 px, {others} networks are not" in out


def test_a_table_of_another_resolution_serves_networks_at_that_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = zoo.get("mobilenet_v2", resolution=96, classes=10)
    path = tmp_path / "table.json"
    path.write_text(table_of(spec, resolution=96).to_json())
    other = as_json(capsys, "mobilenet_v2", "--latency", str(path))
    layers = len(lower(spec).layers)
    assert layers / 2 < other["estimated_layers"] <= layers
    assert other["latency_low_ms"] < other["latency_ms"] < other["latency_high_ms"]
    asked = ("--resolution", "96", "--classes", "10", "--latency", str(path))
    assert as_json(capsys, "mobilenet_v2", *asked)["latency_ms"] == pytest.approx(1 + 0.02 * len(lower(spec).layers))
    assert "predicted latency 2." in run(capsys, "mobilenet_v2", *asked)[1]
    elsewhere = run(capsys, "mobilenet_v2", "--latency", str(path))[1]
    assert f"~ the kernels of {other['estimated_layers']} of its {layers} layers are estimated: " in elsewhere
    assert "estimated: the table is for 96 px; give --resolution 96" in elsewhere
    narrow = run(capsys, "mobilenet_v2", "--width", "0.5", *asked)[1]
    assert "layers are estimated; python -m search.latency build --zoo --resolution 96 measures the zoo's own" in narrow
    lacking = run(capsys, "squeezenet1_1", *asked)[1]
    assert "no kernels of some of its kinds; python -m search.latency build --zoo --resolution 96 adds the" in lacking


@pytest.mark.parametrize("name", zoo.names())
def test_a_network_is_described_and_shown_stage_by_stage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, name)
    assert (code, err) == (0, "")
    spec = zoo.get(name)
    assert zoo.describe(name) in out
    assert stage_table(spec) in out
    assert f"{params(spec):,} parameters, {macs(spec):,} MACs at {spec.resolution} px" in out
    assert f"python -m scaling.compound --phi 1 --network {name} " in out
    assert f"--baselines {name}" in out
    assert out.isascii()


def test_options_change_the_network_shown_and_the_command_that_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "shufflenet_v1",
        "--groups",
        "8",
        "--width",
        "0.5",
        "--depth",
        "1.5",
        "--resolution",
        "160",
        "--classes",
        "10",
        "--padding",
        "same",
    ]
    spec = zoo.get("shufflenet_v1", groups=8, width=0.5, depth=1.5, resolution=160, classes=10, padding="same")
    data = as_json(capsys, *flags)
    assert NetworkSpec.from_json(json.dumps(data["spec"])) == spec
    assert (data["params"], data["macs"], data["fingerprint"]) == (params(spec), macs(spec), spec.fingerprint())
    assert sum(row["params"] for row in data["stages"]) == data["params"]
    assert "--width 0.5 --depth 1.5 --resolution 160 --classes 10 --padding same --groups 8 --out" in run(
        capsys, *flags
    )[1].replace("\n", " ")
    data = as_json(capsys, "mobilenet_v2", "--fixed-ends", "--width", "1.1", "--depth", "1.2")
    assert data["params"] == 4_516_520  # timm's mobilenetv2_110d
    data = as_json(capsys, "mobilenet_v3_small", "--rounding", "torchvision", "--width", "0.5")
    assert data["params"] == 917_264


@pytest.mark.parametrize("name", zoo.names())
def test_what_out_writes_is_the_network_and_compound_scaling_grows_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "folder" / "net.json"
    code, out, _ = run(capsys, name, "--classes", "10", "--out", str(path))
    assert code == 0
    assert f"written to {path}" in out
    assert read_spec(path) == zoo.get(name, classes=10)
    assert list(path.parent.iterdir()) == [path]
    assert compound(["--network", str(path), "--phi", "1"]) == 0
    capsys.readouterr()


def test_out_replaces_a_file_whole_and_leaves_it_alone_when_anything_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.json"
    path.write_text("precious")
    assert run(capsys, "mobilenet_v2", "--width", "0.001", "--out", str(path))[0] == 2
    assert run(capsys, "mobilenet_v2", "--latency", str(tmp_path / "no.json"), "--out", str(path))[0] == 2
    assert path.read_text() == "precious"
    assert run(capsys, "mobilenet_v2", "--out", str(path))[0] == 0
    assert read_spec(path) == zoo.get("mobilenet_v2")
    assert list(tmp_path.iterdir()) == [path]


def test_out_does_not_replace_a_folder_or_a_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = {tmp_path: "that path is a folder: choose another name", Path(os.devnull): "not a plain file"}
    for path, reason in reasons.items():
        code, out, err = run(capsys, "mobilenet_v2", "--out", str(path))
        assert (code, out) == (2, "")
        assert f"cannot write {path}: " in err
        assert reason in err
    (tmp_path / "file").write_text("")
    assert run(capsys, "mobilenet_v2", "--out", str(tmp_path / "file" / "net.json"))[0] == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["mobilenetv3_large"], "did you mean mobilenet_v3_large"),
        (["mobilenet_v2", "--resolution", "31"], "the resolution must be at least the total stride 32, got 31"),
        (["mobilenet_v2", "--width", "0.01"], "width 0.01 rounds a layer of 16 channels to nothing"),
        (["mobilenet_v2", "--width", "0"], "width must be a finite multiplier above 0, got 0"),
        (["mobilenet_v2", "--width", "inf"], "argument --width: must be a finite number"),
        (["mobilenet_v2", "--depth", "1e9"], "--depth must be at most 100, got 1e+09"),
        (["mobilenet_v2", "--padding", "valid"], 'padding must be "half" or "same"'),
        (["shufflenet_v1", "--groups", "5"], "groups must be one of 1, 2, 3, 4, 8"),
        (
            ["mobilenet_v2", "--groups", "2"],
            "groups is an option of shufflenet_v1, got 2 for mobilenet_v2, which has none: leave it out",
        ),
        (["--groups", "2"], "--groups is for one network: give its NAME, such as shufflenet_v1 --groups"),
        (["--fixed-ends"], "--fixed-ends is for one network: give its NAME, such as mobilenet_v2 --fixed-ends"),
        (["--out", "all.json"], "--out is for one network: give its NAME"),
        (
            ["--latency", "no-such-table.json"],
            "path is spelt right; python -m search.latency build --out FILE makes one",
        ),
        (["--latency", __file__], "a latency table must be the JSON that LatencyTable.to_json writes"),
        (["--latency", sys.executable], "a latency table is a text file, "),
        (["--wdith=2"], "unrecognized arguments: --wdith=2; see python -m searchspace.zoo --help"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *flags)
    assert (code, out) == (2, "")
    assert err.startswith("searchspace.zoo: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [[], ["shufflenet_v1", "--json"]])
def test_the_command_answers_at_once_and_without_torch(flags: list[str]) -> None:
    script = "import runpy, sys; runpy.run_module('searchspace.zoo', run_name='__main__', alter_sys=True)"
    watch = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); {script}"
    fastest = float("inf")
    for _ in range(3):  # the aim is 0.3 s on a quiet machine; a busy one gets more
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", watch, *flags], capture_output=True, text=True, timeout=60)
        fastest = min(fastest, time.perf_counter() - start)
        assert (done.returncode, done.stderr) == (0, "False\n")
        if fastest < 0.3:
            break
    assert fastest < 1.0


def test_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for line in (line.split("  ")[1] for line in text.splitlines() if line.startswith("  python -m searchspace.zoo")):
        flags = line.split()[3:]
        if "--latency" not in flags and "--out" not in flags:
            assert main(flags) == 0, line
    assert "scaling.compound" in text
    assert "--baselines" in text


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m searchspace.zoo | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{len(zoo.names())} published networks")
