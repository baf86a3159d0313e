"""Where tables and unfinished measurements lie: one file for each identity, written whole or not at all."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from search.latency.groups import Readings
from search.latency.interleave import Reading
from search.latency.probe_networks import ProbeReadings, median_ms
from search.latency.robust import quantile
from search.latency.time_base import USUAL, TimeBase, drift_of
from searchspace.errors import InvalidArgument, InvalidTable, StorageError
from searchspace.files import read_json, write_atomic, write_json
from searchspace.latency.table import MOST_DRIFT, Identity, LatencyTable, identity_key
from searchspace.strict_json import dumps

QUIET_SHARE = 0.1
# A new quiet speed is taken where the reference takes less than this share of the old one. Builds find speeds 4 to 20 %
# apart from hour to hour, and tables stated at their own would differ by as much. A larger difference is the effect of
# other work on the first build.
FASTER = 0.8
EASIER = 0.9  # the same for the probe networks: session effects are up to 7 % apart
Note = Callable[[str], None]


def default_dir() -> Path:
    """$PHINAS_CACHE, else ~/.cache/phinas."""
    return Path(os.environ.get("PHINAS_CACHE") or Path.home() / ".cache" / "phinas")


class Cache:
    """The files of one identity. A damaged file is reported to `note` and made again."""

    def __init__(self, folder: Path, identity: Identity, *, note: Note) -> None:
        key = identity_key(identity)
        device = identity_key({**identity, "resolution": 0})
        self.table_path = folder / f"latency-{key}.json"
        self.unfinished_path = folder / f"latency-{key}.unfinished.json"
        self.quick_path = folder / f"latency-{key}.quick.json"
        self.quick_unfinished_path = folder / f"latency-{key}.quick.unfinished.json"
        self.additions_path = folder / f"latency-{key}.additions.unfinished.json"
        self.reference_path = folder / f"reference-{device}.json"
        self._identity = identity
        self._note = note

    def table(self, *, quick: bool = False) -> LatencyTable | None:
        """The full table, or the quick one, if there is a sound one."""
        path = self.quick_path if quick else self.table_path
        if not path.exists():
            return None
        try:
            table = LatencyTable.from_json(path.read_text(encoding="utf-8"))
            if table.identity == self._identity and table.quick == quick:
                return table
            reason = "it belongs to another device or setting"
            if table.identity == self._identity:
                reason = f"it is a {'quick' if table.quick else 'full'} table under the name of another"
        except (InvalidTable, OSError, UnicodeDecodeError) as error:
            reason = str(error)
        self._note(f"the latency table {path} is measured again: {reason}")
        return None

    def save(self, table: LatencyTable) -> None:
        """Keep a finished table; a quick one does not take the place of a full one."""
        write_atomic(self.quick_path if table.quick else self.table_path, table.to_json())

    def time_base(
        self,
        groups: Sequence[Sequence[Sequence[Reading]]],
        whole: Sequence[Sequence[Sequence[Reading]]] | None = None,
        probes: ProbeReadings | None = None,
    ) -> TimeBase:
        """The time base of a measurement, by its readings and by what the device has kept; it is kept for later ones.

        The quiet speed is that of the device's first build (the fastest tenth of the reference's times), so that a
        millisecond means the same in all of its tables, unless the machine proves to be faster than 1 / FASTER of it.
        The drift is learnt from the readings of `whole` networks (default: all) and what was known before. The usual
        times of `probes` are the first ones at this resolution and such a speed.
        """
        around = [reading.reference_ns for group in groups for readings in group for reading in readings]
        quiet, (before, kept) = quantile(around, QUIET_SHARE) / 1e6, self._stored()
        if before and quiet < FASTER * before.reference_ms:
            self._note(
                f"this machine is {before.reference_ms / quiet - 1:.0%} faster than when its latency tables were first "
                "measured (other work ran then): ms of older tables and measurements are longer by as much. Build them "
                "again to compare them"
            )
            kept = {}
        elif before:
            quiet = before.reference_ms
        known = before.drift if before and before.drift else USUAL
        found = TimeBase(quiet, drift_of(groups if whole is None else whole, known))
        pixels = str(self._identity["resolution"])
        usual = self._usual(kept.get(pixels, {}), median_ms(probes or {}, found))
        content = {
            "reference_ms": quiet,
            "drift": found.drift,
            "probe_networks_ms": kept | {pixels: usual},
            "identity": self._identity,
        }
        write_json(self.reference_path, content)
        return found._replace(probe_networks_ms=usual)

    def _usual(self, kept: dict[str, float], now: dict[str, float]) -> dict[str, float]:
        """The usual ms of probe networks: the first ones, unless they prove to be much faster."""
        both = [now[name] / kept[name] for name in now if name in kept]
        if not both or geometric_mean(both) >= EASIER:
            return now | kept
        self._note(
            f"networks are {1 / geometric_mean(both) - 1:.0%} faster beside the reference than when this device was "
            "first measured (other work ran then): ms of older tables and measurements are longer by about as much. "
            "Build them again to compare them"
        )
        return kept | now

    def stored_time_base(self) -> TimeBase | None:
        """The time base of this device's latest build, with the probe networks at this resolution; None before one."""
        return self._stored()[0]

    def _stored(self) -> tuple[TimeBase | None, dict[str, dict[str, float]]]:
        """That time base, and the usual ms of probe networks by resolution and name."""
        if not self.reference_path.exists():
            return None, {}
        try:
            data = read_json(self.reference_path)
            kept = data.get("probe_networks_ms", data.get("anchors", {}))  # "anchors": before table files of schema 3
            probes = {str(pixels): {name: float(ms) for name, ms in own.items()} for pixels, own in kept.items()}
            if not all(0 < ms < math.inf for own in probes.values() for ms in own.values()):
                raise ValueError("probe networks take more than 0 ms")
            own = probes.get(str(self._identity["resolution"]), {})
            stored = TimeBase(float(data["reference_ms"]), float(data.get("drift", 0.0)), own)
            if stored.reference_ms > 0 and abs(stored.drift) <= MOST_DRIFT:
                return stored, probes
            reason = f"it says {data}"
        except (StorageError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = str(error)
        self._note(
            f"{self.reference_path} is damaged ({reason}): the reference's quiet speed is taken anew, and a ms of this "
            "device's older tables may mean something else"
        )
        return None, {}


def stored_table(identity: Identity, *, cache_dir: Path | None = None, note: Note = lambda _: None) -> LatencyTable:
    """The table measured before for `identity`; nothing is measured now. Raises InvalidArgument without one."""
    table = Cache(cache_dir or default_dir(), identity, note=note).table()
    if table is None:
        raise InvalidArgument(
            "this device has no latency table yet: measure it with python -m search.latency build (and the same "
            "--runtime, --device and --threads), or name a file with --latency"
        )
    return table


class Unfinished(Readings):
    """Readings of a measurement under way, on disk after every round, so that it goes on where it was interrupted.

    `plan` identifies what is measured; `spent_s` is the time that the measurement has taken so far.
    """

    def __init__(self, path: Path, plan: str) -> None:
        super().__init__()
        self.path = path
        self.plan = plan
        self.spent_s = 0.0

    def resume(self) -> bool:
        """Take over what an earlier run of the same plan left; whether there was any."""
        try:
            data: dict[str, Any] = read_json(self.path)
            if data["plan"] != self.plan:
                return False
            readings = {
                int(place): [Reading(float(ns), float(weight), tuple(map(float, parts))) for ns, weight, *parts in rows]
                for place, rows in data["readings"].items()
            }
            spent_s = float(data.get("spent_s", 0.0))
        except (StorageError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return False
        self.readings, self.spent_s = readings, spent_s
        return bool(readings)

    def done(self) -> None:
        """Delete the file: the readings stand in a table."""
        self.path.unlink(missing_ok=True)

    def save(self) -> None:
        """Write everything. Raises StorageError."""
        rows = {
            place: [[round(ns), round(weight, 3), *(round(part, 7) for part in parts)] for ns, weight, parts in own]
            for place, own in self.readings.items()
        }
        content = {"plan": self.plan, "spent_s": self.spent_s, "readings": rows}
        write_atomic(self.path, dumps(content, indent=None))
