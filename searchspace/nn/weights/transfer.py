"""`transfer`: a network of any spec that starts from the weights of another one."""

from typing import NamedTuple

import torch

from searchspace.errors import InvalidArgument
from searchspace.nn.build import Network, build
from searchspace.spec import NetworkSpec


class Transferred(NamedTuple):
    """A network in eval mode with another one's weights.

    Attributes:
        network: The new network.
        difference: Of its logits from the parent's on noise, as a share of the largest; None for another head.
        reasons: What could not be kept.
    """

    network: Network
    difference: float | None
    reasons: tuple[str, ...]


@torch.no_grad()
def transfer(parent: Network, spec: NetworkSpec, *, generator: torch.Generator) -> Transferred:
    """A network of `spec` with the weights of `parent`, which stays as it is; fresh ones are drawn from `generator`.

    Raises InvalidArgument for another number of input channels.
    """
    if spec.in_channels != parent.spec.in_channels:
        raise InvalidArgument(
            f"the parent {parent.spec.name} reads {parent.spec.in_channels} channels, the network {spec.in_channels}: "
            "give images of as many channels, or weights of such a network"
        )
    network = build(spec.with_preprocessing(parent.spec.preprocessing), generator=generator)
    theirs, ours = parent.state_dict(), network.state_dict()
    missed = [name for name, value in ours.items() if name not in theirs or theirs[name].shape != value.shape]
    for name, value in ours.items():
        if name not in missed:
            value.copy_(theirs[name])
    reasons = []
    if spec.classes != parent.spec.classes:
        reasons.append(f"a new head: {spec.classes} classes for {parent.spec.classes}")
    return Transferred(network.eval(), 0.0 if not missed else None, tuple(reasons))
