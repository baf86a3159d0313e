"""NetworkSpec: one network as a frozen, hashable value of integers, and its JSON."""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from searchspace.blocks.protocol import Block, Head, block_from_dict
from searchspace.blocks.rules import COUNT, LARGEST_COUNT
from searchspace.errors import InvalidSpec
from searchspace.files import storage_error, write_json
from searchspace.preprocessing import Preprocessing
from searchspace.strict_json import ChangedContent, check, checked, listed, parsed, text_of

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What every layer of a network shares, and published implementations do differently.

    padding: of convolutions with stride: "half" on every side, or "same", TensorFlow's rule: as much as
        ceil(size / stride) outputs need, an odd pixel at the right and the bottom. No shape depends on it.
    norm_eps: added to the variance by batch norm. norm_momentum: of the running statistics, as torch counts it.
    """

    padding: str = "half"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        if self.padding not in ("half", "same"):
            raise InvalidSpec(f'Conventions.padding must be "half" or "same", got {self.padding!r}')
        for field in ("norm_eps", "norm_momentum"):
            value = getattr(self, field)
            if type(value) is not float or not 0 < value <= 1:
                raise InvalidSpec(f"Conventions.{field} must be a number above 0, at most 1, got {value!r}")


DEFAULT_CONVENTIONS = Conventions()


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

    Raises InvalidSpec if rows do not fit each other, if the last row is not the only head (Classifier or
    ConvClassifier), or if the resolution is below the total stride (the last maps would be all padding) or leaves an
    unpadded kernel no room.

    `preprocessing` is how pixels become the input that the network's weights were trained with; None for what has no
    weights yet, or weights of this project's own scale (`searchspace.preprocessing.OWN`).
    """

    name: str
    resolution: int
    stages: tuple[Stage, ...]
    in_channels: int = 3
    conventions: Conventions = DEFAULT_CONVENTIONS
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        for field in ("resolution", "in_channels"):
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= LARGEST_COUNT:
                raise InvalidSpec(
                    f"NetworkSpec.{field} must be {COUNT} got {reprlib.repr(value)}: choose another value"
                )
        if type(self.stages) is not tuple:
            raise InvalidSpec(f"NetworkSpec.stages must be a tuple, got {type(self.stages).__name__}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise InvalidSpec(f"stage names must differ, got {names}")
        if not isinstance(self.conventions, Conventions):
            raise InvalidSpec(f"NetworkSpec.conventions must be Conventions, got {self.conventions!r}")
        if not isinstance(self.preprocessing, Preprocessing | None):
            raise InvalidSpec(f"NetworkSpec.preprocessing must be Preprocessing or None, got {self.preprocessing!r}")
        heads = [block.is_head for block in self.blocks]
        if sum(heads) != 1 or not heads[-1]:
            raise InvalidSpec("a network ends in its only Classifier or ConvClassifier row; add one as the last block")
        for where, in_channels, block in self.walk():
            try:
                block.check(in_channels)
            except InvalidSpec as error:
                raise InvalidSpec(f"{where}: {error}") from None
        if self.resolution < self.total_stride:
            raise InvalidSpec(
                f"the resolution must be at least the total stride {self.total_stride}, got {self.resolution}"
            )
        if any(hasattr(block, "padding") for block in self.blocks):  # the others always have room
            self.check_room(self.resolution)

    def check_room(self, resolution: int) -> None:
        """Raises InvalidSpec where images of `resolution` pixels leave an unpadded kernel no room."""
        size = resolution
        for block in self.blocks:
            before, size = size, block.size_after(size)
            if size < 1:
                where = next(where for where, _, each in self.walk() if each is block)
                raise InvalidSpec(
                    f"{where}: its unpadded kernel does not fit a map of {before} px: raise the resolution, "
                    f"got {resolution}"
                )

    def walk(self) -> Iterator[tuple[str, int, Block]]:
        """(dotted name, input channels, block) of every block in order."""
        channels = self.in_channels
        for stage in self.stages:
            for index, block in enumerate(stage.blocks):
                yield f"{stage.name}.{index}", channels, block
                channels = block.channels_after(channels)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @property
    def head(self) -> Head:
        """The last block."""
        head = self.stages[-1].blocks[-1]
        assert isinstance(head, Head)
        return head

    @property
    def classes(self) -> int:
        """Number of classes of the classifier."""
        return self.head.classes

    @property
    def total_stride(self) -> int:
        """Product of all strides: input pixels per pixel of the last map."""
        return math.prod(block.reduction for block in self.blocks)

    def with_resolution(self, resolution: int) -> "NetworkSpec":
        """The same network for square inputs of `resolution` pixels (weights do not change)."""
        return replace(self, resolution=resolution)

    def with_classes(self, classes: int) -> "NetworkSpec":
        """The same network with another number of classes."""
        *stages, last = self.stages
        blocks = (*last.blocks[:-1], replace(self.head, classes=classes))
        return replace(self, stages=(*stages, replace(last, blocks=blocks)))

    def with_conventions(self, conventions: Conventions) -> "NetworkSpec":
        """The same layers under other conventions; its parameters and MACs stay."""
        return replace(self, conventions=conventions)

    def with_preprocessing(self, preprocessing: Preprocessing | None) -> "NetworkSpec":
        """The same network for weights that want pixels so; its fingerprint stays."""
        return replace(self, preprocessing=preprocessing)

    def with_name(self, name: str) -> "NetworkSpec":
        """The same network under another name; its fingerprint stays."""
        return replace(self, name=name)

    def has_layers_of(self, other: "NetworkSpec") -> bool:
        """Whether both have the same blocks, whatever their resolution, conventions and numbers of classes."""
        return self.with_classes(other.classes).blocks == other.blocks

    def fingerprint(self) -> str:
        """16 hex digits that two specs share exactly when they are the same network at the same resolution.

        The network's name, its stages' names, the way its blocks are grouped and its preprocessing do not count.
        """
        content: list[object] = [self.in_channels, self.resolution, [block.identity() for block in self.blocks]]
        if self.conventions != DEFAULT_CONVENTIONS:
            content.append(asdict(self.conventions))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The spec as nested dicts of JSON types, without conventions and preprocessing where they are the default."""
        optional: dict[str, Any] = {}
        if self.conventions != DEFAULT_CONVENTIONS:
            optional["conventions"] = asdict(self.conventions)
        if self.preprocessing is not None:
            optional["preprocessing"] = self.preprocessing.to_dict()
        return {
            "schema": SCHEMA_VERSION,
            "name": self.name,
            "resolution": self.resolution,
            "in_channels": self.in_channels,
            **optional,
            "stages": [
                {"name": stage.name, "blocks": [block.to_dict() for block in stage.blocks]} for stage in self.stages
            ],
        }

    def to_json(self) -> str:
        """The spec as JSON text (schema version inside); `write_spec` writes a file."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "NetworkSpec":
        """The spec that `to_json` wrote; InvalidSpec names what is unknown, missing or out of range."""
        try:
            data, checksum = parsed(text)
        except ChangedContent as error:
            raise InvalidSpec(f"the spec is damaged, {error}") from None
        except ValueError as error:
            raise InvalidSpec(f"a network spec must be JSON and is not ({error}): name another file") from None
        if isinstance(data, dict) and data.get("schema") != SCHEMA_VERSION:
            raise InvalidSpec(
                f'a network spec must have "schema": {SCHEMA_VERSION}, got {data.get("schema")!r}: '
                "it is no phinas spec, or a newer phinas wrote it"
            )
        required = dict.fromkeys(("schema", "name", "resolution", "in_channels", "stages"), True)
        data = checked(data, required | {"conventions": False, "preprocessing": False}, "the spec")
        stages = []
        for index, stage in enumerate(listed(data["stages"], "stages")):
            where = f"stages[{index}]"
            stage = checked(stage, {"name": True, "blocks": True}, where)
            blocks = listed(stage["blocks"], f"{where}.blocks")
            rows = (block_from_dict(block, f"{where}.blocks[{i}]") for i, block in enumerate(blocks))
            stages.append(Stage(text_of(stage["name"], f"{where}.name"), tuple(rows)))
        known = {field.name: False for field in fields(Conventions)}
        conventions = Conventions(**checked(data.get("conventions", {}), known, "conventions"))
        how = Preprocessing.from_dict(data["preprocessing"]) if "preprocessing" in data else None
        name = text_of(data["name"], "name")
        spec = cls(name, data["resolution"], tuple(stages), data["in_channels"], conventions, how)
        try:
            check(data, checksum)
        except ChangedContent as error:
            raise InvalidSpec(f"the spec is damaged, {error}") from None
        return spec


def write_spec(path: Path, spec: NetworkSpec) -> None:
    """Write a spec to a file, with a checksum, whole or not at all. Raises StorageError."""
    write_json(path, spec.to_dict())


def read_spec(path: Path | str) -> NetworkSpec:
    """The spec in a file; StorageError if it cannot be read, InvalidSpec (naming the file) if it is not one."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise storage_error("read the spec file", Path(path), error) from None
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path}: a network spec must be JSON text, got binary data: name another file") from None
    try:
        return NetworkSpec.from_json(text)
    except InvalidSpec as error:
        raise InvalidSpec(f"{path}: {error}") from None
