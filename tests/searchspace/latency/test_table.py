"""LatencyTable: prediction is a sum, a missing kernel is an error, files come back as they were or are refused."""

import hashlib
import json
import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidTable, MissingLatency
from searchspace.graph import Signature, lower
from searchspace.latency.estimate import Estimator
from searchspace.latency.table import (
    FILE_SCHEMA,
    SCHEMA,
    SHARED,
    Correction,
    Identity,
    LatencyTable,
    identity_key,
    read_table,
)
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
    versions={"beads": "1.0"},
)


def table_of(*specs: NetworkSpec) -> LatencyTable:
    signatures = {layer.signature: None for spec in specs for layer in lower(spec).layers}
    kernels = {signature: 0.1 + 0.01 * place for place, signature in enumerate(signatures)}
    return LatencyTable(IDENTITY, 5.0, kernels, Correction(1.1, 0.25, 0.02))


@given(spec=st.from_type(NetworkSpec))
def test_a_network_takes_its_layers_and_the_constant_of_a_network(spec: NetworkSpec) -> None:
    table, graph = table_of(spec), lower(spec)
    shares = [table.correction.scale * table.kernel_ms(layer) for layer in graph.layers]
    assert table.latency_ms(graph) == pytest.approx(table.correction.network_ms + sum(shares))
    assert not table.missing(graph)


@given(spec=st.from_type(NetworkSpec), confidence=st.floats(0.5, 0.99))
def test_a_spec_is_predicted_in_one_call_as_its_graph_is(spec: NetworkSpec, confidence: float) -> None:
    table = table_of(spec)
    assert table.predict(spec, confidence) == table.predict(lower(spec), confidence)
    assert table.predict(spec).low_ms < table.latency_ms(lower(spec)) < table.predict(spec).high_ms


@given(spec=st.from_type(NetworkSpec))
def test_a_table_read_back_is_the_table_written(spec: NetworkSpec) -> None:
    table = replace(table_of(spec), drift=0.125, holdout_errors=(0.01, -0.02), probe_networks_ms={"mobilenet_v2": 3.5})
    assert LatencyTable.from_json(table.to_json()) == table
    plain = table_of(spec)
    assert LatencyTable.from_json(plain.to_json()) == plain


def test_a_byte_order_mark_before_a_table_is_passed_over(tmp_path: Path) -> None:
    path = Path(__file__).parent / "files" / "schema_2.json"
    (tmp_path / "table.json").write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_table(tmp_path / "table.json") == read_table(path)


def test_a_file_of_schema_2_is_the_table_that_it_was_and_keeps_its_fingerprint() -> None:
    path = Path(__file__).parent / "files" / "schema_2.json"  # python -m search.latency build of the version before
    data, table = json.loads(path.read_text()), read_table(path)
    assert "schema" not in data
    assert table.holdout_errors == tuple(data["fresh"])
    assert table.probe_networks_ms == data["anchors"]
    assert table.kernel_correction._asdict() == data["loose"]
    assert len(table.kernels) == len(data["kernels"])
    assert LatencyTable.from_json(table.to_json()) == table
    # What a study of the version before stored of its table: the hash of the file's text.
    assert table.fingerprint() == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert LatencyTable.from_json(table.to_json()).fingerprint() == table.fingerprint()


@given(spec=st.from_type(NetworkSpec), place=st.integers(0, 1000))
def test_a_kernel_never_measured_is_an_error_that_names_the_layer_and_the_next_step(
    spec: NetworkSpec, place: int
) -> None:
    table, graph = table_of(spec), lower(spec)
    layer = graph.layers[place % len(graph.layers)]
    kernels = {signature: ms for signature, ms in table.kernels.items() if signature != layer.signature}
    poorer = LatencyTable(table.identity, table.reference_ms, kernels, table.correction)
    first = next(other for other in graph.layers if other.signature == layer.signature)
    with pytest.raises(MissingLatency) as caught:
        poorer.latency_ms(graph)
    for part in (f"layer {first.name}:", "x".join(map(str, first.in_shape)), "table_for"):
        assert part in str(caught.value)
    assert layer in poorer.missing(graph)


