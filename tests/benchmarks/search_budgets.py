"""python -m tests.benchmarks.search_budgets: what does one study for several budgets save over a study for each?

For each seed one study of all budgets has all the minutes, and beside it each budget has a study of its own with its
share of them. With --times 2 each of these has twice as many: a search for several budgets is to be worth more than it
costs. Runs go one after the other. Every run that is finished is kept, the same command does what is missing. Target:
the mean difference of test accuracies, in the mean over budgets and seeds, is not below 0 by two standard errors.
"""

import math
import statistics
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from searchspace.report import ms_text, percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Row, Verdict, benchmark, needed, spread_text


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("search_budgets", __doc__)
    cli.json()
    cli.flag("--data", str(CIFAR), "data set; digits needs no file")
    cli.flag("--budgets", "5,10,20", "latency budgets in ms")
    cli.flag("--seeds", "0,1,2", "of each run")
    cli.number("--minutes", 40.0, "of the study for all budgets", metavar="M")
    cli.number("--times", 1.0, "times its share of them that a study for one budget has", metavar="F")
    cli.flag("--weights", "auto", "where all start from")
    return cli


def run(args: Namespace) -> Verdict:
    """What is missing, and the table. Raises Skipped, PhinasError."""
    needed(args.data)
    about = {name: getattr(args, name) for name in ("data", "budgets", "minutes", "times", "weights")}
    kept, budgets = Kept(args.json, about), sorted(map(float, args.budgets.split(",")))
    for seed in map(int, args.seeds.split(",")):
        rows = kept.once(f"together, seed {seed}", partial(together, args, budgets, seed))
        for budget, row in zip(budgets, rows, strict=True):
            tell(f"seed {seed}, {budget:g} ms together", row)
            alone = kept.once(f"{budget:g} ms alone, seed {seed}", partial(by_itself, args, budget, len(budgets), seed))
            tell(f"seed {seed}, {budget:g} ms alone", alone)
    return report(kept.rows(), budgets, [int(seed) for seed in args.seeds.split(",")])


def tell(name: str, row: Row) -> None:
    """One line while others are still to come."""
    print(f"{name}: test {percent_text(row['test'], 2)}", file=sys.stderr, flush=True)


def together(args: Namespace, budgets: Sequence[float], seed: int) -> list[Row]:
    """One study, the row of each budget."""
    found = _found(args, seed, f"together-{args.minutes:g}min", budgets_ms=budgets, minutes=args.minutes)
    return [_row(one.summary, found.summary["spent_s"]) for one in found.front]


def by_itself(args: Namespace, budget: float, count: int, seed: int) -> Row:
    """A study for one budget."""
    minutes = args.times * args.minutes / count
    found = _found(args, seed, f"alone-{budget:g}ms-{minutes:g}min", budget_ms=budget, minutes=minutes)
    return _row(found.summary, found.summary["spent_s"])


def _found(args: Namespace, seed: int, name: str, **how: Any) -> Any:
    import search

    stem = Path(args.data).name.partition(".")[0].partition(":")[0]
    study = f"budgets-{stem}-{name}-{seed}"
    return search.find(data=args.data, seed=seed, weights=args.weights, study=study, **how)


def _row(summary: dict[str, Any], spent_s: float) -> Row:
    winner = summary["winner"]
    return {
        "budget": summary["budget_ms"],
        "test": winner["test_accuracy"],
        "validation": winner["validation_accuracy"],
        "ms": winner["measured_latency_ms"],
        "within": summary["within_budget"],
        "network": winner["network"] or f"trial {winner['trial']}",
        "minutes": spent_s / 60,
    }


def report(rows: dict[str, Any], budgets: Sequence[float], seeds: Sequence[int]) -> Verdict:
    """All pairs, and whether the target is reached."""
    lines, differences = [], dict[float, list[float]]()
    for seed in seeds:
        for place, budget in enumerate(budgets):
            one, alone = rows[f"together, seed {seed}"][place], rows[f"{budget:g} ms alone, seed {seed}"]
            differences.setdefault(budget, []).append(one["test"] - alone["test"])
            cells = [cell for row in (one, alone) for cell in (percent_text(row["test"], 2), ms_text(row["ms"]))]
            minutes = [f"{row['minutes']:.1f}" for row in (one, alone)]
            lines.append([str(seed), f"{budget:g}", *cells, *minutes])
    heads = ("seed", "budget ms", "together", "ms", "alone", "ms", "minutes for all", "for this one")
    texts = [table(heads, lines)]
    texts += [f"{budget:g} ms, together less alone: {spread_text(found)}" for budget, found in differences.items()]
    every = [one for found in differences.values() for one in found]
    error = statistics.stdev(every) / math.sqrt(len(every)) if len(every) > 1 else 0.0
    mean = statistics.mean(every)
    reached = mean + 2 * error >= 0
    texts.append(
        f"in the mean {100 * mean:+.2f} ± {100 * error:.2f} points: target {'reached' if reached else 'missed'}"
    )
    return Verdict("\n".join(texts), reached)


main = benchmark(parser, run, stopped="stopped; finished runs are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
