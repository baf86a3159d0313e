"""python -m search.latency: flags and messages; measuring real networks is in the end-to-end tests of search.run."""

import json
from pathlib import Path

import pytest

from search.latency.__main__ import main
from search.latency.build import forget
from search.latency.cache import Cache
from search.latency.eager import Eager
from searchspace import zoo
from searchspace.mnasnet_space import mnasnet_space


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["measure"], "measure needs at least one --network"),
        (["build", "--network", "mnasnet_a1"], "--network belongs to measure, got build with mnasnet_a1"),
        (["measure", "--network", "mobilnet_v2"], "the zoo has no network 'mobilnet_v2'; did you mean mobilenet_v2"),
        (["measure", "--network", "none.json"], "cannot read the spec file none.json"),
        (["measure", "--network", "mnasnet_a1", "--seconds", "0"], "--seconds must be above 0, got 0"),
        (["measure", "--network", "mnasnet_a1", "--resolution", "31"], "at least the total stride 32, got 31"),
        (["check", "--again"], "--again belongs to build, got check"),
        (["build", "--resolution", "-1"], "--resolution must be above 0, got -1"),
    ],
)
def test_bad_input_ends_with_2_and_the_rule(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err


def test_given_networks_are_measured_each_at_its_own_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = zoo.get("mobilenet_v3_small", width=0.5, resolution=64)
    (tmp_path / "small.json").write_text(spec.to_json())
    networks = ["--network", str(tmp_path / "small.json"), "--network", "shufflenet_v2"]
    flags = ["measure", *networks, "--cache-dir", str(tmp_path), "--seconds", "0.1"]
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["network"], row["resolution"]) for row in found["networks"]] == [
        ("mobilenet_v3_small_w0.5", 64), ("shufflenet_v2", 224),
    ]  # fmt: skip
    assert 0 < found["networks"][0]["latency_ms"] < found["networks"][1]["latency_ms"]
    assert main(flags) == 0
    assert "shufflenet_v2" in capsys.readouterr().out


def test_again_takes_the_table_of_this_device_away(tmp_path: Path) -> None:
    space = mnasnet_space(resolution=64)
    identity = Eager().identity(64)
    cache = Cache(tmp_path, identity, note=lambda _: None)
    cache.table_path.write_text("{}")
    cache.reference_path.write_text("{}")
    forget(space, cache_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [cache.reference_path.name]
    forget(space, cache_dir=tmp_path)
