"""torch-pruning (PyPI) as a rival: a network of ours, pruned by its global magnitude pruning to a budget.

torch-pruning is no dependency of this project: `pip install torch-pruning` where the comparison is run.
"""

import copy
import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.nn import Network, load_weights
from searchspace.nn.blocks.classifier import Head
from searchspace.nn.blocks.mbconv import InvertedResidual
from searchspace.nn.layers import ConvBNAct, LinearAct
from searchspace.spec import NetworkSpec

RATIO_STEP = 0.025
HALVINGS = 6


def torch_pruning() -> Any:
    """The package. Raises InvalidArgument where it is not installed."""
    try:
        return importlib.import_module("torch_pruning")
    except ImportError as error:
        raise InvalidArgument(f"this arm needs torch-pruning ({error}): pip install torch-pruning") from None


def pruned_to(
    network: Network, *, budget: float, cost: Callable[[NetworkSpec], float], pixels: int, round_to: int
) -> Network:
    """`network` with the least share of its channels pruned at which it costs at most `budget`; in eval mode.

    The share is looked for upwards in steps and then by halving, as costs do not fall all the way: where every channel
    of a layer would go, torch-pruning keeps them all. Raises InfeasibleBudget if no share does, InvalidArgument for a
    block that `spec_of` does not know.
    """

    def meets(ratio: float) -> Network | None:
        found = pruned_by(network, ratio, pixels=pixels, round_to=round_to)
        return found if cost(found.spec) <= budget else None

    for step in range(1, round(1 / RATIO_STEP)):
        best = meets(step * RATIO_STEP)
        if best is not None:
            low, high = (step - 1) * RATIO_STEP, step * RATIO_STEP
            break
    else:
        raise InfeasibleBudget(
            f"no pruning ratio of torch-pruning, with counts that are multiples of {round_to}, brings "
            f"{network.spec.name} to {budget:g}"
        )
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        found = meets(ratio)
        if found is None:
            low = ratio
        else:
            high, best = ratio, found
    return best


def pruned_by(network: Network, ratio: float, *, pixels: int, round_to: int) -> Network:
    """`network` without the share `ratio` of all its channels, those of the smallest filters over the whole network;
    counts are multiples of `round_to` where it is above 1."""
    pruning = torch_pruning()
    module = copy.deepcopy(network).eval()
    classes = module.get_submodule(f"{module.spec.stages[-1].name}.{len(module.spec.stages[-1].blocks) - 1}")
    assert isinstance(classes, Head)
    pruner = pruning.pruner.MagnitudePruner(
        module,
        torch.zeros(1, module.spec.in_channels, pixels, pixels),
        importance=pruning.importance.MagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[classes.linear],
        round_to=round_to if round_to > 1 else None,
    )
    pruner.step()
    return load_weights(spec_of(module), module.state_dict()).eval()


def spec_of(module: Network) -> NetworkSpec:
    """The spec that the module's layers have come to, from the one that it was built by."""
    stages = []
    for stage in module.spec.stages:
        built = module.get_submodule(stage.name)
        assert isinstance(built, nn.Sequential)
        blocks = tuple(_row(row, part) for row, part in zip(stage.blocks, built, strict=True))
        stages.append(replace(stage, blocks=blocks))
    return replace(module.spec, stages=tuple(stages))


def _row(row: Block, module: nn.Module) -> Block:
    """A block's row with the channel counts of its module. Raises InvalidArgument for other kinds than those here."""
    match row, module:
        case ConvBN(), ConvBNAct():
            return replace(row, out_channels=_outs(module))
        case ((MBConv() | SeparableConv()), InvertedResidual()):
            squeeze = 0 if module.squeeze is None else module.squeeze.reduce.out_channels
            row = replace(row, out_channels=_outs(module.project), squeeze_channels=squeeze)
            if isinstance(row, MBConv):
                assert module.expand is not None
                row = replace(row, expand_channels=_outs(module.expand))
            return row
        case Classifier(), Head():
            if module.hidden is None:
                return row
            assert isinstance(module.hidden, LinearAct)
            return replace(row, hidden_features=module.hidden.out_features)
    raise InvalidArgument(f"torch-pruning is compared on ConvBN, MBConv, SeparableConv and Classifier, got {row}")


def _outs(module: ConvBNAct) -> int:
    count = module.conv.out_channels
    assert isinstance(count, int)
    return count
