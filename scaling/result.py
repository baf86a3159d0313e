"""What a growth gives: the base and what was made of it, each network with its costs, weights where asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scaling import family
from scaling.growth import Grown, by_dimension
from scaling.member import Member
from searchspace.command import show_progress
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec, write_spec
from searchspace.template import Template

if TYPE_CHECKING:
    from search.latency import Measurement
    from searchspace.nn import Network


class Target(NamedTuple):
    """What a network was grown to: the flag, its value, and the unit of a `CostModel`."""

    flag: str
    value: float
    unit: str


@dataclass(kw_only=True)
class Weights:
    """Inherited or trained weights of the network that was grown.

    Attributes:
        module: The network with them, in eval mode.
        about: What is written in the file beside them (JSON types).
        inherited_from: The file of the small network's weights, if any.
        parent: The published weights that it starts from, if any.
        difference: Of the logits from the small network's or the parent's, as a share of the largest; None where they
            tell other classes apart.
        reasons: What stood in the way of equal logits.
        trained: Figures of a training.
        path: Where they were written.
    """

    module: "Network"
    about: Mapping[str, Any]
    inherited_from: Path | None = None
    parent: str | None = None
    difference: float | None = None
    reasons: tuple[str, ...] = ()
    trained: dict[str, Any] | None = None
    path: Path | None = None

    def save(self, out: Path) -> None:
        """Write them as safetensors beside `out`, the file of the spec. Raises StorageError."""
        from searchspace.nn import network_bytes

        self.path = weights_file(out)
        write_atomic(self.path, network_bytes(self.module, self.about))


def weights_file(out: str | Path) -> Path:
    """Where the weights of the network whose spec is written to `out` stand."""
    return Path(out).with_suffix(".safetensors")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A base network and what was made of it.

    Attributes:
        base: The network that grows.
        template: Its table.
        grown: By the formula: one network for each phi, or for each rule.
        published: The EfficientNet that was released for this phi, where there is one.
        by_rule: Whether the networks differ by rule, not by phi.
        from_b0: Whether the base is EfficientNet-B0 because no other was named.
        target: What the network was grown to, if it was not by phi.
        weights: What became of weights, if there are any.
    """

    base: Member
    template: Template
    grown: tuple[Member, ...] = ()
    published: Member | None = None
    by_rule: bool = False
    from_b0: bool = False
    target: Target | None = None
    weights: Weights | None = None

    @property
    def members(self) -> list[Member]:
        """All networks that were made of the base, the formula's first."""
        return [*self.grown, *([self.published] if self.published else [])]

    @property
    def latencies(self) -> LatencyTable | None:
        """The table that predicts latencies."""
        return self.base.latencies

    @property
    def specs(self) -> list[NetworkSpec]:
        """The specs of `members`."""
        return [member.spec for member in self.members]

    @property
    def spec(self) -> NetworkSpec:
        """The one network that was grown. Raises InvalidArgument where there are several."""
        if len(self.grown) > 1:
            raise InvalidArgument(f"this result has {len(self.grown)} networks: take one of its specs")
        return self.specs[0]

    @cached_property
    def module(self) -> "Network":
        """The network in eval mode: with inherited or trained weights where asked for, else with random ones."""
        from searchspace.nn import untrained

        return self.weights.module if self.weights else untrained(self.spec)

    @cached_property
    def by_dimension(self) -> dict[str, Member]:
        """What each dimension does alone to the base, where one network was grown."""
        (member,) = self.grown
        alone = by_dimension(self.template, Grown(member.phi or 0.0, member.factors, member.spec))
        return {name: Member(one.spec, one.factors, self.latencies) for name, one in alone.items()}

    def table(self) -> str:
        """One line a network, at most 100 columns wide: factors, parameters, MACs, activations and latency."""
        return family.as_text(self.base, self.grown or self.members, by_rule=self.by_rule)

    def measure(self, *, by: "Callable[[list[NetworkSpec]], list[Measurement]] | None" = None) -> None:
        """Time all networks: interleaved on this machine, by the table's runtime or in eager torch, or `by` a function.

        Raises InvalidTable for a table of another device, whose predictions a measurement here says nothing of.
        """
        members = [self.base, *self.members]
        for member, measured in zip(members, (by or self._measure_here)([one.spec for one in members]), strict=True):
            member.measured = measured

    def _measure_here(self, specs: list[NetworkSpec]) -> "list[Measurement]":
        from search.latency.measurement import measure_specs, measure_without_table

        seconds = 3.0 * len(specs)
        if self.latencies is not None:
            return measure_specs(specs, table=self.latencies, seconds=seconds, progress=show_progress)
        return measure_without_table(specs, seconds=seconds, progress=show_progress)[0]

    def save(self, out: str | Path | None = None, *, onnx: str | Path | None = None) -> None:
        """Write the spec to `out`, weights beside it where there are any, and an ONNX model with random weights.

        Raises InvalidArgument for several networks, StorageError.
        """
        if onnx is not None:
            from searchspace.nn import untrained
            from searchspace.nn.onnx_model import to_onnx

            write_atomic(Path(onnx), to_onnx(untrained(self.spec)).SerializeToString())
        if out is not None:
            write_spec(Path(out), self.spec)
            if self.weights is not None:
                self.weights.save(Path(out))
