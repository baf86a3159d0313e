"""Tables of devices without Python: what is exported runs, what is filled in becomes a table, wrong rows are named."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search.latency.__main__ import main
from search.latency.onnx_models import kernel
from search.latency.portable import MANIFEST, README, TIMES, adapt_to, export, import_
from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument, InvalidTable, MissingLatency
from searchspace.files import read_json
from searchspace.graph import Layer, lower
from searchspace.latency.estimate import kind_of, layer_of
from searchspace.latency.table import Correction, LatencyTable, read_table
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

pytest.importorskip("onnx", reason="needs the extra 'onnx'")


def small_space() -> SearchSpace:
    space = mnasnet_space(classes=5, resolution=32)
    return space.with_choices({"*.width_mult": (0.75,), "*.kernel": (3, 5), "*.activation": ("relu", "swish")})


def tiny_space() -> SearchSpace:
    """For what is about files alone."""
    choices = {"*.layers": (1,), "*.expand_ratio": (3,), "*.se": (False,), "*.activation": ("relu",)}
    return small_space().with_choices({**choices, "stage1.expand_ratio": (1,)})


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small exported folder, nothing filled in."""
    export(tiny_space(), tmp_path / "tiny", kernels=0, networks=4)
    return tmp_path / "tiny"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phone")
    kernels, networks = export(small_space(), folder, kernels=0, networks=6)
    assert (kernels > 50, networks) == (True, 6)
    return folder


def device(layer: Layer) -> float:
    """What a made-up device takes in a network: kernels by their MACs and values, depthwise ones dear."""
    _, macs = layer_params_macs(layer)
    channels, height, width = layer.out_shape
    return 0.02 + macs / (5e6 if layer.groups > 1 else 2e7) + channels * height * width / 5e6


def fill(folder: Path, change: Callable[[str, float], str] = lambda _, ms: f"{ms:.6f}") -> None:
    """times.csv as that device would have it: kernels in a loop take 0.6 of what they take in a network."""
    manifest = json.loads((folder / MANIFEST).read_text())
    rows = {}
    for name, (op, in_shape, out_shape, *rest) in manifest["kernels"].items():
        rows[name] = 0.6 * device(layer_of((op, tuple(in_shape), tuple(out_shape), *rest)))
    for name, row in manifest["networks"].items():
        rows[name] = 0.3 + sum(map(device, lower(NetworkSpec.from_json(json.dumps(row))).layers))
    (folder / TIMES).write_text("file,ms\n" + "".join(f"{name},{change(name, ms)}\n" for name, ms in rows.items()))


def test_a_filled_folder_becomes_a_table_that_predicts_networks_it_has_not_seen(exported: Path, tmp_path: Path) -> None:
    fill(exported)
    flags = ["import", "--folder", str(exported), "--device", "my phone", "--threads", "4"]
    assert main([*flags, "--out", str(tmp_path / "phone.json")]) == 0
    table = read_table(tmp_path / "phone.json")
    assert (table.identity["machine"], table.identity["threads"]) == ("my phone", 4)
    space, rng = small_space(), random.Random(1)
    close = 0
    for _ in range(20):
        graph = lower(space.spec(space.sample(rng)))
        real = 0.3 + sum(map(device, graph.layers))
        close += abs(table.predict(graph).latency_ms / real - 1) < 0.1
    assert close >= 18


def test_what_a_person_filled_in_is_not_written_over(tiny: Path) -> None:
    fill(tiny)
    before = (tiny / TIMES).read_text()
    export(tiny_space(), tiny, kernels=0, networks=4)
    assert (tiny / TIMES).read_text() == before
    with pytest.raises(InvalidArgument, match="times of other kernels and networks"):
        export(tiny_space(), tiny, kernels=0, networks=4, seed=1)
    assert (tiny / TIMES).read_text() == before


def test_the_folder_says_how_to_time_it_and_what_comes_next(exported: Path) -> None:
    text = (exported / README).read_text()
    for part in (
        "onnxruntime_perf_test",
        "benchmark_app",
        "trtexec",
        "milliseconds",
        TIMES,
        f"import --folder {exported}",
        f"adapt --latency here.json --folder {exported}",
    ):
        assert part in text


