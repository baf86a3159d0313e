"""LatencyTable: what every fused kernel takes on one device, and so what a network takes.

Kernels are timed in loose blocks, brought to what they take in networks, and stated in ms at the quiet speed of a fixed
reference network; their sum is fitted to whole networks. `search.latency` measures tables, this module only reads them.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from searchspace.errors import InvalidTable, MissingLatency
from searchspace.files import storage_error
from searchspace.graph import OPS, Graph, Layer, Signature, lower
from searchspace.latency.estimate import Estimate, Estimator, coarse_group_of, group_of, layer_of
from searchspace.spec import NetworkSpec

SCHEMA = 2
MOST_DRIFT = 0.5
# Of the variance of estimated kernels' errors, what all of a network share. Of 168 networks of the zoo, checked by four
# tables minutes after they were built, 0 is the likeliest; of 420, by ten tables of other moments, from before moments
# were told by anchors, 0.05 was, and with 0 as few as 69 % of a table's lay in their interval: some of that is kept.
SHARED = 0.01
_MEASURE_IT = (
    "measure it with search.latency.table_for(space, networks=[spec]), or, if it is of a published network, with "
    "python -m search.latency build --zoo"
)


class Identity(TypedDict):
    """Where a table holds. Two tables are of one device and setting exactly when these are equal."""

    schema: int
    machine: str
    runtime: str
    threads: int
    dtype: str
    batch: int
    memory_format: str
    resolution: int
    versions: dict[str, str]


def identity_key(identity: Identity) -> str:
    """16 hex digits of an identity, for file names."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class Prediction(NamedTuple):
    """A network's latency in ms, where it measures with the probability asked for, and the names of the layers whose
    kernels the table does not hold: those are estimated, and make the interval wider."""

    latency_ms: float
    low_ms: float
    high_ms: float
    estimated: tuple[str, ...]


class Correction(NamedTuple):
    """From the sum of a network's kernels to the network: latency_ms = network_ms + scale * sum.

    `relative_error` is the deviation of (predicted / measured - 1) by networks of the search space left out of the fit
    in turn; once networks were measured after it (LatencyTable.fresh), by those too, and by what is usual (see
    search.latency.build.judged).
    """

    scale: float
    network_ms: float
    relative_error: float


class Loose(NamedTuple):
    """From what a kernel takes in loose blocks to what it takes in a network: kernel_ms + factor * ms, by the group of
    the kernel (searchspace.latency.estimate.group_of). A group without a factor has that of its coarse group, or else
    `common`.
    """

    kernel_ms: float
    factors: Mapping[str, float]
    common: float

    def inside_ms(self, signature: Signature, ms: float) -> float:
        """A kernel in a network; at least a twentieth of what the common factor says, none takes nothing."""
        layer = layer_of(signature)
        factor = self.factors.get(group_of(layer), self.factors.get(coarse_group_of(layer), self.common))
        return max(0.05 * self.common * ms, self.kernel_ms + factor * ms)


AS_THEY_ARE = Loose(0.0, {}, 1.0)


