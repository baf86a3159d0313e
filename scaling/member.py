"""A network with what it costs: parameters, MACs, memory and latency."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scaling.formula import Coefficients, Factors
from searchspace.cost import Costs, costs
from searchspace.graph import Graph, lower
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from search.latency import Measurement


@dataclass(eq=False)
class Member:
    """One network of a result with what it costs; each figure is computed when it is first asked for.

    `factors` made it from the base. `name` is the rule's ("own" for coefficients of one's own), or "b3" of a published
    network, whose `phi` and `coefficients` are None.
    """

    spec: NetworkSpec
    factors: Factors
    latencies: LatencyTable | None
    name: str = "base"
    phi: float | None = None
    coefficients: Coefficients | None = None
    measured: "Measurement | None" = None

    @property
    def title(self) -> str:
        """The name in a report."""
        return f"published {self.name.upper()}" if self.phi is None else f"formula, phi = {self.phi:.4g}"

    @cached_property
    def graph(self) -> Graph:
        """The network's layers."""
        return lower(self.spec)

    @cached_property
    def costs(self) -> Costs:
        """Parameters, MACs and bytes, batch 1."""
        return costs(self.graph)

    @cached_property
    def latency(self) -> Prediction | None:
        """What the latency table says; None without one. Raises MissingLatency."""
        return None if self.latencies is None else self.latencies.predict(self.graph)

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types; bytes are for batch 1 and float32."""
        return {
            "name": self.spec.name,
            "resolution": self.spec.resolution,
            "params": self.costs.params,
            "macs": self.costs.macs,
            "activation_bytes": self.costs.activation_bytes,
            "peak_memory_bytes": self.costs.peak_memory_bytes,
            "latency": self.latency and self.latency._asdict(),
            "measured": self.measured and asdict(self.measured),
            "fingerprint": self.spec.fingerprint(),
        }
