"""Template: a paper's table with its ratios and repeats, before any rounding.

Scaling ratios gives the published families exactly; scaling stored channel counts does not (EfficientNet-B2 would
have 9,189,860 parameters instead of 9,109,994). `expand` is the only way from a Template to a NetworkSpec.
"""

from dataclasses import dataclass, replace
from typing import Any

from searchspace.blocks.protocol import Block, HeadRow, Row
from searchspace.errors import InvalidSpec
from searchspace.preprocessing import Preprocessing
from searchspace.rounding import round_repeats
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions, NetworkSpec, Stage


@dataclass(frozen=True, slots=True)
class StageTemplate:
    """A stage: one row with repeats, or several rows of a network whose blocks differ.

    Depth scaling takes a run of rows at one resolution (in every published table: the whole stage) as one: its
    layers are rounded up, and the layers that come on top repeat its last row.
    """

    name: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise InvalidSpec(f"stage {self.name!r} has no rows: leave the stage out instead")

    def expand(self, in_channels: int, width_mult: float, depth_mult: float) -> Stage:
        """The stage's blocks after `in_channels` channels."""
        blocks: list[Block] = []
        for run in self._runs():
            repeats = [row.repeats for row in run]
            if run[0].grows_deeper:
                _deepen(repeats, round_repeats(sum(repeats), depth_mult))
            for row, count in zip(run, repeats, strict=True):
                if count:
                    blocks += row.blocks(in_channels, width_mult, count)
                    in_channels = blocks[-1].channels_after(in_channels)
        return Stage(self.name, tuple(blocks))

    def _runs(self) -> list[list[Row]]:
        """Rows that are deepened together: a stride, and a row that does not grow, begin a new run."""
        runs: list[list[Row]] = []
        for row in self.rows:
            if runs and runs[-1][0].grows_deeper and row.grows_deeper and row.stride == 1:
                runs[-1].append(row)
            else:
                runs.append([row])
        return runs


def _deepen(repeats: list[int], total: int) -> None:
    """Make them sum to `total`: what is missing goes to the last row, what is too much leaves from the end.

    The first row always keeps one block, since it carries the run's stride.
    """
    surplus = sum(repeats) - total
    for index in reversed(range(len(repeats))):
        gone = min(surplus, repeats[index] - (index == 0))
        repeats[index] -= gone
        surplus -= gone


@dataclass(frozen=True, slots=True)
class Template:
    """A network before scaling; `expand()` with no argument gives the paper's own network.

    `largest_resolution` is what compound scaling grows it to at most, in pixels; None for no limit of its own.
    """

    name: str
    stages: tuple[StageTemplate, ...]
    resolution: int = 224
    in_channels: int = 3
    conventions: Conventions = DEFAULT_CONVENTIONS
    preprocessing: Preprocessing | None = None
    largest_resolution: int | None = None

    def expand(
        self, *, width: float = 1.0, depth: float = 1.0, resolution: int | None = None, name: str | None = None
    ) -> NetworkSpec:
        """The network with `width` x channels, `depth` x layers, at `resolution` px (the template's own if None).

        Source: compound scaling, arXiv:1905.11946, section 3.3. Raises InvalidSpec for multipliers not above 0.
        """
        for what, value in (("width", width), ("depth", depth)):
            if not 0 < value < float("inf"):
                raise InvalidSpec(f"the {what} multiplier must be a finite number above 0, got {value}")
        channels = self.in_channels
        stages = []
        for template in self.stages:
            stages.append(template.expand(channels, width, depth))
            for block in stages[-1].blocks:
                channels = block.channels_after(channels)
        size = self.resolution if resolution is None else resolution
        label, own = name or self.name, (self.in_channels, self.conventions, self.preprocessing)
        return NetworkSpec(label, size, tuple(stages), *own)

    def with_classes(self, classes: int) -> "Template":
        """The same table with another number of classes."""
        return self._with_head(classes=classes)

    def with_dropout(self, dropout_percent: int) -> "Template":
        """The same table with another dropout before the classifier."""
        return self._with_head(dropout_percent=dropout_percent)

    def _with_head(self, **changes: Any) -> "Template":
        *stages, last = self.stages
        *rows, head = last.rows
        if not isinstance(head, HeadRow):
            raise InvalidSpec(f"a template ends in its ClassifierRow or ConvClassifierRow, got {type(head).__name__}")
        return replace(self, stages=(*stages, replace(last, rows=(*rows, replace(head, **changes)))))
