"""What measures networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from searchspace.latency.table import LatencyTable
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

    from search.latency.interleave import Runtime
    from search.latency.measurement import Measurement, Progress


class Device:
    """The machine that this process runs on. Another one (a phone over a cable, one that a test scripts) overrides all.

    `progress` is called with the share done and what is done.
    """

    def is_of(self, table: LatencyTable) -> bool:
        """Whether it is the device, with the setting, that the table was measured on."""
        from search.latency.runtimes import is_this_machine

        return is_this_machine(table.identity)

    def table_for(
        self,
        space: SearchSpace,
        *,
        runtime: Runtime,
        networks: Sequence[NetworkSpec] = (),
        seed: int = 0,
        progress: Progress,
        note: Callable[[str], None],
    ) -> LatencyTable:
        """A table that prices the networks of a space, and `networks`: the full one, or else a quick one."""
        from search.latency.quick import quick_table

        return quick_table(space, runtime=runtime, networks=networks, seed=seed, progress=progress, note=note)

    def table_s(self, *, runtime: Runtime, pixels: int) -> float:
        """About the seconds that `table_for` measures: 0 where a table is kept."""
        from search.latency.cache import Cache, default_dir
        from search.latency.quick import QUICK_S

        cache = Cache(default_dir(), runtime.identity(pixels), note=lambda _: None)
        return QUICK_S if cache.table() is None and cache.table(quick=True) is None else 0.0

    def measure(
        self,
        specs: Sequence[NetworkSpec],
        *,
        modules: Sequence[nn.Module] | None = None,
        table: LatencyTable,
        seconds: float = 6.0,
        progress: Progress | None = None,
    ) -> list[Measurement]:
        """Networks with random weights, or trained `modules` of them, measured in one interleaved run."""
        from search.latency.measurement import measure_specs

        return measure_specs(specs, modules=modules, table=table, seconds=seconds, progress=progress)
