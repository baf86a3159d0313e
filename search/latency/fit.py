"""From sums of kernels to whole networks: a scale and a constant of each network."""

import math
from collections.abc import Sequence

from searchspace.latency import Correction

# A prior as strong as the data of one network: the constant is 0 within 3 % of a mean network.
_PRIOR_SHARE = 0.03


def _solve(sums: Sequence[float], measured: Sequence[float]) -> tuple[float, float]:
    """(scale, constant >= 0) with the least squares of relative errors, the constant held near 0 by a prior."""
    mean = math.fsum(measured) / len(measured)
    spread = _spread(sums, measured)
    ridge = (spread / (_PRIOR_SHARE * mean)) ** 2
    x = [s / m for s, m in zip(sums, measured, strict=True)]
    z = [1 / m for m in measured]
    xx, xz, zz = (math.fsum(map(float.__mul__, a, b)) for a, b in ((x, x), (x, z), (z, z)))
    zz += ridge
    sx, sz = math.fsum(x), math.fsum(z)
    constant = (sz * xx - sx * xz) / (xx * zz - xz * xz)
    if constant <= 0:
        return sx / xx, 0.0
    return (sx - xz * constant) / xx, constant


def _spread(sums: Sequence[float], measured: Sequence[float]) -> float:
    """Root mean square of the relative errors of a scale alone; at least 0.5 %, below which nothing is measured."""
    ratios = [s / m for s, m in zip(sums, measured, strict=True)]
    scale = math.fsum(ratios) / math.fsum(ratio * ratio for ratio in ratios)
    return max(0.005, math.sqrt(math.fsum((scale * ratio - 1) ** 2 for ratio in ratios) / len(ratios)))


def fit(sums: Sequence[float], measured: Sequence[float]) -> Correction:
    """The correction from `sums` to `measured` (both ms, one a network, at least 2 networks).

    The error is that of each network predicted by a fit to the others.
    """
    errors = []
    for left_out in range(len(sums)):
        others = [i for i in range(len(sums)) if i != left_out]
        scale, constant = _solve([sums[i] for i in others], [measured[i] for i in others])
        errors.append((constant + scale * sums[left_out]) / measured[left_out] - 1)
    scale, constant = _solve(sums, measured)
    return Correction(scale, constant, deviation(errors))


def deviation(errors: Sequence[float]) -> float:
    """The deviation of a further error like these n: that of Student's t with n degrees of freedom, n / (n - 2) times
    their mean square, since a deviation seen in few is itself uncertain."""
    return math.sqrt(math.fsum(error * error for error in errors) / max(1, len(errors) - 2))
