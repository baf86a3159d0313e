"""Medians, intervals, ranks and the fit: laws that hold for any numbers."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.latency.build import LEAST_SEEN, NOISE, USUAL_COUNT, USUAL_ERROR, with_holdout_error
from search.latency.check import agreement, spearman
from search.latency.fit import fit
from search.latency.robust import median_interval, weight_of, weighted_median, weighted_quantile
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, Signature, lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec

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

VALUES = st.lists(st.floats(0.1, 10), min_size=1, max_size=40)


@given(values=VALUES)
def test_with_equal_weights_the_median_splits_the_values_in_halves(values: list[float]) -> None:
    median = weighted_median([(value, 1.0) for value in values])
    assert sum(value < median - 1e-9 for value in values) <= len(values) / 2
    assert sum(value > median + 1e-9 for value in values) <= len(values) / 2


@given(values=VALUES, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 99))
def test_quantiles_rise_with_their_share_and_stay_among_the_values(
    values: list[float], shares: tuple[float, float], seed: int
) -> None:
    rng = random.Random(seed)
    weighted = [(value, rng.uniform(0.1, 10)) for value in values]
    low, high = (weighted_quantile(weighted, share) for share in sorted(shares))
    assert min(values) - 1e-9 <= low <= high + 1e-9
    assert high <= max(values) + 1e-9


def test_one_reading_taken_while_the_reference_stalled_does_not_move_the_median() -> None:
    good = [(1.0 + 0.001 * i, weight_of(10, 10.1)) for i in range(9)]
    assert weighted_median([*good, (0.05, weight_of(10, 400))]) == pytest.approx(1.004, abs=0.001)


def test_the_interval_of_the_median_holds_the_true_one_about_95_times_in_100() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(400):
        low, high = median_interval([(rng.lognormvariate(0, 0.1), 1.0) for _ in range(25)])
        hits += low <= 1.0 <= high
    assert 0.91 <= hits / 400 <= 0.985


SPACE = mnasnet_space(resolution=64, classes=5)


def sampled(count: int, seed: int) -> list[NetworkSpec]:
    rng = random.Random(seed)
    return [SPACE.spec(SPACE.sample(rng)) for _ in range(count)]


def isolated_ms(layer: Layer) -> float:
    return 0.02 + layer_params_macs(layer)[1] / (3e7 if layer.groups == 1 else 1e7)


def kernels_of(specs: Sequence[NetworkSpec]) -> dict[Signature, float]:
    return {layer.signature: isolated_ms(layer) for spec in specs for layer in lower(spec).layers}


def summed(spec: NetworkSpec, kernel: Callable[[Layer], float] = isolated_ms) -> float:
    return sum(map(kernel, lower(spec).layers))


@given(scale=st.floats(0.5, 2), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_the_fit_finds_the_scale_of_exact_data_and_no_error(scale: float, seed: int) -> None:
    specs = sampled(8, seed)
    found = fit(kernels_of(specs), specs, [scale * summed(spec) for spec in specs])
    for signature, ms in kernels_of(specs).items():
        assert found.correction.scale * found.kernels[signature] == pytest.approx(scale * ms, rel=1e-6)
    assert found.correction.network_ms == pytest.approx(0, abs=1e-6)
    assert found.correction.relative_error < 1e-6


@pytest.mark.slow
def test_the_error_of_a_fit_to_few_networks_holds_nine_of_ten_others() -> None:
    rng, specs = random.Random(0), sampled(20, 0)
    kernels, held = kernels_of(specs), 0
    for _ in range(150):
        *some, other = rng.sample(specs, 7)
        *known, fresh = [summed(spec) * rng.gauss(1, 0.03) for spec in (*some, other)]
        found = fit(kernels, some, known)
        inside = sum(found.kernels[layer.signature] for layer in lower(other).layers)
        error = (found.correction.network_ms + found.correction.scale * inside) / fresh - 1
        held += abs(error) <= 1.645 * found.correction.relative_error
    assert 0.88 <= held / 150 <= 0.93  # 0.81 where the prior is chosen by the network left out, too


def test_the_error_is_that_of_the_networks_that_are_validated() -> None:
    rng, specs = random.Random(2), sampled(30, 4)
    kernels = kernels_of(specs)
    times = [summed(spec) * rng.gauss(1, 0.01 if place < 15 else 0.08) for place, spec in enumerate(specs)]
    own, whole = fit(kernels, specs, times, validated=15), fit(kernels, specs, times)
    assert own.kernels == whole.kernels
    assert own.correction.relative_error < 0.7 * whole.correction.relative_error


def test_the_fit_tells_what_a_kernel_costs_apart_from_its_work_and_which_groups_are_slower() -> None:
    specs = sampled(24, 1)

    def inside(layer: Layer) -> float:
        depthwise = layer.op == "conv" and layer.groups > 1
        return (1.4 if depthwise else 1.0) * isolated_ms(layer) - 0.008

    found = fit(kernels_of(specs), specs, [0.3 + summed(spec, inside) for spec in specs])
    assert found.correction.network_ms == pytest.approx(0.3, rel=0.3)
    assert found.kernel_correction.kernel_ms == pytest.approx(-0.008, abs=0.003)
    for group, factor in found.kernel_correction.factors.items():
        if group.startswith(("depthwise", "pointwise")):
            assert factor == pytest.approx(1.4 if group.startswith("depthwise") else 1.0, abs=0.15)
    table = LatencyTable(IDENTITY, 5.0, found.kernels, found.correction, found.kernel_correction)
    for spec in sampled(40, 2):
        graph = lower(spec)
        known = {
            layer.signature: found.kernel_correction.in_network_ms(layer.signature, isolated_ms(layer))
            for layer in graph.layers
        }
        predicted = replace(table, kernels=known).latency_ms(graph)
        assert predicted == pytest.approx(0.3 + summed(spec, inside), rel=0.02)
    assert LatencyTable.from_json(table.to_json()) == table


def test_no_kernel_of_a_fit_takes_nothing_and_no_network_less() -> None:
    specs = sampled(8, 3)
    found = fit(kernels_of(specs), specs, [0.8 * summed(spec) - 0.2 for spec in specs])
    assert min(found.kernels.values()) > 0
    assert found.correction.network_ms == 0.0


@given(values=st.lists(st.floats(0.1, 10), min_size=2, max_size=20, unique=True))
def test_spearman_is_one_for_any_rising_function_and_minus_one_for_a_falling_one(values: list[float]) -> None:
    assert spearman(values, [value**3 for value in values]) == pytest.approx(1)
    assert spearman(values, [-value for value in values]) == pytest.approx(-1)


def test_the_figures_of_a_check() -> None:
    found = agreement([1.0, 1.08, 1.2, 0.97], [1.0, 1.0, 1.0, 1.0])
    assert found.mape == pytest.approx((0.08 + 0.2 + 0.03) / 4)
    assert (found.within_5_percent, found.within_10_percent) == (0.5, 0.75)
    assert found.worst == pytest.approx(0.2)


def test_holdout_networks_count_for_a_tables_error_like_those_left_out_and_the_usual_like_some() -> None:
    def error(left_out: float, holdout: float, noise: float = 0.0) -> float:
        table = LatencyTable(IDENTITY, 1.0, {}, Correction(1.0, 0.1, left_out))
        after = with_holdout_error(table, [holdout, -holdout] * 10, [noise] * 20)
        assert after.holdout_errors == (holdout, -holdout) * 10
        return after.relative_error

    others = 24 + 20
    squares = 24 * ((1 - NOISE) * 0.025) ** 2 + 20 * 0.02**2
    expected = math.sqrt((squares + USUAL_COUNT * USUAL_ERROR**2) / (others + USUAL_COUNT))
    assert error(0.025, 0.02) == pytest.approx(expected)
    assert error(0.03, 0.02, 0.01) < error(0.03, 0.02)  # the noise of measurements is no error of the table
    assert error(0.03, 0.02, 0.2) == pytest.approx(error(0.03, 0.01))  # but a half of it at the least
    assert error(0.1 / (1 - NOISE), 0.1) == pytest.approx(LEAST_SEEN * 0.1)  # what is usual does not hide what is seen
