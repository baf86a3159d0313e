"""What a pruning keeps of its iterations, as values that are written to JSON and read back."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from search.latency.measurement import Measurement
from search.netadapt.timing import Timing
from searchspace.spec import NetworkSpec

SCHEMA = 2  # schema 1, in files that name none, says "tried" for "proposals" and "tuned" for "trained"


@dataclass(frozen=True, kw_only=True)
class ProposalRecord:
    """A proposal and what was found out about it.

    Attributes:
        spec: The network after it as JSON; "" for a user's own module.
        cost: Predicted, in the budget's unit, scaled to what the network before it measures.
        screened: Accuracy on validation images before any training, a fraction.
        accuracy: The same after the short training; None where it was not trained, 0 where that diverged.
        seconds: Of the short training.
        diverged: Whether its training diverged. Such a proposal is never accepted.
        timing: Its paired test against the network before it; None where it was not timed.
    """

    move: str
    where: str
    channels: int | None
    name: str
    spec: str
    fingerprint: str
    params: int
    macs: int
    cost: float
    screened: float
    accuracy: float | None = None
    seconds: float | None = None
    diverged: bool = False
    timing: Timing | None = None
    accepted: bool = False

    @property
    def last_accuracy(self) -> float:
        """After the short training, or before it where there was none."""
        return self.screened if self.accuracy is None else self.accuracy

    @property
    def refused(self) -> bool:
        """Whether it was found slower or diverged; asked only where no proposal of the iteration was accepted."""
        return self.timing is not None or self.diverged


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """The network after an iteration; number 0 is the start.

    Attributes:
        spec: None for a user's own module.
        cost: Measured where networks are timed, else predicted or counted; in the budget's unit.
        accuracy: On validation images after the short training, a fraction.
        target: The cost that the iteration asked for.
        measured: The network's own measurement, taken near a budget.
        reached: The budgets that this network is within and the one before it was not.
    """

    number: int
    spec: NetworkSpec | None = None
    cost: float
    accuracy: float
    target: float
    measured: Measurement | None = None
    reached: tuple[float, ...] = ()
    proposals: tuple[ProposalRecord, ...] = ()

    @property
    def accepted(self) -> ProposalRecord | None:
        """The proposal that was accepted."""
        return next((one for one in self.proposals if one.accepted), None)

    def to_json(self) -> str:
        """JSON text."""
        spec = None if self.spec is None else json.loads(self.spec.to_json())
        return json.dumps({"schema": SCHEMA, **asdict(self), "spec": spec}, indent=1)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Iteration":
        """What `to_json` wrote, in this schema or in schema 1."""
        data = dict(data)
        rows = data.pop("tried" if data.pop("schema", 1) == 1 else "proposals")
        proposals = tuple(ProposalRecord(**{**row, "timing": row["timing"] and Timing(*row["timing"])}) for row in rows)
        return cls(
            **{
                **data,
                "spec": NetworkSpec.from_json(json.dumps(data["spec"])),
                "proposals": proposals,
                "measured": data["measured"] and Measurement(**data["measured"]),
                "cost": float(data["cost"]),
                "reached": tuple(data["reached"]),
            }
        )


@dataclass(frozen=True)
class Part:
    """What was found out in the iteration under way.

    Attributes:
        trained: Outcomes of short trainings by the target's text and the proposal's name.
        timings: Outcomes of timing tests by pair, see `search.netadapt.timing.key`.
        measured: Networks measured by themselves, by fingerprint.
    """

    number: int
    trained: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Part":
        """What `to_json` wrote, in this schema or in schema 1."""
        timings = {name: Timing(*row) for name, row in data["timings"].items()}
        measured = {name: Measurement(**row) for name, row in data["measured"].items()}
        trained = data["tuned" if data.get("schema", 1) == 1 else "trained"]
        return cls(int(data["number"]), dict(trained), timings, measured)
