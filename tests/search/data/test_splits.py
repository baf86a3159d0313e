"""The laws of splitting: disjoint, whole, stratified, deterministic, blind to order; copies never straddle."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data.source import PARTS, Item, Part
from search.data.splits import SHARES, split, stratified_order
from searchspace.errors import InvalidData


def _items(counts: Sequence[int], part: Part | None = None) -> list[Item]:
    return [
        Item(f"{part or ''}/{label}/{index}", chr(97 + label), part, 7, 0)
        for label, count in enumerate(counts)
        for index in range(count)
    ]


laws = settings(max_examples=12)
counts_of_classes = st.lists(st.integers(3, 60), min_size=2, max_size=5)
seeds = st.integers(0, 2**31)


@st.composite
def items_with_copies(draw: st.DrawFn) -> tuple[list[Item], dict[str, str]]:
    """Images of which some are copies, three or more different ones in each class."""
    items = _items(draw(st.lists(st.integers(3, 40), min_size=2, max_size=4)))
    content: dict[str, str] = {}
    for label in {item.label for item in items}:
        own = [item for item in items if item.label == label]
        different = draw(st.integers(3, len(own)))
        content |= {
            item.name: f"{label}{index if index < different else draw(st.integers(0, different - 1))}"
            for index, item in enumerate(own)
        }
    return items, content


@laws
@given(counts_of_classes, seeds)
def test_every_image_lands_in_exactly_one_split(counts: list[int], seed: int) -> None:
    items = _items(counts)
    parts = split(items, seed=seed, content={}).parts
    landed = [item for part in PARTS for item in parts[part]]
    assert sorted(landed, key=lambda item: item.name) == sorted(items, key=lambda item: item.name)


@laws
@given(counts_of_classes, seeds)
def test_every_class_is_split_70_15_15_within_rounding(counts: list[int], seed: int) -> None:
    parts = split(_items(counts), seed=seed, content={}).parts
    for label, count in enumerate(counts):
        for part, share in SHARES.items():
            got = sum(item.label == chr(97 + label) for item in parts[part])
            assert got == 1 or abs(got - share * count) <= 0.5


@laws
@given(items_with_copies(), seeds)
def test_byte_identical_images_stay_together_and_every_split_holds_every_class(
    drawn: tuple[list[Item], dict[str, str]], seed: int
) -> None:
    items, content = drawn
    parts = split(items, seed=seed, content=content).parts
    contents = {part: {content[item.name] for item in own} for part, own in parts.items()}
    assert sum(map(len, parts.values())) == len(items)
    assert not contents["train"] & contents["validation"]
    assert not contents["train"] & contents["test"]
    assert not contents["validation"] & contents["test"]
    assert all({item.label for item in own} == {item.label for item in items} for own in parts.values())


@laws
@given(items_with_copies(), seeds)
def test_copies_cost_a_class_at_most_its_largest_group_of_balance(
    drawn: tuple[list[Item], dict[str, str]], seed: int
) -> None:
    items, content = drawn
    parts = split(items, seed=seed, content=content).parts
    for label in {item.label for item in items}:
        own = [item for item in items if item.label == label]
        largest = max(Counter(content[item.name] for item in own).values())
        for part, share in SHARES.items():
            got = sum(item.label == label for item in parts[part])
            assert abs(got - share * len(own)) <= largest + 0.5


@laws
@given(items_with_copies(), seeds, st.randoms(use_true_random=False))
def test_the_order_of_listing_changes_nothing(
    drawn: tuple[list[Item], dict[str, str]], seed: int, rng: random.Random
) -> None:
    items, content = drawn
    shuffled = rng.sample(items, len(items))
    assert split(shuffled, seed=seed, content=content) == split(items, seed=seed, content=content)


def test_another_seed_gives_another_split() -> None:
    items = _items([50, 50])
    first, second = (split(items, seed=seed, content={}).parts["test"] for seed in (0, 1))
    assert set(first) != set(second)


@laws
@given(counts_of_classes, seeds, st.integers(1, 8))
def test_one_more_class_leaves_the_split_of_the_others(counts: list[int], seed: int, more: int) -> None:
    before = split(_items(counts), seed=seed, content={}).parts
    after = split(_items([*counts, more + 2]), seed=seed, content={}).parts
    for part in PARTS:
        assert set(before[part]) <= set(after[part])


@laws
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), seeds, st.data())
def test_every_beginning_is_stratified(counts: list[int], seed: int, data: st.DataObject) -> None:
    items = _items(counts)
    ordered = stratified_order(items, seed=seed)
    assert sorted(ordered, key=lambda item: item.name) == sorted(items, key=lambda item: item.name)
    assert len({item.label for item in ordered[: len(counts)]}) == len(counts)
    length = data.draw(st.integers(len(counts), len(items)))
    share = length / len(items)
    for label, count in enumerate(counts):
        got = sum(item.label == chr(97 + label) for item in ordered[:length])
        assert abs(got - share * count) <= len(counts)


@laws
@given(counts_of_classes, seeds, st.data())
def test_fewer_training_images_are_a_part_of_more(counts: list[int], seed: int, data: st.DataObject) -> None:
    whole = split(_items(counts), seed=seed, content={})
    images = data.draw(st.integers(len(counts), 200))
    capped = split(_items(counts), seed=seed, content={}, images=images)
    assert capped.parts["train"] == whole.parts["train"][:images]
    assert capped.parts["test"] == whole.parts["test"]
    assert {item.label for item in capped.parts["train"]} == {item.label for item in whole.parts["train"]}


def test_fewer_images_than_classes_is_an_error() -> None:
    with pytest.raises(InvalidData, match="3 classes, got images=2"):
        split(_items([5, 5, 5]), seed=0, content={}, images=2)


@pytest.mark.parametrize("given_parts", [("train", "test"), ("train", "validation"), ("train", "validation", "test")])
def test_given_splits_are_kept_and_missing_ones_carved_from_train(given_parts: tuple[Part, ...]) -> None:
    items = [item for part in given_parts for item in _items([20, 40], part)]
    result = split(items, seed=0, content={})
    for part in given_parts[1:]:
        assert set(result.parts[part]) == {item for item in items if item.part == part}
    for part in set(PARTS) - set(given_parts):
        assert Counter(item.label for item in result.parts[part]) == {"a": 3, "b": 6}
        assert {item.part for item in result.parts[part]} == {"train"}
    assert sum(map(len, result.parts.values())) == len(items)


def test_a_training_image_that_is_also_a_test_image_is_left_out_of_training() -> None:
    items = [item for part in PARTS for item in _items([10, 10], part)]
    content = {"train/0/0": "x", "test/0/3": "x", "validation/1/1": "y", "train/1/1": "y", "train/1/2": "y"}
    result = split(items, seed=0, content=content)
    assert [len(result.parts[part]) for part in PARTS] == [17, 20, 20]
    (note,) = (note for note in result.notes if note.startswith("3 images that are copies of images of another split"))
    assert "test/0/3 = train/0/0, train/1/1 = validation/1/1; take copies out of train" in note


def test_one_picture_under_two_classes_is_told() -> None:
    result = split(_items([10, 10]), seed=0, content={"/0/1": "x", "/1/4": "x"})
    told = "1 image stands under several classes, byte for byte the same: /0/1 = /1/4; keep each in the class"
    assert any(note.startswith(told) for note in result.notes)
    assert sum(map(len, result.parts.values())) == 20


@pytest.mark.parametrize("counts", [[2, 9], [9, 1]])
def test_a_class_too_small_to_split_is_named(counts: list[int]) -> None:
    label = "a" if counts[0] < 3 else "b"
    with pytest.raises(InvalidData, match=f"at least 3 different images.* {label} has {min(counts)}: add images"):
        split(_items(counts), seed=0, content={})


def test_copies_do_not_count_as_different_images() -> None:
    with pytest.raises(InvalidData, match="a has 1"):
        split(_items([5, 5]), seed=0, content={f"/0/{index}": "same" for index in range(5)})


def test_classes_of_fewer_than_10_images_are_told_with_the_next_step() -> None:
    def notes(counts: Sequence[int]) -> list[str]:
        return [note for note in split(_items(counts), seed=0, content={}).notes if "fewer than 10" in note]

    assert notes([10, 12]) == []
    (one,) = notes([10, 9])
    assert one.startswith("1 of 2 classes has fewer than 10 images: b (9); ")
    (two,) = notes([3, 40, 9])
    assert two.startswith("2 of 3 classes have fewer than 10 images: a (3), c (9); ")
    assert two.endswith("add images, or leave the class out")


def test_classes_of_very_different_sizes_are_told_with_the_flag_that_weighs_them() -> None:
    (told,) = [note for note in split(_items([90, 40, 20]), seed=0, content={}).notes if "--class-weights" in note]
    assert told.startswith("a has 4.4 times the training images of c: balanced accuracy ")
    assert not any("--class-weights" in note for note in split(_items([60, 20]), seed=0, content={}).notes)
