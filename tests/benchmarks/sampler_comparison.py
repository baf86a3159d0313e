"""python -m tests.benchmarks.sampler_comparison: which sampler finds the best network in a dozen noisy trainings?

Every method searches the same landscapes through Optuna, with an instant, noisy stand-in for training, and selects the
network of the highest noisy value after 12 and after 40 trials, as a search does. Compared is the selected network's
noiseless accuracy, each seed against honest random search with the same seed.

Landscapes, both scaled so that random networks spread by 2.5 points (standard deviation); training adds 0.7:
  accel      accuracies of Accel-NASBench's networks, learned from its 4,138 (half a quadratic ridge regression, half
             gradient-boosted trees); skipped where the file is absent
  synthetic  another one for each seed, over the default space: a few choices matter, some in pairs, MACs help, too
             many layers hurt
The price is a sum over kernels. Budgets are given as the share of random networks that fit.

Results go to --json as they come; the same command again computes what is missing.
"""

import random
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from search.candidates import Candidate
from search.cores import available_cores
from searchspace.command import number
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.report import paragraphs, table
from tests.benchmarks.harness import BenchmarkParser, Kept, benchmark
from tests.benchmarks.sampler_landscapes import accel_spearman, landscape

CSV = Path("../shared/data/accel-nasbench-dev.csv")
METHODS = {  # name: (kind, with starting points)
    "random": ("random", False),
    "use-budget": ("use-budget", True),
    "evolution": ("evolution", True),
    "tpe-no-starts": ("tpe", False),
    "tpe": ("tpe", True),
    "block-no-starts": ("block", False),
    "block": ("block", True),
}
COUNTS = (12, 40)
NOISE = 0.7  # points
Job = tuple[str, float, int, str]  # landscape, budget share, seed, method
Scores = dict[str, float]


