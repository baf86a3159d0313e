"""The cores that this process may use: those of its affinity and of its container's quota, not the machine's."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path("/")
PROBED = 24  # operations of half a millisecond, in two turns with each number of threads
LOOK_EVERY_S = 10.0  # a look takes some 30 ms, half a second where others hold the cores
LOOKS, LOOKS_APART_S = 3, 0.7  # that must all find the cores held before networks are timed otherwise for good
PROBES, WAITED = 4, 0.1  # turns of the work above; of a thread's own time
SLOWER = 1.5  # times one thread's seconds, from which on all are too many; a quiet machine has about 0.6


def available_cores(root: Path = ROOT, *, affinity: int | None = None) -> int:
    """Cores of the affinity (None: this process's), at most the container's quota; fractions round up, at least 1.

    `root` is where /proc and /sys are.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def quota_cores(root: Path = ROOT) -> float | None:
    """The least quota of the control groups that this process is in, in cores; None for no limit.

    Version 2 has it in `cpu.max`, version 1 in `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a group is bound by those
    that it is in.
    """
    found = (_quota(folder) for folder in _groups(root))
    return min((quota for quota in found if quota is not None), default=None)


def default_threads() -> int:
    """Threads where none are asked for: as many as torch would use, at most one for each available core."""
    import torch

    return min(torch.get_num_threads(), available_cores())


def limit_threads() -> None:
    """Keep torch to the available cores in this process: it knows the affinity, not the container's quota."""
    import torch

    torch.set_num_threads(default_threads())


@contextmanager
def fitted_threads(
    probe: Callable[[int], float] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[], int]]:
    """Within it torch has the threads that training is fastest with now: all, or one where others hold the cores.

    The threads of an operation wait for each other. With two other busy processes on two cores a training by two
    threads took 15 times as long as on a quiet machine. What it gives looks again, at most every LOOK_EVERY_S seconds,
    for a long training is to be asked now and then, and returns the threads. `probe`: seconds of the same work with so
    many threads.
    """
    import torch

    most, seconds, looked = torch.get_num_threads(), probe or _seconds_of_short_work, -math.inf

    def look() -> int:
        nonlocal looked
        if most > 1 and clock() - looked >= LOOK_EVERY_S:
            is_held = sum(map(seconds, (most, most))) > SLOWER * sum(map(seconds, (1, 1)))
            torch.set_num_threads(1 if is_held else most)
            looked = clock()
        return torch.get_num_threads()

    try:
        look()
        yield look
    finally:
        torch.set_num_threads(most)


def are_cores_held(*, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Whether other processes hold the cores, so that fewer threads than there are cores do more.

    They must do so in LOOKS looks, `sleep` between them: what is decided by it holds for a whole study.
    """
    threads = default_threads()
    for turn in range(LOOKS):
        if turn:
            sleep(LOOKS_APART_S)
        with fitted_threads() as look:
            if look() >= threads:
                return False
    return True


def is_preempted() -> bool:
    """Whether one thread waits for a core for a good part of its time, though its container lets it have one."""
    import torch

    threads, began, own_began = torch.get_num_threads(), time.perf_counter(), time.thread_time()
    try:
        for _ in range(PROBES):
            _seconds_of_short_work(1)
    finally:
        torch.set_num_threads(threads)
    own_s = time.thread_time() - own_began
    waited_s = time.perf_counter() - began - own_s
    return waited_s > WAITED * own_s and (quota_cores() or 1.0) >= 1


def _seconds_of_short_work(threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    values: Any = torch.zeros(16, 64, 24, 24)
    found = torch.empty_like(values)
    torch.sigmoid(values, out=found)  # the threads are there
    began = time.perf_counter()
    for _ in range(PROBED):
        torch.sigmoid(values, out=found)
    return time.perf_counter() - began


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups that may hold a quota, from its own upwards."""
    paths = dict(_memberships(root))
    for mount, inside, is_v2, options in _mounts(root):
        names = [""] if is_v2 else [name for name in paths if "cpu" in name.split(",")] if "cpu" in options else []
        for path in (paths[name] for name in names if name in paths):
            # In a container the mount begins at its own group, whose path is told as the host sees it.
            own = PurePosixPath(path)
            own = own.relative_to(inside) if own.is_relative_to(inside) else PurePosixPath(path.lstrip("/"))
            parts = [part for part in own.parts if part not in ("/", "..")]
            for depth in range(len(parts), -1, -1):
                yield mount.joinpath(*parts[:depth])


def _memberships(root: Path) -> list[tuple[str, str]]:
    """(controllers, path) of each line of /proc/self/cgroup; version 2 has no controllers there."""
    lines = (line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines())
    return [(parts[1], parts[2]) for parts in lines if len(parts) == 3]


def _mounts(root: Path) -> Iterator[tuple[Path, str, bool, list[str]]]:
    """Of each mounted hierarchy: where, the group that is its top, whether it is of version 2, its options."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        place, _, about = line.partition(" - ")
        fields, kind = place.split(), about.split()
        if len(fields) > 4 and len(kind) > 2 and kind[0] in ("cgroup", "cgroup2"):
            yield root / fields[4].lstrip("/"), fields[3], kind[0] == "cgroup2", kind[2].split(",")


def _quota(folder: Path) -> float | None:
    both = _text(folder / "cpu.max").split() or [_text(folder / f"cpu.cfs_{each}_us") for each in ("quota", "period")]
    try:
        quota, period = map(int, both)
        cores = quota / period
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cores if cores > 0 else None  # version 1 says -1 for no limit


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
