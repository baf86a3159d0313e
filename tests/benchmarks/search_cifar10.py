"""python -m tests.benchmarks.search_cifar10: is the search better than the best published network, fine-tuned as long?

For each budget and seed `search.run` has so many minutes. Beside it each packaged network is fine-tuned for as many
minutes at the same pixels; of those within the budget the best in hindsight counts. Runs go one after the other, each
on all cores; a seed decides the splits too. Every run that is finished is kept, the same command does what is missing.
Targets: the mean test accuracy, and the difference from the best published network, less two standard errors.
"""

import math
import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from searchspace.report import ms_text, percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Row, Verdict, benchmark, needed, spread_text

PUBLISHED = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2"


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("search_cifar10", __doc__)
    cli.json()
    cli.flag("--data", str(CIFAR), "data set")
    cli.flag("--budgets", "20", "latency budgets in ms")
    cli.flag("--seeds", "0,1,2", "of each run")
    cli.number("--minutes", 30.0, "of each run", metavar="M")
    cli.flag("--published", PUBLISHED, "networks beside it; none for none")
    cli.flag("--weights", "auto", "where all start from")
    cli.number("--target", 0.88, "mean test accuracy to reach at the largest budget, a fraction")
    cli.add_argument("--macs", action="store_true", help="for a test: take published networks without measuring them")
    return cli


def run(args: Namespace) -> Verdict:
    """What is missing, and the table. Raises Skipped, PhinasError."""
    needed(args.data.partition(":")[0])
    kept = Kept(args.json, {name: getattr(args, name) for name in ("data", "minutes", "weights")})
    seeds, budgets = args.seeds.split(","), sorted(map(float, args.budgets.split(",")))
    names = [name for name in args.published.split(",") if name != "none"]
    for seed in map(int, seeds):
        pixels = 0
        for budget in budgets:
            row = kept.once(f"search {budget:g} ms, seed {seed}", partial(searched, args, budget, seed))
            pixels = int(row["pixels"])
            print(f"seed {seed}, {budget:g} ms: test {percent_text(row['test'], 2)}", file=sys.stderr, flush=True)
        for name in names:
            row = kept.once(f"{name} at {pixels} px, seed {seed}", partial(tuned, args, name, seed, pixels))
            print(f"seed {seed}, {name}: test {percent_text(row['test'], 2)}", file=sys.stderr, flush=True)
    return report(kept.rows(), budgets, [int(seed) for seed in seeds], args.target)


def searched(args: Namespace, budget: float, seed: int) -> Row:
    """One search."""
    import search

    stem = Path(args.data).name.partition(".")[0].partition(":")[0]
    found = search.find(
        budget_ms=budget,
        data=args.data,
        minutes=args.minutes,
        seed=seed,
        weights=args.weights,
        study=f"versus-{stem}-{budget:g}ms-{args.minutes:g}min-{seed}",
    ).summary
    winner = found["winner"]
    return {
        "budget": budget,
        "seed": seed,
        "test": winner["test_accuracy"],
        "pixels": winner["tested_at_px"],
        "ms": winner["measured_latency_ms"],
        "within": found["within_budget"],
        "network": winner.get("network") or f"trial {winner['trial']}",
        "judged": sum(found["trials"].get(status, 0) for status in ("trained", "stopped_early")),
        "minutes": found["spent_s"] / 60,
    }


def tuned(args: Namespace, name: str, seed: int, pixels: int) -> Row:
    """A published network fine-tuned for as long, and the upper end of what it measures."""
    import search
    from search.finetune import finetune

    stem = Path(args.data).name.partition(".")[0].partition(":")[0]
    found = finetune(
        args.data,
        network=name,
        weights=args.weights,
        minutes=args.minutes,
        resolution=pixels,
        seed=seed,
        study=f"versus-{stem}-{name}-{args.minutes:g}min-{seed}",
    )
    assert found.spec is not None
    ms = 0.0 if args.macs else search.latency.measure(found.spec).latency_upper_ms
    return {
        "seed": seed,
        "test": found.summary["test_accuracy"],
        "pixels": pixels,
        "ms": ms,
        "network": name,
        "minutes": found.summary["spent_s"] / 60,
    }


def report(rows: "dict[str, Row]", budgets: Sequence[float], seeds: Sequence[int], target: float) -> Verdict:
    """All runs, and whether the targets are reached."""
    lines = [
        [name, row["network"], percent_text(row["test"], 2), ms_text(row["ms"]), f"{row['minutes']:.1f}"]
        for name, row in rows.items()
    ]
    texts, reached = [table(["run", "network", "test", "ms", "minutes"], lines)], True
    for budget in budgets:
        own = [row for row in rows.values() if row.get("budget") == budget and row["seed"] in seeds]
        tests = [row["test"] for row in own]
        texts.append(f"{budget:g} ms: test {spread_text(tests)}")
        differences = [row["test"] - best for row in own if (best := best_published(rows, row["seed"], budget)) > 0]
        if differences:
            error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
            mean = statistics.mean(differences)
            texts.append(f"to the best published network within it: {100 * mean:+.2f} ± {100 * error:.2f} points")
            reached &= mean + 2 * error >= 0
        if budget == budgets[-1] and tests:
            reached &= statistics.mean(tests) >= target
    texts.append(
        f"targets ({percent_text(target)}, not below the best published): {'reached' if reached else 'missed'}"
    )
    return Verdict("\n".join(texts), reached)


def best_published(rows: "dict[str, Row]", seed: int, budget: float) -> float:
    """Test accuracy of the best published network within the budget; 0 without one."""
    return max(
        (row["test"] for row in rows.values() if "budget" not in row and row["seed"] == seed and row["ms"] <= budget),
        default=0.0,
    )


main = benchmark(parser, run, stopped="stopped; finished runs are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
