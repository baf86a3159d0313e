"""The latency of networks by a table of kernel times. No torch here: `search.latency` measures the tables."""

from searchspace.latency.table import Identity, LatencyTable, Prediction, read_table

__all__ = ["Identity", "LatencyTable", "Prediction", "read_table"]
