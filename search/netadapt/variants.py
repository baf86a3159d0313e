"""Lighter forms of a network, whose kernels are measured so that a table knows what pruned networks take."""

import random

from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.steps import replace_blocks, smaller_kernels
from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec

COUNT = 6
MULTIPLE = 8


def shrunk(spec: NetworkSpec) -> list[NetworkSpec]:
    """The network with every kernel above 3 a step smaller, and so on down to 3."""
    found = []
    while blocks := smaller_kernels(spec):
        spec = replace_blocks(spec, blocks).spec
        found.append(spec)
    return found


def variants(spec: NetworkSpec, count: int = COUNT) -> list[NetworkSpec]:
    """`count` networks with every free channel group at a random count, a multiple of 8 in every other one."""
    rng = random.Random("variants")
    groups, found = [group for group in coupling(spec) if group.counts], []
    for number in range(count):
        narrower = spec
        for group in groups:
            counts = [at for at in group.counts if at % MULTIPLE == 0] if number % 2 == 0 else group.counts
            try:
                narrower = narrow(narrower, group, rng.choice(counts or group.counts))
            except InvalidArgument:
                continue  # dealt out in a way that this count does not allow
        found.append(narrower)
    return found
