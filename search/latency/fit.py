"""From the times of kernels in isolated blocks to whole networks.

A network's time is modelled as a constant, a constant for each kernel, and the kernels' own times with a factor for
each group of kernels (pointwise, depthwise, ...). Few networks cannot tell all factors apart, so a prior pulls each to
the common factor; its width is chosen by leave-one-out validation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from searchspace.graph import Graph, Layer, Signature, lower
from searchspace.latency.estimate import coarse_group_of, group_of
from searchspace.latency.table import Correction, KernelCorrection
from searchspace.spec import NetworkSpec

PRIORS = (0.01, 0.03, 0.1, 0.3, 1.0)  # how far a factor may be from the common one, a share of it
_FEW = 20  # networks below which kernels are not told apart by activations and sizes
_NOISE = 0.02  # of a measured network, a share of it
Matrix = NDArray[np.float64]


class Fit(NamedTuple):
    """Kernels as they are in networks, the correction from them to networks, and the one that made them."""

    kernels: dict[Signature, float]
    correction: Correction
    kernel_correction: KernelCorrection


def fit(
    kernels: Mapping[Signature, float],
    specs: Sequence[NetworkSpec],
    measured_ms: Sequence[float],
    *,
    validated: int | None = None,
) -> Fit:
    """Fit the ms of isolated `kernels`, all that `specs` need, to networks that take `measured_ms`.

    The correction's error is the leave-one-out error of the first `validated` networks (default: all).
    """
    graphs = [lower(spec) for spec in specs]
    group = group_of if len(specs) >= _FEW else coarse_group_of
    groups = sorted({group(layer) for graph in graphs for layer in graph.layers})
    rows = _rows(kernels, graphs, group, groups)
    target = np.array(measured_ms, dtype=float)
    constant, each_ms, *factors = map(float, _solve(rows, target, _prior(rows, target)))
    correction = KernelCorrection(each_ms, dict(zip(groups, factors, strict=True)), _common(rows, target))
    inside = {signature: correction.in_network_ms(signature, ms) for signature, ms in kernels.items()}
    sums = np.array([sum(inside[layer.signature] for layer in graph.layers) for graph in graphs])
    constant = max(0.0, constant)
    scale = float(np.median((target - constant) / sums))
    return Fit(inside, Correction(scale, constant, deviation(_left_out(rows, target, validated))), correction)


def deviation(errors: Sequence[float]) -> float:
    """The standard deviation of a further error like these n.

    It is that of Student's t with n degrees of freedom, n / (n - 2) times their mean square: a deviation estimated from
    few errors is itself uncertain.
    """
    return math.sqrt(math.fsum(error * error for error in errors) / max(1, len(errors) - 2))


def informative(kernels: Mapping[Signature, float], graphs: Sequence[Graph], count: int) -> list[int]:
    """The places of `count` networks that tell the most about the factors of another device.

    It is a greedy D-optimal design: each next network is the one of which a fit to those before is least certain. On a
    device simulated by ONNX Runtime's table, ten of 300 chosen so gave 88 % of networks within 10 %, ten random ones
    81 % (by the table of eager torch with 1 thread: 95 and 88 %).
    """
    groups = sorted({coarse_group_of(layer) for graph in graphs for layer in graph.layers})
    rows = _rows(kernels, graphs, coarse_group_of, groups)
    rows /= rows[:, 2:].sum(axis=1)[:, None]
    rows[:, :2] /= rows[:, :2].mean(axis=0)
    known, chosen = np.eye(rows.shape[1]) * (_NOISE / max(PRIORS[:-1])) ** 2, list[int]()
    for _ in range(min(count, len(graphs))):
        doubt = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(known), rows)
        doubt[chosen] = -1.0
        chosen.append(int(doubt.argmax()))
        known += np.outer(rows[chosen[-1]], rows[chosen[-1]])
    return chosen


def _rows(
    kernels: Mapping[Signature, float], graphs: Sequence[Graph], group: Callable[[Layer], str], groups: Sequence[str]
) -> Matrix:
    """For each network: 1, the number of its kernels, their ms by group."""
    rows = []
    for graph in graphs:
        sums = dict.fromkeys(groups, 0.0)
        for layer in graph.layers:
            sums[group(layer)] += kernels[layer.signature]
        rows.append([1.0, float(len(graph.layers)), *sums.values()])
    return np.array(rows)


def _common(rows: Matrix, target: Matrix) -> float:
    # the one factor of all kernels, by least squares of relative errors
    ratios = rows[:, 2:].sum(axis=1) / target
    return float(ratios.sum() / (ratios @ ratios))


def _solve(rows: Matrix, target: Matrix, prior: float) -> Matrix:
    """Constant, constant of each kernel, factors by group, by least squares of relative errors with a prior.

    The prior is normal: of a factor about the common one with the relative deviation `prior`, of the constants about 0
    with that share of a mean network.
    """
    common = _common(rows, target)
    mean, layers = float(target.mean()), float(rows[:, 1].mean())
    widths = np.array([prior * mean, prior * mean / layers, *[prior * common] * (rows.shape[1] - 2)])
    centre = np.array([0.0, 0.0, *[common] * (rows.shape[1] - 2)])
    left = np.vstack([rows / target[:, None] / _NOISE, np.diag(1 / widths)])
    right = np.concatenate([np.ones(len(target)) / _NOISE, centre / widths])
    solved: Matrix = np.linalg.lstsq(left, right, rcond=None)[0]
    return solved


def _prior(rows: Matrix, target: Matrix) -> float:
    places = range(len(target))
    return min(PRIORS, key=lambda prior: math.fsum(_error(rows, target, place, prior) ** 2 for place in places))


def _left_out(rows: Matrix, target: Matrix, validated: int | None) -> list[float]:
    """Leave-one-out errors; the prior is chosen without the left-out network too, which else looks better known."""
    return [_error(rows, target, place) for place in range(len(target))[:validated]]


def _error(rows: Matrix, target: Matrix, place: int, prior: float | None = None) -> float:
    others = np.arange(len(target)) != place
    own, measured = rows[others], target[others]
    predicted = rows[place] @ _solve(own, measured, prior or _prior(own, measured))
    return float(predicted / target[place] - 1)
