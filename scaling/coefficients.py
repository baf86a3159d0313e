"""`python -m scaling.coefficients fit`: alpha, beta and gamma for your own network, data and device."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from scaling.formula import BASES
from search.accuracy import names as estimators
from search.sources import SOURCE_FLAGS
from search.training import variation
from searchspace.command import CommandParser, integer, number, run_command
from searchspace.report import next_steps, notes, paragraphs, percent_text, table

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

_STOPPED = "stopped; every finished training is kept: the same command goes on"


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m scaling.coefficients", description=_DESCRIPTION, epilog=_EPILOG)
    command = cli.subcommand(
        "fit", run=run, help="train the candidates and compare them", epilog=_EPILOG, stopped=_STOPPED
    )
    add = command.add_argument
    add(
        "--network",
        type=Path,
        metavar="NAME",
        help="the baseline: a spec file (.json) or a name of the zoo (default: EfficientNet-B0, which takes long on a "
        "CPU)",
    )
    for flag, kind, metavar, text in SOURCE_FLAGS:
        add(flag, type=kind, metavar=metavar, help=text)
    add("--cost", choices=("macs", "latency"), default="macs", help="what is doubled (default: %(default)s)")
    add("--latency", type=Path, metavar="FILE", help="the latency table (default: with --cost latency this machine's)")
    add(
        "--divisions",
        type=integer,
        default=3,
        metavar="N",
        help="share the cost in steps of 1/N (default: %(default)s); the named rules are always among the candidates",
    )
    add(
        "--accuracy",
        type=str,
        default="training",
        metavar="NAME",
        help=f"what scores the candidates: {', '.join(estimators())} (default: %(default)s)",
    )
    add("--seeds", type=integer, default=2, metavar="N", help="trainings of each candidate (default: %(default)s)")
    add("--epochs", type=integer, metavar="N", help="epochs of a training (default: the search's)")
    add("--augment", type=str, default=variation.AUTO, metavar="NAMES", help=f"{variation.HELP} (default: %(default)s)")
    add(
        "--class-weights",
        type=str,
        default=variation.NONE,
        metavar="HOW",
        help=f"{variation.WEIGHTS_HELP} (default: %(default)s)",
    )
    add(
        "--proxy-resolution",
        type=integer,
        default=48,
        metavar="PX",
        help="pixels to train the baseline's size at; candidates grow from there (default: %(default)s)",
    )
    add("--minutes", type=number, metavar="M", help="stop then; what is missing is trained by the same command")
    add("--study", type=str, metavar="NAME", help="name of the study (default: made of network, data and cost)")
    add("--out", type=Path, default=Path("coefficients.json"), metavar="FILE.json", help="default: %(default)s")
    add("--json", action="store_true", help="print the result as JSON, and no progress")
    return cli


def run(args: argparse.Namespace) -> str:
    """Fit; what to print. Raises PhinasError."""
    from scaling.fit import fit

    flags = {name: value for name, value in vars(args).items() if name not in ("command", "run", "stopped", "json")}
    result = fit(**flags, quiet=args.json)
    return json.dumps(result, indent=1) if args.json else as_text(result, args.network)


def as_text(result: dict[str, Any], network: Path | None) -> str:
    """The table for people, the answer, and what to do next."""
    candidates = result["candidates"]
    rows = []
    for row in candidates:
        error = "" if row["standard_error"] is None else f"{100 * row['standard_error']:.2f}"
        figures = [f"{row['macs'] / 1e6:.0f} M", percent_text(row["accuracy"], 2), error, "tied" * row["tied"]]
        shares = [f"{row[name]:.3f}" for name in (*BASES, "depth", "width")]
        rows.append([row["rule"], *shares, str(row["resolution"]), *figures])
    headers = ["candidate", *BASES, "depth", "width", "px", "MACs", "accuracy", "+-", ""]
    coarse = [f"{row['rule']} ({1 - row['cost_share']:.1%})" for row in candidates if row["cost_share"] < 0.98]
    what, target = ("latency", "target-ms") if result["cost"] == "latency" else ("MACs", "target-macs")
    legend = notes(
        "accuracy: mean of the seeds on the validation images; +-: its standard error, in points; d:w:r are the shares "
        f"of the cost that depth, width and resolution take. All cost twice the baseline's {what}: --{target} makes "
        "it; --phi 1 rounds layers up, as the formula does",
        f"less, as layers come in coarse steps: {', '.join(coarse)}" if coarse else "",
    )
    missing = f"{result['missing']} trainings are missing: the same command goes on" if result["missing"] else ""
    shown = f"{table(headers, rows, text_columns=(0, 10))}\n{legend}"
    if result["coefficients"] is None:
        return paragraphs(shown, notes(missing, "no answer yet: some candidates were never trained"))
    tied = [row["rule"] for row in candidates if row["tied"]]
    sure = (
        "It is ahead of all others by more than the seeds scatter (95 %)."
        if result["sure"]
        else f"NOT sure: {len(tied)} candidates are tied ({', '.join(tied)}); more --seeds or --epochs may part them."
    )
    bases = ", ".join(f"{name} {result['coefficients'][name]:.4g}" for name in BASES)
    source = f"--network {shlex.quote(str(network))} " if network else ""
    file = f"--coefficients {shlex.quote(result['written'])}"
    return paragraphs(
        shown,
        missing,
        f"best: {bases} ({candidates[0]['rule']}). {sure}\nwritten to {result['written']}",
        next_steps([f"python -m scaling.compound {source}{file} --phi 1", f"python -m studies {result['study']}"]),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
