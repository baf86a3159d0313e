"""The benchmarks of fine-tuning run in short and say what they found."""

from pathlib import Path

import pytest

from searchspace.zoo import get
from tests.benchmarks import finetune_cifar10, finetune_elements, finetune_step, search_cifar10, shared_step
from tests.benchmarks.harness import Row
from tests.small_search import TOML

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


def test_minutes_and_their_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "small.json"
    spec.write_text(get("mobilenet_v3_small", width=0.25, resolution=32).to_json())
    words = ["--data", "digits:40", "--network", str(spec), "--weights", "none", "--minutes", "0.03", "--seeds", "0,1"]
    assert finetune_cifar10.main([*words, "--resolution", "32", "--target", "0.001"]) == 0
    assert "target 0.1%: reached" in capsys.readouterr().out


def test_a_step_beside_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--network", "mobilenet_v3_small", "--pixels", "32", "--batch", "4", "--rounds", "2", "--target", "100"]
    assert finetune_step.main(words) == 0
    assert "median ratio of times" in capsys.readouterr().out


def test_elements_beside_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "digits:40", "--network", "random:mobilenet_v3_small", "--images", "32", "--pixels", "32"]
    words += ["--validation", "20", "--seeds", "1", "--elements", "0,7", "--json", str(tmp_path / "kept.json")]
    assert finetune_elements.main(words) == 0
    assert "no classifier in closed form" in capsys.readouterr().out
    assert finetune_elements.main(["--elements", "3"]) == 2


def test_a_step_of_a_shared_network_beside_plain_slicing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.toml").write_text(TOML)
    words = ["--space", str(tmp_path / "space.toml"), "--pixels", "32", "--batch", "4", "--rounds", "2"]
    assert shared_step.main([*words, "--target", "0.001"]) == 0
    assert "a step costs" in capsys.readouterr().out


def test_searches_beside_published_networks_and_the_verdict() -> None:
    def row(seed: int, test: float, ms: float, **more: float) -> Row:
        return {"seed": seed, "test": test, "ms": ms, "network": "n", "minutes": 1, **more}

    rows = {
        "search 20 ms, seed 0": row(0, 0.90, 15, budget=20.0),
        "search 20 ms, seed 1": row(1, 0.88, 15, budget=20.0),
    }
    rows |= {"a, seed 0": row(0, 0.89, 12), "b, seed 0": row(0, 0.95, 25), "a, seed 1": row(1, 0.885, 12)}
    assert search_cifar10.best_published(rows, 0, 20.0) == 0.89  # b is over the budget
    text, reached = search_cifar10.report(rows, [20.0], [0, 1], 0.88)
    assert reached
    assert "20 ms: test 89.00%" in text
    assert "+0.25 ± 0.75 points" in text
    assert not search_cifar10.report(rows, [20.0], [0, 1], 0.9)[1]
    assert not search_cifar10.report({**rows, "a, seed 1": {**rows["a, seed 1"], "test": 0.97}}, [20.0], [1], 0.5)[1]
