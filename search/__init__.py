"""Finding a network for a latency budget.

    import search
    found = search.find(budget_ms=20, data="photos/", minutes=10)
    found.spec, found.module, found.summary, found.study, found.save("mine/")
    search.prune(found.module, budget_macs=100e6, data="photos/")

The names are imported when they are used: this package alone imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.netadapt.api import prune
    from search.result import Result
    from search.run import find

_HOMES = {"Result": "search.result", "find": "search.run", "prune": "search.netadapt.api"}
__all__ = ["Result", "find", "prune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
