"""Latency of networks on this machine: `table()` predicts it, `measure(network)` measures it.

The names are imported when they are used, so this package alone imports no torch.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from search.latency.api import measure, table
    from search.latency.build import table_for
    from search.latency.measurement import Measurement

__all__ = ["Measurement", "measure", "table", "table_for"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Measurement": "search.latency.measurement",
        "measure": "search.latency.api",
        "table": "search.latency.api",
        "table_for": "search.latency.build",
    },
)
