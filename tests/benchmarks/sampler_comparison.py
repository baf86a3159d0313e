"""python -m tests.benchmarks.sampler_comparison: which sampler finds the best network in a dozen noisy trainings?

Every method searches the same landscapes through Optuna, with an instant, noisy stand-in for training, and crowns the
network of the highest noisy value after 12 and after 40 trials, as a search does. Compared is the crowned network's
noiseless accuracy, each seed against honest random search with the same seed.

Landscapes, both scaled so that random networks spread by 2.5 points (standard deviation); training adds 0.7:
  accel      accuracies of Accel-NASBench's networks, learned from its 4,138 (half a quadratic ridge regression, half
             gradient-boosted trees); skipped where the file is absent
  synthetic  another one for each seed, over the default space: a few choices matter, some in pairs, MACs help, too
             many layers hurt
The price is a sum over kernels. Budgets are given as the share of random networks that fit.

Results go to --out as they come; the same command again computes what is missing.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from search.candidates import Candidate
from searchspace.command import CommandParser, integer, number
from searchspace.errors import InfeasibleBudget, InvalidArgument, PhinasError
from tests.benchmarks.sampler_landscapes import accel_spearman, landscape

CSV = Path("../shared/data/accel-nasbench-dev.csv")
METHODS = {  # name: (kind, with starting points)
    "random": ("random", False),
    "use-budget": ("use-budget", True),
    "evolution": ("evolution", True),
    "tpe-no-starts": ("tpe", False),
    "tpe": ("tpe", True),
    "gp-no-starts": ("gp", False),
    "gp": ("gp", True),
}
COUNTS = (12, 40)
NOISE = 0.7  # points
Job = tuple[str, float, int, str]  # landscape, budget share, seed, method
Results = dict[Job, dict[str, float]]


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


def run_job(job: Job, csv: Path) -> dict[str, float]:
    """One search; the crowned network's noiseless accuracy after each of COUNTS trials, and seconds per proposal."""
    import optuna

    from search.samplers import KINDS as OPTUNA_KINDS
    from search.samplers.budget_sampler import BudgetSampler, distributions

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, share, seed, method = job
    kind, with_starts = METHODS[method]
    land = landscape(name, seed, csv)
    priced, space = land.priced, land.priced.space
    starts = land.starting_points() if with_starts else []
    own = kind not in OPTUNA_KINDS
    sampler = BudgetSampler(
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


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m tests.benchmarks.sampler_comparison", description=__doc__ or "")
    out = Path(tempfile.gettempdir()) / "sampler_comparison.jsonl"
    cli.add_argument("--landscapes", default="accel,synthetic", help="default: %(default)s")
    cli.add_argument("--methods", default=",".join(METHODS), help="default: %(default)s")
    cli.add_argument("--budgets", default="0.02,0.2", help="shares of random networks that fit (default: %(default)s)")
    cli.add_argument("--seeds", type=integer, default=30, metavar="N", help="default: %(default)s")
    cli.add_argument("--minutes", type=number, default=3.5, help="stop then, to go on later (default: %(default)g)")
    cli.add_argument("--csv", type=Path, default=CSV, help="Accel-NASBench's networks (default: %(default)s)")
    cli.add_argument("--out", type=Path, default=out, help="results, one line each (default: %(default)s)")
    cli.add_argument("--short", action="store_true", help="2 seeds, one budget, random and gp, synthetic only")
    return cli


def read(path: Path) -> Results:
    """The results in the file so far; a line that a kill cut off is left out."""
    results: Results = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            (landscape, share, seed, method), scores = json.loads(line)
        except ValueError:
            continue
        results[landscape, share, seed, method] = scores
    return results


def compute(jobs: list[Job], args: argparse.Namespace, results: Results) -> None:
    """Run jobs on all cores until the time is up; every result is written when it is there."""
    ends = time.monotonic() + 60 * args.minutes
    waiting, running = iter(jobs), dict[Future[dict[str, float]], Job]()
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool, open(args.out, "a", encoding="utf-8") as file:
        while True:
            while len(running) <= cores and time.monotonic() < ends and (job := next(waiting, None)):
                running[pool.submit(run_job, job, args.csv)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                results[job] = future.result()
                file.write(json.dumps([job, results[job]]) + "\n")
                file.flush()


def table(args: argparse.Namespace, landscapes: list[str], shares: list[float], results: Results) -> str:
    """Points over random search, mean +- standard error, by landscape, budget and number of trials."""
    cells = [(landscape, share, count) for landscape in landscapes for share in shares for count in COUNTS]
    head = " ".join(f"{f'{name[:5]} {share:g}/{count}':>14}" for name, share, count in cells)
    lines = [f"{'method':14} {head} {'mean/12':>13} {'mean/40':>13} {'s/ask':>6} {'runs':>5}"]
    for method in args.methods.split(","):
        texts, means, errors, seconds = [], dict[int, list[float]](), dict[int, list[float]](), list[float]()
        for name, share, count in cells:
            points = []
            for seed in range(args.seeds):
                own = results.get((name, share, seed, method))
                base = results.get((name, share, seed, "random"))
                if own and base:
                    points.append(own[str(count)] - (base[str(count)] if method != "random" else 0.0))
                    seconds.append(own["ask_s"])
            if len(points) < 2:
                texts.append(f"{'-':>14}")
                continue
            error = statistics.stdev(points) / len(points) ** 0.5
            texts.append(f"{statistics.mean(points):8.2f} +-{error:.2f}")
            means.setdefault(count, []).append(statistics.mean(points))
            errors.setdefault(count, []).append(error)
        for count in COUNTS:
            if len(means.get(count, [])) == len(cells) // len(COUNTS):
                error = sum(e * e for e in errors[count]) ** 0.5 / len(errors[count])
                texts.append(f"{statistics.mean(means[count]):7.2f} +-{error:.2f}")
            else:
                texts.append(f"{'-':>13}")
        ask = f"{statistics.mean(seconds):6.3f}" if seconds else f"{'-':>6}"
        lines.append(f"{method:14} {' '.join(texts)} {ask} {len(seconds) // len(COUNTS):5}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the bake-off; the exit code."""
    try:
        args = parser().parse_args(argv)
        _run(args)
    except PhinasError as error:
        print(f"sampler_comparison: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    if args.short:
        args.landscapes, args.methods, args.budgets, args.seeds = "synthetic", "random,gp", "0.2", 2
    landscapes, methods = args.landscapes.split(","), args.methods.split(",")
    for name in methods:
        if name not in METHODS:
            raise InvalidArgument(f"--methods must be some of {', '.join(METHODS)}; got {name!r}")
    for name in landscapes:
        if name not in ("accel", "synthetic"):
            raise InvalidArgument(f"--landscapes must be some of accel, synthetic; got {name!r}")
    shares = [number(share) for share in args.budgets.split(",")]
    if "accel" in landscapes and not args.csv.exists():
        print(f"accel is skipped: it needs {args.csv}, which is not on this machine (--csv names another place)")
        landscapes.remove("accel")
    results = read(args.out)
    if "accel" in landscapes:
        print(f"accel: cross-validated Spearman {accel_spearman(args.csv):.3f} on {args.csv.name}", flush=True)
    order = [*dict.fromkeys(["random", *methods])]
    cells = [(name, share, seed) for seed in range(args.seeds) for name in landscapes for share in shares]
    jobs = [(*cell, method) for cell in cells for method in order]
    missing = [job for job in jobs if job not in results]
    random.Random(0).shuffle(missing)
    compute(sorted(missing, key=lambda job: job[2]), args, results)
    left = sum(job not in results for job in jobs)
    print("noiseless accuracy of the crowned network: points over the mean of random networks for random, for others")
    print("points over random search with the same seed; mean +- standard error")
    print(table(args, landscapes, shares, results))
    if left:
        print(f"{left} of {len(jobs)} runs are missing; the same command again computes them")


if __name__ == "__main__":
    sys.exit(main())
