"""Several growths of one base in one table: a family over phi, or rules side by side."""

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scaling.coefficients import Coefficients
from scaling.growth import Grown
from searchspace.command import show_progress
from searchspace.cost import Costs, costs
from searchspace.describe import short, table
from searchspace.graph import Graph, lower
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.serialize import spec_to_dict
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from search.latency.measurement import Measurement


WIDEST = 100  # columns of a terminal that a table may take


class Priced:
    """A network with what it costs; each figure is computed when it is first asked for."""

    def __init__(self, spec: NetworkSpec, latencies: LatencyTable | None = None) -> None:
        self.spec = spec
        self.measured: Measurement | None = None
        self._latencies = latencies

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
        return None if self._latencies is None else self._latencies.predict(self.graph)

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types; bytes are for batch 1 and float32."""
        own = self.costs
        return {
            "name": self.spec.name,
            "resolution": self.spec.resolution,
            "params": own.params,
            "macs": own.macs,
            "activation_bytes": own.activation_bytes,
            "peak_memory_bytes": own.peak_memory_bytes,
            "latency": self.latency and self.latency._asdict(),
            "measured": self.measured and asdict(self.measured),
            "fingerprint": self.spec.fingerprint(),
        }


class Member(NamedTuple):
    """One row of a family: what tells it from the others, the rule's bases, what was grown and what it costs."""

    title: str
    coefficients: Coefficients
    grown: Grown
    priced: Priced


class Family(NamedTuple):
    """Growths of one base. `heading` names what `title` of the members is: "phi" or "rule"."""

    base: Priced
    members: tuple[Member, ...]
    heading: str
    latencies: LatencyTable | None = None

    @property
    def networks(self) -> list[Priced]:
        """Base first."""
        return [self.base, *(member.priced for member in self.members)]


def family_dict(family: Family) -> dict[str, Any]:
    """The family as JSON types."""
    return {
        "base": family.base.as_dict(),
        family.heading: [
            {
                family.heading: member.title,
                "phi": member.grown.phi,
                **member.grown.factors._asdict(),
                "coefficients": asdict(member.coefficients),
                **member.priced.as_dict(),
                "spec": spec_to_dict(member.grown.spec),
            }
            for member in family.members
        ],
        "latency_table": family.latencies and family.latencies.to_dict(),
    }


def family_text(family: Family) -> str:
    """The table for people, with what its columns mean."""
    base = family.base
    bases = family.heading == "rule"
    titles = ["base", *(member.title for member in family.members)]
    grown = [*(("alpha", "beta", "gamma", "phi") if bases else ()), "depth", "width", "px"]
    factors = [[*[""] * (len(grown) - 1), str(base.spec.resolution)]]
    for member in family.members:
        own = member.coefficients
        coefficients = [f"{own.alpha:.3f}", f"{own.beta:.3f}", f"{own.gamma:.3f}", f"{member.grown.phi:.3g}"]
        depth, width, resolution = member.grown.factors
        factors.append([*(coefficients if bases else ()), f"{depth:.3f}", f"{width:.3f}", str(resolution)])
    headers = ["params", "MACs", "x base", "activations", "x base"]
    rows = [_figures(one, base) for one in family.networks]
    for name, cell in _LATENCIES:
        column = [cell(priced) for priced in family.networks]
        if any(column):
            headers.append(name)
            rows = [[*row, text] for row, text in zip(rows, column, strict=True)]
    legend = "Activations: what all layers write, batch 1, float32."
    if family.latencies:
        identity = family.latencies.identity
        legend += (
            f" Latency: predicted for {identity['runtime']}, {identity['threads']} threads, {identity['machine']}, "
            "with its 90 % interval"
        )
        legend += "; ~ some kernels are not in the table and were estimated." if _any_estimated(family) else "."
    shown = _columns(family.heading, titles, (grown, headers), (factors, rows))
    return f"{shown}\n{textwrap.fill(legend, WIDEST, break_long_words=False)}"


