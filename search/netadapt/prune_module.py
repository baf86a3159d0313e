"""`search.prune_module`: a torch module of any task, with your own score and your own training."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from search.budget import CostModel
from search.console import Progress, TimeLeft
from search.cores import limit_threads
from search.netadapt.module_loop import ModuleLoop, ModuleStep
from search.netadapt.timing import ModuleTimer, PairedTimer
from searchspace.arguments import check_types
from searchspace.channels.groups import in_the_way
from searchspace.cost import costs
from searchspace.errors import InvalidArgument
from searchspace.latency.table import LatencyTable, read_table
from searchspace.nn import Network, TracedNetwork, count_inputs, trace_shapes
from searchspace.nn.cuttable import cuttable

Shape = tuple[int, ...]
KEPT = "keep says that it stays as it is"


@dataclass(frozen=True, kw_only=True, eq=False)
class PrunedModule:
    """What `prune_module` came to.

    Attributes:
        module: The narrower module, of the class that was given, in eval mode on the CPU.
        kept: {channel group: the units of it that stayed, numbered as in the module that was given}. A unit is a
            channel with all that it is summed with. Groups that are not in it are whole.
        channels: {channel group: (channels before, channels now)} of all that are not fixed.
        fixed: {channel group: what stands in the way of cutting it}.
        before, after: "macs", "params" and, of a budget in ms, "ms".
        steps: One for each cut, in order.
    """

    module: nn.Module
    kept: Mapping[str, tuple[int, ...]]
    channels: Mapping[str, tuple[int, int]]
    fixed: Mapping[str, str]
    before: Mapping[str, float]
    after: Mapping[str, float]
    steps: Sequence[ModuleStep]

    def report(self) -> str:
        """Costs before and after, and channels of each group, for people."""
        lines = [f"{unit}: {self.before[unit]:,.6g} to {now:,.6g}" for unit, now in self.after.items()]
        lines += [f"{name}: {before} to {now} channels" for name, (before, now) in self.channels.items()]
        return "\n".join([*lines, *(f"{name}: not pruned, {why}" for name, why in self.fixed.items())])


def prune_module(
    module: nn.Module,
    inputs: Tensor | Sequence[object],
    *,
    budget_macs: float | None = None,
    budget_params: float | None = None,
    budget_ms: float | None = None,
    latency: str | Path | LatencyTable | None = None,
    keep: Sequence[str] = (),
    score: Callable[[nn.Module], float] | None = None,
    train: Callable[[nn.Module], object] | None = None,
    step: float | None = None,
    shortlist: int = 4,
    threads: int | None = None,
    timer: PairedTimer | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> PrunedModule:
    """Cut channels of any torch module that can be traced until it meets a budget: for one image, in eval mode.

    Step by step, the cut is made that costs the least importance (L2 norm of filters) for what it saves. What is left
    computes what the module computed with the other channels at 0. Your module stays as it is; in the result, weights
    that were computed in each call (weight_norm, masks of torch.nn.utils.prune) are plain.

    Args:
        module: Of any task: several inputs, outputs and heads, any number of input channels.
        inputs: An example (batch, channels, height, width), or its shape; several in a tuple. Only shapes count.
        budget_macs: Multiply-adds that it may have.
        budget_params: Parameters that it may have.
        budget_ms: Milliseconds that it may take here, measured; with `latency`, that the table may predict for it.
        latency: A latency table, or its file.
        keep: Channel groups that stay whole, or modules whose output channels stay.
        score: Says how good a module is, higher is better. Of the `shortlist` cuts that cost the least importance the
            one whose module scores highest is made.
        train: Trains a module in place, after each cut. Your own loop: your data, your losses.
        step: Share of the cost at the start that a step takes off: by default 0.1 of a time that is measured,
            0.05 with `score` or `train`, else 0.02.
        shortlist: Cuts of a step that `score` sees.
        threads: That the module is timed with.
        timer: Times modules in place of this machine.
        seed: Of torch's random numbers within `score` and `train`, and of the order of timings.
        quiet: Print no progress.

    Raises:
        UnsupportedModule: The module cannot be traced; the node is named.
        InfeasibleBudget: The module cannot be cut as far; the smallest cost is named.
        PhinasError: Anything else that the caller can mend.
    """
    check_types(prune_module, locals())
    unit, limit = _budget(ms=budget_ms, macs=budget_macs, params=budget_params)
    _check(module, step=step, shortlist=shortlist, latency=latency, unit=unit)
    shapes = input_shapes(module, inputs)
    limit_threads()
    table = read_table(Path(latency)) if isinstance(latency, (str, Path)) else latency
    by_time = unit == "ms" and table is None
    timer = timer or ModuleTimer(shapes, seed=seed, threads=threads) if by_time else None
    with Progress(TimeLeft().left_s, quiet=quiet) as progress:
        network = trace_shapes(cuttable(module, progress.line), shapes)
        whole = kept_whole(network, [keep] if isinstance(keep, str) else keep)
        loop = ModuleLoop(
            network,
            CostModel("macs") if timer else CostModel(unit, table),
            limit,
            score=score,
            train=train,
            timer=timer,
            step=step or (0.1 if timer else 0.05 if score or train else 0.02),
            shortlist=shortlist,
            seed=seed,
            progress=progress,
            keep=dict.fromkeys(whole, KEPT),
        )
        loop.run()
        return _result(network, loop, unit)


def _result(network: TracedNetwork, loop: ModuleLoop, unit: str) -> PrunedModule:
    groups = [group for group in network.groups() if not group.fixed and group.name not in loop.held]
    kept = {name: tuple(sorted(units)) for name, units in loop.kept.items()}
    channels = {
        group.name: (group.channels, len(kept.get(group.name, group.cells)) * group.channels // len(group.cells))
        for group in groups
    }
    ends = ({"ms": cost} if unit == "ms" else {} for cost in (loop.steps[0].cost, loop.steps[-1].cost))
    before, after = (
        {"macs": total.macs, "params": total.params, **ms}
        for total, ms in zip((costs(network.graph), costs(loop.network.graph)), ends, strict=True)
    )
    fixed = in_the_way(network.groups()) | loop.held
    module = loop.network.module
    return PrunedModule(
        module=module, kept=kept, channels=channels, fixed=fixed, before=before, after=after, steps=loop.steps[1:]
    )


def input_shapes(module: nn.Module, inputs: Tensor | Sequence[object]) -> list[Shape]:
    """The shape of each input without the batch. Raises InvalidArgument."""
    several = [inputs] if isinstance(inputs, Tensor) or all(type(each) is int for each in inputs) else list(inputs)
    shapes = [_shape(each) for each in several]
    needed = count_inputs(module)
    if len(shapes) < needed:
        raise InvalidArgument(
            f"the forward of the {type(module).__name__} needs {needed} inputs, got {len(shapes)}: give a tuple with "
            "an example of each"
        )
    return shapes


def _shape(given: Any) -> Shape:
    if isinstance(given, Tensor) and not given.is_floating_point():
        raise InvalidArgument(
            f"inputs must be images or vectors of floating-point numbers, got {given.dtype}: give the module as it is "
            "behind its embedding or decoding"
        )
    shape = tuple(given.shape) if isinstance(given, Tensor) else given
    is_shape = isinstance(shape, (tuple, list)) and all(type(size) is int and size > 0 for size in shape)
    if not is_shape or len(shape) not in (2, 4):
        raise InvalidArgument(
            "each input must be an example or its shape, (batch, channels, height, width) or (batch, features), got "
            f"{shape!r:.60}: several inputs are given in a tuple"
        )
    return tuple(shape[1:])


def kept_whole(network: TracedNetwork, names: Sequence[str]) -> list[str]:
    """The groups that `keep` names. Raises InvalidArgument for a name that is of no group and no module with one."""
    of_group = {
        group.name: {
            name
            for place in group.outputs
            for name in (network.graph.layers[place.layer].name, *network.modules_of(place.layer))
        }
        for group in network.groups()
    }
    found: list[str] = []
    for name in names:
        own = [group for group, parts in of_group.items() if any(f"{part}.".startswith(f"{name}.") for part in parts)]
        if not own:
            near = difflib.get_close_matches(
                name, {part for parts in of_group.values() for part in parts}, n=3, cutoff=0.0
            )
            raise InvalidArgument(
                f"keep must name channel groups, or modules whose output channels stay, got {name!r}; the nearest are "
                f"{', '.join(near)}"
            )
        found += own
    return found


def _budget(**budgets: float | None) -> tuple[str, float]:
    """(unit, limit) of the one that is given."""
    given = [(unit, float(value)) for unit, value in budgets.items() if value is not None]
    if len(given) != 1:
        raise InvalidArgument(f"give one budget: budget_macs, budget_params or budget_ms, got {len(given)} of them")
    if not 0 < given[0][1] < math.inf:
        raise InvalidArgument(f"budget_{given[0][0]} must be a number above 0, got {given[0][1]}")
    return given[0]


def _check(module: nn.Module, *, step: float | None, shortlist: int, latency: Any, unit: str) -> None:
    if isinstance(module, Network):
        raise InvalidArgument(
            f"prune_module is for modules of your own, got {module.spec.name}, a network of a spec: search.prune "
            "prunes those, in more ways"
        )
    if step is not None and not 0 < step < 1:
        raise InvalidArgument(f"step must be a share above 0 and below 1, got {step}")
    if shortlist < 1:
        raise InvalidArgument(f"shortlist must be at least 1, got {shortlist}")
    if latency is not None and unit != "ms":
        raise InvalidArgument(f"latency is for budget_ms, got it with budget_{unit}: leave it out")