def _damaged() -> dict[str, str]:
    space = mnasnet_space(resolution=64)
    text = table_of(space.spec(space.sample(random.Random(0)))).to_json()
    data = json.loads(text)
    row = data["kernels"][0]
    return {
        "cut off": text[: len(text) // 2],
        "empty": "",
        "a list": "[]",
        "no kernels": json.dumps({key: value for key, value in data.items() if key != "kernels"}),
        "another schema": json.dumps({**data, "identity": {**data["identity"], "schema": SCHEMA + 1}}),
        "a negative time": json.dumps({**data, "kernels": [[*row[:-1], -1.0]]}),
        "a time of zero": json.dumps({**data, "kernels": [[*row[:-1], 0]]}),
        "a time that is no number": json.dumps({**data, "kernels": [[*row[:-1], "fast"]]}),
        "not a number": json.dumps({**data, "reference_ms": float("nan")}),
        "a kernel twice": json.dumps({**data, "kernels": [row, row]}),
        "an unknown op": json.dumps({**data, "kernels": [["magic", *row[1:]]]}),
        "a short row": json.dumps({**data, "kernels": [[*row[:-2], 1.0]]}),
        "an unknown correction": json.dumps({**data, "correction": {**data["correction"], "luck": 1.0}}),
        "a drift that is no number": json.dumps({**data, "drift": "much"}),
        "a drift beyond any machine's": json.dumps({**data, "drift": 5}),
        "a kernel correction that is no number": json.dumps(
            {**data, "kernel_correction": {"factors": {"depthwise": True}}}
        ),
        "an unknown kernel correction": json.dumps({**data, "kernel_correction": {"luck": 1.0}}),
        "a file of a later schema": json.dumps({**data, "schema": FILE_SCHEMA + 1}),
        "a scale of zero": json.dumps({**data, "correction": {**data["correction"], "scale": 0.0}}),
    }


@pytest.mark.parametrize(("name", "text"), _damaged().items())
def test_a_damaged_table_is_refused_with_the_next_step(name: str, text: str) -> None:
    with pytest.raises(InvalidTable, match=r"search\.latency build"):
        LatencyTable.from_json(text)


def test_every_part_of_an_identity_changes_its_key() -> None:
    changed: list[Identity] = [
        {**IDENTITY, "machine": "slide rule"},
        {**IDENTITY, "runtime": "rope"},
        {**IDENTITY, "threads": 1},
        {**IDENTITY, "dtype": "bfloat16"},
        {**IDENTITY, "batch": 2},
        {**IDENTITY, "memory_format": "contiguous"},
        {**IDENTITY, "resolution": 96},
        {**IDENTITY, "versions": {"beads": "1.1"}},
        {**IDENTITY, "schema": 1},
    ]
    assert len({identity_key(identity) for identity in (IDENTITY, *changed)}) == 10


@given(st.floats(1e-6, 0.2), st.floats(0.5, 300), st.floats(0.5, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_a_prediction_at_the_limit_measures_within_the_budget_with_the_confidence_asked(
    error: float, budget_ms: float, confidence: float, seed: int
) -> None:
    table = replace(table_of(), correction=Correction(1.0, 0.0, error))
    limit_ms = table.prediction_limit_ms(budget_ms, confidence)
    rng = random.Random(seed)
    draws = [rng.gauss(0, error) for _ in range(4000)]
    held = sum(limit_ms <= budget_ms * (1 + draw) * (1 + 1e-12) for draw in draws) / len(draws)
    assert held == pytest.approx(confidence, abs=0.04)


@given(st.just(0.0) | st.floats(1e-12, 0.2), st.floats(0.5, 300))  # between them rounding decides
def test_an_interval_holds_the_prediction_and_widens_with_error_and_confidence(error: float, ms: float) -> None:
    table = replace(table_of(), correction=Correction(1.0, 0.0, error))
    low, high = table.interval_ms(ms)
    wide_low, wide_high = table.interval_ms(ms, 0.99)
    assert wide_low <= low <= ms <= high <= wide_high
    assert (low < ms < high) == (error > 0)
    # The one-sided limit of 95 % is the upper end of the 90 % interval.
    assert table.prediction_limit_ms(high, 0.95) == pytest.approx(ms)


def test_errors_of_estimated_kernels_are_shared_in_part() -> None:
    space, rng = mnasnet_space(resolution=64), random.Random(0)
    layers = [layer for _ in range(8) for layer in lower(space.spec(space.sample(rng))).layers]
    kernels = {layer.signature: (0.1 + layer_params_macs(layer)[1] / 1e7) * rng.gauss(1, 0.1) for layer in layers}
    graph = lower(space.spec(space.corner("largest")).with_resolution(96))
    found = LatencyTable(IDENTITY, 5.0, kernels, Correction(1.0, 0.0, 0.0)).predict(graph)
    estimator, errors_ms = Estimator(kernels), Counter[Signature]()
    for layer in graph.layers:
        if layer.signature not in kernels:
            one = estimator.estimate(layer)
            assert one is not None
            errors_ms[layer.signature] += one.ms * one.relative_error
    independent, shared = math.hypot(*errors_ms.values()), sum(errors_ms.values())
    deviation_ms = (1 - found.latency_ms / found.high_ms) * found.latency_ms / 1.6449
    assert deviation_ms == pytest.approx(math.sqrt((1 - SHARED) * independent**2 + SHARED * shared**2), rel=1e-3)
    assert independent < deviation_ms < shared