@dataclass(frozen=True)
class LatencyTable:
    """Kernels by `Layer.signature` in ms at the reference's quiet speed `reference_ms`, as they are in networks, and
    the fit to networks. `loose` says what they were made of, for kernels that are added; `drift` how much less than the
    reference networks slow down where the machine is slow (see search.latency.time_base); `fresh` the predicted /
    measured
    - 1 of networks of the space that were measured after the fit; `anchors` the usual ms, by name, of networks that are
    timed beside what is measured (see search.latency.probe_networks)."""

    identity: Identity
    reference_ms: float
    kernels: Mapping[Signature, float]
    correction: Correction
    loose: Loose = AS_THEY_ARE
    drift: float = 0.0
    fresh: tuple[float, ...] = ()
    anchors: Mapping[str, float] = field(default_factory=dict)

    @property
    def relative_error(self) -> float:
        """The table's own error on whole networks (see Correction)."""
        return self.correction.relative_error

    def latency_ms(self, graph: Graph) -> float:
        """Predicted latency of a network in ms, batch 1. Raises MissingLatency naming the first unknown kernel."""
        kernels = self.kernels
        try:
            total = sum([kernels[layer.signature] for layer in graph.layers])
        except KeyError:
            total = sum(self._measured_ms(layer) for layer in graph.layers)
        return self._whole(total)

    def predict(self, network: NetworkSpec | Graph, confidence: float = 0.9) -> Prediction:
        """Predicted latency in ms of any network, at any resolution, and the interval in which it measures with the
        probability `confidence`: kernels that the table lacks are estimated from those of their kind (see
        searchspace.latency.estimate). A spec is lowered first; who has its graph already saves that by giving the
        graph.

        The errors of estimated kernels are independent of the table's own; SHARED of their variance is one error that
        all have, the rest each kernel's own. Raises MissingLatency naming the first layer of a kind that the table has
        none of.
        """
        graph = lower(network) if isinstance(network, NetworkSpec) else network
        kernels = self.kernels
        try:
            latency_ms = self._whole(sum([kernels[layer.signature] for layer in graph.layers]))
        except KeyError:
            return self._estimated(graph, confidence)
        return Prediction(latency_ms, *self.interval_ms(latency_ms, confidence), ())

    def _whole(self, kernels_ms: float) -> float:
        return self.correction.network_ms + self.correction.scale * kernels_ms

    def _estimated(self, graph: Graph, confidence: float) -> Prediction:
        known = [self.kernels.get(layer.signature) for layer in graph.layers]
        total = sum(ms for ms in known if ms is not None)
        missing = [layer for layer, ms in zip(graph.layers, known, strict=True) if ms is None]
        errors: dict[Signature, float] = {}  # the same kernel twice is the same error twice
        for layer in missing:
            one = self._estimate(layer)
            total += one.ms
            errors[layer.signature] = errors.get(layer.signature, 0.0) + one.ms * one.relative_error
        alone, together = sum(error * error for error in errors.values()), sum(errors.values()) ** 2
        variance = (1 - SHARED) * alone + SHARED * together
        latency_ms = self._whole(total)
        share = self.correction.scale * math.sqrt(variance) / latency_ms
        interval = self.interval_ms(latency_ms, confidence, more=share)
        return Prediction(latency_ms, *interval, tuple(layer.name for layer in missing))

    def kernel_ms(self, layer: Layer) -> float:
        """One kernel as it is in networks, estimated where it was not measured. Raises MissingLatency."""
        found = self.kernels.get(layer.signature)
        return self._estimate(layer).ms if found is None else found

    def _estimate(self, layer: Layer) -> Estimate:
        found = self._estimator.estimate(layer)
        if found is None:
            raise MissingLatency(f"{self._lacks(layer)}, nor any of its kind to estimate it from: {_MEASURE_IT}")
        return found

    @cached_property
    def _estimator(self) -> Estimator:
        return Estimator(self.kernels)

    def interval_ms(self, latency_ms: float, confidence: float = 0.9, *, more: float = 0.0) -> tuple[float, float]:
        """(low, high) between which a network measures that is predicted at `latency_ms`, with that probability.

        predicted / measured - 1 is taken as normal with mean 0 and the table's own error as deviation; `more` is the
        deviation of an independent further error.
        """
        reach = _deviations(0.5 + confidence / 2) * math.hypot(self.relative_error, more)
        return latency_ms / (1.0 + reach), latency_ms / max(0.01, 1.0 - reach)

    def limit_ms(self, budget_ms: float, confidence: float) -> float:
        """The largest prediction whose network measures within `budget_ms` with a probability of `confidence`."""
        return budget_ms * max(0.0, 1.0 - _deviations(confidence) * self.relative_error)

    def layer_ms(self, layer: Layer) -> float:
        """One layer's share of its network's latency in ms: all shares and `correction.network_ms` make the whole."""
        return self.correction.scale * self._measured_ms(layer)

    def missing(self, graph: Graph) -> list[Layer]:
        """The layers of a network whose kernels the table does not hold."""
        return [layer for layer in graph.layers if layer.signature not in self.kernels]

    def _measured_ms(self, layer: Layer) -> float:
        found = self.kernels.get(layer.signature)
        if found is None:
            raise MissingLatency(f"{self._lacks(layer)}: {_MEASURE_IT}")
        return found

    def _lacks(self, layer: Layer) -> str:
        where = f"the latency table ({describe(self.identity)})"
        return f"{where} has no {describe_kernel(layer)}, needed by layer {layer.name}"

    def to_json(self) -> str:
        """The table as JSON text, one kernel a line."""
        head = {
            "identity": self.identity,
            "reference_ms": self.reference_ms,
            "correction": self.correction._asdict(),
            "loose": {**self.loose._asdict(), "factors": dict(self.loose.factors)},
            **({"drift": self.drift} if self.drift else {}),  # a table without one is the file that it always was
            **({"fresh": self.fresh} if self.fresh else {}),
            **({"anchors": dict(self.anchors)} if self.anchors else {}),
        }
        rows = ",\n".join(json.dumps([*signature, ms]) for signature, ms in self.kernels.items())
        return json.dumps(head)[:-1] + ', "kernels": [\n' + rows + "\n]}\n"

    @classmethod
    def from_json(cls, text: str) -> "LatencyTable":
        """The table that `to_json` wrote; InvalidTable says what is damaged."""
        try:
            data = json.loads(text)
            identity = _identity(data["identity"])
            kernels = dict(read_kernel(row) for row in data["kernels"])
            correction = Correction(**{key: _time(value) for key, value in data["correction"].items()})
            loose, drift = _loose(data.get("loose", {})), _number(data.get("drift", 0.0))
            fresh = tuple(map(_number, data.get("fresh", ())))
            anchors = {str(name): _time(ms) for name, ms in data.get("anchors", {}).items()}
            table = cls(identity, _time(data["reference_ms"]), kernels, correction, loose, drift, fresh, anchors)
            if abs(drift) > MOST_DRIFT:
                raise ValueError(f"{drift} is no drift")
            if not all(anchors.values()):
                raise ValueError("an anchor takes no time")
            complete = len(kernels) == len(data["kernels"]) and table.reference_ms and correction.scale
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidTable(
                f"a latency table must be the JSON that LatencyTable.to_json writes; this one is damaged "
                f"({type(error).__name__}: {error}): delete it and measure again with python -m search.latency build"
            ) from None
        if not complete:
            raise InvalidTable(
                "a latency table holds each kernel once and no scale of 0; this one does not: delete it and measure "
                "again with python -m search.latency build"
            )
        return table

    def to_dict(self) -> dict[str, Any]:
        """What the table is, without its kernels, for reports."""
        return {
            "identity": dict(self.identity),
            "reference_ms": self.reference_ms,
            "kernels": len(self.kernels),
            "correction": self.correction._asdict(),
            "drift": self.drift,
            "fresh": list(self.fresh),
            "anchors": dict(self.anchors),
        }


