"""The runtimes by name: a file is known everywhere, and what is not available is told."""

import sys
from pathlib import Path

import pytest
import torch

from search.latency.__main__ import main
from search.latency.runtimes import check_profiles_layers, names, runtime, runtime_info, setting_of
from search.latency.runtimes.eager import Eager
from searchspace.errors import InvalidArgument


def test_unknown_runtimes_threads_and_missing_extras_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="must be one of eager, compile, onnxruntime, openvino, got 'tvm'"):
        runtime("tvm")
    with pytest.raises(InvalidArgument, match="from 1 to 1024, got 0"):
        runtime(threads=0)
    for name, extra in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InvalidArgument, match=rf"phinas\[{extra}\]"):
            runtime(name, threads=1)


ABACUS = """
from search.latency.runtimes import RuntimeInfo
from search.latency.runtimes.eager import Eager

class Abacus(Eager):
    pass

RUNTIME = RuntimeInfo("beads", ("bf16",), Abacus, uses_onnx=True, profiles_layers=False)
"""


def test_a_runtime_is_known_everywhere_by_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import search.latency.runtimes as package

    assert {name for name in names() if runtime_info(name).uses_onnx} >= {"onnxruntime", "openvino"}
    (tmp_path / "abacus.py").write_text(ABACUS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert type(runtime("abacus", threads=3, dtype="bf16")).__name__ == "Abacus"
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    assert "abacus" in capsys.readouterr().out
    assert runtime_info("abacus").uses_onnx
    assert not runtime_info("eager").uses_onnx
    identity = {**Eager(threads=1).identity(32), "runtime": "beads", "dtype": "bfloat16"}
    assert setting_of(identity) == ("abacus", "cpu", "bf16")  # type: ignore[arg-type]
    for wrong, message in (
        (lambda: runtime("abacus"), "dtypes of the runtime abacus are bf16, got 'fp32'"),
        (lambda: runtime("abacus", dtype="bf16", device="cuda"), "abacus is measured on the cpu, .* eager or compile"),
        (lambda: check_profiles_layers("abacus"), "beads does not say what a layer takes, .* --runtime abacus"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            wrong()


def test_a_device_that_is_not_here_or_not_the_runtime_s_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "tpu"):
        with pytest.raises(InvalidArgument, match=rf"torch .* finds here \(cpu.*\), got '{device}'"):
            runtime(device=device)
    with pytest.raises(InvalidArgument, match="onnxruntime is measured on the cpu, got device 'cuda'"):
        runtime("onnxruntime", device="cuda")
