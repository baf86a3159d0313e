"""python -m search.finetune: one published network, fine-tuned on your images; also `search.finetune(...)`."""

import json
import os
import shlex
import sys
import time
from argparse import BooleanOptionalAction, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.console import Now
from search.finetune_settings import DEFAULT, PIXELS, Settings
from search.report import balance_rows, training_rows
from search.sources import SOURCE_FLAGS, source_text
from search.training import variation
from search.training.recipe import FineTuning
from searchspace import zoo
from searchspace.arguments import check_flag, check_types
from searchspace.command import EMA_HELP, CommandParser, integer, number, run_command
from searchspace.lazy import make_callable
from searchspace.preprocessing import Preprocessing
from searchspace.report import count_text, interval_text, next_steps, paragraphs, percent_text
from searchspace.report import fields as labelled
from searchspace.spec import read_spec
from searchspace.zoo.published import check_names

if TYPE_CHECKING:
    from search.result import Result

_DESCRIPTION = """\
Fine-tune one network with published weights on your images, for so many minutes. No search, no budget.

The classifier is fitted anew in closed form. Then all blocks learn, on images of two sizes, the second of which is the
size that the network is deployed at; it is tested there. The clock is the schedule: reading images, validation and the
test are within --minutes, and a slower machine sees fewer images. Where the validation images could not show what is
left to gain, it ends early. Everything is kept in studies/NAME/: the same command again goes on where it stopped."""

_EPILOG = """\
examples:
  python -m search.finetune --data photos/ --minutes 30
  python -m search.finetune --data photos/ --network efficientnet_lite2 --resolution 160
  python -m search.finetune --data photos/ --network mobilenet_v3_large --weights mobilenet_v3_large.pth
  python -m search.finetune --data photos/ --network studies/NAME/best.json --minutes 20    train it on

afterwards:
  python -m search.netadapt --network studies/NAME/best.json --data photos/ --budget-ms 10
  python -m search.run --budget-ms 10 --data photos/      search for a faster network
in Python: search.finetune("photos/", minutes=30), with the same keywords as these flags
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the last seconds is kept)."""


def _pixels(text: str) -> int | None:
    return None if text == "auto" else integer(text)


_FLAGS: list[tuple[str, Any, str, str]] = [
    *SOURCE_FLAGS,
    ("--network", str, "NAME", f"a name of python -m searchspace.zoo, or a spec file (default: {DEFAULT})"),
    ("--weights", str, "NAME", "auto: published ones that are here; a name; a file; none: random ones (default: auto)"),
    ("--ema", BooleanOptionalAction, "", EMA_HELP),
    ("--minutes", number, "M", f"for everything, the test included (default: {Settings.minutes:g})"),
    ("--resolution", _pixels, "PX", "pixels it is deployed at; auto: by the images' own size, at most 224 (default)"),
    ("--augment", str, "NAMES", f"{variation.HELP} (default: auto)"),
    ("--class-weights", str, "HOW", f"{variation.WEIGHTS_HELP} (default: none)"),
    ("--seed", integer, "N", "of splits, order and augmentation (default: 0)"),
    ("--study", str, "NAME", "name of the study (default: made of the images and the network)"),
    ("--fresh", None, "", "set an existing study of this name aside and start anew"),
    ("--json", None, "", "print the result as JSON, and no progress"),
]


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m search.finetune", description=_DESCRIPTION, epilog=_EPILOG)
    for flag, kind, metavar, text in _FLAGS:
        if kind is None:
            cli.add_argument(flag, action="store_true", help=text)
        elif kind is BooleanOptionalAction:
            cli.add_argument(flag, action=kind, help=text)
        else:
            cli.add_argument(flag, type=kind, metavar=metavar, help=text)
    return cli


