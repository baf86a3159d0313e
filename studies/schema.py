"""What a study stores: the one place that names it.

A trial's choices are Optuna parameters where a sampler drew them; everything else of a trial stands in its user
attributes under the names of `TrialRecord`. The study's user attributes hold "settings" (what defines the study: the
flags of the search and what they came to) and "measured_latency_ms" ({"trial number": ms} of finalists and of what was
once the best: a finished trial cannot be written).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Value = int | float | bool | str

SETTINGS = "settings"
MEASURED = "measured_latency_ms"
MEASURED_AT = "measured_at_reference"  # {"trial number": [quiet ms of the reference, drift, ms of the probe networks]}


class Status(StrEnum):
    """How a trial ended: INTERRUPTED was cut off by Ctrl-C or a crash, RUNNING may be so without it being known yet."""

    TRAINED = "trained"
    STOPPED_EARLY = "stopped_early"
    FAILED = "failed"
    RUNNING = "running"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial; what is not known (yet) is None.

    Attributes:
        status: How it ended.
        network: The published network that it is, with its width; None where a sampler drew it from the space.
        choices: Of the search space, by name.
        spec: JSON text of the NetworkSpec.
        fingerprint: Of the spec: equal networks have equal ones.
        params: Parameters.
        macs: Of one image, a multiply-add counted once.
        flash_kb: Its weights, in 1024 bytes.
        ram_kb: The most activations alive at once for one image, in 1024 bytes.
        predicted_latency_ms: By the latency table.
        predicted_low_ms: Lower end of where 9 of 10 networks measure that are predicted so.
        predicted_high_ms: Its upper end.
        measured_latency_ms: Of finalists and of what was once the best.
        accuracy: On the validation images, a fraction.
        deviation: The standard deviation of the accuracy.
        history: The same after each epoch.
        train_s: Seconds of training.
        epochs: Done.
        seed: Of the weights and the order of images.
        error: Why the trial failed.
        reward: What Optuna maximises.
    """

    status: Status = Status.RUNNING
    network: str | None = None
    choices: Mapping[str, Value] = field(default_factory=dict)
    spec: str | None = None
    fingerprint: str | None = None
    params: int | None = None
    macs: int | None = None
    flash_kb: float | None = None
    ram_kb: float | None = None
    predicted_latency_ms: float | None = None
    predicted_low_ms: float | None = None
    predicted_high_ms: float | None = None
    measured_latency_ms: float | None = None
    accuracy: float | None = None
    deviation: float | None = None
    history: tuple[float, ...] = ()
    train_s: float | None = None
    epochs: int | None = None
    seed: int | None = None
    error: str | None = None
    reward: float | None = None

    def to_attrs(self) -> dict[str, Any]:
        """The user attributes of this trial: JSON values, unknown ones left out."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"status": str(self.status), "choices": dict(self.choices), "history": list(self.history)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> TrialRecord:
        """The record of a trial that Optuna gives.

        Its parameters count as the choices where no attribute "choices" says which of them mean something.
        """
        stored = _sound(trial)
        values = {"choices": trial.params} | stored
        values["status"] = _status(stored.get("status"), trial.state.name)
        values["history"] = tuple(stored.get("history", ()))
        return cls(**values)


def is_recorded(trial: FrozenTrial, *names: str) -> bool:
    """Whether a trial has these attributes of a TrialRecord, as jobs of this program store them.

    One that somebody added through Optuna itself need not have them.
    """
    return all(name in trial.user_attrs and _fits(name, trial.user_attrs[name]) for name in names)


def _sound(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a record that a trial has. Raises ValueError for a value that cannot be."""
    known = {one.name for one in fields(TrialRecord)}
    stored = {name: value for name, value in trial.user_attrs.items() if name in known}
    for name, value in stored.items():
        if not _fits(name, value):
            raise ValueError(f"{name} of trial {trial.number} is {value!r:.80}")
    return stored


def _fits(name: str, value: Any) -> bool:
    """Whether a stored value can be that of a field; 64 bits are what pandas has for an integer."""
    if name in ("network", "spec", "fingerprint", "error"):
        return isinstance(value, str)
    if name == "status":
        return isinstance(value, str) and value in [*Status]
    if name == "choices":
        return isinstance(value, dict) and all(isinstance(one, Value) for one in value.values())
    if name == "history":
        return isinstance(value, list) and all(_fits("accuracy", one) for one in value)
    if name in ("params", "macs", "epochs", "seed"):
        return type(value) is int and abs(value) < 2**63
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _status(stored: str | None, state: str) -> Status:
    """Optuna's state says whether a trial is over, the stored status how it ended."""
    if state in ("RUNNING", "WAITING"):
        return Status.RUNNING
    if stored is None or stored == Status.RUNNING:
        return {"COMPLETE": Status.TRAINED, "PRUNED": Status.STOPPED_EARLY}.get(state, Status.INTERRUPTED)
    return Status(stored)


class Column(NamedTuple):
    """A column of `studies.load`: name with unit, pandas dtype (all can hold a missing value)."""

    name: str
    dtype: str


# The choices stand between these and LAST_COLUMNS.
FIRST_COLUMNS = (
    Column("trial", "Int64"),
    Column("status", "category"),
    Column("network", "string"),
    Column("reward", "Float64"),
    Column("accuracy", "Float64"),
    Column("deviation", "Float64"),
    Column("predicted_latency_ms", "Float64"),
    Column("predicted_low_ms", "Float64"),
    Column("predicted_high_ms", "Float64"),
    Column("measured_latency_ms", "Float64"),
    Column("params", "Int64"),
    Column("macs", "Int64"),
    Column("flash_kb", "Float64"),
    Column("ram_kb", "Float64"),
    Column("train_s", "Float64"),
    Column("epochs", "Int64"),
    Column("seed", "Int64"),
    Column("fingerprint", "string"),
    Column("started_at", "datetime64[us, UTC]"),
)
LAST_COLUMNS = (Column("spec", "string"), Column("error", "string"))
