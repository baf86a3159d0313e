"""What a refinement did, on disk: spec, weights and record of each iteration, written before the next begins.

An iteration counts once its record is there, which is written last. What was trained and timed within an iteration
that was cut off is kept too, so that it is not done again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search.latency.measurement import Measurement
from search.netadapt.timing import Timing, key
from searchspace.errors import PhinasError, StudyMismatch
from searchspace.files import read_json, write_atomic
from searchspace.nn import Network, load_weights, network_bytes, read_weights
from searchspace.spec import NetworkSpec
from studies.storage import ITERATIONS

_RECORD = "iteration.json"
_PART = "part.json"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A proposal and what was found out about it. `cost` is predicted, in the budget's unit; accuracies are fractions
    of validation images, `screened` before any training, `accuracy` after the short one (None: not trained; 0 where it
    `diverged`, and such a proposal is never accepted)."""

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
        """After the short training, else before."""
        return self.screened if self.accuracy is None else self.accuracy


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """The network after an iteration; number 0 is the start. `cost`: measured where there is a device, else predicted;
    `reached`: the budgets that it meets and the one before did not."""

    number: int
    spec: NetworkSpec
    cost: float
    accuracy: float
    target: float
    measured: Measurement | None = None
    reached: tuple[float, ...] = ()
    tried: tuple[Tried, ...] = ()

    @property
    def accepted(self) -> Tried | None:
        """The proposal that was taken."""
        return next((one for one in self.tried if one.accepted), None)

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps({**asdict(self), "spec": json.loads(self.spec.to_json())}, indent=1)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Iteration":
        """What `to_json` wrote."""
        tried = tuple(Tried(**{**row, "timing": row["timing"] and Timing(*row["timing"])}) for row in data["tried"])
        measured = data["measured"] and Measurement(**data["measured"])
        spec = NetworkSpec.from_json(json.dumps(data["spec"]))
        cost, reached = float(data["cost"]), tuple(data["reached"])
        return cls(**{**data, "spec": spec, "tried": tried, "measured": measured, "cost": cost, "reached": reached})


def _damaged(path: Path, error: Exception) -> StudyMismatch:
    return StudyMismatch(
        f"{path} is missing or damaged ({type(error).__name__}: {error}); restore it from a copy, or begin anew: "
        "--fresh sets this study aside, --study NAME takes another name"
    )


@dataclass(frozen=True)
class Part:
    """What an iteration under way has found out: short trainings by target and proposal, outcomes of timing tests by
    pair (`search.netadapt.timing.key`), networks measured by themselves by fingerprint."""

    number: int
    tuned: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Part":
        """What `History.keep` wrote."""
        timings = {name: Timing(*row) for name, row in data["timings"].items()}
        measured = {name: Measurement(**row) for name, row in data["measured"].items()}
        return cls(int(data["number"]), dict(data["tuned"]), timings, measured)


class History:
    """The iterations in a study's folder. `keep_all`: weights of all iterations stay, not only those still needed."""

    def __init__(self, folder: Path, *, keep_all: bool, about: Mapping[str, Any] | None = None) -> None:
        """about: what is written beside all weights."""
        self.folder = folder / ITERATIONS
        self._keep_all, self._about = keep_all, about or {}
        self.iterations = self._read()

    def _read(self) -> list[Iteration]:
        found: list[Iteration] = []
        while (path := self._path(len(found), _RECORD)).exists():
            try:
                found.append(Iteration.from_dict(read_json(path)))
            except (PhinasError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise _damaged(path, error) from None
        return found

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:03d}.{suffix}"

    def network(self, number: int) -> Network:
        """The network after an iteration, in eval mode. Raises StudyMismatch where its weights are gone."""
        path = self._path(number, "safetensors")
        try:
            return load_weights(self.iterations[number].spec, read_weights(path)).eval()
        except PhinasError as error:
            raise _damaged(path, error) from None

    @property
    def lost(self) -> bool:
        """Whether weights of an iteration are gone."""
        return not all(self._path(one.number, "safetensors").exists() for one in self.iterations)

    def commit(self, iteration: Iteration, network: Network) -> None:
        """Keep an iteration: spec and weights, which every command takes, then its record. What was kept of it while it
        was under way, and the weights before it where nobody needs them, go."""
        about = {**self._about, "fingerprint": iteration.spec.fingerprint()}
        write_atomic(self._path(iteration.number, "safetensors"), network_bytes(network, about))
        write_atomic(self._path(iteration.number, "json"), iteration.spec.to_json())
        write_atomic(self._path(iteration.number, _RECORD), iteration.to_json())
        self.iterations.append(iteration)
        (self.folder / _PART).unlink(missing_ok=True)
        if not self._keep_all and len(self.iterations) > 1 and not self.iterations[-2].reached:
            self._path(self.iterations[-2].number, "safetensors").unlink(missing_ok=True)

    def part(self) -> Part:
        """What is kept of the iteration under way. Of another one, or in a form that cannot be read, it counts as
        nothing: it is found out again."""
        number = len(self.iterations)
        try:
            found = Part.from_dict(read_json(self.folder / _PART))
        except (PhinasError, KeyError, TypeError, ValueError, AttributeError):
            return Part(number)
        return found if found.number == number else Part(number)

    def keep(self, part: Part) -> None:
        """Keep it."""
        write_atomic(self.folder / _PART, json.dumps(asdict(part)))

    def snapshot(self, budget: float) -> Iteration:
        """The iteration that first met a budget."""
        return next(one for one in self.iterations if budget in one.reached)

    def timings(self) -> dict[str, Timing]:
        """The outcomes of all timing tests by pair of fingerprints (`search.netadapt.timing.key`)."""
        return {
            key(before.spec.fingerprint(), one.fingerprint): one.timing
            for before, after in zip(self.iterations, self.iterations[1:], strict=False)
            for one in after.tried
            if one.timing is not None
        }

    def measurements(self) -> dict[str, Measurement]:
        """The networks that were measured by themselves, by fingerprint."""
        return {one.spec.fingerprint(): one.measured for one in self.iterations if one.measured is not None}