def finetune(
    data: str | Path | None = None,
    *,
    split_folders: str | None = None,
    label_column: str | None = None,
    network: str | Path = DEFAULT,
    minutes: float = Settings.minutes,
    weights: str | Path = Settings.weights,
    ema: bool | None = None,
    resolution: int | str | None = None,
    study: str | None = None,
    augment: str = Settings.augment,
    class_weights: str = Settings.class_weights,
    seed: int = Settings.seed,
    fresh: bool = False,
    recipe: FineTuning | None = None,
    now: Now = time.monotonic,
    quiet: bool = False,
) -> "Result":
    """Fine-tune one published network on your images, for so many minutes.

    The keywords are the flags of `python -m search.finetune`, whose --help explains each. `recipe`: another one than
    the usual; with augment="auto" images are varied as it says. All is kept in studies/NAME/: the same call goes on
    where it stopped, and a finished one is read back. By the clock no two runs see the same images: results differ from
    run to run. Raises PhinasError.
    """
    check_types(finetune, locals())
    check_names(str(weights))
    check_flag("--resolution", resolution, not isinstance(resolution, str) or resolution == "auto", PIXELS)
    data = source_text(data, split_folders=split_folders, label_column=label_column)
    if not os.path.exists(network) and Path(network).suffix != ".json":
        zoo.get(str(network))  # a wrong name, and a file of another kind, is told before images are read
    elif os.path.exists(network):
        read_spec(network)
    settings = Settings(
        network=str(network),
        data=data,
        weights=str(weights),
        ema=ema,
        minutes=minutes,
        resolution=None if isinstance(resolution, str) else resolution,
        seed=seed,
        augment=augment,
        class_weights=class_weights,
    )
    from search.finetune_job import run_finetune

    return run_finetune(settings, name=study, recipe=recipe, fresh=fresh, now=now, quiet=quiet)


def run(args: Namespace) -> str:
    """The command's text. Raises PhinasError."""
    flags = {name: value for name, value in vars(args).items() if value is not None and name != "json"}
    result = finetune(**flags, quiet=args.json)
    return json.dumps(result.summary, indent=1) if args.json else result.report()


def report(summary: dict[str, Any]) -> str:
    """What a person reads: accuracy, where the weights are from, what the time was spent on, what to do next."""
    tested, everything = summary["test_images"], summary["all_test_images"]
    interval = interval_text(summary["test_low"], summary["test_high"], percent_text)
    of = f"{tested} images" if tested == everything else f"{tested} of {everything} images, for want of time"
    epochs = summary["images_seen"] / summary["train_images"]
    end = "; ended early, as little was left to gain" if summary["stopped_early"] else ""
    spent = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in summary["spent"].items())
    licence = f" ({summary['licence']})" if summary["licence"] else ""
    rows = [
        ("accuracy", f"test {percent_text(summary['test_accuracy'])} (95 % interval {interval}, {of})"),
        ("", f"validation {percent_text(summary['validation_accuracy'])}, both at {summary['resolution']} px"),
        *balance_rows(summary),
        ("pixels", f"{summary['resolution']}: {summary['resolution_reason']}"),
        ("input", Preprocessing.from_dict(summary["preprocessing"]).sentence()),
        ("weights", f"{summary['weights']}{licence}"),
        *[("", text) for text in summary["not_kept"]],
        ("size", f"{count_text(summary['params'])} parameters, {count_text(summary['macs'])} MACs"),
        ("training", f"{summary['images_seen']} images, {epochs:.1f} times all of them{end}"),
        *training_rows(summary),
        ("time", f"{summary['spent_s'] / 60:.1f} minutes: {spent}"),
    ]
    folder = summary["folder"]
    return "\n" + paragraphs(
        f"{summary['network']}, fine-tuned: {summary['study']}",
        labelled(rows),
        f"Written to {folder}/: best.json (network), best.safetensors (weights), summary.json",
        next_steps(_next_steps(summary)),
    )


def _next_steps(summary: dict[str, Any]) -> list[str]:
    settings = summary["settings"]
    best = shlex.quote(str(Path(summary["folder"]) / "best.json"))
    source = f" --data {shlex.quote(settings['data'])}" if settings["data"] else ""
    longer = f"python -m search.finetune --network {shlex.quote(settings['network'])}{source} "
    longer += f"--minutes {3 * settings['minutes']:g} --study {summary['study'][:90]}-longer"
    return [
        f"python -m searchspace.export {best}",
        f"python -m search.netadapt --network {best}{source} --budget-macs {0.7 * summary['macs']:.2g}",
        *([] if summary["stopped_early"] else [longer]),
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    again = " ".join(shlex.quote(word) for word in (argv or sys.argv[1:]) if word != "--fresh")
    stopped = f"stopped; kept up to the last validation, the same command goes on: python -m search.finetune {again}"
    return run_command(parser(), argv, run=run, stopped=stopped)


make_callable(__name__, finetune)

if __name__ == "__main__":
    sys.exit(main())
