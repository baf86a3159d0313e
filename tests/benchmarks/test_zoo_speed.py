"""The study of built networks against plain ones runs, and its plain networks are the published ones."""

import pytest
import torch

from searchspace import params, zoo
from tests.benchmarks import zoo_speed
from tests.benchmarks.plain_networks import PLAIN


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_network_has_the_published_parameters(name: str) -> None:
    plain = PLAIN[name]()
    assert sum(parameter.numel() for parameter in plain.parameters()) == params(zoo.get(name))


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_network_is_the_same_function(name: str) -> None:
    ours, plain = (network.eval() for network in zoo_speed.twins(name))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), plain(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.9, 2.1, "MISSED"), (0.95, 1.02, "reached"), (0.8, 0.99, "reached"), (0.9, 1.05, "too noisy")],
)
def test_a_ratio_that_is_not_known_well_enough_says_nothing(low: float, high: float, verdict: str) -> None:
    figure = zoo_speed.Figure("inference", "x", 2.0, 1.0, (low + high) / 2, low, high, 9, 1.0)
    assert figure.verdict == verdict
    assert verdict in zoo_speed.report([figure])


def test_both_are_called_in_every_turn() -> None:
    calls: list[str] = []
    figure = zoo_speed.compare(
        "x", "x", lambda: calls.append("ours"), lambda: calls.append("plain"), seconds=0, limit=1.0
    )
    assert calls == ["ours", "plain", "ours", "plain", "plain", "ours"]
    assert figure.turns == 1


@pytest.mark.slow
def test_it_runs_and_prints_every_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo_speed.main(["--quick"]) == 0
    out = capsys.readouterr().out
    for what in ("inference, batch 1", "training step, batch 4", "building, beside bare layers"):
        assert what in out
