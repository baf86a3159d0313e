"""SearchSpace: what its choices count, mean and neighbour, and what it refuses."""

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.cost import costs
from searchspace.errors import InvalidChoice
from searchspace.graph import lower
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spaces.stage import StageChoices
from tests.block_examples import all_choices

SPACE = mnasnet_space()
SMALL = SearchSpace(
    name="small",
    stages=(
        StageChoices(
            name="a",
            base_width=16,
            stride=2,
            expand_ratio=(1, 3),
            kernel=(3,),
            se=(False, True),
            activation=("relu",),
            layers=(1, 2),
            width_mult=(1.0,),
        ),
        StageChoices(
            name="b",
            base_width=32,
            stride=1,
            expand_ratio=(3,),
            kernel=(3, 5),
            se=(False,),
            activation=("relu", "swish"),
            layers=(0, 1),
            width_mult=(0.75, 1.0),
        ),
    ),
    classes=4,
    resolution=32,
)
SEEDS = st.integers(0, 2**32 - 1)


def test_size_counts_the_choice_sets_that_mean_something() -> None:
    # a: 2 x 2 x 2; b: 1 absent + 2 x 2 x 2 present.
    assert SMALL.size() == 8 * 9
    sets = [tuple(choices.items()) for choices in all_choices(SMALL)]
    assert len(sets) == len(set(sets)) == SMALL.size()


def test_every_choice_set_of_a_space_decodes_and_no_two_are_one_network_here() -> None:
    prints = {SMALL.spec(choices).fingerprint() for choices in all_choices(SMALL)}
    assert len(prints) == SMALL.size()


@given(SEEDS)
def test_size_is_the_enumeration_for_random_narrow_spaces(seed: int) -> None:
    rng = random.Random(seed)
    narrow = {
        name: tuple(rng.sample(values, rng.randint(1, min(2, len(values)))))
        for name, values in SPACE.parameters().items()
    }
    space = replace(SPACE.with_choices(narrow), stages=SPACE.with_choices(narrow).stages[3:6])
    while math.prod(map(len, space.parameters().values())) > 2000:
        name = rng.choice(list(space.parameters()))
        space = space.with_choices({name: space.parameters()[name][:1]})
    assert sum(1 for _ in all_choices(space)) == space.size()


@given(SEEDS)
def test_samples_are_canonical_members(seed: int) -> None:
    choices = SPACE.sample(random.Random(seed))
    assert SPACE.canonical(choices) == choices
    for name, value in choices.items():
        assert value in SPACE.parameters()[name]
    assert SPACE.spec(choices).classes == 1000


def test_the_same_random_state_gives_the_same_samples() -> None:
    one, other = random.Random(3), random.Random(3)
    assert [SPACE.sample(one) for _ in range(5)] == [SPACE.sample(other) for _ in range(5)]


def test_samples_draw_every_value_evenly() -> None:
    rng = random.Random(0)
    drawn = Counter(SMALL.sample(rng)["b.layers"] for _ in range(2000))
    assert abs(drawn[0] - 1000) < 150


@given(SEEDS)
def test_what_an_absent_stage_would_have_been_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    choices: Choices = {name: rng.choice(values) for name, values in SPACE.parameters().items()} | {"stage5.layers": 0}
    other = choices | {
        f"stage5.{kind}": rng.choice(SPACE.parameters()[f"stage5.{kind}"])
        for kind in SPACE.stages[4].kinds
        if kind != "layers"
    }
    assert SPACE.canonical(choices) == SPACE.canonical(other)
    assert SPACE.spec(choices).fingerprint() == SPACE.spec(other).fingerprint()
    assert not any(name.startswith("stage5.") and name != "stage5.layers" for name in SPACE.canonical(choices))


def test_width_multipliers_that_round_alike_are_one_network() -> None:
    # Stage 1: 16 x 0.75 = 12 rounds to 16.
    choices = SPACE.sample(random.Random(1))
    prints = {m: SPACE.spec(choices | {"stage1.width_mult": m}).fingerprint() for m in (0.75, 1.0, 1.25)}
    assert prints[0.75] == prints[1.0] != prints[1.25]


@given(SEEDS)
def test_values_that_came_through_a_table_become_the_spaces_own(seed: int) -> None:
    choices = SPACE.sample(random.Random(seed))
    floats = {name: float(v) if isinstance(v, (int, float)) else v for name, v in choices.items()}
    back = SPACE.canonical(floats)
    assert [(name, value, type(value)) for name, value in back.items()] == [
        (name, value, type(value)) for name, value in choices.items()
    ]
    assert SPACE.spec(floats) == SPACE.spec(choices)


