"""The cores that a process may use, by a made-up /proc and /sys/fs/cgroup."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from search import cores
from search.cores import (
    LOOK_EVERY_S,
    are_cores_held,
    available_cores,
    default_threads,
    fitted_threads,
    is_preempted,
    limit_threads,
    quota_cores,
)

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {inside} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"


def machine(folder: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A root folder with these groups of the process, mounts and files below /sys/fs/cgroup."""
    everything = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    for name, text in {**everything, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def test_version_2_counts_the_least_of_the_groups_that_the_process_is_in(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "350000 100000", "other/cpu.max": "100000 100000"}
    root = machine(tmp_path, "0::/a/b", V2, files)
    assert quota_cores(root) == 3.5
    assert available_cores(root, affinity=64) == 4  # a fraction rounds up
    assert available_cores(root, affinity=2) == 2
    (tmp_path / "sys/fs/cgroup/a/b/cpu.max").write_text("25000 100000")
    assert quota_cores(root) == 0.25
    assert available_cores(root, affinity=64) == 1


def test_version_2_in_a_container_that_sees_its_own_group_as_the_top(tmp_path: Path) -> None:
    for place, path in enumerate(("/", "/../..", "/kubepods/pod7/container")):  # what is above is out of sight
        root = machine(tmp_path / str(place), f"0::{path}", V2, {"cpu.max": "200000 100000"})
        assert available_cores(root, affinity=64) == 2


@pytest.mark.parametrize("inside", ["/", "/docker/abc"])
def test_version_1_in_a_container(tmp_path: Path, inside: str) -> None:
    groups = "9:memory:/docker/abc/job\n4:cpu,cpuacct:/docker/abc/job\n1:name=systemd:/\n0::/"
    below = "cpu,cpuacct" + ("/docker/abc" if inside == "/" else "")
    files = {
        f"{below}/job/cpu.cfs_quota_us": "-1",
        f"{below}/job/cpu.cfs_period_us": "100000",
        f"{below}/cpu.cfs_quota_us": "150000",
        f"{below}/cpu.cfs_period_us": "100000",
        "memory/docker/abc/job/cpu.max": "100000 100000",
    }
    root = machine(tmp_path, groups, f"{OTHER}\n{V1.format(inside=inside)}", files)
    assert quota_cores(root) == 1.5
    (tmp_path / f"sys/fs/cgroup/{below}/job/cpu.cfs_quota_us").write_text("50000")
    assert quota_cores(root) == 0.5


def test_both_versions_at_once_count_the_least(tmp_path: Path) -> None:
    unified = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "800000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "unified/x/cpu.max": "300000 50000",
    }
    root = machine(tmp_path, "2:cpu,cpuacct:/\n0::/x", f"{V1.format(inside='/')}\n{unified}", files)
    assert quota_cores(root) == 6


@pytest.mark.parametrize("text", ["max 100000", "", "-1", "100000 0", "two cores"])
def test_without_a_quota_the_affinity_counts(tmp_path: Path, text: str) -> None:
    assert available_cores(tmp_path, affinity=7) == 7  # no /proc at all
    root = machine(tmp_path, "0::/a\nnonsense", f"{V2}\nnonsense", {"a/cpu.max": text})
    assert quota_cores(root) is None
    assert available_cores(root, affinity=7) == 7


@pytest.mark.usefixtures("one_thread")
def test_torch_is_kept_to_the_available_cores_and_never_given_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    for cores_here, threads in ((8, 4), (2, 2), (3, 2)):
        monkeypatch.setattr(cores, "available_cores", lambda n=cores_here: n)
        assert default_threads() == threads
        limit_threads()
        assert torch.get_num_threads() == threads


class Work:
    """Takes `seconds` of one thread and leaves torch with the threads it was asked for, as the real work does."""

    def __init__(self, all_s: float) -> None:
        self.all_s = all_s
        self.asked: list[int] = []

    def __call__(self, threads: int) -> float:
        self.asked.append(threads)
        torch.set_num_threads(threads)
        return 1.0 if threads == 1 else self.all_s


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("all_s", "expected"), [(0.6, 3), (1.4, 3), (1.6, 1), (20.0, 1)])
def test_a_training_has_one_thread_where_others_hold_the_cores(all_s: float, expected: int) -> None:
    with fitted_threads(Work(all_s)) as look:
        threads = look()
        assert threads == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_long_training_looks_again_but_not_at_every_turn() -> None:
    now, work = [0.0], Work(20.0)
    with fitted_threads(work, clock=lambda: now[0]) as look:
        work.all_s, now[0] = 0.6, LOOK_EVERY_S - 1
        assert look() == 1
        now[0] = LOOK_EVERY_S
        assert look() == torch.get_num_threads() == 3
        assert len(work.asked) == 8


@pytest.mark.usefixtures("three_threads")
def test_the_real_work_leaves_all_threads_or_one() -> None:
    with fitted_threads() as look:
        assert look() in (1, 3)
        assert torch.get_num_threads() == look()
    assert torch.get_num_threads() == 3


def test_one_thread_is_not_compared_with_itself() -> None:
    work, before = Work(20.0), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fitted_threads(work) as look:
            assert look() == 1
        assert not work.asked
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_cores_are_held_where_one_thread_does_more_than_all_look_after_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "default_threads", torch.get_num_threads)
    for times_s in ((0.6,), (20.0, 20.0, 20.0), (20.0, 0.6), (20.0, 20.0, 0.6)):
        work, slept = Work(times_s[0]), list[float]()
        rest = iter(times_s[1:])

        def sleep(seconds: float, work: Work = work, rest: Iterator[float] = rest, slept: list[float] = slept) -> None:
            slept.append(seconds)
            work.all_s = next(rest)

        monkeypatch.setattr(cores, "_seconds_of_short_work", work)
        assert are_cores_held(sleep=sleep) == (0.6 not in times_s)
        assert len(slept) == len(times_s) - 1
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_looking_whether_one_thread_waits_leaves_torch_with_all_of_them() -> None:
    is_preempted()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("waits_s", "quota", "expected"), [(0.0, None, False), (0.5, None, True), (0.5, 0.5, False)])
def test_one_thread_is_preempted_where_it_waits_but_not_by_its_own_quota(
    waits_s: float, quota: float | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_s, own_s = [0.0], [0.0]

    def work(threads: int) -> float:
        wall_s[0] += 1.0 + waits_s
        own_s[0] += 1.0
        return 1.0

    monkeypatch.setattr(cores, "_seconds_of_short_work", work)
    monkeypatch.setattr(cores, "quota_cores", lambda: quota)
    scripted = SimpleNamespace(perf_counter=lambda: wall_s[0], thread_time=lambda: own_s[0])
    monkeypatch.setattr(cores, "time", scripted)
    assert is_preempted() == expected
