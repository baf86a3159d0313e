"""What a pruning begins with, from the flags."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.console import Progress
from search.latency.cache import Cache
from search.latency.runtimes.eager import Eager
from search.netadapt.inputs import read_inputs, table_of
from search.netadapt.settings import Settings
from search.netadapt.specs import PrunableSpec
from searchspace.nn import Network, build
from tests.search.netadapt.scripted import phone_table, start, tiny

pytestmark = pytest.mark.usefixtures("one_thread", "place")
QUIET = Progress(lambda: None, quiet=True)


@pytest.mark.parametrize(("pixels", "has"), [(32, True), (96, False)])
def test_the_table_is_that_of_the_networks_own_resolution_if_there_is_one(
    pixels: int, has: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a search at that resolution leaves it behind; else of 224 px."""
    monkeypatch.setenv("PHINAS_CACHE", str(place / "tables"))
    identity = Eager().identity(32)
    Cache(place / "tables", identity, note=lambda _: None).save(replace(phone_table(tiny()), identity=identity))
    resolutions: list[int] = []

    def build_table(space: Any, **_: Any) -> Any:
        resolutions.append(space.resolution)

    network = PrunableSpec(Network(tiny().with_resolution(pixels)))
    table_of(Settings(network=Path("tiny.json"), budget_ms=3.0), network, QUIET, build=build_table)
    assert resolutions == [32 if has else 224]


def test_a_network_is_read_with_its_images_as_the_weights_say(best: Path) -> None:
    settings = Settings(
        network=best,
        weights=best.with_suffix(".safetensors"),
        data="digits:200",
        budget_macs=1e5,
        algorithm="mobilenetv3",
        decay=0.9,
    )
    inputs = read_inputs(settings, QUIET)
    assert (settings.by_ratio, settings.reduction, settings.limits, settings.unit) == (
        True,
        (0.01, 0.9),
        (1e5,),
        "macs",
    )
    assert inputs.network.spec == tiny()
    assert (inputs.pixels, inputs.deployed_px) == (16, 32)  # trained as the weights were, deployed as the spec is


def test_settings_that_identify_a_pruning_are_those_of_the_version_before_and_how_images_are_varied() -> None:
    """Else its studies would not go on; those of before are held to what they did."""
    settings = Settings(network=Path("x.json"), budgets=(10.0, 20.0), runtime="eager", workers=3, epochs=7)
    assert settings.identity() == {
        "unit": "ms",
        "budgets": [20.0, 10.0],
        "data": "digits",
        "runtime": "eager",
        "threads": None,
        "proxy_resolution": None,
        "moves": ["channels", "se", "kernel", "block"],
        "criterion": "l2",
        "algorithm": "netadapt",
        "step": 0.05,
        "decay": 0.98,
        "short_steps": 40,
        "shortlist": 4,
        "validation_images": 2000,
        "augment": "auto",
        "class_weights": "none",
    }
    assert settings.study_name == "x-to-10ms"


def test_a_network_that_is_given_stays_as_it_is(best: Path) -> None:
    network = build(tiny())
    settings = Settings(network=Path("tiny"), data="digits:200", budget_macs=1e5, proxy_resolution=16)
    inputs = read_inputs(settings, QUIET, network=network)
    assert inputs.network.module is not network
    assert inputs.network.fingerprint == start().fingerprint
