"""`adapt`: a table for another device from one of this and some whole networks measured there.

Its kernels are taken as those of loose blocks of the other device, which are fitted to its networks.
"""

import random
from collections.abc import Sequence

from search.latency.build import shallow
from search.latency.fit import fit
from search.latency.pace import Pace
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency import Identity, LatencyTable
from searchspace.space import SearchSpace
from searchspace.spec import NetworkSpec

FEWEST = 4
NETWORKS = 10


def networks_to_measure(space: SearchSpace, *, count: int = NETWORKS, seed: int = 0) -> list[NetworkSpec]:
    """Random networks of a space, every third one shallow, so that small and large ones are among them."""
    rng = random.Random(f"networks to adapt to {seed}")
    spaces = [shallow(space) if index % 3 == 2 else space for index in range(count)]
    return [one.spec(one.sample(rng)) for one in spaces]


def check_networks(table: LatencyTable, specs: Sequence[NetworkSpec]) -> None:
    """Raises InvalidArgument for fewer than 4 networks, MissingLatency for one that `table` cannot price."""
    if len(specs) < FEWEST:
        raise InvalidArgument(f"adapt needs at least {FEWEST} networks, got {len(specs)}")
    for spec in specs:
        table.latency_ms(lower(spec))


def adapt(
    table: LatencyTable, specs: Sequence[NetworkSpec], measured_ms: Sequence[float], *, identity: Identity,
    pace: Pace,
) -> LatencyTable:  # fmt: skip
    """The table of the device `identity`, on which `specs` take `measured_ms`, stated at `pace`.

    Every kernel of `table` gets a time there. `relative_error` is that of networks left out in turn. Raises
    InvalidArgument for fewer than 4 networks or times that are not above 0, MissingLatency for a network that `table`
    cannot price.
    """
    check_networks(table, specs)
    if len(specs) != len(measured_ms):
        raise InvalidArgument(
            f"adapt needs one time for each network, got {len(specs)} networks and {len(measured_ms)} times"
        )
    if not all(0 < ms < float("inf") for ms in measured_ms):
        raise InvalidArgument(f"measured times must be above 0 ms, got {', '.join(map(str, measured_ms))}")
    found = fit(table.kernels, specs, measured_ms)
    # Its kernels are no longer the loose ones of `table`: what is added must be measured as it is.
    return LatencyTable(identity, pace.reference_ms, found.kernels, found.correction, drift=pace.drift)
