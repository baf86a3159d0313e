"""LatencyTable: the latency of a network from the times of its kernels on one device.

`search.latency` measures tables; this module reads them and predicts with them.

Prediction: latency_ms = network_ms + scale * sum of kernel_ms over the layers of the graph.

Error model: predicted / measured - 1 is normal with mean 0 and the standard deviation sigma:

    sigma = sqrt(relative_error^2 + (scale * s / latency_ms)^2)
    s^2 = (1 - SHARED) * sum(e_k^2) + SHARED * (sum(e_k))^2

`relative_error` is the table's own error on whole networks. `e_k` is the error in ms of a kernel that the table lacks
and estimates: its ms, times how often the network has it, times the relative error of the estimate. With probability c
a network measures between latency_ms / (1 + z sigma) and latency_ms / (1 - z sigma), where z is the quantile of the
standard normal distribution at (1 + c) / 2.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

from searchspace.errors import InvalidTable, MissingLatency, StorageError
from searchspace.files import storage_error
from searchspace.graph import OPS, Graph, Layer, Signature, lower
from searchspace.latency.estimate import Estimate, Estimator, coarse_group_of, group_of, layer_of
from searchspace.spec import NetworkSpec
from searchspace.strict_json import CHECKSUM, ChangedContent, check, checksum_of, parsed

SCHEMA = 2  # of what is measured: tables of two of them cannot be compared
FILE_SCHEMA = 3  # of the names in the file
MOST_DRIFT = 0.5
# Fitted to the errors of real tables: 0 is the likeliest value for 168 networks of the zoo checked by four tables
# minutes after they were built, and 0.05 for 420 networks checked by ten tables of other sessions, without session
# effects removed. With 0 as few as 69 % of one of those tables' networks lay in their 90 % interval.
SHARED = 0.01
_SCHEMA_2 = {"kernel_correction": "loose", "holdout_errors": "fresh", "probe_networks_ms": "anchors"}  # its names
_DEFAULTS = Layer("", "", (), (1, 1, 1), (1, 1, 1))[6:13]  # of a kernel's row behind its shapes
_MEASURE_IT = (
    "measure it with search.latency.table_for(space, networks=[spec]), or, if it is of a published network, with "
    "python -m search.latency build --zoo"
)


class Identity(TypedDict):
    """Device and setting of a table. Two tables belong to the same exactly when these are equal."""

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
    """A network's predicted latency in ms, its interval, and the names of the layers whose kernels are estimated."""

    latency_ms: float
    low_ms: float
    high_ms: float
    estimated: tuple[str, ...]


class Correction(NamedTuple):
    """From the sum of a network's kernels to the network: network_ms + scale * sum.

    `relative_error` is the standard deviation of predicted / measured - 1 over networks of the search space that were
    left out of the fit in turn. Holdout networks count too once they are measured (see
    search.latency.build.with_holdout_error).
    """

    scale: float
    network_ms: float
    relative_error: float


class KernelCorrection(NamedTuple):
    """From a kernel's time in isolated blocks to its time in a network: kernel_ms + factor * ms.

    The factor is that of the kernel's group (searchspace.latency.estimate.group_of), else of its coarse group, else
    `common`.
    """

    kernel_ms: float
    factors: Mapping[str, float]
    common: float

    def in_network_ms(self, signature: Signature, isolated_ms: float) -> float:
        """A kernel's ms in a network; never below a twentieth of what the common factor gives."""
        layer = layer_of(signature)
        factor = self.factors.get(group_of(layer), self.factors.get(coarse_group_of(layer), self.common))
        return max(0.05 * self.common * isolated_ms, self.kernel_ms + factor * isolated_ms)


UNCORRECTED = KernelCorrection(0.0, {}, 1.0)


