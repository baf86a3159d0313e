"""python -m tests.benchmarks.latency_budget_searches: do winners of searches run within their budget, and use it?

Many searches of the default space at budgets spread evenly (by ratio) over its range, each with everything that
search.run does but training: the sampler, the contract that learns from networks measured on the way, the finalists
measured side by side. The number of parameters stands in for accuracy, so that every search wants the largest network
that fits. Afterwards all winners are measured once more: each alone beside the reference and the anchors, in random
order, the median of three sweeps.
"""

import hashlib
import json
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import CommandParser, guarded, integer, number, show, show_progress
from searchspace.errors import InvalidArgument
from searchspace.files import read_json, write_atomic

SWEEPS = 3  # over all winners at the end: what one of them takes in seconds is one mood of the machine

if TYPE_CHECKING:
    from search.budget import Device, LatencyBudget
    from search.latency.measurement import Measurement
    from searchspace.latency.table import LatencyTable
    from searchspace.spaces.space import SearchSpace
    from searchspace.spec import NetworkSpec


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.latency_budget_searches",
        description=__doc__ or "",
        epilog="asked: at least 38 of 40 winners within their budget, and the median winner at 93 % of it or more. "
        "About 45 minutes on a quiet machine.",
    )
    add = cli.add_argument
    add("--searches", type=integer, default=40, metavar="N", help="default: %(default)s")
    add("--trials", type=integer, default=80, metavar="N", help="networks of each search (default: %(default)s)")
    add("--runtime", default="eager", metavar="NAME", help="default: %(default)s")
    add("--resolution", type=integer, default=224, metavar="PX", help="default: %(default)s")
    add("--seconds", type=number, default=3.0, metavar="S", help="for a winner at the end (default: %(default)g)")
    add("--cache-dir", type=Path, metavar="DIR", help="where the latency table lies")
    add("--json", type=Path, metavar="FILE", help="keep every search there as it ends; the same command goes on")
    return cli


def budgets_over(space: "SearchSpace", table: "LatencyTable", count: int) -> list[float]:
    """Budgets from a tenth above the fastest network to a tenth below the largest."""
    from search.budget import CostModel
    from search.candidates import PricedSpace
    from searchspace.graph import lower

    low = 1.1 * PricedSpace(space, CostModel("ms", table)).fastest().latency_ms
    high = 0.9 * table.latency_ms(lower(space.spec(space.corner("largest"))))
    return [round(low * (high / low) ** (place / max(1, count - 1)), 2) for place in range(count)]


@dataclass(frozen=True)
class Found:
    """The winner of a search; ms."""

    budget_ms: float
    predicted_ms: float
    measured_ms: float
    correction: float
    passed_over: int
    spec: str


def search(
    space: "SearchSpace",
    table: "LatencyTable",
    budget_ms: float,
    *,
    trials: int,
    seed: int,
    device: "Device | None" = None,
) -> Found:
    """One search, with parameters for accuracy."""
    import optuna

    from search.budget import THIS_DEVICE, CostModel, LatencyBudget
    from search.candidates import PricedSpace
    from search.console import Progress
    from search.finalists import Finalist, finalists_within
    from search.loop import Search
    from search.session import StudyClock
    from search.settings import Settings
    from searchspace.cost import params
    from searchspace.errors import InfeasibleBudget
    from searchspace.spec import NetworkSpec
    from tests.scripted import ScriptedEstimator

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings = Settings(budget_ms=budget_ms, overshoot=1.0, trials=trials, seed=seed)
    priced = PricedSpace(space, CostModel("ms", table))
    most = priced.price(space.corner("largest")).params
    budget = LatencyBudget(
        budget_ms,
        table,
        confidence=settings.confidence,
        fastest_ms=priced.fastest_within(budget_ms).latency_ms,
        device=device or THIS_DEVICE,
    )
    judge = ScriptedEstimator(lambda spec: params(spec) / most, epochs=1, seconds_each=0.0)
    study = optuna.create_study(direction="maximize")
    progress = Progress(lambda: None, quiet=True)
    job = Search(study, settings, priced, budget, judge, StudyClock(None), progress, set())
    job.run()
    try:
        finalists, rejected = finalists_within(job, budget_ms)
    except InfeasibleBudget:  # none is within: the best one counts as a promise that was not kept
        (best, *_), rejected = job.finished(), []
        finalists = [Finalist(best, budget.networks([NetworkSpec.from_json(best.user_attrs["spec"])])[0])]
    for place, finalist in enumerate(finalists):
        (measured,) = budget.networks([finalist.spec])  # as the trained winner is
        if measured.latency_ms <= budget_ms or place == len(finalists) - 1:
            break
    attrs = finalist.trial.user_attrs
    return Found(
        budget_ms,
        attrs["predicted_latency_ms"],
        measured.latency_ms,
        budget.correction,
        len(rejected) + place,
        attrs["spec"],
    )


