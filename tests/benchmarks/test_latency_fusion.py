"""Fusion by pairs, in short: every pair is timed and listed, and what the numbers mean."""

import pytest

from tests.benchmarks.latency_fusion import Pair, main, report


def test_every_pair_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra: onnx")
    assert main(["--channels", "8", "--pixels", "14", "--threads", "1", "--seconds", "1"]) == 0
    out = capsys.readouterr().out
    for pair in (
        "expand + depthwise",
        "depthwise + SE",
        "SE + project",
        "project + add",
        "expand + relu",
        "expand + h_swish",
        "expand + swish",
    ):
        assert pair in out
    assert "of 7" in out


def test_two_that_take_as_long_as_one_are_one_kernel() -> None:
    one = Pair("conv + relu", 1.0, 0.2, 1.01, (0.9, 0.0))
    two = Pair("conv + conv", 1.0, 0.2, 1.2, (0.7, 0.2))
    other = Pair("conv + add", 1.0, 0.2, 1.2, (0.9, 0.0))  # which the profile calls one
    assert one.fused
    assert one.saved == pytest.approx(0.95)
    assert not two.fused
    assert "agree on 2 of 3" in report([one, two, other])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--runtime", "eager"], "must run ONNX models"),
        (["--seconds", "0"], "--seconds: must be above 0"),
        (["--pixels", "0"], "at least 1"),
    ],
)
def test_what_cannot_be_timed_is_refused(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err
