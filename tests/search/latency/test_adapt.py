"""adapt: a table for another device from a few whole networks measured there."""

import random
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import pytest

from search.latency.adapt import POOL, adapt, networks_to_measure
from search.latency.time_base import TimeBase
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument, MissingLatency
from searchspace.graph import Layer, lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec

SPACE = mnasnet_space(classes=10)


def identity(machine: str) -> Identity:
    return Identity(
        schema=SCHEMA,
        machine=machine,
        runtime="beads",
        threads=1,
        dtype="float32",
        batch=1,
        memory_format="channels_last",
        resolution=224,
        versions={},
    )


def here(layer: Layer) -> float:
    return 0.02 + layer_params_macs(layer)[1] / 2e7


def there(layer: Layer) -> float:
    """Another device: twice as fast at pointwise convolutions, slow at depthwise ones, little overhead."""
    speed = 4e7 if layer.groups == 1 else 0.7e7
    return 0.005 + layer_params_macs(layer)[1] / speed


def total(spec: NetworkSpec, kernel: Callable[[Layer], float]) -> float:
    return 0.1 + sum(map(kernel, lower(spec).layers))


def sample(count: int) -> list[NetworkSpec]:
    rng = random.Random("fresh")
    return [SPACE.spec(SPACE.sample(rng)) for _ in range(count)]


def table_of(specs: list[NetworkSpec]) -> LatencyTable:
    kernels = {layer.signature: here(layer) for spec in specs for layer in lower(spec).layers}
    return LatencyTable(identity("here"), 5.0, kernels, Correction(1.0, 0.1, 0.02))


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_ten_networks_make_a_table_of_another_device(noise: float) -> None:
    measured, fresh, rng = networks_to_measure(SPACE), sample(40), random.Random(0)
    times = [total(spec, there) * (1 + rng.gauss(0, noise)) for spec in measured]
    new = adapt(
        table_of([*measured, *fresh]), measured, times, identity=identity("there"), time_base=TimeBase(3.0, 0.1)
    )
    assert (new.reference_ms, new.drift) == (3.0, 0.1)
    errors = sorted(abs(new.latency_ms(lower(spec)) / total(spec, there) - 1) for spec in fresh)
    assert errors[36] < 0.1  # 9 of 10
    assert errors[20] < 0.05
    assert (new.identity, new.reference_ms) == (identity("there"), 3.0)


def test_an_adapted_table_takes_a_kernel_in_an_isolated_block_as_it_is() -> None:
    measured = networks_to_measure(SPACE)
    times = [0.3 * total(spec, here) for spec in measured]
    new = adapt(table_of(measured), measured, times, identity=identity("there"), time_base=TimeBase(3.0))
    signature = next(iter(new.kernels))
    assert (
        new.kernel_correction.in_network_ms(signature, 0.06) == 0.06
    )  # what is timed there is of there, not of the table's device


def test_it_beats_one_factor_for_all_kernels() -> None:
    measured, fresh = networks_to_measure(SPACE), sample(40)
    table = table_of([*measured, *fresh])
    new = adapt(
        table, measured, [total(spec, there) for spec in measured], identity=identity("b"), time_base=TimeBase(3.0)
    )
    ratios = sorted(total(spec, there) / table.latency_ms(lower(spec)) for spec in measured)
    factor = ratios[len(ratios) // 2]

    def worst(predicted: Callable[[NetworkSpec], float]) -> float:
        return max(abs(predicted(spec) / total(spec, there) - 1) for spec in fresh)

    assert worst(lambda spec: new.latency_ms(lower(spec))) < 0.5 * worst(
        lambda spec: factor * table.latency_ms(lower(spec))
    )


def test_the_same_device_keeps_its_table() -> None:
    measured = networks_to_measure(SPACE)
    table = table_of(measured)
    new = adapt(
        table, measured, [total(spec, here) for spec in measured], identity=identity("c"), time_base=TimeBase(5.0)
    )
    for spec in measured:
        assert new.latency_ms(lower(spec)) == pytest.approx(table.latency_ms(lower(spec)), rel=0.01)
    assert new.relative_error < 0.01
    assert min(new.kernels.values()) > 0


def test_too_few_networks_and_times_that_are_none_are_refused() -> None:
    measured = networks_to_measure(SPACE)
    table = table_of(measured)
    for specs, times, rule in (
        (measured[:3], [1.0] * 3, "at least 4"),
        (measured, [1.0] * 9, "9 times"),
        (measured, [1.0] * 9 + [0.0], "above 0"),
        (measured, [1.0] * 9 + [float("nan")], "above 0"),
    ):
        with pytest.raises(InvalidArgument, match=rule):
            adapt(table, specs, times, identity=identity("d"), time_base=TimeBase(3.0))
    without = replace(table, kernels={key: ms for key, ms in table.kernels.items() if key[0] != "se"})
    with pytest.raises(MissingLatency, match="SE"):
        adapt(without, measured, [1.0] * 10, identity=identity("d"), time_base=TimeBase(3.0))


def test_kernels_that_the_table_lacks_are_estimated_for_the_fit_and_stay_out_of_it() -> None:
    measured, fresh = networks_to_measure(SPACE), sample(40)
    table = table_of(fresh)
    assert any(table.missing(lower(spec)) for spec in measured)
    new = adapt(
        table, measured, [total(spec, there) for spec in measured], identity=identity("e"), time_base=TimeBase(3.0)
    )
    assert new.kernels.keys() == table.kernels.keys()
    errors = sorted(abs(new.latency_ms(lower(spec)) / total(spec, there) - 1) for spec in fresh)
    assert errors[36] < 0.1


def test_networks_chosen_by_the_table_tell_more_than_random_ones() -> None:
    fresh = sample(40)
    pool = networks_to_measure(SPACE, count=POOL)
    table = table_of([*fresh, *pool])

    def error(measured: list[NetworkSpec]) -> float:
        rng = random.Random(0)
        times = [total(spec, there) * (1 + rng.gauss(0, 0.02)) for spec in measured]
        new = adapt(table, measured, times, identity=identity("f"), time_base=TimeBase(3.0))
        return fmean(abs(new.latency_ms(lower(spec)) / total(spec, there) - 1) for spec in fresh)

    chosen = [networks_to_measure(SPACE, seed=seed, table=table) for seed in range(2)]
    random_ones = [networks_to_measure(SPACE, seed=seed) for seed in range(2)]
    assert fmean(map(error, chosen)) < 0.8 * fmean(map(error, random_ones))
    assert networks_to_measure(SPACE, seed=0, table=table) == chosen[0]
