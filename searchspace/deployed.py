"""The form in which a network is deployed: its parallel branches (RepConv) are one convolution. No torch.

`searchspace.nn.reparametrise` brings the weights over, both ways.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from searchspace.blocks.protocol import Block
from searchspace.blocks.rep_conv import RepConv
from searchspace.spec import NetworkSpec

PUBLISHED_BRANCHES = (1, 4)  # k x k ones of a block: RepVGG's and MobileOne's but for S0, and S0's


def deployed(spec: NetworkSpec) -> NetworkSpec:
    """The network as it is deployed; itself where it has no parallel branches."""
    return _each(spec, lambda in_channels, block: block.deployed())


def trained(spec: NetworkSpec, *, branches: int) -> NetworkSpec:
    """A network whose deployed form is `spec`: RepVGG's with one k x k branch, MobileOne's with `branches`.

    Blocks have a 1x1 branch where their kernel is larger and a batch norm of the input where the shape stays; the stem
    has one k x k branch. All published networks are so.
    """

    def with_branches(in_channels: int, block: Block) -> Block:
        if not isinstance(block, RepConv) or block.branches:
            return block
        count = 1 if block is spec.blocks[0] else branches
        skip = (in_channels, 1) == block.shape
        return replace(block, branches=count, pointwise=block.kernel > 1, skip=skip)

    return _each(spec, with_branches)


def other_forms(spec: NetworkSpec) -> Iterator[NetworkSpec]:
    """The deployed form of a network with branches; for a deployed one the training forms that published ones have."""
    small = deployed(spec)
    forms = [small] if small != spec else [trained(spec, branches=branches) for branches in PUBLISHED_BRANCHES]
    yield from (form for form in forms if form != spec)


def _each(spec: NetworkSpec, change: Callable[[int, Block], Block]) -> NetworkSpec:
    changed = iter([change(in_channels, block) for _, in_channels, block in spec.walk()])
    stages = tuple(replace(stage, blocks=tuple(next(changed) for _ in stage.blocks)) for stage in spec.stages)
    return replace(spec, stages=stages)
