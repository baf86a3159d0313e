"""NetworkSpec is a value: checked when made, frozen, and known by a fingerprint."""

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.blocks import (
    Block,
    Classifier,
    ConvBN,
    MBConv,
    SeparableConv,
)
from searchspace.errors import InvalidSpec
from searchspace.spec import NetworkSpec, Stage

HEAD = Stage("classifier", (Classifier(classes=10),))


def network(*blocks: Block, resolution: int = 32, in_channels: int = 8) -> NetworkSpec:
    return NetworkSpec("n", resolution, (Stage("body", blocks), HEAD), in_channels)


def test_the_fingerprint_tells_order_resolution_classes_and_input_apart() -> None:
    first, second = ConvBN(out_channels=8), ConvBN(out_channels=8, kernel=3)
    spec = network(first, second)
    others = [
        network(second, first),
        network(first),
        network(first, second, second),
        spec.with_resolution(33),
        spec.with_classes(11),
        network(first, second, in_channels=7),
        network(SeparableConv(out_channels=8)),
        network(MBConv(expand_channels=8, out_channels=8)),
    ]
    prints = {other.fingerprint() for other in others}
    assert len(prints) == len(others)
    assert spec.fingerprint() not in prints


@given(...)
def test_the_fingerprint_ignores_names_and_the_grouping_into_stages(spec: NetworkSpec) -> None:
    one_by_one = tuple(Stage(f"s{i}", (block,)) for i, block in enumerate(spec.blocks))
    assert replace(spec, name="other", stages=one_by_one).fingerprint() == spec.fingerprint()


@given(...)
def test_the_fingerprint_of_a_network_without_se_ignores_what_only_se_reads(spec: NetworkSpec) -> None:
    def without_se(squeeze_activation: str, gate: str) -> NetworkSpec:
        se = {"squeeze_channels": 0, "squeeze_activation": squeeze_activation, "gate": gate}
        stages = [
            replace(s, blocks=tuple(replace(b, **se) if hasattr(b, "gate") else b for b in s.blocks))
            for s in spec.stages
        ]
        return replace(spec, stages=tuple(stages))

    assert without_se("relu", "sigmoid").fingerprint() == without_se("swish", "hard_sigmoid").fingerprint()


@given(st.lists(st.from_type(NetworkSpec), min_size=2, max_size=2))
def test_equal_specs_have_equal_hashes_and_fingerprints(pair: list[NetworkSpec]) -> None:
    one, other = pair
    copy = replace(one)
    assert (copy, hash(copy), copy.fingerprint()) == (one, hash(one), one.fingerprint())
    if one.fingerprint() != other.fingerprint():
        assert one != other


def test_fingerprints_on_disk_stay_valid() -> None:
    # Studies find the networks they have trained by this value; a change would train them all again.
    spec = network(ConvBN(out_channels=8, kernel=3), MBConv(expand_channels=16, out_channels=8, skip=True))
    content = (
        '[8, 32, [["ConvBN", {"out_channels": 8, "kernel": 3}], '
        '["MBConv", {"expand_channels": 16, "out_channels": 8, "skip": true}], ["Classifier", {"classes": 10}]]]'
    )
    assert spec.fingerprint() == hashlib.sha256(content.encode()).hexdigest()[:16] == "429efd34e3ce9973"


def test_a_spec_is_frozen() -> None:
    spec = network(ConvBN(out_channels=4))
    for value, field in ((spec, "resolution"), (spec.stages[0], "blocks"), (spec.blocks[0], "kernel")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field, 1)


@given(spec=..., classes=st.integers(1, 2000), resolution=st.integers(600, 700))
def test_with_classes_and_with_resolution_change_nothing_else(spec: NetworkSpec, classes: int, resolution: int) -> None:
    changed = spec.with_classes(classes).with_resolution(resolution).with_name("other")
    assert (changed.classes, changed.resolution, changed.name) == (classes, resolution, "other")
    assert changed.blocks[:-1] == spec.blocks[:-1]
    assert changed.with_classes(spec.classes).with_resolution(spec.resolution).with_name(spec.name) == spec


