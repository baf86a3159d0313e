"""The latency budget: what measured networks teach of a table, and that the promise of a limit holds."""

import itertools
import math
import random
from dataclasses import replace
from statistics import NormalDist, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.budget import CostModel, LatencyBudget
from search.candidates import PricedSpace
from searchspace.graph import lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space

IDENTITY = Identity(
    schema=SCHEMA,
    machine="abacus x2",
    runtime="beads",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=64,
    versions={},
)
TABLE = LatencyTable(IDENTITY, 1.0, {}, Correction(1.1, 0.5, 0.03))


def budget(limit_ms: float = 20.0, *, fastest_ms: float = 5.0) -> LatencyBudget:
    return LatencyBudget(limit_ms, TABLE, fastest_ms=fastest_ms)


def test_nothing_measured_teaches_nothing() -> None:
    assert budget().corrected_table is TABLE
    assert budget().prediction_limit_ms == pytest.approx(TABLE.prediction_limit_ms(20.0, 0.95))
    assert budget().correction == 1.0


@given(bias=st.floats(-0.08, 0.08), count=st.integers(1, 12))
def test_networks_that_are_all_off_alike_are_learnt_from_a_little_more_each_time(bias: float, count: int) -> None:
    own = budget()
    factors = [own.correction]
    for _ in range(count):
        own.learn(10.0, 10.0 * (1 + bias))
        factors.append(own.correction)
    distances = [abs(1 + bias - factor) for factor in factors]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(distances))
    assert distances[-1] <= abs(bias) / (count + 1) + 1e-12
    assert len(own.measured) == count


@given(bias=st.floats(-0.06, 0.06))
def test_what_is_learnt_changes_the_limit_the_other_way_and_leaves_less_error(bias: float) -> None:
    own = budget()
    for _ in range(6):
        own.learn(10.0, 10.0 * (1 + bias))
    assert own.corrected_table.relative_error < TABLE.relative_error
    assert own.prediction_limit_ms == pytest.approx(
        own.corrected_table.prediction_limit_ms(20.0, 0.95) / own.correction
    )
    if bias > 0.05:
        assert own.prediction_limit_ms < budget().prediction_limit_ms


def test_networks_that_scatter_more_than_the_table_says_widen_it() -> None:
    scattered = [(10.0, 9.0), (10.0, 11.0), (10.0, 9.2), (10.0, 10.8)]
    own = LatencyBudget(20.0, TABLE, measured=scattered)
    assert own.corrected_table.relative_error > 2 * TABLE.relative_error


@pytest.mark.parametrize("learnt", [0, 1, 4, 16])
def test_a_network_at_the_limit_measures_within_the_budget_with_the_confidence_asked(learnt: int) -> None:
    """Over machines whose tables are off by something, each with networks that are off by something more."""
    rng, held, deviation = random.Random(learnt), 0, 0.03 / 2**0.5
    for _ in range(3000):
        bias = rng.gauss(0, deviation)
        own = budget()
        for _ in range(learnt):
            own.learn(10.0, 10.0 * (1 + bias + rng.gauss(0, deviation)))
        held += own.prediction_limit_ms * (1 + bias + rng.gauss(0, deviation)) <= 20.0
    assert 0.93 <= held / 3000 <= 0.97


@pytest.mark.parametrize("learnt", [0, 1, 4, 16])
@pytest.mark.parametrize("estimated", [0.015, 0.03])
def test_the_error_of_estimated_kernels_counts_once_whatever_was_learnt(learnt: int, estimated: float) -> None:
    """The same, with networks that are off by their estimated kernels too: their upper end is compared then."""
    rng, held, deviation = random.Random(learnt), 0, 0.03 / 2**0.5
    z, used = NormalDist().inv_cdf(0.95), []
    for _ in range(3000):
        bias, own = rng.gauss(0, deviation), budget()
        for _ in range(learnt):
            wrong = bias + rng.gauss(0, math.hypot(deviation, estimated))
            own.learn(10.0, 10.0 * (1 + wrong), estimated)
        upper = (1 - z * TABLE.relative_error) / (1 - z * math.hypot(TABLE.relative_error, estimated))
        predicted_ms = own.prediction_limit_ms / upper  # as CostModel.cost_and_upper says
        held += predicted_ms * (1 + bias + rng.gauss(0, math.hypot(deviation, estimated))) <= 20.0
        used.append(predicted_ms * (1 + bias))
    assert 0.93 <= held / 3000 <= 0.975
    if learnt == 16:
        assert fmean(used) >= 20.0 * (1 - 1.15 * z * math.hypot(deviation, estimated))  # no room for the bias is left


