"""The input size as a choice: what the choice changes, and that a space of one size has none."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.latency.kernels import placed_blocks, signatures
from searchspace import zoo
from searchspace.errors import InvalidChoice
from searchspace.graph import lower
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.toml import space_from_toml
from tests.block_examples import all_choices

ONE = mnasnet_space(classes=10, resolution=224)
THREE = mnasnet_space(classes=10, resolution=(160, 192, 224))
TINY = {"*.activation": ("relu",), "*.se": (False,), "*.kernel": (3,), "*.layers": (1,), "*.width_mult": (1.0,)}
SEEDS = st.integers(0, 2**32 - 1)


def test_a_space_of_one_size_is_what_it_was_before_there_was_a_choice() -> None:
    assert mnasnet_space(classes=10, resolution=(224,)) == ONE
    assert "resolution" not in ONE.parameters()
    assert "smaller_resolutions" not in ONE.to_dict()
    with pytest.raises(InvalidChoice, match="'resolution' is no choice of the space"):
        ONE.canonical({**ONE.corner("smallest"), "resolution": 224})


@given(SEEDS)
def test_the_choice_changes_the_input_size_and_nothing_else(seed: int) -> None:
    choices = THREE.sample(random.Random(seed))
    assert THREE.canonical(choices) == choices
    rest = {name: value for name, value in choices.items() if name != "resolution"}
    same = ONE.spec(rest)
    for px in (160, 192, 224):
        assert THREE.spec({**rest, "resolution": float(px)}) == same.with_resolution(px)
    near = [one for one in THREE.neighbours(choices) if one["resolution"] != choices["resolution"]]
    assert sorted([choices["resolution"], *(one["resolution"] for one in near)]) == [160, 192, 224]
    assert all({**one, "resolution": choices["resolution"]} == choices for one in near)
    assert len(list(THREE.neighbours(choices))) == 2 + len(list(ONE.neighbours(rest)))


@given(SEEDS)
def test_encoding_the_network_of_any_choices_gives_that_network_at_its_size(seed: int) -> None:
    spec = THREE.spec(THREE.sample(random.Random(seed)))
    assert THREE.spec(encode(THREE, spec)).fingerprint() == spec.fingerprint()


def test_a_network_of_another_size_is_encoded_at_the_nearest() -> None:
    for px, nearest in ((96, 160), (180, 192), (300, 224)):
        assert encode(THREE, zoo.get("efficientnet_b0", resolution=px))["resolution"] == nearest


def test_every_size_counts_and_the_corners_are_at_the_ends() -> None:
    assert THREE.size() == 3 * ONE.size()
    assert THREE.spec(THREE.corner("smallest")) == ONE.spec(ONE.corner("smallest")).with_resolution(160)
    assert THREE.spec(THREE.corner("largest")) == ONE.spec(ONE.corner("largest"))
    narrow = THREE.with_choices({**TINY, "*.expand_ratio": (3,), "stage1.expand_ratio": (1,)})
    assert sum(1 for _ in all_choices(narrow)) == narrow.size() == 3
    assert all("resolution" in choices for choices in all_choices(narrow))


def test_sizes_are_changed_and_told_apart_like_other_choices() -> None:
    assert ONE.with_choices({"resolution": (224, 160, 192)}) == THREE
    assert THREE.with_choices({"resolution": (224,)}) == ONE
    assert THREE.with_choices({"*.kernel": (3,)}).resolutions == (160, 192, 224)
    assert THREE.to_dict() == {**ONE.to_dict(), "smaller_resolutions": [160, 192]}


@pytest.mark.parametrize("sizes", [(), (0, 64), (64, 64), (64.0, 96), ("64", "96"), (True,)])
def test_wrong_sizes_are_named(sizes: Any) -> None:
    with pytest.raises(InvalidChoice, match="resolution must be integers of px above 0, at least one and none twice"):
        ONE.with_choices({"resolution": sizes})


def test_a_missing_or_foreign_size_is_named() -> None:
    rest = ONE.corner("smallest")
    with pytest.raises(InvalidChoice, match=r"'resolution' is missing; give one of \(160, 192, 224\)"):
        THREE.spec(rest)
    with pytest.raises(InvalidChoice, match=r"'resolution' must be one of \(160, 192, 224\), got 96"):
        THREE.spec({**rest, "resolution": 96})


def test_the_file_of_a_space_leaves_the_sizes_to_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("[choices]\nresolution = [64, 96]\n")
    with pytest.raises(InvalidChoice, match=r"must leave resolution out, got \[64, 96\].* --resolution 160,192,224"):
        space_from_toml(path, classes=10, resolution=96)


def narrow(sizes: tuple[int, ...]) -> SearchSpace:
    return mnasnet_space(classes=10, resolution=sizes).with_choices({**TINY, "*.kernel": (3, 5)})


@given(SEEDS)
def test_the_placed_blocks_hold_every_kernel_of_a_network_of_any_size(seed: int) -> None:
    space = narrow((64, 96))
    spec = space.spec(space.sample(random.Random(seed)))
    assert {layer.signature for layer in lower(spec).layers} <= KERNELS


KERNELS = signatures(placed_blocks(narrow((64, 96))))


def test_the_placed_blocks_of_two_sizes_are_those_of_each() -> None:
    each = [signatures(placed_blocks(narrow((px,)))) for px in (64, 96)]
    assert each[0] | each[1] == KERNELS
    assert each[0] - each[1]
