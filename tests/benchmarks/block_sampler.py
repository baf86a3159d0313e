"""python -m tests.benchmarks.block_sampler: BlockSampler beside the samplers of Optuna and of the literature.

The searcher sees one noisy value a trial (0.2 points of standard deviation); judged is the noise-free value of the
network that it hands over: regret, in points below the best of the landscape. Parts, each mean +- standard error:
  free       regret after 50, 100 and 200 trials
  limited    the same under a limit on the price that 30% of random points keep (TPE and others with constraints)
  front      accuracy and price, 200 trials: hypervolume as a share of the true front's (of all methods' where unknown)
  workers    four processes on one storage, 200 trials: networks that were tried twice
  speed      milliseconds of a proposal with 40 parameters after 100 and 1,000 trials, storage excluded

Landscapes are those of block_landscapes.py; "accel" needs Accel-NASBench's table. GPSampler takes seconds a proposal:
it has --gp-seeds. Results go to --json as they come; the same command again computes what is missing.
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from searchspace.errors import InvalidArgument
from searchspace.report import paragraphs, table
from tests.benchmarks.block_landscapes import NAMES, Landscape, landscape
from tests.benchmarks.harness import BenchmarkParser, Kept, benchmark

CSV = Path("../shared/data/accel-nasbench-dev.csv")
PARTS = ("free", "limited", "front", "workers", "speed")
COUNTS = (50, 100, 200)
SHARE = 0.3  # of random points keep the limit
METHODS = ("random", "tpe", "gp", "nsga2", "evolution", "local", "block")
MANY_OBJECTIVES = ("random", "tpe", "nsga2", "block")


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("block_sampler", __doc__)
    out = Path(tempfile.gettempdir()) / "block_sampler.json"
    cli.flag("--parts", ",".join(PARTS), "which")
    cli.flag("--landscapes", ",".join(NAMES), "which")
    cli.flag("--methods", ",".join(METHODS), "which")
    cli.count("--seeds", 30, "searches of each")
    cli.count("--gp-seeds", 3, "searches of GPSampler", least=0)
    cli.count("--trials", 200, "of each search")
    cli.number("--minutes", 60, "stop then, to go on later", metavar="M")
    cli.flag("--csv", CSV, "Accel-NASBench's networks", type=Path, metavar="FILE")
    cli.flag("--json", out, "results", type=Path, metavar="FILE")
    return cli


def search(part: str, name: str, seed: int, method: str, csv: Path, trials: int, kept: Kept) -> dict[str, Any]:
    """One search; what the handed-over network is worth after each of COUNTS, or the front's hypervolume."""
    from tests.benchmarks.block_methods import METHODS as RUN
    from tests.benchmarks.block_methods import Task

    land = landscape(name, seed, csv)
    limit = land.limit(SHARE) if part == "limited" else None
    noise = np.random.default_rng([seed, 9])
    task = Task(land, limit, 2 if part == "front" else 1, trials, noise)
    began = time.process_time()
    RUN[method](task, seed)
    row: dict[str, Any] = {
        "cpu_s": time.process_time() - began,
        "repeated": len(task.points) - len({point.tobytes() for point in task.points}),
        "over_limit": sum(not task.fits(point) for point in task.points),
    }
    if part == "front":
        return row | {"share": _hypervolume_share(land, np.array(task.points), name, seed, kept)}
    best = kept.once(f"best {part} {name} {0 if name == 'accel' else seed}", lambda: _best(land, limit))
    for count in COUNTS:
        if count <= trials:
            chosen = task.chosen(count)
            row[str(count)] = best - float(land.values(chosen[None])[0]) if task.fits(chosen) else None
    return row


def _best(land: Landscape, limit: float | None) -> float:
    if limit is None:
        return land.best()
    return land.best(lambda points: np.where(land.price(points) <= limit, land.values(points), -np.inf))


def _hypervolume_share(land: Landscape, points: Any, name: str, seed: int, kept: Kept) -> float:
    """Of the noise-free values of all points that were tried, against the true front's, or what climbs find of it."""
    drawn = land.draw(4000, np.random.default_rng(1))
    middle = (float(np.quantile(land.values(drawn), 0.5)), float(np.quantile(land.price(drawn), 0.95)))

    def volume(of: Any) -> float:
        values, prices = land.values(of), land.price(of)
        total, highest = 0.0, middle[0]
        for place in np.argsort(prices, kind="stable"):
            if values[place] > highest and prices[place] < middle[1]:
                total += (values[place] - highest) * (middle[1] - prices[place])
                highest = values[place]
        return total

    whole = kept.once(f"front {name} {0 if name == 'accel' else seed}", lambda: volume(_true_front(land)))
    return volume(points) / float(whole)


def _true_front(land: Landscape) -> Any:
    """All points where there are few; else what climbs towards 25 mixtures of accuracy and price find."""
    if np.prod(np.array(land.sizes, float)) <= 50_000:
        return np.array(list(itertools.product(*map(range, land.sizes))))
    rng = np.random.default_rng(0)
    points = land.draw(20_000, rng)
    spread = land.values(points).std() / land.price(points).std()
    found = [points]
    for weight in spread * np.geomspace(0.02, 20, 25):

        def mixture(rows: Any, weight: float = weight) -> Any:
            return land.values(rows) - weight * land.price(rows)

        best = points[np.argsort(-mixture(points))[:4]]
        found += [land.climb(mixture, start, rng)[None] for start in best]
    return np.concatenate(found)


