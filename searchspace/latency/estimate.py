"""Estimates of kernels that were not measured, from the measured kernels of their kind, with an error.

    ms = (sum of factor_i * feature_i) * exp(correction),  factor_i >= 0

The features are 1, MACs, sqrt(MACs) (small kernels do fewer MACs a second), input values, weights, and output values
(for each activation by itself). The factors minimise the squares of errors / sqrt(ms), a compromise between relative
errors, by which the largest kernels slip, and absolute ones. The correction is the mean log residual of the nearest
measured kernels. nn-Meter's kernel predictors take such features too (MobiSys 2021, random forests); a forest cannot
go beyond the shapes that it saw, this model can.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, Signature

Kind = tuple[object, ...]
NEIGHBOURS = 4
STEP = 8
FEWEST = 6  # kernels of a kind that has factors of its own
_SWEEPS = 200
_LEFT_OUT = 150  # the kernels of a kind, about, that its error is estimated from
_NEAR = 0.15  # the distance (of logarithms of the shapes) at which a neighbour counts half


class Estimate(NamedTuple):
    """A kernel's ms, and the root mean square of the leave-one-out relative errors of its kind."""

    ms: float
    relative_error: float


def kind_of(layer: Layer) -> Kind:
    """What kernels must share to differ by their shapes alone.

    A convolution from one channel to one counts as depthwise: a network pruned that far has no other kernel like it.
    """
    groups: object = layer.groups
    single = layer.out_shape[0] == 1 and layer.kernel > 1
    if layer.op == "conv" and layer.groups == layer.in_shape[0] and (layer.groups > 1 or single):
        groups = "depthwise"
    return (layer.op, layer.kernel, layer.stride, groups, layer.gate)


def group_of(layer: Layer) -> str:
    """The group of kernels that another device, or the network around them, makes faster or slower together.

    Sums and SE blocks are grouped by the size of their maps (ONNX Runtime's tables are off by 3.7 % so, else by 4.2),
    convolutions by their activations (eager torch: 2.5 %, else 2.8).
    """
    if layer.op in ("add", "se"):
        return (
            f"{layer.op} {'large' if layer.out_shape[1] >= 56 else 'middle' if layer.out_shape[1] >= 14 else 'small'}"
        )
    if layer.op != "conv":
        return layer.op
    if layer.groups > 1:
        return f"depthwise {layer.activation}" if layer.groups == layer.in_shape[0] else "grouped"
    return f"pointwise {layer.activation}" if layer.kernel == 1 else "dense"


def coarse_group_of(layer: Layer) -> str:
    """The group without activations and sizes, but with projections: pointwise convolutions without an activation.

    ONNX Runtime runs those in 0.3 of eager torch's time, others in 0.6.
    """
    if group_of(layer) == "pointwise identity":
        return "projection"
    return group_of(layer).partition(" ")[0]


class Estimator:
    """A model for each kind that was measured."""

    def __init__(self, kernels: Mapping[Signature, float]) -> None:
        rows = [(layer_of(signature), ms) for signature, ms in kernels.items()]
        by_kind: dict[tuple[Kind, bool], list[tuple[Layer, float]]] = {}
        for layer, ms in rows:
            by_kind.setdefault((kind_of(layer), _in_step(layer)), []).append((layer, ms))
        common = _nonnegative([_features(layer, ()) for layer, _ in rows], [ms for _, ms in rows]) if rows else []
        self._models = {kind: _Model(own, common) for kind, own in by_kind.items()}
        self._known: dict[Signature, Estimate | None] = {}

    def estimate(self, layer: Layer) -> Estimate | None:
        """The estimate for a kernel; None where no kernel of its kind and activation was measured."""
        signature = layer.signature
        if signature not in self._known:
            kind, in_step = kind_of(layer), _in_step(layer)
            models = [self._models.get((kind, own)) for own in (in_step, not in_step)]
            found = (model.estimate(layer) for model in models if model is not None)
            self._known[signature] = next((each for each in found if each is not None), None)
        return self._known[signature]


def _in_step(layer: Layer) -> bool:
    # Kernels whose channels fill vector units and blocked layouts, and others, have models of their own: eager torch on
    # AVX-512 takes about 7 % longer for the same work of a depthwise kernel whose channels are no multiple of STEP, and
    # 10 to 20 % for a pointwise one.
    return layer.in_shape[0] % STEP == 0 == layer.out_shape[0] % STEP


