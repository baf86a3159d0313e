"""python -m tests.benchmarks.study_storage: which of Optuna's storages should hold a study?

Each storage takes trials of 40 choices and 14 attributes: from one process, which gives seconds a trial and seconds to
read them all; then from four processes at the same time, one of which is killed (SIGKILL) again and again and started
anew. After that every trial that a process had finished must be there, once, and the study must still take trials.

  phinas           studies.open_study: RDBStorage on SQLite with a write-ahead log
  rdb              RDBStorage on SQLite as it comes
  journal          JournalStorage on a file, its lock a symbolic link
  journal-open     the same, its lock a file opened exclusively
"""

import multiprocessing
import random
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from searchspace.report import table
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark

if TYPE_CHECKING:
    import optuna

WRITERS = 4
ATTRIBUTES = 14


def _phinas(path: Path) -> "optuna.Study":
    from studies.database import open_study

    return open_study(path, name="s")


def _plain(storage: "Callable[[Path], optuna.storages.BaseStorage]") -> "Callable[[Path], optuna.Study]":
    def opened(path: Path) -> "optuna.Study":
        import optuna

        return optuna.create_study(
            storage=storage(path), study_name="s", sampler=optuna.samplers.RandomSampler(), load_if_exists=True
        )

    return opened


def _rdb(path: Path) -> "optuna.storages.BaseStorage":
    from optuna.storages import RDBStorage

    return RDBStorage(f"sqlite:///{path}")


def _journal(path: Path) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def _journal_open(path: Path) -> "optuna.storages.BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


STORAGES = {
    "phinas": _phinas,
    "rdb": _plain(_rdb),
    "journal": _plain(_journal),
    "journal-open": _plain(_journal_open),
}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("study_storage", __doc__, note="asked: nothing lost by ours. About 8 minutes.")
    cli.count("--trials", 100, "of one process")
    cli.count("--kills", 20, "of one writer beside three others")
    cli.flag("--storages", ",".join(STORAGES), "which")
    return cli


def write(kind: str, path: Path, count: int, finished: Path) -> None:
    """Write trials; the numbers of those that are stored stand in `finished`, one a line."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kernels: BaseDistribution = CategoricalDistribution([3, 5, 7])
    choices = {f"stage{number}.kernel": kernels for number in range(40)}
    study = STORAGES[kind](path)
    for _ in range(count):
        trial = study.ask(fixed_distributions=choices)
        for number in range(ATTRIBUTES):
            trial.set_user_attr(f"attribute {number}", "x" * 200)
        study.tell(trial, 0.5)
        with finished.open("a") as file:
            file.write(f"{trial.number}\n")


def alone(kind: str, folder: Path, trials: int) -> tuple[float, float]:
    """Seconds a trial, and seconds to read all of them."""
    path, began = folder / "alone.db", time.perf_counter()
    write(kind, path, trials, folder / "alone.txt")
    wrote = time.perf_counter()
    count = len(STORAGES[kind](path).get_trials(deepcopy=False))
    assert count == trials
    return (wrote - began) / trials, time.perf_counter() - wrote


def together(kind: str, folder: Path, kills: int) -> str:
    """What was lost where four write and one is killed again and again; "" for nothing."""
    path, rng = folder / "together.db", random.Random(0)
    STORAGES[kind](path)
    context = multiprocessing.get_context("spawn")

    def start(number: int, count: int) -> "multiprocessing.process.BaseProcess":
        writer = context.Process(target=write, args=(kind, path, count, folder / f"{number}.txt"))
        writer.start()
        return writer

    others = [start(number, 10 * kills) for number in range(1, WRITERS)]
    for _ in range(kills):
        victim = start(0, 10**6)
        victim.join(rng.uniform(2.0, 4.0))  # a second of it imports Optuna
        victim.kill()
        victim.join()
    for other in others:
        other.join()
    failed = [other.exitcode for other in others if other.exitcode]
    try:
        trials = STORAGES[kind](path).get_trials(deepcopy=False)
        STORAGES[kind](path).tell(STORAGES[kind](path).ask(), 0.5)
    except Exception as error:
        return f"cannot be read: {error!r}"[:80]
    stored = [trial.number for trial in trials if trial.state.is_finished()]
    written: list[int] = []
    for number in range(WRITERS):
        with suppress(FileNotFoundError):
            written += map(int, (folder / f"{number}.txt").read_text().split())
    lost = len(set(written) - set(stored))
    twice = len(trials) - len({trial.number for trial in trials})
    problems = [f"{lost} trials lost" * bool(lost), f"{twice} numbers twice" * bool(twice)]
    problems.append(f"{len(failed)} writers failed" * bool(failed))
    return ", ".join(filter(None, problems))


def run(args: Namespace) -> Verdict:
    """The figures of each storage; the target is that ours loses nothing."""
    rows, verdicts = [], {}
    for kind in args.storages.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            a_trial_s, read_s = alone(kind, Path(scratch), args.trials)
            began = time.perf_counter()
            verdicts[kind] = together(kind, Path(scratch), args.kills)
            together_s = time.perf_counter() - began
        figures = [f"{1e3 * a_trial_s:.0f}", f"{read_s:.2f}", f"{together_s:.0f}"]
        rows.append([kind, *figures, verdicts[kind] or "nothing lost"])
    headers = ["storage", "ms a trial", f"s to read {args.trials}", "s of four writers", f"after {args.kills} kills"]
    return Verdict(table(headers, rows, text_columns=(0, 4)), not verdicts.get("phinas"))


main = benchmark(parser, run)

if __name__ == "__main__":
    sys.exit(main())
