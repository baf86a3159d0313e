"""Which modules share a parameter, and which of them can be cut together."""

from collections.abc import Container, Iterable, Sequence

from torch import nn

from searchspace.nn.tracing.counting_norm import CountingNorm

_ALIKE = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d, nn.GroupNorm),
    *(nn.LayerNorm, nn.RMSNorm, nn.PReLU, CountingNorm),
)


def find_tied(
    module: nn.Module, parameters: Iterable[Sequence[str]], norms: Container[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """The modules that share a parameter, and those of them that use it in different ways.

    `parameters` are the names that each parameter has; `norms` are modules of the user's own that are norms. Layers of
    one kind with one weight take the same channels in and put out the same, and a transposed convolution with the
    weight of a convolution does the reverse, so that a cut can leave them tied. Any other tie (a bias with a norm's)
    holds the channels.
    """
    tied, unlike = set[str](), set[str]()
    for names in parameters:
        holders = dict.fromkeys(name.rpartition(".")[0] for name in names)
        if len(holders) > 1:
            tied |= holders.keys()
            leaves = {name.rpartition(".")[2] for name in names}
            parts = [module.get_submodule(holder) for holder in holders]
            known = isinstance(parts[0], _ALIKE) or all(holder in norms for holder in holders)
            if not (len(leaves) == 1 and known and _alike(parts, leaves)):
                unlike |= holders.keys()
    return frozenset(tied), frozenset(unlike)


def _alike(parts: Sequence[nn.Module], leaves: set[str]) -> bool:
    if leaves == {"weight"} and {type(part) for part in parts} == {nn.Conv2d, nn.ConvTranspose2d}:
        return all(part.groups == 1 for part in parts)
    return len({(type(part), getattr(part, "groups", 1), id(getattr(part, "weight", None))) for part in parts}) == 1