ONNX_RUNTIME = """\
Session creation time cost: 0.217932 s
First inference time cost: 196 ms
Total inference time cost: 1.2500 s
Total inference requests: 100
Average inference time cost total: 12.500000 ms
P50 Latency: 0.0124 s"""
OPENVINO = """\
[ INFO ] Latency:
[ INFO ]    Median:        12.50 ms
[ INFO ]    Average:       13.00 ms"""
OPENVINO_SHORT = """\
[ INFO ] Latency:
[ INFO ]    Median:        12500.00 us
[ INFO ]    Average:       13000.00 us"""
TENSORRT = """\
[I] Latency: min = 1 ms, max = 9 ms, mean = 2 ms, median = 3 ms, percentile(99%) = 8 ms
[I] GPU Compute Time: min = 5.9 ms, max = 19.4 ms, mean = 13.3 ms, median = 12.5 ms, percentile(99%) = 19.2 ms"""
TFLITE = """\
INFO: count=100 first=14100 curr=12400 min=12100 max=14100 avg=12500 std=90
INFO: Inference timings in us: Init: 5579, First inference: 14100, Warmup (avg): 1.3e+04, Inference (avg): 1.25e+04
INFO: Inference timings in us: Init: 5579, First inference: 14100, Warmup (avg): 1.3e+04, Inference (avg): 1.25e+04"""


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell")
def test_openvino_s_own_benchmark_program_fills_the_folder(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("benchmark_app")
    if not program.exists():
        pytest.skip("needs the extra 'openvino'")
    export(small_space(), tmp_path, kernels=0, networks=4)
    text = (tmp_path / README).read_text()
    block = text[text.index("OpenVINO (") :].partition("\n\n")[2].partition("\n\n")[0]
    for kept, folder in ((1, "kernels"), (1, "networks")):
        for path in sorted((tmp_path / folder).iterdir())[kept:]:
            path.unlink()
    path = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", block.replace("-nthreads N", "-nthreads 1")], cwd=tmp_path, env=path, check=True)
    rows = [line.split(",") for line in (tmp_path / TIMES).read_text().splitlines()]
    assert [name for name, _ in rows] == ["kernels/k0000.onnx", "networks/n00.onnx"]
    assert 0 < float(rows[0][1]) < float(rows[1][1]) < 100


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell")
@pytest.mark.parametrize(
    ("start", "name", "says"),
    [
        ("ONNX Runtime (", "onnxruntime_perf_test", ONNX_RUNTIME),
        ("the same on an Android", "onnxruntime_perf_test", ONNX_RUNTIME),
        ("TFLite on an Android", "benchmark_model", TFLITE),
        ("OpenVINO (", "benchmark_app", OPENVINO),
        ("OpenVINO (", "benchmark_app", OPENVINO_SHORT),
        ("TensorRT (", "trtexec", TENSORRT),
    ],
)
def test_a_line_of_the_folder_s_readme_writes_the_milliseconds_that_a_program_prints(
    exported: Path, tmp_path: Path, start: str, name: str, says: str
) -> None:
    text = (exported / README).read_text()
    block = text[text.index(start) :].partition("\n\n")[2].partition("\n\n")[0]
    (tmp_path / "kernels").mkdir()
    (tmp_path / "networks").mkdir()
    (tmp_path / "kernels" / "k0000.onnx").touch()
    (tmp_path / "networks" / "n00.onnx").touch()
    program(tmp_path, name, f"cat << 'END'\n{says}\nEND")
    program(tmp_path, "adb", '[ "$1" = push ] || sh -c "$2"')
    program(tmp_path, "onnx2tf", 'mkdir -p "$4"; touch "$4/model_float32.tflite"')
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(["bash", "-c", block.replace("N ", "2 ")], cwd=tmp_path, env=path, capture_output=True)
    assert ended.returncode == 0
    assert (tmp_path / TIMES).read_text() == "kernels/k0000.onnx,12.5\nnetworks/n00.onnx,12.5\n".replace(
        "12.5", "12.500000" if says is ONNX_RUNTIME else "12.5"
    )


def test_an_imported_table_says_what_it_makes_of_a_network_and_the_command_that_it_names_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = mnasnet_space(classes=5, resolution=32).with_choices({"*.layers": (1, 2)})
    export(space, tmp_path / "phone", kernels=0, networks=6)
    fill(tmp_path / "phone")
    flags = ["import", "--folder", str(tmp_path / "phone"), "--device", "my phone", "--threads", "4"]
    assert main([*flags, "--dtype", "fp16", "--out", str(tmp_path / "phone.json")]) == 0
    assert read_table(tmp_path / "phone.json").identity["dtype"] == "float16"
    told = capsys.readouterr().out
    assert "takes" in told
    assert "in another unit than milliseconds" in told
    command = told.partition("next: python -m search.latency ")[2].split()
    assert command[0] == "predict"
    assert main(command) == 0
    assert command[2] in capsys.readouterr().out


def elsewhere(folder: Path) -> LatencyTable:
    """A table of a device that is 3 times as fast."""
    table = import_(folder, device="a tablet", runtime="onnx", threads=2)
    space, rng, kernels = small_space(), random.Random(2), dict(table.kernels)
    for _ in range(60):
        kernels |= {layer.signature: device(layer) for layer in lower(space.spec(space.sample(rng))).layers}
    faster = {signature: device(layer_of(signature)) / 3 for signature in kernels}
    return replace(table, kernels=faster, correction=Correction(1.0, 0.1, 0.03))


def only_networks(name: str, ms: float) -> str:
    return f"{ms:.6f}" if name.startswith("networks") else ""


def test_a_table_of_another_device_is_adapted_to_a_folder_whose_networks_alone_were_timed(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(exported)
    table, imported = elsewhere(exported), import_(exported, device="my phone", runtime="onnx", threads=4)
    (tmp_path / "tablet.json").write_text(table.to_json())
    fill(exported, only_networks)
    flags = ["adapt", "--latency", str(tmp_path / "tablet.json"), "--folder", str(exported)]
    flags += ["--device", "my phone", "--threads", "4", "--out", str(tmp_path / "phone.json")]
    assert main(flags) == 0
    assert "adapted from" in capsys.readouterr().out
    new = read_table(tmp_path / "phone.json")
    assert (new.identity, new.reference_ms) == (imported.identity, imported.reference_ms)
    assert new.kernels.keys() == table.kernels.keys()
    space, rng = small_space(), random.Random(3)
    for _ in range(20):
        graph = lower(space.spec(space.sample(rng)))
        assert new.predict(graph).latency_ms == pytest.approx(0.3 + sum(map(device, graph.layers)), rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda *_: "", "a time for every network, 6 of 6 are missing: networks/n00.onnx, networks/n01.onnx, .*"),
        (lambda name, ms: "" if name.endswith("n03.onnx") else f"{ms}", "1 of 6 are missing: networks/n03.onnx"),
        (lambda _, ms: f"{1e3 * ms}", "the networks take .* on a CPU, .* like microseconds"),
        (lambda _, ms: f"{1e-3 * ms:.9f}", "give all rows in milliseconds"),
        (lambda name, ms: f"{1e3 * ms if name.endswith('n03.onnx') else ms}", "n03.onnx takes .* unit"),
        (lambda name, ms: f"-{ms}" if name.endswith("n03.onnx") else f"{ms}", "n03.onnx needs one number"),
    ],
)
def test_what_is_wrong_with_the_networks_times_is_named(
    exported: Path, change: Callable[[str, float], str], message: str
) -> None:
    fill(exported)
    table = elsewhere(exported)
    fill(exported, change)
    with pytest.raises(InvalidTable, match=message):
        adapt_to(table, exported, device="phone", runtime="onnx", threads=1)