def test_where_no_network_surely_meets_the_budget_the_budget_itself_is_the_limit() -> None:
    own = budget(fastest_ms=19.9)
    assert not own.is_confident
    assert own.prediction_limit_ms == own.first_prediction_limit_ms == 20.0
    slow = budget(fastest_ms=18.8)
    before = slow.prediction_limit_ms
    slow.learn(10.0, 10.5)
    assert not slow.is_confident
    assert slow.prediction_limit_ms * slow.correction <= 20.0  # the budget in what networks are expected to measure
    assert slow.first_prediction_limit_ms == before


def test_a_table_of_another_device_is_taken_at_its_word() -> None:
    space = mnasnet_space(resolution=64, classes=5)
    spec = space.spec(space.corner("smallest"))
    table = replace(TABLE, kernels={layer.signature: 0.1 for layer in lower(spec).layers})
    own = LatencyBudget(20.0, table)
    assert not own.measures
    (found,) = own.networks([spec])
    assert (found.latency_ms, found.low_ms, found.high_ms) == table.predict(lower(spec))[:3]
    assert found.rounds == 0
    (sure,) = LatencyBudget(20.0, table, confidence=0.99).networks([spec])
    assert sure.high_ms > found.high_ms
    limit_ms = 1.2 * found.latency_ms
    largest_ms = LatencyBudget(limit_ms, table).prediction_limit_ms
    assert table.interval_ms(largest_ms, 0.9)[1] == pytest.approx(limit_ms)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_network_of_estimated_kernels_keeps_its_budget_with_the_confidence_asked(confidence: float) -> None:
    """Its kernels and the table are drawn as wrong as the table says that they may be."""
    space = mnasnet_space(resolution=64, classes=5)
    spec = space.spec(space.corner("smallest"))
    graph, rng = lower(spec), random.Random(0)
    others = [lower(space.spec(space.sample(rng))) for _ in range(12)]
    lacking = {layer.signature for layer in graph.layers if layer.op == "conv" and layer.kernel == 1}
    known = {
        layer.signature: rng.uniform(0.1, 0.3)
        for other in (*others, graph)
        for layer in other.layers
        if layer.signature not in lacking
    }
    table = replace(TABLE, kernels=known, correction=Correction(1.0, 0.0, 0.02))
    found = table.predict(graph)
    assert found.estimated
    _, upper_ms = CostModel("ms", table).cost_and_upper(graph, confidence)
    assert upper_ms > found.latency_ms
    limit_ms = upper_ms / table.prediction_limit_ms(1.0, confidence)  # at which it is just taken
    # predicted / measured - 1 has the deviation that the interval tells
    reach = 1 - found.latency_ms / found.high_ms
    deviation = reach / NormalDist().inv_cdf(0.95)
    measured = [found.latency_ms / (1 + rng.gauss(0, deviation)) for _ in range(4000)]
    assert fmean(ms <= limit_ms for ms in measured) == pytest.approx(confidence, abs=0.02)
    by_its_own_error = found.latency_ms / table.prediction_limit_ms(1.0, confidence)
    assert fmean(ms <= by_its_own_error for ms in measured) < confidence - 0.03
    roomy, tight = (LatencyBudget(share * limit_ms, table, confidence=confidence) for share in (1.001, 0.999))
    (one,) = roomy.networks([spec])
    assert roomy.within(one)
    assert not tight.within(one)
    candidate = PricedSpace(space, CostModel("ms", table), confidence=confidence).price(space.corner("smallest"))
    assert candidate.latency_upper_ms == upper_ms
    assert candidate.latency_ms == pytest.approx(found.latency_ms)
