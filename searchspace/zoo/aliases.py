"""Names that timm and torchvision have for networks of the zoo; `get` takes them, no list repeats them.

timm writes the width in hundredths behind a name: lcnet_050 is LCNet of half the width. A name that both have is ours.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from searchspace.zoo.entry import Entry

# timm's name without the width, ours, and the widths in hundredths.
_WIDTHS = (
    ("mobilenetv1", "mobilenet_v1", (100, 125)),
    ("mobilenetv2", "mobilenet_v2", (35, 50, 75, 100, 140)),
    ("mobilenetv3_large", "mobilenet_v3_large", (75, 100)),
    ("mobilenetv3_small", "mobilenet_v3_small", (50, 75, 100)),
    ("mnasnet", "mnasnet_b1", (50, 75, 100, 140)),
    ("semnasnet", "mnasnet_a1", (50, 75, 100, 140)),
    ("fbnetc", "fbnet_c", (100,)),
    ("spnasnet", "single_path_nas", (100,)),
    ("lcnet", "lcnet", (35, 50, 75, 100, 150)),
    ("ghostnet", "ghostnet_100", (50, 130)),
    ("mobilenetv4_conv_small", "mobilenetv4_conv_small", (35, 50)),
)
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenetv1_100h": ("mobilenet_v1", {"head": True}),
    "mobilenetv2_110d": ("mobilenet_v2", {"width": 1.1, "depth": 1.2, "fixed_ends": True}),
    "mobilenetv2_120d": ("mobilenet_v2", {"width": 1.2, "depth": 1.4, "fixed_ends": True}),
    "mnasnet0_5": ("mnasnet_b1", {"width": 0.5}),
    "mnasnet0_75": ("mnasnet_b1", {"width": 0.75}),
    "mnasnet1_0": ("mnasnet_b1", {}),
    "mnasnet1_3": ("mnasnet_b1", {"width": 1.3}),
    "efficientnet_v2_s": ("efficientnetv2_s", {}),
    "shufflenet_v2_x0_5": ("shufflenet_v2", {"width": 0.5}),
    "shufflenet_v2_x1_0": ("shufflenet_v2", {}),
    "shufflenet_v2_x1_5": ("shufflenet_v2", {"width": 1.5}),
    "shufflenet_v2_x2_0": ("shufflenet_v2", {"width": 2.0}),
}


def aliases(catalogue: Mapping[str, Entry]) -> dict[str, Entry]:
    """{the other name: the entry with the options that the name means}; they multiply with those of `get`."""
    meant = {f"{prefix}_{width:03}": (name, {"width": width / 100}) for prefix, name, of in _WIDTHS for width in of}
    return {alias: _renamed(catalogue[name], alias, **options) for alias, (name, options) in (meant | _OTHERS).items()}


def _renamed(entry: Entry, name: str, *, width: float = 1.0, depth: float = 1.0, **chosen: Any) -> Entry:
    own = {option: value for option, value in {"width": width, "depth": depth}.items() if value != 1}
    published = tuple(
        row._replace(options={option: value for option, value in row.options.items() if option not in own})
        for row in entry.published
        if not chosen and own.items() <= row.options.items()
    )
    return replace(
        entry,
        name=name,
        width=entry.width * width,
        depth=entry.depth * depth,
        template=partial(entry.template, **chosen) if callable(entry.template) else entry.template,
        options=tuple(option for option in entry.options if option not in chosen),
        published=published,
    )
