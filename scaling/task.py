"""What the flags of `python -m scaling.compound` ask for: the base, how far to grow it, by which bases and table."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from scaling.coefficients import RULES, Coefficients, read_coefficients
from scaling.growth import RESOLUTION_STEP, Cost, Grown, grow, grow_to
from searchspace import zoo
from searchspace.cost import macs, params
from searchspace.errors import InvalidArgument, InvalidSpec, StorageError
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, read_table
from searchspace.serialize import read_spec
from searchspace.spec import NetworkSpec
from searchspace.template import Template
from searchspace.to_template import to_template
from searchspace.zoo import efficientnet

LARGEST_COUNT = 1_000_000
BASES = ("alpha", "beta", "gamma")
TARGETS = ("target_ms", "target_macs", "target_params")


class Target(NamedTuple):
    """A flag, its value, what it is the target of, and how such a cost is written."""

    flag: str
    value: float
    cost: Cost
    unit: Callable[[float], str]


class Task(NamedTuple):
    """What the flags ask for, checked: the base, the rule's bases, where to grow to, the table."""

    template: Template
    coefficients: Coefficients
    phis: list[float]
    target: Target | None
    latencies: LatencyTable | None
    resolution_step: int

    def members(self, coefficients: Coefficients) -> list[Grown]:
        """The networks by these bases: one for each phi, or the one that meets the target."""
        if self.target is None:
            step = self.resolution_step or 1
            return [grow(self.template, phi=phi, coefficients=coefficients, resolution_step=step) for phi in self.phis]
        what, value, cost, unit = self.target
        try:
            return [
                grow_to(
                    self.template,
                    cost=cost,
                    target=value,
                    coefficients=coefficients,
                    unit=unit,
                    resolution_step=self.resolution_step or RESOLUTION_STEP,
                )
            ]
        except InvalidArgument as error:
            raise InvalidArgument(f"{what}: {error}") from None


def task_of(args: argparse.Namespace) -> Task:
    """Read the flags. Raises PhinasError."""
    goal, coefficients = _goal(args), _coefficients(args)
    if args.resolution_step is not None and args.resolution_step < 1:
        raise InvalidArgument(f"--resolution-step must be at least 1 px, got {args.resolution_step}")
    template = base_template(args.network) if args.network else efficientnet.B0
    latencies = latencies_of(args.latency, needed=args.target_ms is not None)
    return Task(
        template, coefficients, args.phi or [1.0], _target(goal, latencies), latencies, args.resolution_step or 0
    )


def _coefficients(args: argparse.Namespace) -> Coefficients:
    """The rule's bases, from the one place that the flags name. Raises InvalidArgument for two places."""
    given = {name: getattr(args, name) for name in BASES if getattr(args, name) is not None}
    places = [f"--{name}" for name in given]
    places += [flag for flag, value in (("--rule", args.rule), ("--coefficients", args.coefficients)) if value]
    if ((args.rule or args.coefficients) and len(places) > 1) or (args.compare and places):
        extra = " (--compare shows every rule)" if args.compare else ""
        raise InvalidArgument(
            f"alpha, beta and gamma come from one place, got {' and '.join(places)}{extra}: leave the others out"
        )
    if args.coefficients:
        return read_coefficients(args.coefficients)
    return RULES[args.rule].coefficients if args.rule else Coefficients(**given)


def _goal(args: argparse.Namespace) -> tuple[str, float] | None:
    """The one target and its value; None to grow by phi. Raises InvalidArgument for two, and for one not above 0."""
    given = [(name, getattr(args, name)) for name in (*TARGETS, "phi") if getattr(args, name) is not None]
    flags = ["--" + name.replace("_", "-") for name, _ in given]
    if len(given) > 1:
        raise InvalidArgument(f"a network grows to one target or by --phi, got {' and '.join(flags)}: choose one")
    if not given or args.phi is not None:
        return None
    value: float = given[0][1]
    if value <= 0:
        raise InvalidArgument(f"{flags[0]} must be above 0, got {value:g}")
    return flags[0], value


def _target(goal: tuple[str, float] | None, latencies: LatencyTable | None) -> Target | None:
    if goal is None:
        return None
    if goal[0] == "--target-ms":
        assert latencies is not None
        return Target(*goal, lambda spec: latencies.predict(lower(spec)).latency_ms, "{:.3g} ms".format)
    return Target(*goal, macs if goal[0] == "--target-macs" else params, "{:,.0f}".format)


def latencies_of(path: Path | None, *, needed: bool) -> LatencyTable | None:
    """The table of --latency; where one is `needed` and none is named, this machine's own. Raises PhinasError."""
    if path:
        return read_table(path)
    if not needed:
        return None
    from search.latency.cache import stored_table
    from search.latency.runtimes import runtime
    from search.settings import DEFAULT_RESOLUTION

    identity = runtime().identity(DEFAULT_RESOLUTION)
    return stored_table(identity, note=lambda text: print(text, file=sys.stderr))


def base_template(network: Path) -> Template:
    """The table that --network grows: a published one as its paper has it, a spec file lifted.

    A file that is there is read; another text that is no file's name is looked for in the zoo. Raises PhinasError.
    """
    name = str(network)
    if is_file(network):
        return to_template(_read(network))
    return to_template(zoo.get(name)) if zoo.is_grown(name) else zoo.template(name)


def is_file(network: Path | None) -> bool:
    """Whether --network names a spec file, not a published network."""
    return network is not None and (network.suffix == ".json" or network.exists())


def _read(network: Path) -> NetworkSpec:
    try:
        spec = read_spec(network)
    except (StorageError, InvalidSpec) as error:
        raise type(error)(
            f"{error}; --network takes a spec file, such as the best.json of a search (python -m search.run) or one "
            "that --out wrote"
        ) from None
    counts = [spec.resolution, spec.in_channels]
    counts += [value for block in spec.blocks for value in asdict(block).values() if isinstance(value, int)]
    if max(counts) > LARGEST_COUNT:
        value = f"{max(counts):,}"
        raise InvalidSpec(
            f"{network}: no count of a network may be above {LARGEST_COUNT:,}, got {value[:30]}"
            f"{'...' if len(value) > 30 else ''}: mend the file, or make it anew"
        )
    return spec


def separate_files(written: Mapping[str, Path | None], read: Mapping[str, Path | None]) -> None:
    """Both {flag: file}. Raises InvalidArgument where a file would be written over another or over one that is read."""
    taken = {os.path.realpath(path): f"{flag} reads" for flag, path in read.items() if path and path.exists()}
    for flag, path in written.items():
        if path is None:
            continue
        own = os.path.realpath(path)
        if own in taken:
            raise InvalidArgument(f"{flag} must not replace the file that {taken[own]}, got {path}: choose another")
        taken[own] = f"{flag} writes"
