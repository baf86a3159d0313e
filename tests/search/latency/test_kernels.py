"""The kernels of a space: every network is covered, and nothing is timed that no network needs."""

import random

from hypothesis import given
from hypothesis import strategies as st

from search.latency.kernels import PlacedBlock, block_batches, cover, placed_blocks, signatures
from searchspace.graph import Signature, lower
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import SearchSpace
from tests.block_examples import all_choices

DEFAULT = mnasnet_space()
DEFAULT_KERNELS = signatures(placed_blocks(DEFAULT))


def small_space() -> SearchSpace:
    """4 x 4 networks: two stages that may be left out, the last one among them."""
    only: dict[str, tuple[bool | float | int | str, ...]] = {
        "*.expand_ratio": (3,),
        "*.kernel": (3,),
        "*.se": (False,),
        "*.activation": ("relu",),
        "*.layers": (1,),
        "*.width_mult": (1.0,),
        "stage5.layers": (0, 1),
        "stage5.activation": ("relu", "swish"),
        "stage7.layers": (0, 2),
        "stage7.se": (True,),
        "stage7.activation": ("relu", "h_swish"),
    }
    return mnasnet_space(resolution=64, classes=5).with_choices({**only, "stage1.expand_ratio": (1,)})


def kernels_of_all_networks(space: SearchSpace) -> set[Signature]:
    return {layer.signature for choices in all_choices(space) for layer in lower(space.spec(choices)).layers}


def test_the_kernels_of_a_small_space_are_those_of_all_its_networks_and_at_most_heads_of_another_activation() -> None:
    space = small_space()
    found, needed = signatures(placed_blocks(space)), kernels_of_all_networks(space)
    assert needed <= found
    assert all(signature[0] == "conv" and signature[2] == (1280, 2, 2) for signature in found - needed)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_random_network_of_the_default_space_has_no_other_kernel(seed: int) -> None:
    graph = lower(DEFAULT.spec(DEFAULT.sample(random.Random(seed))))
    assert {layer.signature for layer in graph.layers} <= DEFAULT_KERNELS


def test_the_known_networks_and_the_corners_have_no_other_kernel() -> None:
    for choices in (*KNOWN.values(), DEFAULT.corner("smallest"), DEFAULT.corner("largest")):
        assert {layer.signature for layer in lower(DEFAULT.spec(choices)).layers} <= DEFAULT_KERNELS


def test_every_kernel_of_the_default_space_occurs_in_networks() -> None:
    rng = random.Random(0)
    seen: set[Signature] = set()
    for _ in range(3000):
        if seen == DEFAULT_KERNELS:
            break
        seen.update(layer.signature for layer in lower(DEFAULT.spec(DEFAULT.sample(rng))).layers)
    assert seen == DEFAULT_KERNELS


def test_the_chosen_blocks_hold_every_wanted_kernel_and_each_block_holds_one_that_the_others_before_lack() -> None:
    chosen = cover(placed_blocks(DEFAULT), DEFAULT_KERNELS)
    left = set(DEFAULT_KERNELS)
    for block in chosen:
        assert block.signatures & left
        left -= block.signatures
    assert not left
    in_bags = [block for block_batch in block_batches(chosen, size=24, seed=3) for block in block_batch]
    assert sorted(map(repr, in_bags)) == sorted(map(repr, chosen))


def test_only_what_is_missing_is_chosen() -> None:
    blocks = placed_blocks(small_space())
    wanted = {next(iter(sorted(signatures(blocks), key=repr)))}
    chosen: list[PlacedBlock] = cover(blocks, wanted)
    assert len(chosen) == 1
    assert wanted <= chosen[0].signatures
    assert cover(blocks, set()) == []
