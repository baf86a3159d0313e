"""`adapt`: the table of another device, made of a table and some whole networks measured on that device.

The kernels of the table are taken as kernels of isolated blocks there, and fitted to the networks.
"""

import random
from collections.abc import Sequence

from search.latency.build import shallow
from search.latency.fit import fit, informative
from search.latency.time_base import TimeBase
from searchspace.errors import InvalidArgument
from searchspace.graph import Signature, lower
from searchspace.latency.table import Identity, LatencyTable
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

FEWEST = 4
NETWORKS = 10
POOL = 300  # random networks of which the most informative are measured


def networks_to_measure(
    space: SearchSpace, *, count: int = NETWORKS, seed: int = 0, table: LatencyTable | None = None
) -> list[NetworkSpec]:
    """Random networks of a space, every third one shallow, so that small and large ones are among them.

    With the `table` that is to be adapted they are those of POOL random ones that tell the most (search.latency.fit).
    Raises MissingLatency if it prices too few.
    """
    rng = random.Random(f"networks to adapt to {seed}")
    spaces = [shallow(space) if index % 3 == 2 else space for index in range(count + POOL if table else count)]
    specs = [one.spec(one.sample(rng)) for one in spaces]
    if table is None:
        return specs
    specs = list({spec.fingerprint(): spec for spec in specs}.values())  # a second one tells nothing more
    priced = [spec for spec in specs if table.prices(spec)]
    pool = priced if len(priced) >= count else specs
    graphs = [lower(spec) for spec in pool]
    return [pool[place] for place in informative(_kernels(table, pool), graphs, count)]


def check_networks(table: LatencyTable, specs: Sequence[NetworkSpec]) -> None:
    """Raises InvalidArgument for fewer than 4 networks, MissingLatency for one that `table` cannot price."""
    if len(specs) < FEWEST:
        raise InvalidArgument(f"adapt needs at least {FEWEST} networks, got {len(specs)}")
    _kernels(table, specs)


def _kernels(table: LatencyTable, specs: Sequence[NetworkSpec]) -> dict[Signature, float]:
    """The table's kernels, and its estimates of those that it lacks of `specs`."""
    layers = {layer.signature: layer for spec in specs for layer in lower(spec).layers}
    return {**{signature: table.kernel_ms(layer) for signature, layer in layers.items()}, **table.kernels}


def adapt(
    table: LatencyTable,
    specs: Sequence[NetworkSpec],
    measured_ms: Sequence[float],
    *,
    identity: Identity,
    time_base: TimeBase,
) -> LatencyTable:
    """The table of the device `identity`, on which `specs` take `measured_ms`, stated at `time_base`.

    Every kernel of `table` gets a time there; those that it lacks are estimated for the fit. Raises InvalidArgument for
    fewer than 4 networks or times that are not above 0, MissingLatency for a kind of kernels that `table` has none of.
    """
    check_networks(table, specs)
    if len(specs) != len(measured_ms):
        raise InvalidArgument(
            f"adapt needs one time for each network, got {len(specs)} networks and {len(measured_ms)} times"
        )
    if not all(0 < ms < float("inf") for ms in measured_ms):
        raise InvalidArgument(f"measured times must be above 0 ms, got {', '.join(map(str, measured_ms))}")
    found = fit(_kernels(table, specs), specs, measured_ms)
    kernels = {signature: found.kernels[signature] for signature in table.kernels}
    # No kernel correction: it is in these kernels already, and kernels added later are measured on the new device.
    return LatencyTable(identity=identity, kernels=kernels, correction=found.correction, **time_base._asdict())
