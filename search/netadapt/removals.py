"""Removed blocks that no residual sum bridges: their accuracy before training says nothing."""

from collections.abc import Sequence
from itertools import pairwise

from search.netadapt.records import Iteration
from searchspace.channels.steps import Step
from searchspace.graph import Graph


def removal_losses(iterations: Sequence[Iteration]) -> dict[str, float]:
    """The accuracy that the removal of a block lost when it was trained last, by the name that the block has now."""
    found: dict[str, float] = {}
    for before, one in pairwise(iterations):
        removals = [row for row in one.proposals if row.move == "block" and row.accuracy is not None]
        found |= {row.where: before.accuracy - (row.accuracy or 0.0) for row in removals}
        for gone in (row.where for row in removals if row.accepted):
            found = {_moved_up(name, gone): loss for name, loss in found.items() if name != gone}
    return found


def _moved_up(name: str, gone: str) -> str:
    """The name of a block when another one is gone: those behind it in its stage move up."""
    (stage, _, place), (other, _, at) = name.rpartition("."), gone.rpartition(".")
    return f"{stage}.{int(place) - 1}" if stage == other and int(place) > int(at) else name


def is_unbridged(graph: Graph, step: Step) -> bool:
    """Whether a step from the network of `graph` takes a block away that has no residual sum."""
    gone = {layer.op for index, layer in enumerate(graph.layers) if index not in step.origins}
    return "conv" in gone and "add" not in gone