def differing(one: Choices, other: Choices) -> set[str]:
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}


@given(SEEDS)
def test_neighbours_differ_in_one_choice_and_are_members(seed: int) -> None:
    choices = SPACE.sample(random.Random(seed))
    seen = set()
    for near in SPACE.neighbours(choices):
        assert SPACE.canonical(near) == near
        (name,) = differing(choices, near)
        # Only a stage that comes or goes brings or takes its other choices.
        stage, _, kind = name.partition(".")
        others = choices.keys() ^ near.keys()
        assert all(key.startswith(f"{stage}.") for key in others)
        assert not others or (kind == "layers" and 0 in (choices[name], near[name]))
        seen.add(tuple(near.items()))
    values = [len(SPACE.parameters()[name]) - 1 for name in choices]
    assert len(seen) == sum(values)


def test_every_member_is_reached_over_neighbours() -> None:
    start = all_choices(SMALL)[0]
    reached, queue = {tuple(start.items())}, [start]
    while queue:
        for near in SMALL.neighbours(queue.pop()):
            if tuple(near.items()) not in reached:
                reached.add(tuple(near.items()))
                queue.append(near)
    assert len(reached) == SMALL.size()


@given(SEEDS)
def test_corners_bound_the_cost_of_every_network(seed: int) -> None:
    smallest, largest = (costs(lower(SPACE.spec(SPACE.corner(which)))) for which in ("smallest", "largest"))
    middle = costs(lower(SPACE.spec(SPACE.sample(random.Random(seed)))))
    assert smallest.macs <= middle.macs <= largest.macs
    assert smallest.params <= middle.params <= largest.params


def test_corners_bound_a_whole_space() -> None:
    macs = [costs(lower(SMALL.spec(choices))).macs for choices in all_choices(SMALL)]
    corners = [costs(lower(SMALL.spec(SMALL.corner(which)))).macs for which in ("smallest", "largest")]
    assert corners == [min(macs), max(macs)]


def test_a_corner_is_smallest_or_largest() -> None:
    with pytest.raises(InvalidChoice, match='"smallest" or "largest", got \'middle\''):
        SPACE.corner("middle")


def test_choices_can_be_narrowed_and_widened() -> None:
    space = SPACE.with_choices({"*.activation": ("relu",), "stage3.kernel": (3, 9), "stage2.expand_ratio": (2.5,)})
    known = space.parameters()
    assert {known[f"stage{n}.activation"] for n in range(1, 8)} == {("relu",)}
    assert (known["stage3.kernel"], known["stage4.kernel"], known["stage2.expand_ratio"]) == ((3, 9), (3, 5, 7), (2.5,))
    assert SPACE.parameters()["stage3.kernel"] == (3, 5, 7)
    assert 9 in {block.kernel for block in space.spec(space.corner("largest")).blocks[:-1]}


def test_a_stages_own_key_wins_over_the_star_in_any_order() -> None:
    keys: dict[str, tuple[Any, ...]] = {"stage3.kernel": (5,), "*.kernel": (3,)}
    for order in (keys, dict(reversed(keys.items()))):
        known = SPACE.with_choices(order).parameters()
        assert (known["stage3.kernel"], known["stage2.kernel"]) == ((5,), (3,))


def test_a_choice_with_one_value_need_not_be_given() -> None:
    space = SPACE.with_choices({"*.activation": ("swish",)})
    choices = space.sample(random.Random(0))
    short = {name: value for name, value in choices.items() if not name.endswith(".activation")}
    assert space.canonical(short) == choices


def test_the_parameters_of_a_space_are_a_copy() -> None:
    SPACE.parameters().clear()
    assert len(SPACE.parameters()) == 42


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"stage3.kernal": 3}, "'stage3.kernal' is no choice of the space 'mnasnet'; did you mean 'stage3.kernel'?"),
        ({"zzz": 3}, "'zzz' is no choice of the space 'mnasnet'; stages: stage1, stage2"),
        ({"stage3.kernel": 4}, r"'stage3.kernel' must be one of \(3, 5, 7\), got 4"),
        ({"stage3.kernel": [3]}, r"'stage3.kernel' must be one of \(3, 5, 7\), got \[3\]"),
        ({"stage3.layers": 0}, r"'stage3.layers' must be one of \(1, 2, 3, 4\), got 0"),
        ({"stage3.se": None}, r"'stage3.se' must be one of \(False, True\), got None"),
    ],
)
def test_a_foreign_choice_is_named_with_what_is_known(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidChoice, match=said):
        SPACE.spec(SPACE.sample(random.Random(0)) | choices)