@given(...)
def test_walk_names_every_block_with_the_channels_it_receives(spec: NetworkSpec) -> None:
    names, inputs, blocks = zip(*spec.walk(), strict=True)
    assert blocks == spec.blocks
    channels = [spec.in_channels]
    for block in spec.blocks[:-1]:
        channels.append(getattr(block, "out_channels", channels[-1]))
    assert inputs == tuple(channels)
    assert len(set(names)) == len(names)


SKIP = {"kernel": 3, "skip": True}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConvBN(out_channels=0), "ConvBN.out_channels must be an integer from 1 to 1,000,000, got 0"),
        (lambda: ConvBN(out_channels=8.0), "ConvBN.out_channels must be an integer from 1 to 1,000,000, got 8.0"),
        (lambda: ConvBN(out_channels=True), "ConvBN.out_channels must be an integer from 1 to 1,000,000, got True"),
        (lambda: ConvBN(out_channels=8, kernel=4), "ConvBN.kernel must be an odd integer"),
        (lambda: ConvBN(out_channels=8, activation="bend"), "ConvBN.activation must be one of .*; got 'bend'"),
        (lambda: MBConv(expand_channels=0, out_channels=8), "MBConv.expand_channels must be"),
        (lambda: MBConv(expand_channels=8, out_channels=8, squeeze_channels=-1), "MBConv.squeeze_channels must be 0"),
        (lambda: MBConv(expand_channels=8, out_channels=8, gate="tanh"), "MBConv.gate must be one of"),
        (lambda: SeparableConv(out_channels=8, skip=1), "SeparableConv.skip must be true or false, got 1"),
        (lambda: SeparableConv(out_channels=8, stride=0), "SeparableConv.stride must be"),
        (lambda: Classifier(classes=0), "Classifier.classes must be"),
        (lambda: Classifier(dropout_percent=100), "Classifier.dropout_percent must be 0 to 99, got 100"),
        (lambda: Stage("1st", (ConvBN(out_channels=8),)), "a stage name must be a Python identifier, got '1st'"),
        (lambda: Stage(3, (ConvBN(out_channels=8),)), "a stage name must be a Python identifier, got 3"),
        (lambda: Stage("body", [ConvBN(out_channels=8)]), "stage 'body': blocks must be a tuple, got list"),
        (lambda: Stage("body", ()), "stage 'body' has no blocks"),
        (lambda: NetworkSpec("n", 32, [HEAD]), "NetworkSpec.stages must be a tuple, got list"),
        (lambda: NetworkSpec("n", 32, ()), "only Classifier"),
        (lambda: NetworkSpec("n", 32, (Stage("body", (ConvBN(out_channels=8),)),)), "only Classifier"),
        (lambda: NetworkSpec("n", 32, (HEAD, Stage("body", (ConvBN(out_channels=8),)))), "only Classifier"),
        (lambda: NetworkSpec("n", 32, (HEAD, replace(HEAD, name="again"))), "only Classifier"),
        (lambda: NetworkSpec("n", 32, (HEAD, HEAD)), "stage names must differ"),
        (lambda: NetworkSpec("n", 0, (HEAD,)), "NetworkSpec.resolution must be"),
        (lambda: NetworkSpec("n", 32, (HEAD,), 0), "NetworkSpec.in_channels must be"),
        (lambda: network(ConvBN(out_channels=8, groups=3)), "body.0: groups must divide .* groups=3 for 8 -> 8"),
        (lambda: network(SeparableConv(out_channels=9, **SKIP)), "body.0: a skip needs .* for 8 -> 9"),
        (lambda: network(SeparableConv(out_channels=8, stride=2, **SKIP)), "body.0: a skip needs .* got stride 2"),
        (lambda: network(*[ConvBN(out_channels=8, stride=4)] * 3), "at least the total stride 64, got 32"),
    ],
)
def test_a_row_that_breaks_a_rule_names_the_rule_and_the_value(make: object, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        make()