def _columns(
    heading: str, titles: Sequence[str], headers: Sequence[list[str]], parts: Sequence[list[list[str]]]
) -> str:
    """Parts of a table side by side, or where that is too wide, one under the other; each row behind its title."""

    def one(own: list[str], *rows: list[list[str]]) -> str:
        lines = [[title, *itertools.chain(*cells)] for title, *cells in zip(titles, *rows, strict=True)]
        return table([heading, *own], lines, text_columns=(0,))

    whole = one([*itertools.chain(*headers)], *parts)
    if max(map(len, whole.splitlines())) <= WIDEST:
        return whole
    return "\n\n".join(one(own, rows) for own, rows in zip(headers, parts, strict=True))


def _figures(own: Priced, base: Priced) -> list[str]:
    cost, of = own.costs, base.costs
    return [
        short(cost.params),
        short(cost.macs),
        f"{cost.macs / of.macs:.2f}",
        f"{cost.activation_bytes / 1e6:.1f} MB",
        f"{cost.activation_bytes / of.activation_bytes:.2f}",
    ]


def latency_text(one: Prediction | None) -> str:
    """The predicted ms; a ~ where kernels were estimated."""
    return "" if one is None else f"{'~' if one.estimated else ''}{one.latency_ms:.2f}"


def interval_text(one: Prediction | None) -> str:
    """The ends of the 90 % interval, ms."""
    return "" if one is None else f"{one.low_ms:.2f} to {one.high_ms:.2f}"


_LATENCIES: tuple[tuple[str, Callable[[Priced], str]], ...] = (
    ("ms", lambda own: latency_text(own.latency)),
    ("interval", lambda own: interval_text(own.latency)),
    ("measured", lambda own: f"{own.measured.latency_ms:.2f}" if own.measured else ""),
    ("off by", lambda own: _off(own)),
    ("", lambda own: "noisy" if own.measured and own.measured.noisy else ""),
)


def _off(own: Priced) -> str:
    """How far the prediction is from the measurement."""
    if own.latency is None or own.measured is None:
        return ""
    return f"{own.latency.latency_ms / own.measured.latency_ms - 1:+.1%}"


def _any_estimated(family: Family) -> bool:
    return any(priced.latency is not None and priced.latency.estimated for priced in family.networks)


def measure(networks: Sequence[Priced], latencies: LatencyTable | None, *, seconds: float | None = None) -> None:
    """Measure all networks on this machine, interleaved: on the table's runtime and threads, in its ms; without a table
    in eager torch.

    Raises InvalidTable for a table of another device, whose predictions a measurement here says nothing of, and other
    PhinasErrors (a cache that cannot be written).
    """
    from search.latency.measurement import measure_specs as measure_by
    from search.latency.measurement import measure_without_table

    specs, seconds = [priced.spec for priced in networks], seconds or 3.0 * len(networks)
    if latencies is None:
        found, _ = measure_without_table(specs, seconds=seconds, progress=show_progress)
    else:
        found = measure_by(specs, table=latencies, seconds=seconds, progress=show_progress)
    show_progress(1.0, "")
    for priced, one in zip(networks, found, strict=True):
        priced.measured = one


def plot(family: Family, figure: Any, path: Path) -> None:
    """MACs, parameters and latency against phi, as multiples of the base. Raises StorageError."""
    from studies.figure import save_figure

    axes = figure.subplots()
    base = family.base
    members = sorted(family.members, key=lambda member: member.grown.phi)
    curves: dict[str, Callable[[Priced], float]] = {
        "MACs": lambda own: own.costs.macs,
        "parameters": lambda own: own.costs.params,
        "activations": lambda own: own.costs.activation_bytes,
    }
    if base.latency:
        curves["predicted latency"] = lambda own: own.latency.latency_ms if own.latency else 0.0
    if base.measured:
        curves["measured latency"] = lambda own: own.measured.latency_ms if own.measured else 0.0
    for name, value in curves.items():
        points = [(member.grown.phi, value(member.priced) / value(base)) for member in members]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="phi", ylabel="multiple of the base", yscale="log", title=f"{base.spec.name} by compound scaling")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)
