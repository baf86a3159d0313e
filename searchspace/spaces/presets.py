"""Search spaces by name: for whom each is, and what `--space` means, a name or a TOML file."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.blocks.protocol import Value
from searchspace.errors import InvalidChoice
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.toml import space_from_toml
from searchspace.spaces.universal import universal_space


class Preset(NamedTuple):
    """A space with other choices, or with other widths of its ends; `about` says for whom it is."""

    about: str
    choices: Mapping[str, tuple[Value, ...]] = {}
    ends: Mapping[str, int] = {}
    space: Callable[..., SearchSpace] = mnasnet_space


# What int8 kernels and accelerators run well: no gates, clipped activations, kernels that they have in hardware.
_INT8: dict[str, tuple[Value, ...]] = {"*.se": (False,), "*.activation": ("relu", "relu6"), "*.kernel": (3, 5)}

PRESETS: dict[str, Preset] = {
    "mnasnet": Preset("the default: CPUs and phones in float32"),
    "universal": Preset(
        "the blocks of MobileNetV4 and EfficientNetV2, for long searches and fine-tuning of either",
        space=universal_space,
    ),
    "edge": Preset("accelerators and int8: no SE, ReLU or ReLU6, 3x3 and 5x5", _INT8),
    "mcu": Preset(
        "microcontrollers at 96 to 160 px: as edge, a quarter to a half as wide, few layers",
        _INT8
        | {"*.width_mult": (0.25, 0.375, 0.5), "*.layers": (1, 2, 3)}
        | {f"stage{number}.layers": (0, 1, 2, 3) for number in (5, 7)},
        ends={"stem_width": 16, "head_width": 320},
    ),
}
ABOUT = "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items())


def is_preset(given: str | Path) -> bool:
    """Whether a value of --space is a preset's name; a file of that name is written ./NAME."""
    return str(given) in PRESETS


def space_of(given: str | Path | None, *, classes: int, resolution: int | tuple[int, ...]) -> SearchSpace:
    """What --space means at one or several input sizes: a preset, a TOML file, or for None the default space.

    Raises InvalidChoice for a name that is neither, and what `space_from_toml` raises.
    """
    name = "mnasnet" if given is None else str(given)
    if is_preset(name):
        preset = PRESETS[name]
        space = preset.space(classes=classes, resolution=resolution).with_choices(preset.choices)
        ends: dict[str, Any] = {"name": name, **preset.ends}
        return replace(space, **ends)
    if not (Path(name).suffix or "/" in name or os.path.exists(name)):
        raise InvalidChoice(
            f"--space must be one of {', '.join(PRESETS)} or a TOML file, got {name!r:.80}: choose one of them "
            f"({ABOUT}), or name a file"
        )
    return space_from_toml(Path(name), classes=classes, resolution=resolution)
