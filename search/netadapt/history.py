"""The iterations of a pruning: in memory, or in a study's folder, where each is written before the next begins.

On disk an iteration counts once its record is there, which is written last. What was trained and timed within an
iteration that was cut off is kept too, so that it is not done again.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from search.latency.measurement import Measurement
from search.netadapt.prunable import Candidate, Prunable
from search.netadapt.records import SCHEMA, Iteration, Part
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import PairedTimer, Timing, key
from searchspace.errors import PhinasError, StudyMismatch
from searchspace.files import read_json, write_atomic
from searchspace.nn import load_network, network_bytes
from searchspace.spec import write_spec
from studies.storage import ITERATIONS

_RECORD, _PART = "iteration.json", "part.json"
_UNREADABLE = (PhinasError, KeyError, TypeError, ValueError, AttributeError)


class History:
    """The iterations of a pruning, in memory. Networks stay for as long as they are needed."""

    folder: Path | None = None

    def __init__(self) -> None:
        self.iterations: list[Iteration] = []
        self._networks: dict[int, Prunable] = {}
        self._part = Part(0)

    def network(self, number: int) -> Prunable:
        """The network after an iteration."""
        return self._networks[number]

    def commit(self, iteration: Iteration, network: Prunable) -> None:
        """Keep an iteration; what was kept while it was under way, and networks that nobody needs, go."""
        self._networks[iteration.number] = network
        self.iterations.append(iteration)
        self._part = Part(len(self.iterations))
        if len(self.iterations) > 1 and not self.iterations[-2].reached:
            del self._networks[iteration.number - 1]

    def part(self) -> Part:
        """What is kept of the iteration under way."""
        return self._part

    def keep(self, part: Part) -> None:
        """Keep what was found out in the iteration under way."""
        self._part = part

    def snapshot(self, budget: float) -> Iteration:
        """The iteration whose network is the first within a budget."""
        return next(one for one in self.iterations if budget in one.reached)


class StoredHistory(History):
    """The iterations in a study's folder.

    keep_all: the weights of all iterations stay, not only those that are still needed. about: what is written beside
    all weights. Raises StudyMismatch for a file that is damaged or of a later version.
    """

    def __init__(self, folder: Path, *, keep_all: bool, about: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.folder: Path = folder / ITERATIONS
        self._keep_all, self._about = keep_all, about or {}
        while (path := self._path(len(self.iterations), _RECORD)).exists():
            self.iterations.append(_read(path))

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:03d}.{suffix}"

    def network(self, number: int) -> PrunableSpec:
        """See History. Raises StudyMismatch where its weights are gone."""
        path, spec = self._path(number, "safetensors"), self.iterations[number].spec
        assert spec is not None
        try:
            return PrunableSpec(load_network(spec, path))
        except PhinasError as error:
            raise _damaged(path, error) from None

    @property
    def lost(self) -> bool:
        """Whether weights of an iteration are gone."""
        return not all(self._path(one.number, "safetensors").exists() for one in self.iterations)

    def commit(self, iteration: Iteration, network: Prunable) -> None:
        """See History: spec and weights, which every command takes, then the record."""
        assert isinstance(network, PrunableSpec)
        about = {**self._about, "fingerprint": network.fingerprint}
        write_atomic(self._path(iteration.number, "safetensors"), network_bytes(network.module, about))
        write_spec(self._path(iteration.number, "json"), network.spec)
        write_atomic(self._path(iteration.number, _RECORD), iteration.to_json())
        self.iterations.append(iteration)
        (self.folder / _PART).unlink(missing_ok=True)
        if not self._keep_all and len(self.iterations) > 1 and not self.iterations[-2].reached:
            self._path(self.iterations[-2].number, "safetensors").unlink(missing_ok=True)

    def part(self) -> Part:
        """See History. Of another iteration, or where it cannot be read, it is empty: it is found out again."""
        number = len(self.iterations)
        try:
            found = Part.from_dict(read_json(self.folder / _PART))
        except _UNREADABLE:
            return Part(number)
        return found if found.number == number else Part(number)

    def keep(self, part: Part) -> None:
        """See History."""
        write_atomic(self.folder / _PART, part.to_json())

    def timed(self) -> Part:
        """The outcomes of all timing tests, and the networks that were measured by themselves."""
        timings = {
            key(before.spec.fingerprint(), one.fingerprint): one.timing
            for before, after in pairwise(self.iterations)
            for one in after.proposals
            if one.timing is not None and before.spec is not None
        }
        alone = {one.spec.fingerprint(): one.measured for one in self.iterations if one.spec and one.measured}
        return Part(len(self.iterations), timings=timings, measured=alone)


def _read(path: Path) -> Iteration:
    try:
        data = read_json(path)
        if data.get("schema", 1) <= SCHEMA:
            return Iteration.from_dict(data)
    except _UNREADABLE as error:
        raise _damaged(path, error) from None
    raise StudyMismatch(
        f"{path} was written by a later version of this program (schema {data['schema']}, this one reads up to "
        f"{SCHEMA}): go on with that version, or begin anew with --fresh"
    )


def _damaged(path: Path, error: Exception) -> StudyMismatch:
    return StudyMismatch(
        f"{path} is missing or damaged ({type(error).__name__}: {error}); restore it from a copy, or begin anew: "
        "--fresh sets this study aside, --study NAME takes another name"
    )


class RecordedTimer:
    """Times each pair and each network once in an iteration: the outcome is in the history before the next test.

    What `replay` has is not timed again. Without a timer, all outcomes are None.
    """

    def __init__(self, timer: PairedTimer | None, history: History, replay: Part | None = None) -> None:
        self._timer, self._history, self._replay = timer, history, replay or Part(0)

    def pair(self, before: Prunable, after: Prunable | Candidate) -> Timing | None:
        """The outcome of the test of two networks."""
        part, pair = self._history.part(), key(before.fingerprint, after.fingerprint)
        if self._timer is not None and pair not in part.timings:
            part.timings[pair] = self._replay.timings.get(pair) or self._timer.pair(before.timed, after.timed)
            self._history.keep(part)
        return part.timings[pair] if self._timer else None

    def alone(self, network: Prunable) -> Measurement | None:
        """One network by itself."""
        part, name = self._history.part(), network.fingerprint
        if self._timer is not None and name not in part.measured:
            part.measured[name] = self._replay.measured.get(name) or self._timer.alone(network.timed)
            self._history.keep(part)
        return part.measured[name] if self._timer else None
