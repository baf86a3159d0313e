"""The benchmark of quick tables, in short, on a scripted machine."""

from tests.benchmarks.latency_quick_table import parser, timed
from tests.scripted_runtime import uneven_machine


def test_it_tells_the_seconds_and_the_errors_of_networks() -> None:
    args = parser().parse_args(["--networks", "12", "--seconds", "1", "--resolution", "64"])
    told = timed(uneven_machine(), args).text
    assert "measured in" in told
    assert "(quick: the other kernels of its space are estimated)" in told
    assert "within 10 %" in told
