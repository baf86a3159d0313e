"""Where tables and unfinished measurements lie: one file for each identity, written whole or not at all."""

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from search.latency.interleave import Reading
from search.latency.probe_networks import Beside, median_ms
from search.latency.robust import quantile
from search.latency.time_base import USUAL, TimeBase, drift_of
from searchspace.errors import InvalidArgument, InvalidTable, StorageError
from searchspace.files import read_json, write_atomic
from searchspace.latency.table import MOST_DRIFT, Identity, LatencyTable, identity_key

QUIET_SHARE = 0.1
# Of the quiet speed that tables are stated at, from which on a faster one takes its place. Builds find speeds 4 to 20 %
# apart here, from hour to hour: were each to have its own, ms of tables would differ by as much. More than that is what
# other work did to the first build.
FASTER = 0.8
EASIER = 0.9  # of what anchors took first, from which on they are taken anew: moments are up to 7 % apart here
Note = Callable[[str], None]


def default_dir() -> Path:
    """$PHINAS_CACHE, else ~/.cache/phinas."""
    return Path(os.environ.get("PHINAS_CACHE") or Path.home() / ".cache" / "phinas")


class Cache:
    """The files of one identity. Damaged files are told of by `note` and count as absent: they are made again."""

    def __init__(self, folder: Path, identity: Identity, *, note: Note) -> None:
        key = identity_key(identity)
        device = identity_key({**identity, "resolution": 0})
        self.table_path = folder / f"latency-{key}.json"
        self.unfinished_path = folder / f"latency-{key}.unfinished.json"
        self.additions_path = folder / f"latency-{key}.additions.unfinished.json"
        self.reference_path = folder / f"reference-{device}.json"
        self._identity = identity
        self._note = note

    def table(self) -> LatencyTable | None:
        """The table, if there is a sound one."""
        if not self.table_path.exists():
            return None
        try:
            table = LatencyTable.from_json(self.table_path.read_text(encoding="utf-8"))
            if table.identity == self._identity:
                return table
            reason = "it belongs to another device or setting"
        except (InvalidTable, OSError, UnicodeDecodeError) as error:
            reason = str(error)
        self._note(f"the latency table {self.table_path} is measured again: {reason}")
        return None

    def save(self, table: LatencyTable) -> None:
        """Keep a finished table."""
        write_atomic(self.table_path, table.to_json())

    def pace(
        self,
        groups: Sequence[Sequence[Sequence[Reading]]],
        whole: Sequence[Sequence[Sequence[Reading]]] | None = None,
        anchors: Beside | None = None,
    ) -> TimeBase:
        """The reference's quiet speed: that of the device's first build (the fastest tenth of the reference's times),
        so that tables built at different moments mean the same by a millisecond, unless the machine proves to be
        faster than 1 / FASTER of it; and the drift as the readings of `whole` networks (default: all) and earlier ones
        (see search.latency.time_base.drift_of) tell it. What `anchors` usually take is what they took here first, at
        this
        resolution and such a speed.
        """
        around = [reading.reference_ns for group in groups for readings in group for reading in readings]
        quiet, before = quantile(around, QUIET_SHARE) / 1e6, self.stored_pace()
        kept: dict[str, dict[str, float]] = {}
        if before and quiet < FASTER * before.reference_ms:
            self._note(
                f"this machine is {before.reference_ms / quiet - 1:.0%} faster than when its latency tables were first "
                "measured (other work ran then): ms of older tables and measurements are longer by as much. Build them "
                "again to compare them"
            )
        elif before:
            quiet, kept = before.reference_ms, self._anchors()
        known = before.drift if before and before.drift else USUAL
        pace = TimeBase(quiet, drift_of(groups if whole is None else whole, known))
        pixels = str(self._identity["resolution"])
        usual = self._usual(kept.get(pixels, {}), median_ms(anchors or {}, pace))
        content = {
            "reference_ms": quiet,
            "drift": pace.drift,
            "anchors": kept | {pixels: usual},
            "identity": self._identity,
        }
        write_atomic(self.reference_path, json.dumps(content))
        return pace._replace(anchors=usual)

    def _usual(self, kept: dict[str, float], now: dict[str, float]) -> dict[str, float]:
        """What anchors usually take: what they took first, unless they prove to be much faster."""
        both = [now[name] / kept[name] for name in now if name in kept]
        if not both or geometric_mean(both) >= EASIER:
            return now | kept
        self._note(
            f"networks are {1 / geometric_mean(both) - 1:.0%} faster beside the reference than when this device was "
            "first measured (other work ran then): ms of older tables and measurements are longer by about as much. "
            "Build them again to compare them"
        )
        return kept | now

    def stored_pace(self) -> TimeBase | None:
        """What this device's latest build, of whatever resolution, was stated at, and what anchors took at this one;
        None if there was none yet."""
        if not self.reference_path.exists():
            return None
        try:
            data = read_json(self.reference_path)
            anchors = self._anchors().get(str(self._identity["resolution"]), {})
            stored = TimeBase(float(data["reference_ms"]), float(data.get("drift", 0.0)), anchors)
            if stored.reference_ms > 0 and abs(stored.drift) <= MOST_DRIFT:
                return stored
            reason = f"it says {data}"
        except (StorageError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = str(error)
        self._note(
            f"{self.reference_path} is damaged ({reason}): the reference's quiet speed is taken anew, and a ms of this "
            "device's older tables may mean something else"
        )
        return None

    def _anchors(self) -> dict[str, dict[str, float]]:
        """What the anchors usually take, by resolution. Raises what a damaged file does."""
        kept = read_json(self.reference_path).get("anchors", {})
        found = {str(pixels): {str(name): float(ms) for name, ms in own.items()} for pixels, own in kept.items()}
        if not all(0 < ms < math.inf for own in found.values() for ms in own.values()):
            raise ValueError("anchors take more than 0 ms")
        return found


def stored_table(identity: Identity, *, cache_dir: Path | None = None, note: Note = lambda _: None) -> LatencyTable:
    """The table measured before for `identity`; nothing is measured now. Raises InvalidArgument without one."""
    table = Cache(cache_dir or default_dir(), identity, note=note).table()
    if table is None:
        raise InvalidArgument(
            "this device has no latency table yet: measure it with python -m search.latency build (and the same "
            "--runtime, --device and --threads), or name a file with --latency"
        )
    return table


class Unfinished:
    """Readings of a measurement under way, on disk after every round, so that it goes on where it was cut off."""

    def __init__(self, path: Path, plan: str) -> None:
        self.path = path
        self.plan = plan
        self.readings: dict[int, list[Reading]] = {}
        self.spent_s = 0.0

    def resume(self) -> bool:
        """Take over what an earlier run of the same plan left; whether there was any."""
        try:
            data: dict[str, Any] = read_json(self.path)
            if data["plan"] != self.plan:
                return False
            readings = {
                int(subject): [
                    Reading(float(ns), float(weight), tuple(map(float, parts))) for ns, weight, *parts in rows
                ]
                for subject, rows in data["readings"].items()
            }
            spent_s = float(data.get("spent_s", 0.0))
        except (StorageError, KeyError, TypeError, ValueError, AttributeError):
            return False
        self.readings, self.spent_s = readings, spent_s
        return bool(readings)

    def add(self, subjects: list[int], readings: list[Reading], spent_s: float) -> None:
        """Add one round of some subjects, and what the measurement has taken so far, and save."""
        self.spent_s = spent_s
        for subject, reading in zip(subjects, readings, strict=True):
            self.readings.setdefault(subject, []).append(reading)
        self.save()

    def rounds(self, subjects: list[int]) -> int:
        """Rounds that every one of the subjects has."""
        return min(len(self.readings.get(subject, ())) for subject in subjects)

    def done(self) -> None:
        """It stands in a table: what was kept for going on goes."""
        self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write everything. Raises StorageError."""
        rows = {
            subject: [
                [round(ns), round(weight, 3), *(round(part, 7) for part in parts)] for ns, weight, parts in readings
            ]
            for subject, readings in self.readings.items()
        }
        write_atomic(self.path, json.dumps({"plan": self.plan, "spent_s": self.spent_s, "readings": rows}))
