"""The command line of `python -m scaling.coefficients fit`."""

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.coefficients import Coefficients
from scaling.task import base_template, latencies_of, separate_files
from searchspace.command import CommandParser, guarded, integer, number, show
from searchspace.cost import macs
from searchspace.describe import table
from searchspace.errors import InvalidArgument
from searchspace.files import check_writable, write_atomic
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.template import Template
from searchspace.zoo import efficientnet

if TYPE_CHECKING:
    from scaling.fit import Fit, Standing
    from scaling.growth import Cost

_DESCRIPTION = """\
Find alpha, beta and gamma for your own network, data and device: EfficientNet's step 1
(arXiv:1905.11946, section 3.3). Every way to share one step of growth among layers, channels and
pixels is made into a network of twice the baseline's cost (MACs, or with --cost latency the
predicted latency of your device), trained by the search's recipe from several seeds, and compared.
The answer is a small JSON that python -m scaling.compound --coefficients takes, and how sure it is:
candidates that the scatter of seeds does not tell from the best are called tied."""

_EPILOG = """\
examples:
  python -m scaling.coefficients fit --network studies/NAME/best.json --data photos/
  python -m scaling.coefficients fit --network mobilenet_v2 --cost latency --latency device.json
  python -m scaling.coefficients fit --network best.json --seeds 3 --epochs 8 --minutes 60
then:
  python -m scaling.compound --network best.json --coefficients coefficients.json --phi 2
Every training is in the study's file before the next begins; the same command goes on with what is missing.
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything done is kept)."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = CommandParser("python -m scaling.coefficients", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("action", choices=("fit",), help="train the candidates and compare them")
    add(
        "--network",
        type=Path,
        metavar="NAME",
        help="the baseline: a spec file (.json) or a name of the zoo (default: "
        "EfficientNet-B0, which takes long on a CPU)",
    )
    add("--data", metavar="SOURCE", help="images, as python -m search.run takes them (default: the embedded digits)")
    add("--cost", choices=("macs", "latency"), default="macs", help="what is doubled (default: %(default)s)")
    add("--latency", type=Path, metavar="FILE", help="the latency table (default: with --cost latency this machine's)")
    add(
        "--divisions",
        type=integer,
        default=3,
        metavar="N",
        help="share the cost in steps of 1/N (default: %(default)s); the named rules are always among the candidates",
    )
    add("--seeds", type=integer, default=2, metavar="N", help="trainings of each candidate (default: %(default)s)")
    add("--epochs", type=integer, metavar="N", help="epochs of a training (default: the search's)")
    add(
        "--proxy-resolution",
        type=integer,
        default=48,
        metavar="PX",
        help="pixels to train the baseline's size at; candidates grow from there (default: %(default)s)",
    )
    add("--minutes", type=number, metavar="M", help="stop then; what is missing is trained by the same command")
    add("--study", metavar="NAME", help="name of the study (default: made of network, data and cost)")
    add("--out", type=Path, default=Path("coefficients.json"), metavar="FILE.json", help="default: %(default)s")
    add("--json", action="store_true", help="print the result as JSON, and no progress")
    return cli


def fit(args: argparse.Namespace) -> dict[str, Any]:
    """Train what is missing and write the result; it is what --json prints. Raises PhinasError."""
    for flag in ("seeds", "epochs", "proxy_resolution", "minutes"):
        value = getattr(args, flag)
        if value is not None and value <= 0:
            raise InvalidArgument(f"--{flag.replace('_', '-')} must be above 0, got {value:g}")
    separate_files({"--out": args.out}, {"--network": args.network, "--latency": args.latency})
    check_writable(args.out)
    template = base_template(args.network) if args.network else efficientnet.B0
    latencies = latencies_of(args.latency, needed=args.cost == "latency")
    from scaling.fit import Fit, candidates
    from search.console import Progress, TimeLeft
    from search.data import load
    from search.session import opened_study
    from search.training.recipe import Recipe

    clock = TimeLeft(None if args.minutes is None else 60 * args.minutes)
    with Progress(clock.left_s, quiet=args.json) as progress:
        images = load(args.data, resolution=args.proxy_resolution, progress=_reading(progress))
        template = template.with_classes(len(images.classes))
        cost = _cost(args, latencies)
        found = candidates(template, cost, divisions=args.divisions, rebase=args.cost == "latency")
        recipe = Recipe.for_data(args.data, epochs=args.epochs)
        about = {
            "network": template.expand().fingerprint(),
            "cost": args.cost,
            "data_fingerprint": images.fingerprint,
            "proxy_resolution": args.proxy_resolution,
            "recipe": asdict(recipe),
            "device": None if latencies is None or args.cost == "macs" else dict(latencies.identity),
        }
        name = args.study or _study_name(template, args)
        with opened_study(name, about) as study:
            job = Fit(
                study=study,
                candidates=found,
                seeds=args.seeds,
                recipe=recipe,
                latencies=latencies,
                progress=progress,
                clock=clock,
                images=lambda pixels: load(args.data, resolution=pixels, progress=_reading(progress)),
                pixels=lambda one: round(args.proxy_resolution * one.factors.resolution / template.resolution),
            )
            missing = sum(1 for _ in job.missing())
            progress.line(f"{len(found)} candidates, {missing} trainings missing in the study {name!r}")
            job.run()
    return _result(args, template, job, name)


def _reading(progress: Any) -> Any:
    return lambda done, total: progress.update(done / max(1, total), "reading images")


def _cost(args: argparse.Namespace, latencies: LatencyTable | None) -> "Cost":
    if args.cost == "macs":
        return macs
    assert latencies is not None
    prices = latencies
    return lambda spec: prices.predict(lower(spec)).latency_ms


def _study_name(template: Template, args: argparse.Namespace) -> str:
    data = Path(args.data).name.partition(".")[0] if args.data else "digits"
    text = f"fit-{template.name}-{data}-{args.cost}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:100]


def _result(args: argparse.Namespace, template: Template, job: "Fit", name: str) -> dict[str, Any]:
    """What --json prints; the coefficients are written to --out once every candidate was trained."""
    rows = job.standings()
    missing = sum(1 for _ in job.missing())
    complete = len(rows) == len(job.candidates)
    tied = [row for row in rows if row.tied]
    result: dict[str, Any] = {
        "study": name,
        "network": template.name,
        "cost": args.cost,
        "seeds": args.seeds,
        "missing": missing,
        "sure": complete and len(tied) == 1,
        "candidates": [_row(row) for row in rows],
        "coefficients": None,
        "written": None,
    }
    if complete:
        best = rows[0].candidate.coefficients
        result["coefficients"] = asdict(best)
        answer = {
            **asdict(best),
            "cost": args.cost,
            "network": template.name,
            "accuracy": rows[0].mean,
            "standard_error": None if rows[0].standard_error == float("inf") else rows[0].standard_error,
            "tied": [row.candidate.name for row in tied[1:]],
            "study": name,
        }
        write_atomic(args.out, json.dumps(answer, indent=1) + "\n")
        result["written"] = str(args.out)
    return result


def _row(row: "Standing") -> dict[str, Any]:
    grown = row.candidate.grown
    return {
        "rule": row.candidate.name,
        **asdict(row.candidate.coefficients),
        **grown.factors._asdict(),
        "macs": macs(grown.spec),
        "cost_share": row.candidate.cost_share,
        "accuracies": list(row.accuracies),
        "accuracy": row.mean,
        "standard_error": None if row.standard_error == float("inf") else row.standard_error,
        "tied": row.tied,
    }


def as_text(result: dict[str, Any], network: Path | None) -> str:
    """The table for people, the answer, and what to do next."""
    rows = [
        [
            row["rule"],
            f"{row['alpha']:.3f}",
            f"{row['beta']:.3f}",
            f"{row['gamma']:.3f}",
            f"{row['depth']:.3f}",
            f"{row['width']:.3f}",
            str(row["resolution"]),
            f"{row['macs'] / 1e6:.0f} M",
            f"{row['accuracy']:.2%}",
            "" if row["standard_error"] is None else f"{100 * row['standard_error']:.2f}",
            "tied" if row["tied"] else "",
        ]
        for row in result["candidates"]
    ]
    what = "latency" if result["cost"] == "latency" else "MACs"
    headers = ["candidate", "alpha", "beta", "gamma", "depth", "width", "px", "MACs", "accuracy", "+-", ""]
    lines = [
        table(headers, rows, text_columns=(0, 10)),
        "accuracy: mean of the seeds on the validation images; +-: its standard error, in points; d:w:r are the shares",
        f"of the cost that depth, width and resolution take. All cost twice the baseline's {what}:",
        f"--{'target-ms' if result['cost'] == 'latency' else 'target-macs'} makes it; --phi 1 rounds layers up, as the "
        "formula does",
    ]
    short = [f"{row['rule']} ({1 - row['cost_share']:.1%})" for row in result["candidates"] if row["cost_share"] < 0.98]
    if short:
        lines.append(f"less, as layers come in coarse steps: {', '.join(short)}")
    tied = [row["rule"] for row in result["candidates"] if row["tied"]]
    if result["missing"]:
        lines += ["", f"{result['missing']} trainings are missing: the same command goes on"]
    if result["coefficients"] is None:
        return "\n".join([*lines, "no answer yet: some candidates were never trained"])
    own = Coefficients(**result["coefficients"])
    sure = (
        "It is ahead of all others by more than the seeds scatter (95 %)."
        if result["sure"]
        else f"NOT sure: {len(tied)} candidates are tied ({', '.join(tied)}); more --seeds or --epochs may part them."
    )
    best = result["candidates"][0]["rule"]
    source = f"--network {shlex.quote(str(network))} " if network else ""
    return "\n".join(
        [
            *lines,
            "",
            f"best: alpha {own.alpha:.4g}, beta {own.beta:.4g}, gamma {own.gamma:.4g} ({best}). {sure}",
            f"written to {result['written']}",
            "",
            "Next:",
            f"  python -m scaling.compound {source}--coefficients {shlex.quote(result['written'])} --phi 1",
            f"  python -m studies {result['study']}",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        result = fit(args)
        return show(json.dumps(result, indent=1) if args.json else as_text(result, args.network))

    return guarded(
        "scaling.coefficients", job, stopped="stopped; every finished training is kept: the same command goes on"
    )
