"""`inherit`: a deeper and wider network that starts with the outputs of the trained one.

Net2Net's idea (arXiv:1511.05641) for the blocks of this field. Where Net2Net copies channels, new channels here have
fresh weights, and the weights that read them are 0. Where it has identity layers, new residual blocks start with a
branch that adds nothing (the scale and bias of its last batch norm are 0).
"""

from collections import Counter
from typing import NamedTuple

import torch
from torch import nn

from searchspace.channels.maps import unit_maps
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn.blocks import residual_norms
from searchspace.nn.build import Network, build
from searchspace.nn.layers import BatchNorm2d, Conv2d, ConvBNAct, SqueezeExcite
from searchspace.nn.weights.slices import copy_into, weighted_parts
from searchspace.spec import NetworkSpec

EXACT = 1e-4  # of the largest logit
_OPEN = 5.0  # a sigmoid gate's bias that lets 99.3 % through


class Inherited(NamedTuple):
    """The grown network in eval mode, and how nearly it computes what the small one does.

    Attributes:
        network: the grown network.
        difference: of its logits from the small network's at the small one's resolution, as a share of the largest.
        reasons: what stands in the way of equality.
    """

    network: Network
    difference: float
    reasons: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether it computes what the small network does."""
        return self.difference <= EXACT


@torch.no_grad()
def inherit(small: Network, deep: NetworkSpec, grown: NetworkSpec, *, generator: torch.Generator) -> Inherited:
    """A network of `grown` that computes what `small` does, as nearly as its layers allow.

    `deep` is the small network with the blocks that `grown` has more, at its own widths and resolution: both come from
    one template. Fresh weights are drawn from `generator`. Raises InvalidArgument where `grown` has fewer layers or
    narrower ones.
    """
    deeper, reasons = _deepened(small, deep, generator)
    network, more = _widened(deeper, grown, generator)
    difference = _difference(small.eval(), network.eval())
    return Inherited(network, difference, tuple(reasons + more))


def _deepened(small: Network, deep: NetworkSpec, generator: torch.Generator) -> tuple[Network, list[str]]:
    """The blocks of `small` where `deep` has them, and blocks that change nothing between them."""
    network = build(deep, generator=generator)
    bare: Counter[str] = Counter()
    for stage, larger in zip(small.spec.stages, deep.stages, strict=True):
        sources = list(zip(stage.blocks, small.get_submodule(stage.name).children(), strict=True))
        for row, module in zip(larger.blocks, network.get_submodule(stage.name).children(), strict=True):
            if sources and sources[0][0] == row:
                module.load_state_dict(sources.pop(0)[1].state_dict())
            elif not _start_as_identity(module):
                bare[stage.name] += 1
        if sources:
            raise InvalidArgument(
                f"only a network that grows can inherit, but stage {stage.name} would have {len(larger.blocks)} of its "
                f"{len(stage.blocks)} blocks: give a larger phi"
            )
    return network, [
        f"stage {name}: {count} new block{'s' * (count > 1)} without a skip, set as near to the identity as it goes"
        for name, count in bare.items()
    ]


def _start_as_identity(module: nn.Module) -> bool:
    """Make a fresh block hand on its input; whether that is exact, in training too."""
    norm = next(residual_norms(module), None)
    if norm is not None:
        norm.weight.zero_()
        norm.bias.zero_()
        return True
    for part in module.modules():
        if isinstance(part, ConvBNAct):
            _pass_on(part)
        elif isinstance(part, SqueezeExcite):
            nn.init.zeros_(part.expand.weight)
            assert part.expand.bias is not None
            nn.init.constant_(part.expand.bias, _OPEN)
    return False


def _pass_on(part: ConvBNAct) -> None:
    """Channel i becomes channel i, as far as groups allow; batch norm changes nothing in eval mode."""
    conv = part.conv
    assert isinstance(conv, Conv2d)
    nn.init.dirac_(conv.weight, groups=conv.groups)
    if conv.bias is not None:
        conv.bias.zero_()
    if hasattr(part, "norm"):
        assert isinstance(part.norm, BatchNorm2d)
        part.norm.weight.fill_((1.0 + part.norm.eps) ** 0.5)


def _widened(narrower: Network, spec: NetworkSpec, generator: torch.Generator) -> tuple[Network, list[str]]:
    """The wide network whose old channels see only old channels, with the narrower one's weights."""
    network = build(spec, generator=generator)
    maps = unit_maps(spec, narrower.spec)
    for index, layer in enumerate(lower(narrower.spec).layers):
        try:
            wide = network.get_submodule(layer.name)
        except AttributeError:
            continue  # the wide network has other layers: `maps` is None, and the reason says so
        old = narrower.get_submodule(layer.name)
        if maps is None:
            _copy_common(old, wide)
        elif layer.weights:
            sides = (maps.get((index, side)) for side in ("out", "in", "inside"))
            places = weighted_parts(wide, *(None if side is None else torch.tensor(side) for side in sides))
            for (source, _, _), (target, outs, ins) in zip(weighted_parts(old, None, None, None), places, strict=True):
                copy_into(source, target, outs, ins)
    if maps is not None:
        return network, []
    return network, [
        "its channels cannot keep their groups in the wider network (it has other layers, or groups and shuffles that "
        "order channels in another way)"
    ]


def _copy_common(old: nn.Module, new: nn.Module) -> None:
    theirs = old.state_dict()
    for name, mine in new.state_dict().items():
        if name in theirs and theirs[name].ndim == mine.ndim:
            common = tuple(slice(0, min(sizes)) for sizes in zip(mine.shape, theirs[name].shape, strict=True))
            mine[common] = theirs[name][common]


def _difference(small: Network, grown: Network) -> float:
    """The largest difference of logits on noise, as a share of the largest logit; inf for no numbers."""
    spec = small.spec
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected, found = small(images), grown(images)
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    return difference if difference == difference else float("inf")
