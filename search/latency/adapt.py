"""`adapt`: a table for another device from one of this and some whole networks measured there.

A network there is taken as a constant, a constant of each kernel, and this table's kernels with a factor for each group
of kernels (pointwise, depthwise, ...). Few networks cannot tell all of them apart, so every factor is held to the
common one by a prior, as strong as the data says by leaving networks out.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.latency.build import shallow
from search.latency.fit import deviation
from searchspace.errors import InvalidArgument
from searchspace.estimate import layer_of
from searchspace.graph import Layer, lower
from searchspace.latency import Correction, Identity, LatencyTable
from searchspace.space import SearchSpace
from searchspace.spec import NetworkSpec

FEWEST = 4
NETWORKS = 10
PRIORS = (0.03, 0.1, 0.3, 1.0)  # how far a factor may be from the common one, a share of it
_SMALLEST = 0.05  # of what a kernel would take by the common factor: none takes nothing
_NOISE = 0.02  # of a measured network, a share of it
Matrix = NDArray[np.float64]


def networks_to_measure(space: SearchSpace, *, count: int = NETWORKS, seed: int = 0) -> list[NetworkSpec]:
    """Random networks of a space, every third one shallow, so that small and large ones are among them."""
    rng = random.Random(f"networks to adapt to {seed}")
    spaces = [shallow(space) if index % 3 == 2 else space for index in range(count)]
    return [one.spec(one.sample(rng)) for one in spaces]


def adapt(
    table: LatencyTable, specs: Sequence[NetworkSpec], measured_ms: Sequence[float], *, identity: Identity,
    reference_ms: float,
) -> LatencyTable:  # fmt: skip
    """The table of the device `identity`, on which `specs` take `measured_ms` at the reference's `reference_ms`.

    Every kernel of `table` gets a time there. `relative_error` is that of networks left out in turn. Raises
    InvalidArgument for fewer than 4 networks or times that are not above 0, MissingLatency for a network that `table`
    cannot price.
    """
    if len(specs) != len(measured_ms) or len(specs) < FEWEST:
        raise InvalidArgument(
            f"adapt needs one time for each of at least {FEWEST} networks, got {len(specs)} networks and "
            f"{len(measured_ms)} times"
        )
    if not all(0 < ms < float("inf") for ms in measured_ms):
        raise InvalidArgument(f"measured times must be above 0 ms, got {', '.join(map(str, measured_ms))}")
    groups = sorted({_group(layer) for spec in specs for layer in lower(spec).layers})
    rows = np.array([_row(table, spec, groups) for spec in specs])
    target = np.array(measured_ms, dtype=float)
    errors = {prior: _left_out(rows, target, prior) for prior in PRIORS}
    best = min(errors, key=lambda prior: float(np.mean(errors[prior] ** 2)))
    factors = _solve(rows, target, best)
    common, each = _common(rows, target), dict(zip(groups, factors[2:], strict=True))
    kernels = {}
    for signature, ms in table.kernels.items():
        group = _group(layer_of(signature))
        new = factors[1] + ms * each.get(group, common)
        kernels[signature] = float(max(new, _SMALLEST * common * ms))
    sums = [sum(kernels[layer.signature] for layer in lower(spec).layers) for spec in specs]
    constant = float(max(0.0, factors[0]))
    left = np.array(measured_ms) - constant
    scale = float(np.median(left / np.array(sums)))
    return LatencyTable(identity, reference_ms, kernels, Correction(scale, constant, deviation(errors[best].tolist())))


def _group(layer: Layer) -> str:
    """Kernels that another device makes faster or slower together."""
    if layer.op != "conv":
        return layer.op if layer.op == "se" else "other"
    swish = " swish" if layer.activation == "swish" else ""
    if layer.groups > 1:
        return f"depthwise{swish}" if layer.groups == layer.in_shape[0] else "grouped"
    return f"pointwise{swish}" if layer.kernel == 1 else "dense"


def _row(table: LatencyTable, spec: NetworkSpec, groups: Sequence[str]) -> list[float]:
    """A network: 1, the number of its kernels, this table's ms by group."""
    layers = lower(spec).layers
    sums = dict.fromkeys(groups, 0.0)
    for layer in layers:
        sums[_group(layer)] += table.layer_ms(layer) / table.correction.scale
    return [1.0, float(len(layers)), *sums.values()]


def _common(rows: Matrix, target: Matrix) -> float:
    """The one factor of all kernels, by least squares of relative errors."""
    ratios = rows[:, 2:].sum(axis=1) / target
    return float(ratios.sum() / (ratios @ ratios))


def _solve(rows: Matrix, target: Matrix, prior: float) -> Matrix:
    """Constant, constant of each kernel, factors by group: least squares of relative errors, and of each factor's
    distance from the common one over `prior` (the constants': from 0, over that share of a mean network)."""
    common = _common(rows, target)
    mean, layers = float(target.mean()), float(rows[:, 1].mean())
    widths = np.array([prior * mean, prior * mean / layers, *[prior * common] * (rows.shape[1] - 2)])
    centre = np.array([0.0, 0.0, *[common] * (rows.shape[1] - 2)])
    left = np.vstack([rows / target[:, None] / _NOISE, np.diag(1 / widths)])
    right = np.concatenate([np.ones(len(target)) / _NOISE, centre / widths])
    solved: Matrix = np.linalg.lstsq(left, right, rcond=None)[0]
    return solved


def _left_out(rows: Matrix, target: Matrix, prior: float) -> Matrix:
    """Relative error of each network predicted from the others."""
    errors = []
    for index in range(len(target)):
        others = np.arange(len(target)) != index
        predicted = rows[index] @ _solve(rows[others], target[others], prior)
        errors.append(predicted / target[index] - 1)
    return np.array(errors)
