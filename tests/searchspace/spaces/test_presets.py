"""Spaces by name: what is in them, whom they say they are for, and what else --space takes."""

import random
from pathlib import Path

import pytest

from search.settings import Settings
from searchspace.cost import macs
from searchspace.errors import InvalidChoice
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.presets import ABOUT, PRESETS, space_of


def test_the_default_space_has_a_name_and_is_what_it_was() -> None:
    default = mnasnet_space(classes=7, resolution=64)
    assert space_of(None, classes=7, resolution=64) == space_of("mnasnet", classes=7, resolution=64) == default
    assert all(f"{name}: {preset.about}" in ABOUT for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", ["edge", "mcu"])
def test_networks_for_int8_have_no_gates_no_soft_activations_and_small_kernels(name: str) -> None:
    space, rng = space_of(name, classes=10, resolution=96), random.Random(0)
    assert space.name == name
    for choices in [space.sample(rng) for _ in range(20)]:
        for block in space.spec(choices).blocks[:-1]:
            assert getattr(block, "squeeze_channels", 0) == 0
            assert getattr(block, "activation", "relu") in ("relu", "relu6")
            assert getattr(block, "kernel", 3) <= 5


def test_the_largest_network_for_microcontrollers_is_a_fifth_of_the_default_spaces() -> None:
    largest = {
        name: space.spec(space.corner("largest"))
        for name in PRESETS
        for space in [space_of(name, classes=10, resolution=96)]
    }
    assert 5 * macs(largest["mcu"]) < macs(largest["edge"]) < macs(largest["mnasnet"])


def test_a_preset_of_several_input_sizes_chooses_among_them() -> None:
    assert space_of("mcu", classes=10, resolution=(96, 128, 160)).resolutions == (96, 128, 160)


def test_a_file_is_a_file_and_another_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "edge"
    file.write_text('[choices]\n"*.kernel" = [7]\n')
    space = space_of(file, classes=10, resolution=64)
    assert space.parameters()["stage2.kernel"] == (7,)
    with pytest.raises(InvalidChoice, match="be one of mnasnet, universal, edge, mcu or a TOML file, got 'egde'"):
        space_of("egde", classes=10, resolution=64)


def test_a_study_remembers_the_name_and_the_full_path_of_a_file() -> None:
    assert Settings(budget_ms=1.0, space_file="mcu").identity()["space_file"] == "mcu"
    assert Settings(budget_ms=1.0, space_file="s.toml").identity()["space_file"] == str(Path("s.toml").resolve())
