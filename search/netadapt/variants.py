"""Lighter forms of a network, whose kernels are measured so that the table knows what fewer channels take, and smaller
kernels.
"""

import random

from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.steps import replace_blocks, smaller_kernels
from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec

COUNT = 6
ROUND = 8


def shrunk(spec: NetworkSpec) -> list[NetworkSpec]:
    """The network with every kernel above 3 a step smaller, and so on down to 3."""
    found = []
    while blocks := smaller_kernels(spec):
        spec = replace_blocks(spec, blocks).spec
        found.append(spec)
    return found


def variants(spec: NetworkSpec, count: int = COUNT) -> list[NetworkSpec]:
    """`count` networks with every free channel group at a random count: in every other one a multiple of 8 where there
    is one, so that the table shows what such counts are worth.
    """
    rng = random.Random("variants")
    groups = [group for group in coupling(spec) if group.counts]
    found = []
    for number in range(count):
        slim = spec
        for group in groups:
            counts = [at for at in group.counts if at % ROUND == 0] if number % 2 == 0 else group.counts
            try:
                slim = narrow(slim, group, rng.choice(counts or group.counts))
            except InvalidArgument:
                continue  # taken by position, in a way that this count does not allow
        found.append(slim)
    return found
