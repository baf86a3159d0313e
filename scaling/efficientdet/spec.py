"""DetectorSpec: backbone, neck and heads of one detector as a frozen value, and its JSON. No torch."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from scaling.efficientdet.neck import LEVELS, Neck
from searchspace.blocks.conv import ConvBN
from searchspace.blocks.protocol import Block
from searchspace.errors import InvalidSpec
from searchspace.files import storage_error, write_json
from searchspace.spec import Conventions, NetworkSpec
from searchspace.strict_json import check, checked, listed, parsed, text_of

SCHEMA_VERSION = 1
KIND = "detector"
TAPPED = (3, 4, 5)  # levels that the backbone gives
MULTIPLE = 2 ** TAPPED[-1]  # of pixels; at multiples of 128 all levels are exact halves
SMALLEST, LARGEST = 64, 4096
CONVENTIONS = Conventions(padding="same", norm_eps=1e-3, norm_momentum=0.01)  # of the published detectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Boxes at each pixel of each level: every scale with every aspect ratio.

    Attributes:
        scale: Side of the smallest box in pixels of its level (4; D7: 5).
        octaves: Sizes in one octave (2^0, 2^(1/3), 2^(2/3)).
        ratios: (width, height), each box as large as its square.
    """

    scale: float = 4.0
    octaves: int = 3
    ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))

    def __post_init__(self) -> None:
        numbers = (self.scale, *(side for ratio in self.ratios for side in ratio))
        if not self.ratios or any(type(each) is not float or not 0 < each <= 64 for each in numbers):
            raise InvalidSpec(
                f"anchors must have a scale and ratios above 0, at most 64, got {self.scale}, {self.ratios}"
            )
        if type(self.octaves) is not int or not 1 <= self.octaves <= 16:
            raise InvalidSpec(f"anchors must have 1 to 16 sizes in an octave, got {self.octaves!r}")

    @property
    def count(self) -> int:
        """Boxes at each pixel."""
        return self.octaves * len(self.ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSpec:
    """A one-stage detector: input (batch, 3, resolution, resolution), outputs for each of P3 to P7.

    Attributes:
        backbone: Any network; its head, and what stands behind the last tap, are left out.
        taps: The blocks whose outputs are P3, P4 and P5, by dotted name.
        neck: Fuses the levels.
        head_depth: Separable convolutions in each head before the one that predicts.
        classes: Each has an output of its own for each anchor (a sigmoid; there is no class for the background).
        conventions: Of neck and heads; the backbone has its own.

    Raises InvalidSpec for a backbone without the strides 8, 16 and 32, a resolution that is no multiple of 32 and
    parts that do not fit each other.
    """

    name: str
    backbone: NetworkSpec
    taps: tuple[str, ...]
    neck: Neck
    head_depth: int
    classes: int
    anchors: Anchors = Anchors()
    activation: str = "swish"
    conventions: Conventions = CONVENTIONS

    def __post_init__(self) -> None:
        for field, most in (("classes", 100_000), ("head_depth", 64)):
            value = getattr(self, field)
            if type(value) is not int or not 1 <= value <= most:
                raise InvalidSpec(f"DetectorSpec.{field} must be an integer from 1 to {most}, got {value!r}")
        check_resolution(self.resolution)
        strides = strides_of(self.backbone)
        found = tuple(strides.get(tap) for tap in self.taps)
        if found != tuple(2**level for level in TAPPED):
            raise InvalidSpec(f"taps must be blocks with the strides 8, 16 and 32 in order, got {self.taps}: {found}")

    @property
    def resolution(self) -> int:
        """Height and width of the images, in pixels."""
        return self.backbone.resolution

    def level_px(self, level: int) -> int:
        """Height and width of a level's maps: the pixels over 2^level, rounded up."""
        return -(-self.resolution // (1 << level))

    @property
    def anchor_count(self) -> int:
        """Of all levels."""
        return sum(self.level_px(level) ** 2 for level in LEVELS) * self.anchors.count

    @property
    def body(self) -> tuple[tuple[str, int, Block], ...]:
        """(dotted name, input channels, block) of the backbone up to the last tap."""
        rows = tuple(self.backbone.walk())
        names = [where for where, _, _ in rows]
        return rows[: names.index(self.taps[-1]) + 1]

    @property
    def tap_channels(self) -> tuple[int, ...]:
        """Of P3, P4 and P5 as the backbone gives them."""
        channels = {where: block.channels_after(given) for where, given, block in self.body}
        return tuple(channels[tap] for tap in self.taps)

    def with_resolution(self, resolution: int) -> Self:
        """The same detector for square images of `resolution` pixels. Raises InvalidSpec."""
        check_resolution(resolution)
        return replace(self, backbone=self.backbone.with_resolution(resolution))

    def with_classes(self, classes: int) -> Self:
        """The same detector for another number of classes."""
        return replace(self, classes=classes)

    def fingerprint(self) -> str:
        """16 hex digits that two detectors share exactly when they are the same, whatever their names."""
        content = self.to_dict() | {"name": "", "backbone": self.backbone.fingerprint()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """As nested dicts of JSON types."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": KIND,
            "name": self.name,
            "backbone": self.backbone.to_dict(),
            "taps": list(self.taps),
            "neck": self.neck.to_dict(),
            "head_depth": self.head_depth,
            "classes": self.classes,
            "anchors": asdict(self.anchors),
            "activation": self.activation,
            "conventions": asdict(self.conventions),
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """What `to_dict` gave. Raises InvalidSpec naming what is unknown, missing or out of range."""
        if not isinstance(data, dict) or data.get("kind") != KIND or data.get("schema") != SCHEMA_VERSION:
            raise InvalidSpec(
                f'a detector must be an object with "kind": "{KIND}" and "schema": {SCHEMA_VERSION}: it is none, or a '
                "newer phinas wrote it"
            )
        names = ("schema", "kind", "name", "backbone", "taps", "neck", "head_depth", "classes", "anchors", "activation")
        data = checked(data, dict.fromkeys((*names, "conventions"), True), "the detector")
        anchors = checked(data["anchors"], dict.fromkeys(("scale", "octaves", "ratios"), True), "anchors")
        ratios = tuple(tuple(listed(each, "anchors.ratios")) for each in listed(anchors["ratios"], "anchors.ratios"))
        known = dict.fromkeys(("padding", "norm_eps", "norm_momentum"), True)
        return cls(
            name=text_of(data["name"], "name"),
            backbone=NetworkSpec.from_json(json.dumps(data["backbone"])),
            taps=tuple(text_of(each, "taps") for each in listed(data["taps"], "taps")),
            neck=Neck.from_dict(data["neck"]),
            head_depth=data["head_depth"],
            classes=data["classes"],
            anchors=Anchors(scale=anchors["scale"], octaves=anchors["octaves"], ratios=ratios),
            activation=text_of(data["activation"], "activation"),
            conventions=Conventions(**checked(data["conventions"], known, "conventions")),
        )


def check_resolution(resolution: int) -> None:
    """Raises InvalidSpec for pixels that the backbone's strides do not divide."""
    if resolution % MULTIPLE or not SMALLEST <= resolution <= LARGEST:
        near = min(LARGEST, max(SMALLEST, round(resolution / MULTIPLE) * MULTIPLE))
        raise InvalidSpec(
            f"a detector's resolution must be a multiple of {MULTIPLE} from {SMALLEST} to {LARGEST} px, got "
            f"{resolution}: give {near}"
        )


def strides_of(backbone: NetworkSpec) -> dict[str, int]:
    """The stride of the output of each block, by its dotted name; without the head."""
    stride, found = 1, {}
    for where, _, block in backbone.walk():
        stride *= block.reduction
        if not block.is_head:
            found[where] = stride
    return found


def taps_of(backbone: NetworkSpec) -> tuple[str, ...]:
    """The last block at each of the strides 8, 16 and 32; the wide 1x1 convolution before the classifier is none.

    Raises InvalidSpec for a backbone that lacks one of them.
    """
    strides = strides_of(backbone)
    for where, given, block in reversed(list(backbone.walk())[:-1]):
        if not (isinstance(block, ConvBN) and block.kernel == 1 and block.channels_after(given) > given):
            break
        strides.pop(where)
    last = {stride: where for where, stride in strides.items()}
    wanted = [2**level for level in TAPPED]
    missing = [str(stride) for stride in wanted if stride not in last]
    if missing:
        raise InvalidSpec(
            f"a detector's backbone must have maps at the strides 8, 16 and 32; {backbone.name!r} has none at "
            f"{' and '.join(missing)}: choose another network"
        )
    return tuple(last[stride] for stride in wanted)


def write_detector(path: Path, spec: DetectorSpec) -> None:
    """Write a detector to a JSON file, with a checksum, whole or not at all. Raises StorageError."""
    write_json(path, spec.to_dict())


def read_detector(path: Path | str) -> DetectorSpec:
    """The detector in a file. Raises StorageError where it cannot be read, InvalidSpec where it is none."""
    try:
        data, checksum = parsed(Path(path).read_text(encoding="utf-8-sig"))
        spec = DetectorSpec.from_dict(data)
        check(data, checksum)
    except OSError as error:
        raise storage_error("read the detector", Path(path), error) from None
    except ValueError as error:
        raise InvalidSpec(f"{path} must be the spec of a detector and is not ({error}): name another file") from None
    except InvalidSpec as error:
        raise InvalidSpec(f"{path}: {error}") from None
    return spec