def layer_of(signature: Signature) -> Layer:
    """A layer of that signature, with no place in a network."""
    op, in_shape, out_shape, *rest = signature
    return Layer("", op, (), in_shape, out_shape, "", *rest)  # type: ignore[arg-type]


class _Model:
    """The model of one kind; with fewer than FEWEST kernels it has the common factors of all kinds, scaled to fit."""

    def __init__(self, rows: Sequence[tuple[Layer, float]], common: list[float]) -> None:
        self._activations = sorted({layer.activation for layer, _ in rows})
        self._few = len(rows) < FEWEST
        self._places = [self._place(layer) for layer, _ in rows]
        features = [self._features_of(layer) for layer, _ in rows]
        ms = [each for _, each in rows]
        self._factors = common if self._few else _nonnegative(features, ms)
        self._residuals = [math.log(each / self._roofline(own)) for each, own in zip(ms, features, strict=True)]
        some = range(0, len(rows), 1 + len(rows) // _LEFT_OUT)
        errors = [
            math.expm1(self._correction(self._places[index], without=index) - self._residuals[index]) for index in some
        ]
        self._error = max(0.5 / len(errors), math.sqrt(math.fsum(error * error for error in errors) / len(errors)))

    def estimate(self, layer: Layer) -> Estimate | None:
        if layer.activation not in self._activations:
            return None
        ms = self._roofline(self._features_of(layer)) * math.exp(self._correction(self._place(layer)))
        return Estimate(ms, self._error)

    def _features_of(self, layer: Layer) -> list[float]:
        return _features(layer, () if self._few else self._activations)

    def _place(self, layer: Layer) -> list[float]:
        # a kernel's position among its kind: logarithms of channels, pixels and squeezed channels
        (channels, height, width), (out, _, _) = layer.in_shape, layer.out_shape
        sizes = (channels, out, height * width, layer.squeeze_channels + 1)
        other = [4.0 * (layer.activation == name) for name in self._activations]
        return [*(math.log2(size) for size in sizes), *other]

    def _roofline(self, features: Sequence[float]) -> float:
        return max(1e-9, math.fsum(map(float.__mul__, self._factors, features)))

    def _correction(self, place: Sequence[float], *, without: int = -1) -> float:
        """Mean log residual of the nearest kernels, weighted by nearness and drawn to 0 the farther they are.

        Of a kind with few kernels it is the mean over all.
        """
        if self._few:
            return math.fsum(self._residuals) / len(self._residuals)
        distances = sorted(
            (math.dist(place, other), index) for index, other in enumerate(self._places) if index != without
        )
        weights = [(1 / (1 + (distance / _NEAR) ** 2), index) for distance, index in distances[:NEIGHBOURS]]
        total = math.fsum(weight for weight, _ in weights)
        return math.fsum(weight * self._residuals[index] for weight, index in weights) / (total + 0.1)


def _features(layer: Layer, activations: Sequence[str]) -> list[float]:
    params, macs = layer_params_macs(layer.deployed)
    size_in, size_out = (float(c * h * w) for c, h, w in (layer.in_shape, layer.out_shape))
    own = [size_out * (layer.activation == name) for name in activations]
    return [1.0, float(macs), math.sqrt(macs), size_in, float(params), *(own or [size_out])]


def _nonnegative(rows: Sequence[Sequence[float]], targets: Sequence[float]) -> list[float]:
    """Factors >= 0 with the least squares of (rows x factors - targets) / sqrt(targets), by coordinate descent."""
    count = len(rows[0])
    scaled = [[value / math.sqrt(target) for value in row] for row, target in zip(rows, targets, strict=True)]
    norms = [math.fsum(row[i] * row[i] for row in scaled) for i in range(count)]
    gram = [[math.fsum(row[i] * row[j] for row in scaled) for j in range(count)] for i in range(count)]
    sums = [math.fsum(row[i] for row in rows) for i in range(count)]
    factors = [0.0] * count
    for _ in range(_SWEEPS):
        for i in range(count):
            if norms[i]:
                rest = sums[i] - math.fsum(gram[i][j] * factors[j] for j in range(count) if j != i)
                factors[i] = max(0.0, rest / norms[i])
    return factors
