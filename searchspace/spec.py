"""NetworkSpec: one network as a frozen, hashable value of integers."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from searchspace.blocks import Block, Classifier, check_block, identity, out_channels
from searchspace.errors import InvalidSpec


@dataclass(frozen=True, slots=True)
class Stage:
    """A named run of blocks; the name is the prefix of its layers and of its state-dict entries."""

    name: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name.isidentifier():
            raise InvalidSpec(f"a stage name must be a Python identifier, got {self.name!r}")
        if type(self.blocks) is not tuple:
            raise InvalidSpec(f"stage {self.name!r}: blocks must be a tuple, got {type(self.blocks).__name__}")
        if not self.blocks:
            raise InvalidSpec(f"stage {self.name!r} has no blocks: leave the stage out instead")


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A classification network: input (batch, in_channels, resolution, resolution), output (batch, classes).

    Raises InvalidSpec if rows do not fit each other, if the last row is not the only Classifier, or if the
    resolution is below the total stride (the last maps would be all padding).
    """

    name: str
    resolution: int
    stages: tuple[Stage, ...]
    in_channels: int = 3

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise InvalidSpec(f"NetworkSpec.{field} must be an integer of at least 1, got {value!r}")
        if type(self.stages) is not tuple:
            raise InvalidSpec(f"NetworkSpec.stages must be a tuple, got {type(self.stages).__name__}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise InvalidSpec(f"stage names must differ, got {names}")
        kinds = [isinstance(block, Classifier) for block in self.blocks]
        if sum(kinds) != 1 or not kinds[-1]:
            raise InvalidSpec("a network ends in its only Classifier row; add one as the last block")
        for where, in_channels, block in self.walk():
            check_block(block, in_channels, where)
        if self.resolution < self.total_stride:
            raise InvalidSpec(
                f"the resolution must be at least the total stride {self.total_stride}, got {self.resolution}"
            )

    def walk(self) -> Iterator[tuple[str, int, Block]]:
        """(dotted name, input channels, block) of every block in order."""
        channels = self.in_channels
        for stage in self.stages:
            for index, block in enumerate(stage.blocks):
                yield f"{stage.name}.{index}", channels, block
                channels = out_channels(block)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @property
    def classes(self) -> int:
        """Number of classes of the classifier."""
        return out_channels(self.stages[-1].blocks[-1])

    @property
    def total_stride(self) -> int:
        """Product of all strides: input pixels per pixel of the last map."""
        product = 1
        for block in self.blocks:
            if not isinstance(block, Classifier):
                product *= block.stride
        return product

    def with_resolution(self, resolution: int) -> "NetworkSpec":
        """The same network for square inputs of `resolution` pixels (weights do not change)."""
        return replace(self, resolution=resolution)

    def with_classes(self, classes: int) -> "NetworkSpec":
        """The same network with another number of classes."""
        last = self.stages[-1]
        head = last.blocks[-1]
        assert isinstance(head, Classifier)
        blocks = (*last.blocks[:-1], replace(head, classes=classes))
        return replace(self, stages=(*self.stages[:-1], replace(last, blocks=blocks)))

    def with_name(self, name: str) -> "NetworkSpec":
        """The same network under another name; its fingerprint stays."""
        return replace(self, name=name)

    def fingerprint(self) -> str:
        """16 hex digits that two specs share exactly when they are the same network at the same resolution.

        The network's name, its stages' names and the way its blocks are grouped do not count.
        """
        content = [self.in_channels, self.resolution, [identity(block) for block in self.blocks]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The spec as JSON text (schema version inside)."""
        from searchspace.serialize import spec_to_dict

        return json.dumps(spec_to_dict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "NetworkSpec":
        """The spec that `to_json` wrote; InvalidSpec names what is unknown, missing or out of range."""
        from searchspace.serialize import spec_from_json

        return spec_from_json(text)
