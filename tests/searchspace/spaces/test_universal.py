"""The space `universal`: its published points, choices that hang on others, and every tool that meets them."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.candidates import starting_points
from search.latency.kernels import placed_blocks, signatures
from searchspace import zoo
from searchspace.blocks import ConvBN, FusedConv, FusedMBConv, MBConv, SeparableConv, UniversalIB
from searchspace.errors import InvalidChoice
from searchspace.graph import lower
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spaces.stage import StageChoices
from searchspace.spaces.universal import universal_space
from tests.block_examples import all_choices

SPACE = universal_space()
SEEDS = st.integers(0, 2**32 - 1)
FEW: dict[str, tuple[Any, ...]] = {
    "*.expand_ratio": (2, 3),
    "stage1.expand_ratio": (1,),
    "*.kernel": (3,),
    "*.start_kernel": (0, 3),
    "*.middle_kernel": (3,),
    "stage6b.middle_kernel": (0, 3),
    "*.activation": ("relu",),
    "*.layers": (1,),
    "*.width_mult": (1.0,),
    "stage6.layers": (1, 2),
    "stage6b.layers": (0, 1),
}
FREE = ("stage6.block", "stage6.start_kernel", "stage6b.middle_kernel", "stage6.layers", "stage6b.layers", "head.width")


@pytest.fixture(scope="module")
def narrow() -> SearchSpace:
    """The space with one value of most choices: small enough to go through."""
    space = SPACE.with_choices(FEW)
    return space.with_choices({name: values[:1] for name, values in space.parameters().items() if name not in FREE})


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "efficientnetv2_b0"])
@pytest.mark.parametrize("resolution", [224, 96])
def test_two_published_networks_are_points_of_the_space(name: str, resolution: int) -> None:
    space = universal_space(resolution=resolution)
    spec = zoo.get(name).with_resolution(resolution)
    choices = encode(space, spec)
    assert space.canonical(choices) == choices
    assert space.spec(choices).fingerprint() == spec.fingerprint()
    assert choices in starting_points(space)


def test_the_points_have_the_heads_and_blocks_of_their_papers() -> None:
    v4, v2 = (encode(SPACE, zoo.get(name)) for name in ("mobilenetv4_conv_small", "efficientnetv2_b0"))
    ends = ("head.width", "classifier.hidden_width")
    assert ([v4[end] for end in ends], [v2[end] for end in ends]) == ([960, 1280], [1280, 0])
    blocks = [f"stage{number}.block" for number in (1, 2, 3, 4, 5, 6)]
    fused, plain, both = "FusedMBConv", "ConvBN", "UniversalIB"
    assert [v2[name] for name in blocks] == [fused, fused, fused, "MBConv", "MBConv", "MBConv"]
    assert [v4.get(name) for name in blocks] == [None, plain, plain, both, None, both]
    assert [v4[f"stage6{letter}.layers"] for letter in ("", *"bcde")] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mobilenetv4_conv_medium", r"follows it up to stage2\.1, a UniversalIB with .*start_kernel 3"),
        (
            "mobilenetv4_conv_large",
            r"head \(960 or 1280 channels, 1x1\) and .* with 0 or 1280 hidden features",
        ),
    ],
)
def test_the_larger_networks_leave_the_space_where_they_are_said_to(name: str, reason: str) -> None:
    with pytest.raises(InvalidChoice, match=reason):
        encode(SPACE, zoo.get(name))


@settings(max_examples=10)
@given(SEEDS)
def test_samples_are_canonical_and_encoded_as_the_same_network(seed: int) -> None:
    choices = SPACE.sample(random.Random(seed))
    assert SPACE.canonical(choices) == choices
    spec = SPACE.spec(choices)
    assert SPACE.spec(encode(SPACE, spec)).fingerprint() == spec.fingerprint()
    kinds = (ConvBN, FusedConv, FusedMBConv, MBConv, SeparableConv, UniversalIB)
    assert all(isinstance(block, kinds) for block in spec.blocks[:-1])


def stage_of(name: str) -> str:
    """The stage of a choice, without the letter of its further layers."""
    return name.partition(".")[0].removesuffix("_out").rstrip("bcde")


@settings(max_examples=5)
@given(SEEDS)
def test_a_neighbour_differs_in_one_choice_and_in_those_that_hang_on_it(seed: int) -> None:
    choices = SPACE.sample(random.Random(seed))
    seen = set()
    for near in SPACE.neighbours(choices):
        assert SPACE.canonical(near) == near
        (name,) = [key for key in choices.keys() & near.keys() if choices[key] != near[key]]
        others = choices.keys() ^ near.keys()
        assert {stage_of(key) for key in others} <= {stage_of(name)}
        if not name.endswith(".block"):
            assert not others or (name.endswith(".layers") and 0 in (choices[name], near[name]))
        seen.add(tuple(near.items()))
    assert len(seen) == sum(len(SPACE.parameters()[name]) - 1 for name in choices)


@settings(max_examples=10)
@given(SEEDS)
def test_what_means_nothing_is_dropped_and_changes_no_network(seed: int) -> None:
    rng = random.Random(seed)
    full: Choices = {name: rng.choice(values) for name, values in SPACE.parameters().items()}
    full |= {"stage4.block": "MBConv", "stage5.layers": 0}
    choices = SPACE.canonical(full)
    dropped = full.keys() - choices.keys()
    assert {"stage4.start_kernel", "stage4b.middle_kernel", "stage5.block", "stage5.kernel"} <= dropped
    assert not any(key.startswith("stage4") and key.endswith(("start_kernel", "middle_kernel")) for key in choices)
    other = full | {name: rng.choice(SPACE.parameters()[name]) for name in dropped}
    assert SPACE.canonical(other) == choices


def test_the_size_is_the_number_of_choice_sets_and_all_are_reached_over_neighbours(narrow: SearchSpace) -> None:
    every = all_choices(narrow)
    assert narrow.size() == len(every) > 20
    reached, queue = {tuple(every[0].items())}, [every[0]]
    while queue:
        for near in narrow.neighbours(queue.pop()):
            if tuple(near.items()) not in reached:
                reached.add(tuple(near.items()))
                queue.append(near)
    assert len(reached) == narrow.size()


def test_the_kernels_of_all_networks_are_known_before(narrow: SearchSpace) -> None:
    known = signatures(placed_blocks(narrow))
    needed = {layer.signature for choices in all_choices(narrow) for layer in lower(narrow.spec(choices)).layers}
    assert needed <= known
    assert len(known) < 1.3 * len(needed)


def test_further_layers_are_of_their_stage_in_the_network() -> None:
    template = SPACE.decode(encode(SPACE, zoo.get("mobilenetv4_conv_small")))
    assert {stage.name: len(stage.rows) for stage in template.stages} == {
        "stem": 1,
        "stage2": 2,
        "stage3": 2,
        "stage4": 3,
        "stage6": 5,
        "head": 1,
        "classifier": 1,
    }


def test_choices_are_narrowed_with_their_stages_further_layers_following() -> None:
    space = SPACE.with_choices({"*.block": ("MBConv",), "stage6.width_mult": (1.2,), "*.start_kernel": (0,)})
    known = space.parameters()
    assert "stage6b.start_kernel" not in known
    assert known["stage6.block"] == ("MBConv",)
    spec = space.spec(space.corner("largest"))
    assert {block.channels_after(0) for stage in spec.stages if stage.name == "stage6" for block in stage.blocks} == {
        192
    }
    kept = SPACE.with_choices({"head.width": (960,), "classifier.hidden_width": (1280,)})
    assert {SPACE.sample(random.Random(seed))["head.width"] for seed in range(20)} == {960, 1280}
    assert kept.spec(kept.corner("largest")).blocks[-2].channels_after(0) == 960


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage4.middle_kernel": (0, 3)}, "stage4.middle_kernel must be above 0, or start_kernel, where .* stride 2"),
        ({"stage4.start_kernel": (4,)}, r"stage4.start_kernel must be 0 \(none\) or an odd integer from 3 .* got 4"),
        ({"stage4b.activation": ("relu",)}, "'stage4b.activation' is no choice of the space 'universal'"),
        ({"stage4.block": ("Fire",)}, "stage4.block must be one of .*UniversalIB.*, got 'Fire'"),
        ({"head.width": ()}, r"head_width must be an integer of at least 1, or several different ones, got \(\)"),
    ],
)
def test_a_wrong_change_of_choices_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidChoice, match=said):
        SPACE.with_choices(changes)


def chained() -> Iterator[tuple[dict[str, Any], str]]:
    """Stages behind a stage "a", and what is said of them."""
    yield {"after": "c"}, "b.after must be a stage before it that is after none itself, got 'c'"
    yield {"after": "b"}, "got 'b'"
    yield {"shares": ("width_mult",)}, "b.after must be a stage before it .* got ''"
    yield {"after": "a", "shares": ("layers",)}, "b.shares must be choices of a, not its layers, got 'layers'"
    yield {"after": "a", "shares": ("block",)}, "got 'block'"  # which a has no choice of


@pytest.mark.parametrize(("changes", "said"), chained())
def test_further_layers_come_behind_a_stage_that_has_what_they_share(changes: dict[str, Any], said: str) -> None:
    a, b = (StageChoices(name=name, base_width=16, stride=1) for name in "ab")
    assert SearchSpace(name="s", stages=(a, replace(b, after="a", shares=("width_mult",)))).size() > 0
    with pytest.raises(InvalidChoice, match=said):
        SearchSpace(name="s", stages=(a, replace(b, **changes)))


def test_what_further_layers_share_is_there_whatever_the_block_of_their_stage() -> None:
    kernels = {"start_kernel": (0, 3), "middle_kernel": (3,)}
    a = StageChoices(name="a", base_width=16, stride=1, block=("UniversalIB", "MBConv"), others=kernels)
    both = SearchSpace(name="s", stages=(a, replace(a, name="b", after="a", shares=("block", "se"))))
    for seed in range(8):
        both.spec(both.sample(random.Random(seed)))
    with pytest.raises(InvalidChoice, match="every kind of block of a, got 'se', which UniversalIB has not"):
        SearchSpace(name="s", stages=(a, replace(a, name="b", after="a", shares=("se",))))


def test_spaces_without_its_choices_are_told_as_they_were() -> None:
    told = mnasnet_space().to_dict()
    assert {"hidden_width", "block", "after", "shares"}.isdisjoint({*told, *told["stages"][0]})
    stage = SPACE.to_dict()["stages"][6]
    assert (stage["name"], stage["after"], stage["block"]) == ("stage4b", "stage4", ["UniversalIB", "MBConv"])
    assert SPACE.to_dict()["head_width"] == [960, 1280]