def test_a_table_of_another_resolution_or_without_their_kernels_is_not_adapted(exported: Path) -> None:
    fill(exported)
    table = elsewhere(exported)
    other = replace(table, identity={**table.identity, "resolution": 64})
    with pytest.raises(InvalidTable, match=r"of 32 px, the table to adapt of 64 px: .* export --resolution 64"):
        adapt_to(other, exported, device="phone", runtime="onnx", threads=1)
    with pytest.raises(MissingLatency, match="has no kernel"):
        adapt_to(replace(table, kernels={}), exported, device="phone", runtime="onnx", threads=1)


def test_too_few_networks_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="at least 4 networks"):
        export(small_space(), tmp_path, kernels=0, networks=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"schema": 99}, {"kernels": {"kernels/k0000.onnx": ["magic"]}}, {"networks": 3}])
def test_a_damaged_manifest_is_told(exported: Path, tmp_path: Path, change: dict[str, object]) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    manifest = read_json(exported / MANIFEST)
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps({**manifest, **change}))
    with pytest.raises(InvalidTable, match="export the folder again"):
        import_(tmp_path / "copy", device="phone", runtime="onnx", threads=1)


def test_a_folder_nobody_filled_in_is_exported_anew(tiny: Path) -> None:
    export(tiny_space(), tiny, kernels=0, networks=5, seed=1)
    there = {path.relative_to(tiny).as_posix() for path in tiny.glob("*/*.onnx")}
    named = [row.partition(",")[0] for row in (tiny / TIMES).read_text().splitlines()[1:]]
    manifest = json.loads((tiny / MANIFEST).read_text())
    assert named == [*manifest["kernels"], *manifest["networks"]]
    assert there == {*named}