def read_table(path: Path) -> LatencyTable:
    """The table in a file. Raises StorageError for one that cannot be read, InvalidTable for a damaged one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise storage_error("read the latency table", path, error) from error
    except UnicodeDecodeError:
        raise InvalidTable(
            f"a latency table is a text file, {path} is not: write one with search.latency build --out"
        ) from None
    try:
        return LatencyTable.from_json(text)
    except InvalidTable as error:
        raise InvalidTable(f"cannot use {path}: {error}") from None


def describe(identity: Identity) -> str:
    """An identity in a few words."""
    versions = ", ".join(f"{name} {version}" for name, version in identity["versions"].items())
    return (
        f"{identity['machine']}, {identity['runtime']}, {identity['threads']} threads, {identity['dtype']}, "
        f"batch {identity['batch']}, {identity['memory_format']}, {identity['resolution']} px"
        f"{f', {versions}' if versions else ''}"
    )


def describe_kernel(layer: Layer) -> str:
    """A kernel in a few words: op, shapes, and what matters of the rest."""
    shapes = " -> ".join("x".join(map(str, shape)) for shape in (layer.in_shape, layer.out_shape))
    if layer.op == "conv":
        kind = f"{layer.kernel}x{layer.kernel} conv, stride {layer.stride}, groups {layer.groups}, {layer.activation}"
    elif layer.op == "se":
        kind = f"SE to {layer.squeeze_channels}, {layer.activation}, {layer.gate}"
    else:
        kind = layer.op
    return f"kernel {kind} ({shapes})"


@lru_cache
def _deviations(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    from statistics import NormalDist  # not needed by most commands, and slow to import

    return NormalDist().inv_cdf(probability)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _time(value: object) -> float:
    if _number(value) < 0:
        raise ValueError(f"{value!r} is no time, share or factor")
    return _number(value)


def _loose(data: dict[str, Any]) -> Loose:
    if not data.keys() <= set(Loose._fields):
        raise ValueError(f"{data!r} is no way from loose kernels to those of networks")
    factors = {group: _number(factor) for group, factor in data.get("factors", {}).items()}
    return Loose(_number(data.get("kernel_ms", 0.0)), factors, _time(data.get("common", 1.0)))


def read_kernel(row: list[Any]) -> tuple[Signature, float]:
    """A row of the file: op, shapes, and the rest of the signature; ms. Raises ValueError or TypeError for another."""
    op, in_shape, out_shape, *rest, ms = row
    example = Layer("", op, (), tuple(in_shape), tuple(out_shape), "", *rest)
    fields = example.signature
    numbers = (*example.in_shape, *example.out_shape, *(value for value in rest if not isinstance(value, str)))
    if op not in OPS or len(fields) != len(row) - 1 or not all(type(value) is int for value in numbers):
        raise ValueError(f"{row!r} is no kernel")
    if not _time(ms):
        raise ValueError(f"the kernel {row!r} takes no time")
    return fields, float(ms)


def _identity(data: dict[str, Any]) -> Identity:
    if data["schema"] != SCHEMA:
        raise ValueError(f"the schema must be {SCHEMA}, got {data['schema']!r}")
    return Identity(
        schema=SCHEMA,
        machine=str(data["machine"]),
        runtime=str(data["runtime"]),
        threads=int(data["threads"]),
        dtype=str(data["dtype"]),
        batch=int(data["batch"]),
        memory_format=str(data["memory_format"]),
        resolution=int(data["resolution"]),
        versions={str(name): str(version) for name, version in data["versions"].items()},
    )
