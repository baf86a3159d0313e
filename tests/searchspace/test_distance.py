import pytest

from searchspace import zoo
from searchspace.distance import distance


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mnasnet_a1", "efficientnet_b0"])
def test_a_zoo_network_is_nearest_to_itself(name: str) -> None:
    spec = zoo.get(name, classes=10, resolution=64)
    assert min(zoo.names(), key=lambda other: distance(zoo.get(other), spec)) == name
    assert distance(zoo.get(name), spec) == 0


def test_distance_is_symmetric() -> None:
    one, other = zoo.get("mobilenet_v2"), zoo.get("efficientnet_b2")
    assert distance(one, other) == pytest.approx(distance(other, one))


def test_a_narrow_network_is_nearer_to_the_smaller_of_one_family() -> None:
    small, large = zoo.get("efficientnet_b0"), zoo.get("efficientnet_b3")
    narrow, wide = zoo.get("efficientnet_b0", width=0.75), zoo.get("efficientnet_b0", width=1.3, depth=1.5)
    assert distance(small, narrow) < distance(large, narrow)
    assert distance(large, wide) < distance(small, wide)
