"""Growing by phi and to a target: the laws of both, over bases, rules and costs."""

import math
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.formula import RULES, Coefficients
from scaling.growth import BAND, by_dimension, grow, grow_to
from searchspace import zoo
from searchspace.channels.coupling import coupling, narrow
from searchspace.cost import macs, params
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec
from searchspace.template import Template
from searchspace.to_template import to_template

BASES = ("efficientnet_b0", "mobilenet_v3_large", "mobilenet_v1", "mnasnet_a1", "shufflenet_v2", "squeezenet1_1")


@cache
def template(name: str) -> Template:
    return zoo.template(name)


@settings(max_examples=8)
@given(name=st.sampled_from(BASES), rule=st.sampled_from(sorted(RULES)), factor=st.floats(0.4, 12))
def test_a_target_is_never_passed_and_the_factors_give_the_network(name: str, rule: str, factor: float) -> None:
    base = template(name)
    target = factor * macs(base.expand())
    coefficients = RULES[rule].coefficients
    if rule == "depth" and target < macs(base.expand(depth=0.01)):
        with pytest.raises(InvalidArgument, match="smallest"):  # layers alone cannot shrink it as far
            grow_to(base, cost=macs, target=target, coefficients=coefficients)
        return
    grown = grow_to(base, cost=macs, target=target, coefficients=coefficients)
    depth, width, resolution = grown.factors
    again = base.expand(depth=depth, width=width, resolution=resolution, name=grown.spec.name)
    assert again == grown.spec
    assert macs(grown.spec) <= target
    if not 0.5 < factor < 2:
        ratios = (depth, width, resolution / base.resolution)
        assert min(ratios) >= 1 if factor > 1 else max(ratios) <= 1
    for value, factor_of_it in zip(
        (coefficients.alpha, coefficients.beta, coefficients.gamma),
        (depth, width, resolution / base.resolution),
        strict=True,
    ):
        assert value > 1 or factor_of_it == 1  # a rule leaves its other dimensions alone


@pytest.mark.parametrize("step", [1, 7, 32])
def test_images_of_efficientnet_v2_stay_at_480_pixels_as_layers_and_channels_go_on(step: int) -> None:
    base = template("efficientnetv2_s")  # arXiv:2104.00298, section 3.3
    small, large, larger = (
        grow(base, phi=phi, coefficients=Coefficients(), resolution_step=step).factors for phi in (1, 5, 7)
    )
    assert abs(small.resolution - 345) <= step / 2
    assert large.resolution == larger.resolution == 480 // step * step
    assert (large.depth, large.width) < (larger.depth, larger.width)


def test_a_target_of_efficientnet_v2_is_met_at_480_pixels_and_fewer() -> None:
    base = template("efficientnetv2_b0")
    target = 40 * macs(base.expand())
    grown = grow_to(base, cost=macs, target=target, coefficients=Coefficients())
    assert (1 - BAND) * target <= macs(grown.spec) <= target
    assert grown.spec.resolution <= 480


@pytest.mark.parametrize(("name", "cost"), [("efficientnet_b0", params), ("mobilenet_v3_large", macs)])
def test_targets_are_met_within_2_percent_below(name: str, cost: Callable[[NetworkSpec], int]) -> None:
    base = template(name)
    own = cost(base.expand())
    shares = []
    for factor in (0.5, 2, 8):
        target = own * factor
        grown = grow_to(base, cost=cost, target=target, coefficients=Coefficients())
        shares.append(cost(grown.spec) / target)
        assert grown.spec.resolution % 8 == 0
    assert max(shares) <= 1
    # Pixels cost no parameters, so those come in steps of layers and channels only.
    assert sum(share >= 1 - BAND for share in shares) >= (3 if cost is macs else 2), shares
    assert min(shares) > 0.95


@pytest.mark.parametrize(
    ("name", "factor"), [("mobilenet_v3_small", 2), ("mobilenet_v3_small", 5), ("fbnet_c", 0.5), ("fbnet_c", 5)]
)
def test_pixels_that_cost_no_parameters_do_not_use_up_the_networks_to_try(name: str, factor: float) -> None:
    # For each of these a grid over depth and width has networks within 2 % below the target.
    base = template(name)
    target = factor * params(base.expand())
    grown = grow_to(base, cost=params, target=target, coefficients=Coefficients())
    assert (1 - BAND) * target <= params(grown.spec) <= target


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
def test_a_target_a_little_above_the_base_shrinks_no_dimension(name: str) -> None:
    base = template(name)  # one more layer a stage passes 1.3 times the cost, so the formula's phi is a hair below 0
    grown = grow_to(base, cost=macs, target=1.3 * macs(base.expand()), coefficients=Coefficients())
    assert min(grown.factors.depth, grown.factors.width, grown.factors.resolution / base.resolution) >= 1


