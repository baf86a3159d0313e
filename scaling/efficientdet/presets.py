"""EfficientDet D0 to D7 (arXiv:1911.09070, Table 1), and the same rule for any backbone.

Width of the neck 64 x 1.35^phi, as the table rounds it; its cells 3 + phi; depth of the heads 3 + floor(phi / 3); input
512 + 128 phi pixels (equations 1 to 3). The table departs from the equations: D5 to D7 have 7, 8 and 8
cells where the equation gives 8, 9 and 10, D6 has the input of D5, and D6 and D7 sum without weights. D7 is D6 at 1,536
pixels with larger anchors.
"""

from dataclasses import replace
from typing import NamedTuple

from scaling.efficientdet.neck import bifpn
from scaling.efficientdet.spec import CONVENTIONS, Anchors, DetectorSpec, taps_of
from searchspace.arguments import check_flag
from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec
from searchspace.zoo.efficientnet import preset

CLASSES = 90  # COCO's ids


class Row(NamedTuple):
    """One line of Table 1."""

    backbone: str
    channels: int
    cells: int
    head_depth: int
    resolution: int
    fusion: str = "fast"
    anchor_scale: float = 4.0


ROWS = {
    "d0": Row("b0", 64, 3, 3, 512),
    "d1": Row("b1", 88, 4, 3, 640),
    "d2": Row("b2", 112, 5, 3, 768),
    "d3": Row("b3", 160, 6, 4, 896),
    "d4": Row("b4", 224, 7, 4, 1024),
    "d5": Row("b5", 288, 7, 4, 1280),
    "d6": Row("b6", 384, 8, 5, 1280, "sum"),
    "d7": Row("b6", 384, 8, 5, 1536, "sum", 5.0),
}
MAX_PHI = 7


def get(name: str, *, classes: int = CLASSES) -> DetectorSpec:
    """The published detector `name` ("d0" to "d7"). Raises InvalidArgument, InvalidSpec."""
    if name not in ROWS:
        raise InvalidArgument(f"an EfficientDet is one of {', '.join(ROWS)}, got {name!r}")
    backbone = preset(ROWS[name].backbone).with_conventions(CONVENTIONS)
    return scaled(backbone, phi=int(name[1:]), classes=classes, name=f"efficientdet_{name}")


def scaled(
    backbone: NetworkSpec, *, phi: int, classes: int = CLASSES, resolution: int | None = None, name: str | None = None
) -> DetectorSpec:
    """Neck, heads and input of D`phi` on any backbone, which stays as wide and deep as it is.

    resolution: in place of the table's. Raises InvalidArgument for another phi than 0 to 7, InvalidSpec for a backbone
    without the strides 8, 16 and 32.
    """
    check_flag("--phi", phi, 0 <= phi <= MAX_PHI, f"an integer from 0 to {MAX_PHI}")
    row = ROWS[f"d{phi}"]
    return DetectorSpec(
        name=name or f"{backbone.name}_d{phi}",
        backbone=backbone.with_resolution(resolution or row.resolution),
        taps=taps_of(backbone),
        neck=bifpn(row.channels, row.cells, fusion=row.fusion),
        head_depth=row.head_depth,
        classes=classes,
        anchors=replace(Anchors(), scale=row.anchor_scale),
        conventions=replace(CONVENTIONS, padding=backbone.conventions.padding),
    )
