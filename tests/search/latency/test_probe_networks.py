"""Probe networks: what a session does to networks and not to the reference is removed from what is measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.latency.cache import Cache
from search.latency.interleave import Reading
from search.latency.probe_networks import (
    NAMES,
    WINDOW,
    median_ms,
    merged,
    probe_networks,
    session_effects,
    without_effects,
)
from search.latency.time_base import TimeBase
from searchspace.latency.table import SCHEMA, Identity

USUAL = dict(zip(NAMES, (6.0, 8.0, 5.0), strict=True))
QUIET = TimeBase(4.0, 0.0, USUAL)
IDENTITY = Identity(
    schema=SCHEMA,
    machine="m",
    runtime="eager torch",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)


def in_sessions(found: Sequence[float]) -> dict[str, list[Reading]]:
    """Anchors in rounds in which networks took so many times their usual time."""
    return {name: [Reading(4e6, 1.0, (ms / 4.0 * one,)) for one in found] for name, ms in USUAL.items()}


@given(effect=st.floats(0.5, 2.0), rounds=st.integers(1, 40))
def test_a_session_effect_is_the_mean_of_the_probe_networks_and_the_reference(effect: float, rounds: int) -> None:
    found = session_effects(in_sessions([effect] * rounds), QUIET)
    assert found == pytest.approx([geometric_mean([effect, effect, effect, 1.0])] * rounds)
    reading = Reading(4e6, 0.5, (1.0, 2.0))
    for each in without_effects([reading] * rounds, found):
        assert each.reference_ns == reading.reference_ns
        assert each.weight == reading.weight
        assert each.ratios == pytest.approx([1 / found[0], 2 / found[0]])


@given(at=st.integers(0, 39), times=st.floats(0.1, 10.0))
def test_one_stalled_round_makes_no_session_effect(at: int, times: float) -> None:
    found = session_effects(in_sessions([times if place == at else 1.0 for place in range(40)]), QUIET)
    assert found == pytest.approx([1.0] * 40)


def test_a_session_effect_that_lasts_is_told_from_the_one_before() -> None:
    found = session_effects(in_sessions([1.0] * 30 + [1.1] * 30), QUIET)
    assert found[: 30 - WINDOW] == pytest.approx([1.0] * (30 - WINDOW))
    assert found[30 + WINDOW :] == pytest.approx([1.1**0.75] * (30 - WINDOW))


def test_where_nothing_is_known_of_probe_networks_readings_stay_as_they_are() -> None:
    reading = Reading(4e6, 1.0, (1.5,))
    assert session_effects({}, QUIET) == []
    assert session_effects(in_sessions([1.1]), TimeBase(4.0)) == []
    assert without_effects([reading], []) == [reading]
    assert probe_networks(224, {}) == ()
    assert [spec.name for spec in probe_networks(16)] == list(NAMES)  # 16 px are below their stride


def test_what_probe_networks_usually_take_is_their_median_over_all_groups() -> None:
    parts = [in_sessions([1.0, 1.0, 1.3]), in_sessions([1.0, 0.8])]
    assert median_ms(merged(parts), TimeBase(4.0)) == pytest.approx(USUAL)


def test_a_probe_network_that_is_not_known_tells_nothing() -> None:
    known = QUIET._replace(probe_networks_ms={"mobilenet_v2": 6.0, "of another version": 3.0})
    assert session_effects(in_sessions([1.21]), known) == pytest.approx([1.1])
    assert [spec.name for spec in probe_networks(224, known.probe_networks_ms)] == ["mobilenet_v2"]


def test_each_resolution_of_a_device_has_its_probe_networks_and_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    time_bases = {}
    for pixels, slower in ((224, 1.0), (96, 0.2), (224, 1.1)):
        cache = Cache(tmp_path, {**IDENTITY, "resolution": pixels}, note=told.append)
        probes = {name: [Reading(4e6, 1.0, (ms * slower / 4.0,))] for name, ms in USUAL.items()}
        found = cache.time_base([[[Reading(4e6, 1.0, (1.0,))]]], probes=probes)
        assert cache.stored_time_base() == found
        time_bases[pixels] = found
    assert time_bases[224].probe_networks_ms == pytest.approx(USUAL)  # of the first time, though they are slower now
    assert time_bases[96].probe_networks_ms == pytest.approx({name: 0.2 * ms for name, ms in USUAL.items()})
    assert not told
    for damage in ('{"224": {"mobilenet_v2": 0}}', '{"224": [1]}', '{"224": {"mobilenet_v2": "much"}}', "[]"):
        cache.reference_path.write_text(f'{{"reference_ms": 4.0, "probe_networks_ms": {damage}}}')
        assert cache.stored_time_base() is None
    assert len(told) == 4
    assert all("damaged" in line for line in told)


def test_probe_networks_that_prove_to_be_much_faster_are_taken_anew_and_told_of(tmp_path: Path) -> None:
    told: list[str] = []
    cache = Cache(tmp_path, IDENTITY, note=told.append)
    found = []
    for slower in (1.3, 1.25, 1.0, 1.1):
        probes = {name: [Reading(4e6, 1.0, (ms * slower / 4.0,))] for name, ms in USUAL.items()}
        found.append(cache.time_base([[[Reading(4e6, 1.0, (1.0,))]]], probes=probes).probe_networks_ms)
    assert found[0] == found[1] == pytest.approx({name: 1.3 * ms for name, ms in USUAL.items()})
    assert found[2] == found[3] == pytest.approx(USUAL)
    assert len(told) == 1
    assert "networks are 30% faster beside the reference" in told[0]


def test_a_probe_network_that_was_not_known_joins_those_that_were(tmp_path: Path) -> None:
    cache = Cache(tmp_path, IDENTITY, note=lambda _: None)
    cache.time_base([[[Reading(4e6, 1.0, (1.0,))]]], probes={"mobilenet_v2": [Reading(4e6, 1.0, (1.5,))]})
    found = cache.time_base([[[Reading(4e6, 1.0, (1.0,))]]], probes=in_sessions([1.05]))
    assert found.probe_networks_ms == pytest.approx(
        {**{name: 1.05 * ms for name, ms in USUAL.items()}, "mobilenet_v2": 6.0}
    )


def test_what_the_version_before_kept_of_a_device_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "files" / "reference_schema_2.json").read_text()
    data, notes = json.loads(text), list[str]()
    cache = Cache(tmp_path, {**data["identity"], "resolution": 32}, note=notes.append)
    cache.reference_path.write_text(text)
    assert cache.stored_time_base() == TimeBase(data["reference_ms"], data["drift"], data["anchors"]["32"])
    assert not notes
