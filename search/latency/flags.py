"""The flags that several commands of python -m search.latency share."""

import argparse
from pathlib import Path

from search.latency.runtimes import DTYPES, names
from searchspace.command import CommandParser, integer, positive_integer

OF_THE_TABLE = "the table's"


def add_json(cli: CommandParser) -> None:
    """--json."""
    cli.add_argument("--json", action="store_true", help="print the same as JSON")


def add_networks(cli: CommandParser) -> None:
    """--network."""
    cli.add_argument(
        "--network",
        action="append",
        required=True,
        metavar="NAME",
        help="a network of the zoo (python -m searchspace.zoo) or a spec file (.json); give it again for more",
    )


def add_setting(cli: CommandParser, *, default: str = "") -> None:
    """What runs the networks, and where tables lie. `default`: whose setting is taken if none is given."""
    add = cli.add_argument
    add(
        "--runtime",
        metavar="NAME",
        help=f"what runs the networks: {', '.join(names())} (default: {default or 'eager'})",
    )
    add("--device", metavar="NAME", help=f"what torch computes on: cpu, cuda or mps (default: {default or 'cpu'})")
    add(
        "--dtype",
        choices=DTYPES,
        help=f"what the runtime computes in; not every runtime has each (default: {default or 'fp32'})",
    )
    add(
        "--threads",
        type=positive_integer,
        metavar="N",
        help=f"threads of the runtime (default: {default or 'as many as torch uses'})",
    )
    add("--cache-dir", type=Path, metavar="DIR", help="where tables lie (default: $PHINAS_CACHE, else ~/.cache/phinas)")


def add_foreign_setting(cli: CommandParser) -> None:
    """The setting of a device on which the files of --folder were timed."""
    add = cli.add_argument
    add("--folder", type=Path, required=True, metavar="DIR", help="the folder that export wrote, filled in")
    add("--device", required=True, metavar="NAME", help="what the device is called in the table")
    add("--threads", type=positive_integer, required=True, metavar="N", help="threads that the files were timed with")
    add("--runtime", default="onnx", metavar="NAME", help="what ran the files, any name (default: %(default)s)")
    add("--dtype", default="fp32", choices=DTYPES, help="what it computed in (default: %(default)s)")


def add_sizes(cli: CommandParser, *, default: str) -> None:
    """--resolution and --classes."""
    add = cli.add_argument
    add("--resolution", type=positive_integer, metavar="PX", help=f"pixels of the networks (default: {default})")
    add(
        "--classes",
        type=positive_integer,
        default=1000,
        metavar="N",
        help="classes of the networks (default: %(default)s)",
    )


def add_space(cli: CommandParser) -> None:
    """--space."""
    cli.add_argument("--space", type=Path, metavar="FILE", help="a TOML file that changes the default search space")


def add_sample(cli: CommandParser, *, networks: int) -> None:
    """--networks and --seed."""
    add = cli.add_argument
    add(
        "--networks",
        type=positive_integer,
        default=networks,
        metavar="N",
        help="how many random networks (default: %(default)s)",
    )
    add("--seed", type=integer, default=1, metavar="N", help="which random networks (default: %(default)s)")


def add_zoo(cli: CommandParser, help: str) -> None:
    """--zoo and --no-zoo."""
    cli.add_argument("--zoo", action=argparse.BooleanOptionalAction, default=True, help=f"{help} (default: yes)")
