"""Preprocessing: a part of the weights that goes with their spec, through JSON and every change of the network."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from searchspace.channels.coupling import coupling, narrow
from searchspace.errors import InvalidSpec
from searchspace.preprocessing import OWN, Preprocessing
from searchspace.spec import Conventions, NetworkSpec
from searchspace.to_template import to_template
from searchspace.zoo import get

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), pixels=224)


def test_own_is_the_scale_of_all_that_was_trained_here_so_far() -> None:
    assert OWN.centre == (127.5, 127.5, 127.5)
    assert OWN.scale == (64.0, 64.0, 64.0)
    assert OWN.sentence() == "RGB, float32, (pixel - 127.5) / 64 with pixels from 0 to 255"
    assert "(123.67, 116.28, 103.53)" in IMAGENET.sentence()


@pytest.mark.parametrize("how", [OWN, IMAGENET, replace(IMAGENET, interpolation="bilinear", pixels=None)])
def test_it_survives_a_dict(how: Preprocessing) -> None:
    assert Preprocessing.from_dict(how.to_dict()) == how


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": [0.5, 0.5]}, "mean must be three numbers"),
        ({"mean": [0.5, 0.5, "a"]}, "mean must be three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean must be three numbers"),
        ({"std": [1, 1, -1]}, "std must be above 0"),
        ({"interpolation": "nearest"}, "must be 'bilinear' or 'bicubic', got 'nearest'"),
        ({"pixels": 0}, "pixels must be an integer from 1"),
        ({"means": [0]}, "unknown field 'means'; did you mean 'mean'?"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        Preprocessing.from_dict({**OWN.to_dict(), **changes})


@given(...)
def test_the_fingerprint_is_the_networks_alone(spec: NetworkSpec) -> None:
    assert spec.with_preprocessing(IMAGENET).fingerprint() == spec.with_preprocessing(None).fingerprint()


def test_json_says_it_only_where_it_is_set() -> None:
    spec = get("mobilenet_v3_small")
    assert "preprocessing" not in spec.to_json()
    assert NetworkSpec.from_json(spec.with_preprocessing(IMAGENET).to_json()).preprocessing == IMAGENET


def test_every_change_of_a_network_keeps_it() -> None:
    spec = get("mobilenet_v3_small").with_preprocessing(IMAGENET)
    group = next(group for group in coupling(spec) if len(group.counts) > 1)
    for other in (
        spec.with_resolution(96).with_classes(7).with_name("other").with_conventions(Conventions(padding="same")),
        to_template(spec).expand(width=1.2, depth=1.3, resolution=64),
        to_template(spec).with_classes(3).with_dropout(10).expand(),
        narrow(spec, group, min(group.counts)),
    ):
        assert other.preprocessing == IMAGENET
