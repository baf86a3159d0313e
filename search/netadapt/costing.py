"""What a budget is counted in: latency by a table, MACs or parameters. Each is a sum over layers."""

from dataclasses import dataclass
from functools import cached_property

from searchspace.channels.coupling import ChannelGroup
from searchspace.channels.steps import narrowed_layers
from searchspace.cost import costs, layer_params_macs
from searchspace.errors import InvalidArgument
from searchspace.graph import Graph, Layer, Signature
from searchspace.latency.table import LatencyTable

UNITS = ("ms", "macs", "params")
CONFIDENCE = 0.95  # with which a network that is only predicted keeps a budget


@dataclass(frozen=True)
class Costing:
    """`unit` is one of UNITS; "ms" needs the table."""

    unit: str
    table: LatencyTable | None = None

    @cached_property
    def _known(self) -> dict[Signature, float]:
        return {}

    def of(self, graph: Graph) -> float:
        """The network's cost; ms are those that the table predicts. Raises MissingLatency."""
        if self.unit == "params":
            return costs(graph).params  # shared weights count once
        return self._constant + sum(map(self.layer, graph.layers))

    def layer(self, layer: Layer) -> float:
        """One layer's share. Raises MissingLatency for a kind of kernel that the table has none of."""
        if self.unit not in ("macs", "params") and (self.unit != "ms" or self.table is None):
            raise InvalidArgument(
                f"a cost is counted in {', '.join(UNITS)}, ms by a latency table; got {self.unit!r} and "
                f"{'no table' if self.table is None else 'a table'}"
            )
        if self.table is None:
            return layer_params_macs(layer)[self.unit == "macs"]
        key = layer.signature
        if key not in self._known:
            self._known[key] = self.table.correction.scale * self.table.kernel_ms(layer)
        return self._known[key]

    @property
    def _constant(self) -> float:
        return self.table.correction.network_ms if self.table else 0.0

    def narrowed(self, graph: Graph, group: ChannelGroup, channels: int) -> float:
        """How much less a network costs with `group` at `channels` channels."""
        changed = narrowed_layers(graph, group, channels)
        return sum(self.layer(graph.layers[index]) - self.layer(layer) for index, layer in changed.items())

    def text(self, value: float) -> str:
        """A cost for people: 12.34 ms, 301 M MACs, 4.2 M parameters."""
        if self.unit == "ms":
            return f"{value:.2f} ms"
        return f"{value / 1e6:.4g} M {'MACs' if self.unit == 'macs' else 'parameters'}"