def workers(trials: int) -> dict[str, Any]:
    """Four processes on one storage."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    code = "import sys; from tests.benchmarks.block_sampler import work; work(sys.argv[1], int(sys.argv[2]))"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "journal")
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(path)), study_name="s", direction="maximize"
        )
        processes = [subprocess.Popen([sys.executable, "-c", code, path, str(trials // 4)]) for _ in range(4)]
        codes = [process.wait() for process in processes]
        points = {tuple(trial.params.items()) for trial in study.trials}
        return {"exit_codes": codes, "trials": len(study.trials), "repeated": len(study.trials) - len(points)}


def work(path: str, trials: int) -> None:
    """One of the workers: the cell's 15,625 networks."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from search.samplers import BlockSampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    land = landscape("cell", 0, CSV)
    storage = JournalStorage(JournalFileBackend(path))
    study = optuna.load_study(storage=storage, study_name="s", sampler=BlockSampler(seed=0, space=land.parameters))

    def objective(trial: Any) -> float:
        choices = {name: trial.suggest_categorical(name, values) for name, values in land.parameters.items()}
        return float(land.values(land.point(choices))[0])

    study.optimize(objective, n_trials=trials)


def speed() -> dict[str, float]:
    """Milliseconds of CPU of a proposal: the mean of 12 with one trial told between, and the first of a process."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.trial import create_trial

    from search.samplers import BlockSampler

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng(0)
    values: dict[str, tuple[Any, ...]] = {f"p{i}": (0, 1, 2, 3) if i % 2 else tuple("abcd") for i in range(40)}
    space: dict[str, BaseDistribution] = {name: CategoricalDistribution(choices) for name, choices in values.items()}
    worth = rng.normal(0, 1, (40, 4))

    def value(params: dict[str, Any]) -> float:
        codes = [values[name].index(choice) for name, choice in params.items()]
        return float(sum(worth[place, code] for place, code in enumerate(codes)) + rng.normal())

    found: dict[str, float] = {}
    for trials in (100, 1000):
        sampler = BlockSampler(seed=0)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(trials):
            params = {name: choices[int(rng.integers(4))] for name, choices in values.items()}
            study.add_trial(create_trial(params=params, distributions=space, value=value(params)))
        times = []
        for _ in range(13):
            trial = study.ask()
            frozen = study.get_trials(deepcopy=False)[-1]
            began = time.process_time()
            proposed = sampler.sample_relative(study, frozen, space)
            times.append(1e3 * (time.process_time() - began))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.add_trial(create_trial(params=proposed, distributions=space, value=value(proposed)))
        found |= {f"{trials}": statistics.mean(times[1:]), f"{trials} first": times[0]}
    return found


def report(part: str, names: list[str], methods: list[str], rows: dict[str, Any], seeds: int) -> str:
    """A table for one part: a row for each method."""
    counts = [str(count) for count in COUNTS] if part != "front" else ["share"]
    headers = ["method", *(f"{name} {count}" for name in names for count in counts), "cpu s", "repeats", "over", "runs"]
    lines = []
    for method in methods:
        found = {name: [rows.get(f"{part} {name} {seed} {method}") for seed in range(seeds)] for name in names}
        cells = []
        for name, count in itertools.product(names, counts):
            cells.append(_cell([row[count] for row in found[name] if row and row.get(count) is not None]))
        every = [row for own in found.values() for row in own if row]
        if every:
            means = [statistics.mean(row[key] for row in every) for key in ("cpu_s", "repeated", "over_limit")]
            lines.append([method, *cells, *(f"{mean:.1f}" for mean in means), str(len(every))])
    return table(headers, lines, text_columns=(0,), title=part)


def _cell(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    return f"{statistics.mean(values):.2f} +-{statistics.stdev(values) / len(values) ** 0.5:.2f}"


def _some(flag: str, text: str, known: tuple[str, ...]) -> list[str]:
    for name in text.split(","):
        if name not in known:
            raise InvalidArgument(f"{flag} must be some of {', '.join(known)}; got {name!r}")
    return text.split(",")


def run(args: Namespace) -> str:
    """What is missing, as far as the time goes, and the tables."""
    parts, names = _some("--parts", args.parts, PARTS), _some("--landscapes", args.landscapes, NAMES)
    methods = _some("--methods", args.methods, METHODS)
    lines, ends = [], time.monotonic() + 60 * args.minutes
    if "accel" in names and not args.csv.exists():
        lines.append(f"accel is skipped: it needs {args.csv}, which is not on this machine (--csv names another place)")
        names.remove("accel")
    kept = Kept(args.json, {"trials": args.trials})
    missing = 0
    searched = [part for part in parts if part in ("free", "limited", "front")]
    for seed, part, name, method in itertools.product(range(args.seeds), searched, names, methods):
        late = method == "gp" and seed >= args.gp_seeds
        if late or (part == "front" and method not in MANY_OBJECTIVES) or (part == "limited" and method == "gp"):
            continue
        key = f"{part} {name} {seed} {method}"
        if key not in kept.rows():
            if time.monotonic() > ends:
                missing += 1
                continue
            kept.put(key, search(part, name, seed, method, args.csv, args.trials, kept))
    rows = kept.rows()
    lines += [report(part, names, methods, rows, args.seeds) for part in searched]
    if "workers" in parts:
        found = workers(args.trials)
        lines.append(f"workers: {found['trials']} trials by four processes, {found['repeated']} tried twice")
    if "speed" in parts:
        ms = speed()
        texts = [
            f"{ms[n]:.1f} ms after {n} trials (the first of a process {ms[f'{n} first']:.1f})" for n in ("100", "1000")
        ]
        lines.append(f"speed: a proposal with 40 parameters takes {', '.join(texts)}")
    again = f"{missing} searches are missing; the same command again computes them" if missing else ""
    return paragraphs(*lines, again)


main = benchmark(parser, run, stopped="stopped; every search that ended is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
