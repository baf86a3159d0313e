"""How one latency table differs from another, in a user's words; a study keeps its table, to say what changed since."""

import math
from collections.abc import Iterator
from pathlib import Path

from searchspace.errors import PhinasError
from searchspace.files import write_atomic
from searchspace.latency.estimate import layer_of
from searchspace.latency.table import Identity, LatencyTable, read_table

KEPT = "latency.json"  # in a study's folder
_UNITS = {"threads": " threads", "batch": " images at once", "resolution": " px"}


def keep_table(path: Path, table: LatencyTable) -> None:
    """Write the table that a study is begun with; one that is there stays. Raises StorageError."""
    if not path.exists():
        write_atomic(path, table.to_json())


def told_changes(path: Path, table: LatencyTable) -> str:
    """What changed since a table was kept; "" where none is known, as in studies of before."""
    try:
        return changes(read_table(path), table)
    except PhinasError:
        return ""


def changes(before: LatencyTable, now: LatencyTable) -> str:
    """What changed from one table to another: the setting, the number of kernels, the largest change of one."""
    told = [
        *(f"it is of {own} and was of {was}" for own, was in _settings(before.identity, now.identity)),
        *_kernels(before, now),
    ]
    return ", ".join(told) or "its kernels are the same, but it was fitted or checked otherwise"


def _settings(before: Identity, now: Identity) -> Iterator[tuple[str, str]]:
    was, own = dict(before), dict(now)
    for name in (each for each in own if each not in ("schema", "versions") and own[each] != was[each]):
        unit = _UNITS.get(name, "")
        yield f"{own[name]}{unit}", f"{was[name]}{unit}"
    for name in sorted(before["versions"].keys() | now["versions"].keys()):
        versions = [each["versions"].get(name, "none") for each in (now, before)]
        if versions[0] != versions[1]:
            yield f"{name} {versions[0]}", f"{name} {versions[1]}"


def _kernels(before: LatencyTable, now: LatencyTable) -> Iterator[str]:
    if len(now.kernels) != len(before.kernels):
        yield f"it has {len(now.kernels)} kernels and had {len(before.kernels)}"
    both = [each for each in now.kernels if each in before.kernels]
    factors = {each: now.kernels[each] / before.kernels[each] for each in both}
    if changed := [each for each in both if factors[each] != 1]:
        largest = max(changed, key=lambda each: abs(math.log(factors[each])))
        yield (
            f"{len(changed)} of {len(both)} kernels take another time, the most the {layer_of(largest).describe()}, "
            f"{now.kernels[largest]:.3g} ms in place of {before.kernels[largest]:.3g}"
        )
