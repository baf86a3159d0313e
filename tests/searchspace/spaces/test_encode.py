"""`space.encode` is the inverse of `space.spec`: published networks that are points of the space are found in it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace import zoo
from searchspace.errors import InvalidChoice
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import SearchSpace

SPACE = mnasnet_space()
WIDE = SPACE.with_choices({"*.activation": ("relu", "relu6", "h_swish", "swish"), "stage2.layers": (1, 2, 3, 4, 5)})
SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.sampled_from([SPACE, WIDE]))
def test_encoding_the_network_of_any_choices_gives_that_network(seed: int, space: SearchSpace) -> None:
    spec = space.spec(space.sample(random.Random(seed)))
    assert space.spec(encode(space, spec)).fingerprint() == spec.fingerprint()


@pytest.mark.parametrize("name", ["mnasnet_a1", "mnasnet_b1", "efficientnet_b0"])
def test_published_networks_are_points_of_the_default_space(name: str) -> None:
    spec = zoo.get(name)
    assert SPACE.spec(encode(SPACE, spec)).fingerprint() == spec.fingerprint()


def test_the_published_mnasnet_a1_encodes_to_the_choices_of_its_table() -> None:
    assert encode(SPACE, zoo.get("mnasnet_a1")) == SPACE.canonical(KNOWN["mnasnet_a1"])
    assert encode(SPACE, zoo.get("efficientnet_b0")) == SPACE.canonical(KNOWN["efficientnet_b0"])


def test_mobilenet_v2_is_a_point_of_a_space_that_has_its_relu6() -> None:
    spec = zoo.get("mobilenet_v2", classes=10, resolution=96)
    with pytest.raises(InvalidChoice, match=r"follows it up to stage1\.0, a SeparableConv with .*relu6; widen"):
        encode(SPACE, spec)
    choices = encode(WIDE, spec)
    assert [choices[f"stage{n}.layers"] for n in range(1, 8)] == [1, 2, 3, 4, 3, 3, 1]
    assert WIDE.spec(choices).with_classes(10).with_resolution(96).fingerprint() == spec.fingerprint()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mobilenet_v3_large", "its ends differ"),
        ("squeezenet1_1", "its ends differ"),
        ("fbnet_c", "its ends differ"),
        ("single_path_nas", r"up to stage3\.1"),
        ("efficientnet_b2", "its ends differ"),
    ],
)
def test_a_network_outside_the_space_is_refused_with_the_place_where_it_leaves_it(name: str, reason: str) -> None:
    with pytest.raises(InvalidChoice, match=reason):
        encode(SPACE, zoo.get(name))