@dataclass(frozen=True)
class LatencyTable:
    """Kernel times of one device, and the fit from their sum to whole networks.

    `kernels` holds the ms of each `Layer.signature` inside a network, at the speed at which the reference network takes
    `reference_ms`. `kernel_correction` turned times in isolated blocks into them; kernels added later need it too.
    `drift` says how much less than the reference networks slow down on a slow machine (search.latency.time_base).
    `holdout_errors` are predicted / measured - 1 of networks measured after the fit. `probe_networks_ms` holds the
    usual ms, by name, of the networks timed in every round (search.latency.probe_networks). `quick`: only a part of the
    kernels of its space was timed, the rest are to be estimated (search.latency.quick).
    """

    identity: Identity
    reference_ms: float
    kernels: Mapping[Signature, float]
    correction: Correction
    kernel_correction: KernelCorrection = UNCORRECTED
    drift: float = 0.0
    holdout_errors: tuple[float, ...] = ()
    probe_networks_ms: Mapping[str, float] = field(default_factory=dict)
    quick: bool = False

    @property
    def relative_error(self) -> float:
        """The table's own error on whole networks (see Correction)."""
        return self.correction.relative_error

    def latency_ms(self, graph: Graph) -> float:
        """Predicted ms of a network at batch 1. Raises MissingLatency naming the first kernel that is not measured."""
        kernels = self.kernels
        try:
            return self._whole(sum([kernels[layer.signature] for layer in graph.layers]))
        except KeyError:
            raise MissingLatency(f"{self._lacks(self.missing(graph)[0])}: {_MEASURE_IT}") from None

    def predict(self, network: NetworkSpec | Graph, confidence: float = 0.9) -> Prediction:
        """Predicted ms of any network at any resolution, with the interval that holds it with `confidence`.

        Kernels that the table lacks are estimated from those of their kind (searchspace.latency.estimate). A spec is
        lowered first; give the graph if you have it. Raises MissingLatency naming the first layer of a kind that the
        table has none of.
        """
        graph = lower(network) if isinstance(network, NetworkSpec) else network
        kernels = self.kernels
        try:
            latency_ms = self._whole(sum([kernels[layer.signature] for layer in graph.layers]))
        except KeyError:  # not MissingLatency, whose text takes longer than the prediction
            return self._estimated(graph, confidence)
        return Prediction(latency_ms, *self.interval_ms(latency_ms, confidence), ())

    def _estimated(self, graph: Graph, confidence: float) -> Prediction:
        latency_ms = self.cost_ms(graph)
        interval = self.interval_ms(latency_ms, confidence, extra_error=self.estimation_error(graph, latency_ms))
        return Prediction(latency_ms, *interval, tuple(layer.name for layer in self.missing(graph)))

    def cost_ms(self, graph: Graph) -> float:
        """Predicted ms; kernels that the table lacks are estimated. Raises MissingLatency."""
        return self._whole(sum(map(self.kernel_ms, graph.layers)))

    def estimation_errors_ms(self, graph: Graph) -> dict[Signature, float]:
        """The standard deviation, in ms, of what each estimated kernel of a network adds to it."""
        errors_ms: dict[Signature, float] = {}  # the same kernel twice has the same error twice
        for layer in self.missing(graph):
            one = self._estimate(layer)
            error_ms = self.correction.scale * one.ms * one.relative_error
            errors_ms[layer.signature] = errors_ms.get(layer.signature, 0.0) + error_ms
        return errors_ms

    def estimation_error(self, graph: Graph, latency_ms: float) -> float:
        """The relative standard deviation of a prediction of `latency_ms` by estimated kernels alone."""
        errors_ms = self.estimation_errors_ms(graph).values()
        independent, shared = sum(error * error for error in errors_ms), sum(errors_ms) ** 2
        return math.sqrt((1 - SHARED) * independent + SHARED * shared) / latency_ms

    def _whole(self, kernels_ms: float) -> float:
        return self.correction.network_ms + self.correction.scale * kernels_ms

    def kernel_ms(self, layer: Layer) -> float:
        """One kernel's ms in a network, estimated if it was not measured. Raises MissingLatency."""
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

    def interval_ms(
        self, latency_ms: float, confidence: float = 0.9, *, extra_error: float = 0.0
    ) -> tuple[float, float]:
        """(low, high): where a network predicted at `latency_ms` measures with probability `confidence`.

        `extra_error` is the standard deviation of a further, independent relative error.
        """
        reach = _normal_quantile(0.5 + confidence / 2) * math.hypot(self.relative_error, extra_error)
        return latency_ms / (1.0 + reach), latency_ms / max(0.01, 1.0 - reach)

    def prediction_limit_ms(self, budget_ms: float, confidence: float) -> float:
        """The largest prediction whose network measures within `budget_ms` with probability `confidence`."""
        return budget_ms * max(0.0, 1.0 - _normal_quantile(confidence) * self.relative_error)

    def missing(self, graph: Graph) -> list[Layer]:
        """The layers of a network whose kernels were not measured."""
        return [layer for layer in graph.layers if layer.signature not in self.kernels]

    def prices(self, network: NetworkSpec | Graph) -> bool:
        """Whether every kernel of a network is measured or can be estimated."""
        try:
            self.predict(network)
        except MissingLatency:
            return False
        return True

    def _lacks(self, layer: Layer) -> str:
        where = f"the latency table ({describe(self.identity)})"
        return f"{where} has no {layer.describe()}, needed by layer {layer.name}"

    def to_json(self) -> str:
        """The table as JSON text, one kernel a line, with a checksum in its second line."""
        text = _to_json({"schema": FILE_SCHEMA, **self._head()}, self.kernels)
        return f'{{\n"{CHECKSUM}": "{checksum_of(json.loads(text))}",\n{text[1:]}'

    def fingerprint(self) -> str:
        """16 hex digits of the content. They stay the same for the file that schema 2 wrote: studies store them."""
        head = {_SCHEMA_2.get(name, name): value for name, value in self._head().items() if value}
        return hashlib.sha256(_to_json(head, self.kernels).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The table for reports, with the number of its kernels only."""
        return {**self._head(), "kernels": len(self.kernels)}

    def _head(self) -> dict[str, Any]:
        return {
            "identity": dict(self.identity),
            "reference_ms": self.reference_ms,
            "correction": self.correction._asdict(),
            "kernel_correction": {**self.kernel_correction._asdict(), "factors": dict(self.kernel_correction.factors)},
            "drift": self.drift,
            "holdout_errors": list(self.holdout_errors),
            "probe_networks_ms": dict(self.probe_networks_ms),
            **({"quick": True} if self.quick else {}),
        }

    @classmethod
    def from_json(cls, text: str) -> "LatencyTable":
        """The table that `to_json` wrote, now or with schema 2. Raises InvalidTable saying what is damaged."""
        try:
            data, checksum = parsed(text)
            if not isinstance(data, dict):
                raise ValueError(f"it must be a JSON object, got {type(data).__name__}")
            table = _from_dict(data)
            check(data, checksum)
            return table
        except ChangedContent as error:
            raise InvalidTable(f"this latency table is damaged, {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidTable(
                f"a latency table must be the JSON that LatencyTable.to_json writes; this one is damaged "
                f"({type(error).__name__}: {error}): delete it and measure again with python -m search.latency build"
            ) from None


def read_table(path: Path) -> LatencyTable:
    """The table in a file. Raises StorageError if it cannot be read, InvalidTable if it is damaged."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        told = storage_error("read the latency table", path, error)
        raise StorageError(f"{told}; python -m search.latency build --out FILE makes one") from error
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


@lru_cache
def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist  # not needed by most commands, and slow to import

    return NormalDist().inv_cdf(probability)


def _to_json(head: dict[str, Any], kernels: Mapping[Signature, float]) -> str:
    rows = ",\n".join(json.dumps([*signature, ms]) for signature, ms in kernels.items())
    return json.dumps(head)[:-1] + ', "kernels": [\n' + rows + "\n]}\n"


def _from_dict(data: dict[str, Any]) -> LatencyTable:
    """The table of a file's content. Raises what wrong content raises: ValueError, TypeError, KeyError, ..."""
    schema = data.get("schema", 2)
    if type(schema) is not int or schema not in (2, FILE_SCHEMA):
        raise ValueError(f"the file's schema must be 2 or {FILE_SCHEMA}, got {schema!r}")
    names = _SCHEMA_2 if schema == 2 else {name: name for name in _SCHEMA_2}
    probes = data.get(names["probe_networks_ms"], {})
    unknown = (
        data.keys()
        - {"schema", "identity", "reference_ms", "kernels", "correction", "drift", "quick"}
        - {*names.values()}
    )
    if unknown:
        raise ValueError(f"it has the unknown field {min(unknown)!r}")
    table = LatencyTable(
        _identity(data["identity"]),
        _time(data["reference_ms"]),
        dict(read_kernel(row) for row in data["kernels"]),
        Correction(**{key: _time(value) for key, value in data["correction"].items()}),
        _kernel_correction(data.get(names["kernel_correction"], {})),
        _number(data.get("drift", 0.0)),
        tuple(map(_number, data.get(names["holdout_errors"], ()))),
        {str(name): _time(ms) for name, ms in probes.items()},
        data.get("quick", False) is True,
    )
    if abs(table.drift) > MOST_DRIFT:
        raise ValueError(f"{table.drift} is no drift")
    if not all(table.probe_networks_ms.values()):
        raise ValueError("a probe network takes no time")
    if not (len(table.kernels) == len(data["kernels"]) and table.reference_ms and table.correction.scale):
        raise ValueError("it must hold each kernel once, and no scale or reference time of 0")
    return table


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _time(value: object) -> float:
    if _number(value) < 0:
        raise ValueError(f"{value!r} is no time, share or factor")
    return _number(value)


def _kernel_correction(data: dict[str, Any]) -> KernelCorrection:
    if not data.keys() <= set(KernelCorrection._fields):
        raise ValueError(f"{data!r} does not correct kernels of isolated blocks")
    factors = {group: _number(factor) for group, factor in data.get("factors", {}).items()}
    return KernelCorrection(_number(data.get("kernel_ms", 0.0)), factors, _time(data.get("common", 1.0)))


def read_kernel(row: list[Any]) -> tuple[Signature, float]:
    """A row of the file: the signature and its ms. Raises ValueError or TypeError for anything else."""
    op, in_shape, out_shape, *rest, ms = row
    example = Layer("", op, (), tuple(in_shape), tuple(out_shape), "", *rest)
    fields = example.signature
    numbers = (*example.in_shape, *example.out_shape, *(value for value in rest if not isinstance(value, str)))
    shapes = (example.in_shape, example.out_shape)
    is_sound = len(fields) == len(row) - 1 and all(type(value) is int and value >= 0 for value in numbers)
    words = [type(value) is type(default) for value, default in zip(rest, _DEFAULTS, strict=False)]
    if op not in OPS or not is_sound or not all(words) or any(len(shape) != 3 or 0 in shape for shape in shapes):
        raise ValueError(f"{row!r} is no kernel")
    if not _time(ms):
        raise ValueError(f"the kernel {row!r} takes no time")
    return fields, float(ms)


def _identity(data: dict[str, Any]) -> Identity:
    if data["schema"] != SCHEMA:
        raise ValueError(f"the identity's schema must be {SCHEMA}, got {data['schema']!r}")
    if data.keys() != Identity.__annotations__.keys():
        raise ValueError(f"the identity must have {', '.join(Identity.__annotations__)}, got {', '.join(data)}")
    numbers = [data[name] for name in ("schema", "threads", "batch", "resolution")]
    versions = data["versions"]
    texts = [data[name] for name in ("machine", "runtime", "dtype", "memory_format")] + [*versions.values()]
    if not all(type(value) is int and value > 0 for value in numbers) or not all(type(text) is str for text in texts):
        raise ValueError(f"{data!r} is no device and setting")
    return cast(Identity, {name: data[name] for name in Identity.__annotations__})
