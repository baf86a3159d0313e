"""`inherit`: a deeper and wider network that starts with the outputs of the trained one."""

import torch

from searchspace.errors import InvalidArgument
from searchspace.nn.build import Network
from searchspace.nn.weights.transfer import Transferred, difference_of, transfer
from searchspace.spec import NetworkSpec


def inherit(small: Network, deep: NetworkSpec, grown: NetworkSpec, *, generator: torch.Generator) -> Transferred:
    """A network of `grown` that computes what `small` does, as nearly as its layers allow.

    `deep` is the small network with the blocks that `grown` has more, at its own widths and resolution: both come from
    one template. In two steps, so that channels which slices and shuffles take by position keep their groups. Fresh
    weights are drawn from `generator`. Raises InvalidArgument where `grown` has fewer layers.
    """
    for stage, larger in zip(small.spec.stages, deep.stages, strict=True):
        if len(larger.blocks) < len(stage.blocks):
            raise InvalidArgument(
                f"only a network that grows can inherit, but stage {stage.name} would have {len(larger.blocks)} of its "
                f"{len(stage.blocks)} blocks: give a larger phi"
            )
    deeper = transfer(small, deep, generator=generator)
    wider = transfer(deeper.network, grown, generator=generator)
    return Transferred(wider.network, difference_of(small.eval(), wider.network), deeper.reasons + wider.reasons)
