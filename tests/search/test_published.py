"""Published networks as candidates: as they are, narrowed to the budget, grown into it."""

from typing import Any

import torch

from search.published import Published, published_candidates, usual_forms
from searchspace import zoo
from searchspace.cost import macs
from searchspace.errors import MissingLatency
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spec import Conventions, NetworkSpec


def parent(name: str, **options: Any) -> Parent:
    spec = zoo.get(name, **options).with_conventions(Conventions(padding="same"))
    network = build(spec, generator=torch.Generator().manual_seed(0))
    return Parent(name=spec.name, network=network, source="a test", licence=None, top1=None, sha256="0")


SMALL = parent("mobilenet_v2", width=0.35)
SQUEEZE = parent("squeezenet1_1")


def ms(spec: NetworkSpec) -> float:
    return macs(spec) / 1e6


def found(limit_ms: float, *parents: Parent, sizes: tuple[int, ...] = (64,), upper_ms: Any = ms) -> list[Published]:
    return published_candidates(Parents(parents), sizes=sizes, classes=10, upper_ms=upper_ms, limit_ms=limit_ms)


def test_a_network_within_the_limit_is_a_candidate_as_it_is_at_every_size() -> None:
    rows = [row for row in found(1e9, SQUEEZE, sizes=(64, 96)) if row.as_it_is]
    assert [row.spec.resolution for row in rows] == [64, 96]
    for row in rows:
        assert row.spec.has_layers_of(SQUEEZE.network.spec)
        assert row.spec.conventions == SQUEEZE.network.spec.conventions
        assert row.spec.classes == 10


def test_one_that_is_over_the_limit_is_narrowed_as_little_as_it_takes() -> None:
    whole = zoo.get("mobilenet_v2", resolution=64, classes=10)
    big = parent("mobilenet_v2")
    limit = 0.6 * ms(whole)
    (row,) = found(limit, big)
    assert not row.as_it_is
    assert row.parent == "mobilenet_v2"
    width = float(row.name.rpartition(" ")[2])
    assert ms(row.spec) <= limit < ms(zoo.get("mobilenet_v2", width=width + 0.05, resolution=64, classes=10))
    assert row.spec.conventions == big.network.spec.conventions


def test_the_largest_that_fits_is_grown_into_the_limit_too() -> None:
    own = ms(zoo.get("mobilenet_v2", resolution=64, classes=10))
    rows = found(1.7 * own, parent("mobilenet_v2"))
    assert [row.as_it_is for row in rows] == [True, False]
    assert own < ms(rows[1].spec) <= 1.7 * own


def test_networks_that_are_grown_already_and_those_of_a_user_are_not_scaled() -> None:
    assert found(1.0, parent("efficientnet_lite1")) == []
    own = SMALL.network.spec.with_name("my own")
    rows = found(1e9, SMALL._replace(name="my.safetensors", network=build(own)))
    assert [row.name for row in rows] == ["my.safetensors"]


def test_a_network_of_kernels_that_the_table_has_none_like_is_left_out() -> None:
    def unknown(spec: NetworkSpec) -> float:
        raise MissingLatency("none")

    assert found(1e9, SQUEEZE, upper_ms=unknown) == []


def test_a_table_is_asked_to_price_each_parent_as_it_is_and_at_a_middle_width_at_every_size() -> None:
    forms = usual_forms([SQUEEZE, parent("mobilenet_v2")], sizes=(64, 96), classes=10)
    whole = [spec for spec in forms if spec.has_layers_of(zoo.get("mobilenet_v2"))]
    assert [spec.resolution for spec in whole] == [64, 96]
    assert all(spec.conventions == Conventions(padding="same") and spec.classes == 10 for spec in forms)
    narrow = [
        macs(spec) / macs(zoo.get("mobilenet_v2", resolution=64)) for spec in forms if spec.name != "squeezenet1_1"
    ]
    assert any(0.2 < share < 0.6 for share in narrow)
    assert usual_forms((), sizes=(64,), classes=10) == []