def test_a_folder_exported_with_less_keeps_no_models_of_before(tmp_path: Path) -> None:
    export(tiny_space(), tmp_path, kernels=100, networks=5)
    more = len(list(tmp_path.glob("*/*.onnx")))
    export(tiny_space(), tmp_path, kernels=0, networks=4)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.onnx")}
    assert there == {*manifest["kernels"], *manifest["networks"]}
    assert len(there) < more


def test_times_that_a_spreadsheet_kept_as_utf_16_are_not_written_over(tiny: Path) -> None:
    fill(tiny)
    (tiny / TIMES).write_text((tiny / TIMES).read_text(), encoding="utf-16")
    before = (tiny / TIMES).read_bytes()
    export(tiny_space(), tiny, kernels=0, networks=4)
    assert (tiny / TIMES).read_bytes() == before
    with pytest.raises(InvalidTable, match="must be a text file"):
        import_(tiny, device="phone", runtime="onnx", threads=1)


def test_every_kind_of_kernel_runs_as_a_model_of_its_own() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    import numpy as np

    kinds: dict[object, Layer] = {}
    for name in ("efficientnet_b0", "mobilenet_v3_small", "shufflenet_v1", "shufflenet_v2", "squeezenet1_1"):
        for layer in lower(zoo.get(name, resolution=64)).layers:
            kinds.setdefault((kind_of(layer), layer.activation), layer)
    assert {layer.op for layer in kinds.values()} >= {
        "conv",
        "se",
        "add",
        "concat",
        "slice",
        "shuffle",
        "maxpool",
        "linear",
    }
    for layer in kinds.values():
        session = onnxruntime.InferenceSession(kernel(layer)[0], providers=["CPUExecutionProvider"])
        feeds = {one.name: np.zeros(one.shape, np.float32) for one in session.get_inputs()}
        (out,) = session.run(None, feeds)
        assert out.shape[1:] == (layer.out_shape if out.ndim == 4 else layer.out_shape[:1]), layer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, ms: "" if name == "kernels/k0003.onnx" else f"{ms}", "1 of .* are missing: kernels/k0003.onnx"),
        (
            lambda name, ms: f"-{ms}" if name.endswith("k0003.onnx") else f"{ms}",
            "k0003.onnx needs one number",
        ),
        (lambda name, ms: "fast" if name.endswith("k0003.onnx") else f"{ms}", "above 0, got 'fast'"),
        (
            lambda name, ms: f"{1e3 * ms}" if name.endswith("k0003.onnx") else f"{ms}",
            "k0003.onnx takes .* unit",
        ),
        (lambda name, ms: f"{1e3 * ms}" if name.startswith("kernels") else f"{ms}", "give all rows in milliseconds"),
        (lambda _, ms: f"{1e3 * ms}", "looks like microseconds: give all rows in milliseconds"),
        (lambda _, ms: f"{1e-3 * ms:.9f}", "looks like seconds: give all rows in milliseconds"),
        (lambda _, ms: f"{ms}\nkernels/k0001.onnx,1", "stands there a second time"),
        (lambda _, ms: f"{ms}\nkernels/none.onnx,1", "must be a file of the manifest, got 'kernels/none.onnx'"),
    ],
)
def test_a_wrong_row_is_named(exported: Path, change: Callable[[str, float], str], message: str) -> None:
    fill(exported, change)
    with pytest.raises(InvalidTable, match=message):
        import_(exported, device="phone", runtime="onnx", threads=1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("export", "required: --folder"),
        ("import --folder x", "required: --out, --device, --threads"),
        ("build --folder x", "--folder belongs to adapt, export and import"),
        ("export --folder x --networks 3", "export needs at least 4 networks, for import to fit the kernels to, got 3"),
        ("adapt --latency t.json --out u.json --folder x --threads 1", "adapt --folder needs --device NAME and"),
        (
            "adapt --latency t.json --out u.json --folder x --device a --threads 1 --seconds 9",
            "--seconds belongs to what",
        ),
        ("import --folder nowhere --device a --threads 1 --out t.json", "cannot read nowhere/manifest.json"),
    ],
)
def test_a_mistake_exits_2(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    assert message in capsys.readouterr().err
