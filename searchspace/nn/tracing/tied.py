"""Which modules share a parameter, and which of them can be cut together."""

from collections.abc import Iterable, Sequence

from torch import nn

_ALIKE = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d)


def find_tied(module: nn.Module, parameters: Iterable[Sequence[str]]) -> tuple[frozenset[str], frozenset[str]]:
    """The modules that share a parameter, and those of them that use it in different ways.

    `parameters` are the names that each parameter has. Layers of one kind with one weight take the same channels in and
    put out the same, so that a cut can leave them tied. Any other tie (a weight with a transposed convolution's, a bias
    with a norm's) holds the channels.
    """
    tied, unlike = set[str](), set[str]()
    for names in parameters:
        holders = dict.fromkeys(name.rpartition(".")[0] for name in names)
        if len(holders) > 1:
            tied |= holders.keys()
            leaves = {name.rpartition(".")[2] for name in names}
            parts = [module.get_submodule(holder) for holder in holders]
            if not (leaves in ({"weight"}, {"bias"}) and _alike(parts)):
                unlike |= holders.keys()
    return frozenset(tied), frozenset(unlike)


def _alike(parts: Sequence[nn.Module]) -> bool:
    same = {(type(part), getattr(part, "groups", 1), id(getattr(part, "weight", None))) for part in parts}
    return len(same) == 1 and isinstance(parts[0], _ALIKE)
