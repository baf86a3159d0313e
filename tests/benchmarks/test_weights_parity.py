"""The comparison with the package's own model runs where the packages are, and says so where they are not."""

import pytest

from searchspace.zoo.places import installed
from searchspace.zoo.published import find
from tests.benchmarks.weights_parity import main


def test_it_says_what_it_needs_or_tells_that_the_logits_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--network", "lite0", "--batch", "1", "--seconds", "0.1"]) == 0
    out = capsys.readouterr().out
    if "skipped" not in out:
        assert installed(find("efficientnet_lite0"))
        assert "logits equal to 1e-05: reached" in out
        assert "at 161 px" in out


def test_another_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--network", "lite3"]) == 2
    assert "invalid choice: 'lite3'" in capsys.readouterr().err