def test_a_missing_choice_is_named_with_its_values() -> None:
    choices = SPACE.sample(random.Random(0))
    del choices["stage3.kernel"]
    with pytest.raises(InvalidChoice, match=r"'stage3.kernel' is missing; give one of \(3, 5, 7\)"):
        SPACE.decode(choices)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage9.kernel": (3,)}, "'stage9.kernel' is no choice .* STAGE in stage1, .* CHOICE in expand_ratio, kernel"),
        ({"stage3": (3,)}, "'stage3' is no choice"),
        ({"stage3.stride": (1,)}, "'stage3.stride' is no choice"),
        ({"stage3.kernel": 3}, "'stage3.kernel' needs a list of values, got 3"),
        ({"stage3.activation": "relu"}, "'stage3.activation' needs a list of values, got 'relu'"),
        ({"stage3.kernel": ()}, r"stage3.kernel needs a tuple of at least one value, got \(\)"),
        ({"stage3.kernel": (3, 3)}, r"stage3.kernel must have no value twice, got \(3, 3\)"),
        ({"stage3.kernel": (4,)}, "stage3.kernel must be an odd integer from 1 to 15, got 4"),
        ({"stage3.kernel": (3.0,)}, "stage3.kernel must be an odd integer from 1 to 15, got 3.0"),
        ({"stage3.kernel": ([3],)}, r"stage3.kernel must be an odd integer from 1 to 15, got \[3\]"),
        ({"stage3.expand_ratio": (0.5,)}, "stage3.expand_ratio must be a number from 1 to 16, got 0.5"),
        ({"stage3.expand_ratio": (True,)}, "stage3.expand_ratio must be a number from 1 to 16, got True"),
        ({"stage3.expand_ratio": (float("nan"),)}, "stage3.expand_ratio must be a number from 1 to 16, got nan"),
        ({"stage3.se": (1,)}, "stage3.se must be true or false, got 1"),
        ({"stage3.activation": ("bend",)}, "stage3.activation must be one of relu, .* got 'bend'"),
        ({"stage3.activation": (["relu"],)}, "stage3.activation must be one of relu"),
        ({"stage3.layers": (17,)}, "stage3.layers must be an integer from 0 to 16, got 17"),
        ({"stage3.layers": (0, 1)}, "stage3.layers must be at least 1 where the stage has stride 2"),
        ({"stage3.width_mult": (0,)}, "stage3.width_mult must be a number above 0, at most 8, got 0"),
        ({"stage3.width_mult": (10**400,)}, "stage3.width_mult must be a number above 0"),
    ],
)
def test_a_wrong_change_of_choices_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidChoice, match=said):
        SPACE.with_choices(changes)


def test_a_stage_is_of_a_kind_whose_row_has_choices() -> None:
    with pytest.raises(InvalidChoice, match=r"stage1.block must be one of .*MBConv.*, got 'Fire'"):
        StageChoices(name="stage1", base_width=16, stride=1, block="Fire")


def test_a_space_needs_stages_named_apart_of_which_one_is_always_there() -> None:
    a, b = SMALL.stages
    for stages, said in (
        ((), "at least one stage must always have layers"),
        ((b,), "at least one stage must always have layers"),
        ((a, a), r"stage names must be .* all different .* got \['a', 'a'\]"),
        ((a, replace(b, name="head")), "none of .* got .*'head'"),
        ((a, replace(b, name="b.c")), "stage names must be identifiers"),
    ):
        with pytest.raises(InvalidChoice, match=said):
            replace(SMALL, stages=stages)
    for field in ("stride", "base_width"):
        with pytest.raises(InvalidChoice, match=f"a.{field} must be an integer of at least 1, got 0"):
            replace(a, **{field: 0})


def test_a_space_as_json_types_tells_spaces_apart() -> None:
    assert SPACE.to_dict() == mnasnet_space().to_dict()
    assert SPACE.to_dict() != SPACE.with_choices({"stage3.kernel": (3,)}).to_dict()
    assert SPACE.to_dict()["stages"][2]["kernel"] == [3, 5, 7]
    assert SPACE.to_dict().keys() == {
        "name",
        "stages",
        "stem_width",
        "head_width",
        "classes",
        "resolution",
        "se_ratio",
        "dropout_percent",
    }