def test_no_resolution_step_leads_beyond_the_largest_resolution() -> None:
    base = template("efficientnet_b0")
    with pytest.raises(InvalidArgument, match="at most 8192 px, but in steps of 10000 px it becomes 10000"):
        grow(base, phi=1, coefficients=Coefficients(), resolution_step=10_000)
    with pytest.raises(InvalidArgument, match="no multiple of 9000 px does"):
        grow_to(base, cost=macs, target=1e12, coefficients=Coefficients(), resolution_step=9000)
    base = template("mobilenet_v1")
    largest = grow_to(base, cost=macs, target=3e14, coefficients=Coefficients(), resolution_step=5000)
    assert largest.spec.resolution == 5000


def test_a_latency_target_is_met_by_the_tables_own_prediction(latencies: LatencyTable) -> None:
    def predicted(spec: NetworkSpec) -> float:
        return latencies.predict(lower(spec)).latency_ms

    base = template("efficientnet_b0")
    for target in (10.0, 30.0, 90.0):
        grown = grow_to(base, cost=predicted, target=target, coefficients=Coefficients())
        assert (1 - BAND) * target <= predicted(grown.spec) <= target


def test_a_grown_network_keeps_its_dimensions_near_one_phi() -> None:
    grown = grow_to(template("efficientnet_b0"), cost=macs, target=2e9, coefficients=Coefficients())
    own = Coefficients()
    phis = (
        math.log(grown.factors.width) / math.log(own.beta),
        math.log(grown.factors.resolution / 224) / math.log(1.15),
    )
    assert all(abs(phi - grown.phi) < 0.6 for phi in phis), phis


@pytest.mark.parametrize(("target", "word"), [(1.0, "smallest"), (1e18, "largest")])
def test_a_target_out_of_reach_names_the_end(target: float, word: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the {word} network of this base and rule"):
        grow_to(template("efficientnet_b0"), cost=macs, target=target, coefficients=Coefficients())


def test_bases_of_1_cannot_meet_a_target() -> None:
    with pytest.raises(InvalidArgument, match="needs a dimension that grows"):
        grow_to(template("efficientnet_b0"), cost=macs, target=1e9, coefficients=Coefficients(1, 1, 1))


def test_a_layer_that_rounds_to_nothing_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"no layer may round to nothing.*of 16 channels"):
        grow(template("efficientnet_b0"), phi=-11, coefficients=Coefficients(1, 1.42, 1))


def test_each_dimension_alone_multiplies_only_its_own() -> None:
    base = template("efficientnet_b0")
    grown = grow(base, phi=2, coefficients=Coefficients())
    alone = {name: one.spec for name, one in by_dimension(base, grown).items()}
    assert params(alone["resolution"]) == params(base.expand())
    assert alone["depth"].resolution == alone["width"].resolution == 224
    assert len(alone["width"].blocks) == len(base.expand().blocks) < len(alone["depth"].blocks)
    assert all(macs(base.expand()) < macs(spec) < macs(grown.spec) for spec in alone.values())


def test_pixels_round_to_the_step_asked_for() -> None:
    base = template("efficientnet_b0")
    assert [
        grow(base, phi=3, coefficients=Coefficients(), resolution_step=step).spec.resolution for step in (1, 4, 8, 32)
    ] == [341, 340, 344, 352]


def test_a_pruned_network_is_lifted_with_its_own_ratios_and_grows() -> None:
    spec = zoo.get("mobilenet_v2")
    group = next(group for group in coupling(spec) if not group.fixed and group.channels > 40)
    pruned = narrow(spec, group, group.channels - 7)
    base = to_template(pruned)
    assert grow(base, phi=0, coefficients=Coefficients()).spec.fingerprint() == pruned.fingerprint()
    grown = grow(base, phi=1, coefficients=Coefficients()).spec
    assert macs(pruned) < macs(grown) < macs(grow(template("mobilenet_v2"), phi=1, coefficients=Coefficients()).spec)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_step_of_every_rule_about_doubles_the_macs(name: str) -> None:
    assert 1.9 < RULES[name].coefficients.cost_factor < 2.01


def test_fast_scaling_is_the_exponents_of_its_paper() -> None:
    # arXiv:2103.06877 with alpha = 0.8: depth s^0.1, width s^0.4, resolution s^0.05; here s = 2
    own = RULES["fast"].coefficients
    assert (own.alpha, own.beta, own.gamma) == pytest.approx((2**0.1, 2**0.4, 2**0.05))
