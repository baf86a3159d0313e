"""Measuring latency on this machine: tables of kernels, and networks for real."""

from search.latency.build import table_for
from search.latency.measure import Measurement, measure, measure_here, measure_modules

__all__ = ["Measurement", "measure", "measure_here", "measure_modules", "table_for"]
