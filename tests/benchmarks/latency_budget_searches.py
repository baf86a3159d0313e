"""python -m tests.benchmarks.latency_budget_searches: do winners of searches run within their budget, and use it?

Many searches of the default space at budgets spread evenly (by ratio) over its range, each with everything that
search.run does but training: the sampler, the latency budget that learns from networks measured on the way, the
finalists measured side by side. The number of parameters stands in for accuracy, so that every search wants the largest
network that fits. Afterwards all winners are measured once more: each alone beside the reference and the probe
networks, in random order, the median of three sweeps.
"""

import hashlib
import random
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import show_progress
from searchspace.report import ms_text, percent_text, signed_percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Kept, Row, Verdict, benchmark

WITHIN, USED = 38 / 40, 0.95  # asked: the share of winners within their budget, and what the median one uses of it
SWEEPS = 3  # over all winners at the end: what one of them takes in seconds is one session effect

if TYPE_CHECKING:
    from search.budget import LatencyBudget
    from search.device import Device
    from search.latency.measurement import Measurement
    from searchspace.latency.table import LatencyTable
    from searchspace.spaces.space import SearchSpace
    from searchspace.spec import NetworkSpec


def parser() -> BenchmarkParser:
    """The command line."""
    note = (
        "asked: at least 38 of 40 winners within their budget, and the median winner at 95 % of it or more. "
        "About 45 minutes on a quiet machine; with --scripted about 5 minutes on any."
    )
    cli = BenchmarkParser("latency_budget_searches", __doc__, note=note)
    cli.count("--searches", 40, "budgets, with a search for each")
    cli.count("--trials", 80, "networks of each search")
    cli.flag("--runtime", "eager", "which times", metavar="NAME")
    cli.add_argument("--full-table", action="store_true", help="by a table of every kernel, not by the quick one")
    cli.add_argument("--scripted", action="store_true", help="on a simulated machine of uneven, noisy kernels")
    cli.count("--resolution", 224, "of the images", metavar="PX")
    cli.number("--seconds", 3.0, "for a winner at the end", metavar="S")
    cli.flag("--cache-dir", None, "where the latency table lies (default: beside --json)", type=Path, metavar="DIR")
    cli.json("keep every search there as it ends; the same command goes on")
    return cli


def budgets_over(space: "SearchSpace", table: "LatencyTable", count: int) -> list[float]:
    """Budgets from a tenth above the fastest network to a tenth below the largest."""
    from search.budget import CostModel
    from search.candidates import PricedSpace
    from searchspace.graph import lower

    low = 1.1 * PricedSpace(space, CostModel("ms", table)).fastest().latency_ms
    high = 0.9 * table.cost_ms(lower(space.spec(space.corner("largest"))))
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

    from search.budget import CostModel, LatencyBudget
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
        device=device or Device(),
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


def measured(args: Namespace) -> list[Row]:
    """All searches that are missing, and the last measurement."""
    with tempfile.TemporaryDirectory() as scratch:
        beside = args.json.with_suffix(".cache") if args.json else Path(scratch)
        return _measured(args, args.cache_dir or beside)


def _measured(args: Namespace, folder: Path) -> list[Row]:
    from search.budget import LatencyBudget
    from search.device import Device
    from search.latency import table_for
    from search.latency.quick import quick_table
    from search.latency.runtimes import runtime
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.spec import NetworkSpec
    from tests.scripted_runtime import ScriptedDevice, uneven_machine

    space = mnasnet_space(resolution=args.resolution)
    machine: Any = uneven_machine() if args.scripted else runtime(args.runtime)
    device = ScriptedDevice(machine) if args.scripted else Device()
    began = time.monotonic()
    table = (table_for if args.full_table else quick_table)(
        space, cache_dir=folder, progress=show_progress, runtime=machine
    )
    print(f"table of {len(table.kernels)} kernels, error {table.relative_error:.1%}, {time.monotonic() - began:.0f} s")
    about = {name: getattr(args, name) for name in ("searches", "trials", "runtime", "resolution", "scripted")}
    about["table"] = hashlib.sha256(table.to_json().encode()).hexdigest()[:16]
    kept, began = Kept(args.json, about), time.monotonic()
    rows: list[Row] = []
    for place, budget_ms in enumerate(budgets_over(space, table, args.searches)):
        run = partial(_searched, space, table, budget_ms, trials=args.trials, seed=place, device=device)
        rows.append(kept.once(str(place), run))
        show_progress((place + 1) / args.searches, f"{place + 1} searches, {time.monotonic() - began:.0f} s")
    specs = [NetworkSpec.from_json(row["spec"]) for row in rows]
    budget = LatencyBudget(1.0, table, device=device)
    sweeps = [_swept(budget, specs, args.seconds / SWEEPS, number) for number in range(SWEEPS)]
    for place, (row, *found) in enumerate(zip(rows, *sweeps, strict=True)):
        again_ms = statistics.median(one.latency_ms for one in found)
        row |= {"again_ms": again_ms, "noisy": any(one.noisy for one in found)}
        kept.put(str(place), row)
    return rows


def _searched(*args: Any, **options: Any) -> Row:
    return asdict(search(*args, **options))


def _swept(budget: "LatencyBudget", specs: list["NetworkSpec"], seconds: float, number: int) -> list["Measurement"]:
    """Each network by itself, in random order; in the order given."""
    places = random.Random(number).sample(range(len(specs)), len(specs))
    found = {}
    for done, place in enumerate(places):
        (found[place],) = budget.networks([specs[place]], seconds=seconds)
        show_progress((done + 1) / len(places), f"all winners once more, sweep {number + 1} of {SWEEPS}")
    return [found[place] for place in range(len(specs))]


def verdict(rows: list[Row]) -> Verdict:
    """The figures, and whether they are what is asked for."""
    cells = [
        [
            *(ms_text(row[name]) for name in ("budget_ms", "predicted_ms", "measured_ms", "again_ms")),
            percent_text(row["again_ms"] / row["budget_ms"]),
            signed_percent_text(row["correction"] - 1),
            str(row["passed_over"] or ""),
        ]
        for row in rows
    ]
    lines = [table(["budget ms", "predicted", "measured", "again", "used", "learnt", "passed over"], cells)]
    for name, when in (("again_ms", "measured once more at the end"), ("measured_ms", "as the search measured them")):
        used = [row[name] / row["budget_ms"] for row in rows]
        within, middle = sum(share <= 1 for share in used), statistics.median(used)
        lines.append(f"{within} of {len(rows)} winners within their budget, the median at {middle:.1%} of it, {when}")
    return Verdict("\n".join(lines), within >= WITHIN * len(rows) and middle >= USED)


main = benchmark(
    parser, lambda args: verdict(measured(args)), stopped="stopped; every search that ended is kept where --json says"
)


if __name__ == "__main__":
    sys.exit(main())
