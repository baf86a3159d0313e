"""The study of built networks against plain ones runs, and its plain networks are the published ones."""

import pytest

from searchspace import params, zoo
from tests.benchmarks import zoo_speed


@pytest.mark.parametrize("name", zoo_speed.PLAIN)
def test_the_plain_network_has_the_published_parameters(name: str) -> None:
    plain = zoo_speed.PLAIN[name]()
    assert sum(parameter.numel() for parameter in plain.parameters()) == params(zoo.get(name))


def test_the_study_runs_and_prints_every_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo_speed.main(["--quick"]) == 0
    out = capsys.readouterr().out
    for what in ("inference, batch 1", "training step, batch 4", "building, beside bare layers"):
        assert what in out
