"""The study of built networks against plain ones runs, and its plain networks are the published ones."""

import time

import pytest
import torch

from searchspace import params, zoo
from tests.benchmarks import zoo_speed


@pytest.mark.parametrize("name", zoo_speed.PLAIN)
def test_the_plain_network_has_the_published_parameters(name: str) -> None:
    plain = zoo_speed.PLAIN[name]()
    assert sum(parameter.numel() for parameter in plain.parameters()) == params(zoo.get(name))


@pytest.mark.parametrize("name", zoo_speed.PLAIN)
def test_the_plain_network_is_the_same_function(name: str) -> None:
    ours, plain = (network.eval() for network in zoo_speed.twins(name))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), plain(image), rtol=1e-4, atol=1e-5)


def test_a_ratio_is_ours_over_plain_with_an_interval_and_a_verdict() -> None:
    figure = zoo_speed.compare(
        "sleep", "x", lambda: time.sleep(0.002), lambda: time.sleep(0.001), seconds=0.02, limit=1.0
    )
    assert 1.0 < figure.low <= figure.ratio <= figure.high
    assert figure.verdict == "MISSED"
    assert "MISSED" in zoo_speed.report([figure])


@pytest.mark.slow
def test_it_runs_and_prints_every_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo_speed.main(["--quick"]) == 0
    out = capsys.readouterr().out
    for what in ("inference, batch 1", "training step, batch 4", "building, beside bare layers"):
        assert what in out