def run(args: Any) -> list[dict[str, Any]]:
    """All searches that are missing, and the last measurement."""
    from search.latency import table_for
    from search.latency.runtimes import runtime
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.spec import NetworkSpec

    space = mnasnet_space(resolution=args.resolution)
    table = table_for(space, cache_dir=args.cache_dir, progress=show_progress, runtime=runtime(args.runtime))
    about = {name: getattr(args, name) for name in ("searches", "trials", "runtime", "resolution")}
    about["table"] = hashlib.sha256(table.to_json().encode()).hexdigest()[:16]
    kept: dict[str, Any] = read_json(args.json) if args.json and args.json.exists() else {"about": about, "rows": []}
    if kept["about"] != about:
        raise InvalidArgument(f"{args.json} is of other flags or another table: name another file with --json")
    rows: list[dict[str, Any]] = kept["rows"]
    began = time.monotonic()
    for place, budget_ms in enumerate(budgets_over(space, table, args.searches)):
        if place >= len(rows):
            found = search(space, table, budget_ms, trials=args.trials, seed=place)
            rows.append(asdict(found))
            if args.json:
                write_atomic(args.json, json.dumps(kept, indent=1))
        show_progress((place + 1) / args.searches, f"{place + 1} searches, {time.monotonic() - began:.0f} s")
    specs: list[NetworkSpec] = [NetworkSpec.from_json(row["spec"]) for row in rows]
    sweeps = [_swept(LatencyBudget(1.0, table), specs, args.seconds / SWEEPS, number) for number in range(SWEEPS)]
    for row, *found in zip(rows, *sweeps, strict=True):
        row |= {
            "again_ms": statistics.median(one.latency_ms for one in found),
            "noisy": any(one.noisy for one in found),
        }
    if args.json:
        write_atomic(args.json, json.dumps(kept, indent=1))
    return rows


def _swept(budget: "LatencyBudget", specs: list["NetworkSpec"], seconds: float, number: int) -> list["Measurement"]:
    """Each network by itself, in random order; in the order given."""
    places = random.Random(number).sample(range(len(specs)), len(specs))
    found = {}
    for done, place in enumerate(places):
        (found[place],) = budget.networks([specs[place]], seconds=seconds)
        show_progress((done + 1) / len(places), f"all winners once more, sweep {number + 1} of {SWEEPS}")
    return [found[place] for place in range(len(specs))]


def report(rows: list[dict[str, Any]]) -> str:
    """The figures."""
    lines = [f"{'budget':>8}{'predicted':>11}{'measured':>10}{'again':>8}{'used':>7}{'learnt':>8}  passed over"]
    lines += [
        f"{row['budget_ms']:8.2f}{row['predicted_ms']:11.2f}{row['measured_ms']:10.2f}{row['again_ms']:8.2f}"
        f"{row['again_ms'] / row['budget_ms']:7.1%}{row['correction'] - 1:+8.1%}  {row['passed_over'] or ''}"
        for row in rows
    ]
    for name in ("measured_ms", "again_ms"):
        used = [row[name] / row["budget_ms"] for row in rows]
        when = "as the search measured them" if name == "measured_ms" else "measured once more at the end"
        lines.append(
            f"{sum(share <= 1 for share in used)} of {len(rows)} winners within their budget, the median at "
            f"{statistics.median(used):.1%} of it, {when}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        for flag in ("searches", "trials"):
            if getattr(args, flag) < 1:
                raise InvalidArgument(f"--{flag} must be at least 1, got {getattr(args, flag)}")
        return show(report(run(args)))

    return guarded("latency_budget_searches", job, stopped="stopped; every search that ended is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
