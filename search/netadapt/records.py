"""What a pruning keeps of its iterations, as values that are written to JSON and read back."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from search.latency.measurement import Measurement
from search.netadapt.timing import Timing
from searchspace.spec import NetworkSpec
from searchspace.strict_json import dumps

SCHEMA = 2  # files that name none are of schema 1
_PROPOSALS, _TRAINED = {1: "tried", 2: "proposals"}, {1: "tuned", 2: "trained"}


@dataclass(frozen=True, kw_only=True)
class ProposalRecord:
    """A proposal and what was found out about it.

    cost: predicted, in the budget's unit, scaled to what the network before it measures. screened, accuracy: fractions
    of validation images, before and after the short training; `accuracy` is None where there was none, and 0 where it
    diverged. spec: JSON of the network after it, "" for a user's own module.
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
    def refused(self) -> bool:
        """Whether it was found slower or diverged; of iterations in which no proposal was accepted."""
        return self.timing is not None or self.diverged


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """The network after an iteration; number 0 is the start.

    cost: measured where networks are timed, else predicted or counted. target: the cost that was asked for. measured:
    the network by itself, near a budget. reached: the budgets that it is the first within. spec: None for a user's own
    module.
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
        return dumps({"schema": SCHEMA, **asdict(self), "spec": spec})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Iteration":
        """What `to_json` wrote, in this schema or in schema 1."""
        rows = [
            ProposalRecord(**row | {"timing": row["timing"] and Timing(*row["timing"])})
            for row in data[_PROPOSALS[data.get("schema", 1)]]
        ]
        own = {name: value for name, value in data.items() if name not in ("schema", "tried")} | {
            "spec": NetworkSpec.from_json(json.dumps(data["spec"])),
            "proposals": tuple(rows),
            "measured": data["measured"] and Measurement(**data["measured"]),
            "cost": float(data["cost"]),
            "reached": tuple(data["reached"]),
        }
        return cls(**own)


@dataclass(frozen=True)
class Part:
    """What was found out in the iteration under way, or of timings in all of them.

    trained: outcomes of short trainings by the target's text and the proposal's name. timings: by pair, see
    `search.netadapt.timing.key`. measured: networks by themselves, by fingerprint.
    """

    number: int
    trained: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)

    def to_json(self) -> str:
        """JSON text."""
        return dumps({"schema": SCHEMA, **asdict(self)}, indent=None)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Part":
        """What `to_json` wrote, in this schema or in schema 1."""
        timings = {name: Timing(*row) for name, row in data["timings"].items()}
        measured = {name: Measurement(**row) for name, row in data["measured"].items()}
        return cls(data["number"], data[_TRAINED[data.get("schema", 1)]], timings, measured)