def propose(kind: str, sampler: Any, history: list[tuple[Candidate, float]], rng: random.Random) -> Candidate:
    """Two simple methods without Optuna: a random network that uses the budget, and regularised evolution.

    Evolution (arXiv:1802.01548) changes one to three choices of the best of 5 of the last 20 networks.
    """
    priced, budget_ms, parameters = sampler.priced, sampler.limit_ms, sampler.priced.space.parameters()
    for attempt in range(20_000):
        choices = {name: rng.choice(values) for name, values in parameters.items()}
        if kind == "evolution" and len(history) >= 6:
            last = history[-20:]
            parent = max(rng.sample(last, min(5, len(last))), key=lambda pair: pair[1])[0]
            changed = rng.sample(list(parameters), rng.randint(1, 3) + attempt // 200)
            choices = {n: choices[n] if n in changed else parent.choices.get(n, choices[n]) for n in parameters}
        candidate: Candidate = priced.price(choices)
        if 0.85 * budget_ms <= candidate.latency_ms <= budget_ms and candidate.fingerprint not in sampler.known:
            return candidate
    raise InfeasibleBudget(f"{kind} found nothing new within {budget_ms:g} ms; give a larger --budgets share")


def run_job(job: Job, csv: Path) -> Scores:
    """One search; the selected network's noiseless accuracy after each of COUNTS trials, and seconds per proposal."""
    import optuna

    from search.samplers import KINDS as OPTUNA_KINDS
    from search.samplers.network_sampler import NetworkSampler, distributions

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, share, seed, method = job
    kind, with_starts = METHODS[method]
    land = landscape(name, seed, csv)
    priced, space = land.priced, land.priced.space
    starts = land.starting_points() if with_starts else []
    own = kind not in OPTUNA_KINDS
    sampler = NetworkSampler(
        priced,
        limit_ms=land.budget_ms(share),
        seed=seed,
        kind="random" if own else kind,
        known=set(),
        starting_points=starts,
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    noise, rng = random.Random(f"noise {name} {seed}"), random.Random(seed)
    history: list[tuple[Candidate, float]] = []
    scores, seconds = {}, 0.0
    for count in range(1, max(COUNTS) + 1):
        began = time.perf_counter()
        if own and count > len(starts):
            candidate = propose(kind, sampler, history, rng)
        else:
            trial = study.ask(fixed_distributions=distributions(space))
            candidate = priced.price(trial.params)
        seconds += time.perf_counter() - began
        value = land.accuracy(candidate) + noise.gauss(0.0, NOISE)
        if not own or count <= len(starts):
            study.tell(trial, value)
        sampler.known.add(candidate.fingerprint)
        history.append((candidate, value))
        if count in COUNTS:
            scores[str(count)] = land.accuracy(max(history, key=lambda pair: pair[1])[0])
    return {**scores, "ask_s": seconds / len(history)}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("sampler_comparison", __doc__)
    out = Path(tempfile.gettempdir()) / "sampler_comparison.json"
    cli.flag("--landscapes", "accel,synthetic", "which")
    cli.flag("--methods", ",".join(METHODS), "which")
    cli.flag("--budgets", "0.02,0.2", "shares of random networks that fit")
    cli.count("--seeds", 30, "searches of each")
    cli.number("--minutes", 3.5, "stop then, to go on later", metavar="M")
    cli.flag("--csv", CSV, "Accel-NASBench's networks", type=Path, metavar="FILE")
    cli.flag("--json", out, "results", type=Path, metavar="FILE")
    cli.add_argument("--short", action="store_true", help="2 seeds, one budget, random and block, synthetic only")
    return cli


def key_of(job: Job) -> str:
    """A job as the key of its row."""
    return " ".join(map(str, job))


def compute(jobs: list[Job], args: Namespace, kept: Kept) -> None:
    """Run jobs on all cores until the time is up; every result is written when it is there."""
    ends = time.monotonic() + 60 * args.minutes
    waiting, running = iter(jobs), dict[Future[Scores], Job]()
    cores = available_cores()
    with ProcessPoolExecutor(cores) as pool:
        while True:
            while len(running) <= cores and time.monotonic() < ends and (job := next(waiting, None)):
                running[pool.submit(run_job, job, args.csv)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                kept.put(key_of(running.pop(future)), future.result())


def report(args: Namespace, landscapes: list[str], shares: list[float], results: dict[str, Scores]) -> str:
    """Points over random search, mean +- standard error, by landscape, budget and number of trials."""
    cells = [(name, share, count) for name in landscapes for share in shares for count in COUNTS]
    headers = ["method", *(f"{name[:5]} {share:g}/{count}" for name, share, count in cells)]
    headers += [*(f"mean/{count}" for count in COUNTS), "s/ask", "runs"]
    rows = []
    for method in args.methods.split(","):
        found: dict[tuple[str, float, int], tuple[float, float]] = {}
        seconds: list[float] = []
        for name, share, count in cells:
            jobs = [(name, share, seed) for seed in range(args.seeds)]
            pairs = [(results.get(key_of((*job, method))), results.get(key_of((*job, "random")))) for job in jobs]
            both = [(own, base) for own, base in pairs if own and base]
            key = str(count)
            points = [own[key] - (base[key] if method != "random" else 0.0) for own, base in both]
            seconds += [own["ask_s"] for own, _ in both]
            if len(points) > 1:
                found[name, share, count] = statistics.mean(points), statistics.stdev(points) / len(points) ** 0.5
        texts = [_points(found.get(cell)) for cell in cells]
        for count in COUNTS:
            own = [value for (_, _, trials), value in found.items() if trials == count]
            complete = len(own) == len(cells) // len(COUNTS)
            texts.append(_points(_mean(own) if complete else None))
        ask = f"{statistics.mean(seconds):.3f}" if seconds else "-"
        rows.append([method, *texts, ask, str(len(seconds) // len(COUNTS))])
    return table(headers, rows, text_columns=(0,))


def _mean(found: list[tuple[float, float]]) -> tuple[float, float]:
    """The mean of means, with its standard error."""
    means, errors = zip(*found, strict=True)
    return statistics.mean(means), sum(error * error for error in errors) ** 0.5 / len(errors)


def _points(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.2f} +-{found[1]:.2f}"


def _checked(flag: str, text: str, known: Any) -> list[str]:
    for name in text.split(","):
        if name not in known:
            raise InvalidArgument(f"{flag} must be some of {', '.join(known)}; got {name!r}")
    return text.split(",")


def run(args: Namespace) -> str:
    """Every search that is missing, as far as the time goes, and the comparison."""
    if args.short:
        args.landscapes, args.methods, args.budgets, args.seeds = "synthetic", "random,block", "0.2", 2
    methods = _checked("--methods", args.methods, METHODS)
    landscapes = _checked("--landscapes", args.landscapes, ("accel", "synthetic"))
    shares = [number(share) for share in args.budgets.split(",")]
    lines = []
    if "accel" in landscapes and not args.csv.exists():
        lines.append(f"accel is skipped: it needs {args.csv}, which is not on this machine (--csv names another place)")
        landscapes.remove("accel")
    kept = Kept(args.json, {})
    if "accel" in landscapes:
        lines.append(f"accel: cross-validated Spearman {accel_spearman(args.csv):.3f} on {args.csv.name}")
    order = [*dict.fromkeys(["random", *methods])]
    cells = [(name, share, seed) for seed in range(args.seeds) for name in landscapes for share in shares]
    jobs = [(*cell, method) for cell in cells for method in order]
    missing = [job for job in jobs if key_of(job) not in kept.rows()]
    random.Random(0).shuffle(missing)
    compute(sorted(missing, key=lambda job: job[2]), args, kept)
    results = kept.rows()
    left = sum(key_of(job) not in results for job in jobs)
    lines.append(
        "noiseless accuracy of the selected network: points over the mean of random networks for random, for others\n"
        "points over random search with the same seed; mean +- standard error"
    )
    again = f"{left} of {len(jobs)} runs are missing; the same command again computes them" if left else ""
    return paragraphs(*lines, report(args, landscapes, shares, results), again)


main = benchmark(parser, run, stopped="stopped; every search that ended is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
