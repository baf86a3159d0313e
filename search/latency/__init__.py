"""Latency of networks on this machine: `table()` predicts it, `measure(network)` measures it.

The names are imported when they are used, so this package alone imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.latency.api import measure, table
    from search.latency.build import table_for
    from search.latency.measurement import Measurement, measure_modules

_HOMES = {
    "Measurement": "measurement",
    "measure": "api",
    "measure_modules": "measurement",
    "table": "api",
    "table_for": "build",
}
__all__ = ["Measurement", "measure", "measure_modules", "table", "table_for"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
