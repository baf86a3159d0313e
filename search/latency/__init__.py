"""Latency of networks on this machine: `table()` predicts it, `measure(network)` measures it.

The names are imported when they are used, so this package alone imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.latency.api import measure, table
    from search.latency.build import table_for
    from search.latency.measurement import Measurement

_HOMES = {
    "Measurement": "measurement",
    "measure": "api",
    "table": "api",
    "table_for": "build",
}
__all__ = ["Measurement", "measure", "table", "table_for"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
