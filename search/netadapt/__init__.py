"""NetAdapt (arXiv:1804.03230): bring a trained network down to a budget, by what the device takes for it.

The names are imported when they are used: this package alone imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.netadapt.api import Pruned, prune

__all__ = ["Pruned", "prune"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from search.netadapt import api

    return getattr(api, name)
