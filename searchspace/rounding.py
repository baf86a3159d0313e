"""Rounding rules of the papers, each once."""

import math
from collections.abc import Sequence

from searchspace.errors import InvalidSpec

SCALINGS = ("width", "wider", "fixed")


def round_channels(channels: float, *, divisor: int = 8, nearest: bool = False) -> int:
    """The nearest multiple of `divisor` that is not more than 10 % below `channels`, at least `divisor`.

    Source: MobileNetV2's released code (`_make_divisible`), taken over by MnasNet, MobileNetV3 and EfficientNet. With
    `nearest` it may be further below: EfficientNetV2's released code (`round_filters`, arXiv:2104.00298).
    Raises InvalidSpec if `channels` is not positive.
    """
    if not channels > 0:
        raise InvalidSpec(f"a width must be above 0 channels, got {channels}: use a larger width multiplier")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels and not nearest else rounded


def scaled_width(
    width: int, width_mult: float, *, divisor: int = 8, scaling: str = "width", nearest: bool = False
) -> int:
    """A row's width after scaling. A multiplier of 1 keeps the row's integer, as every paper does.

    `scaling` is one of `SCALINGS`: "width" follows the multiplier, "wider" only those above 1 (MobileNetV2's last
    convolution), "fixed" none (MnasNet's). `divisor` and `nearest` are `round_channels`'.
    """
    if scaling == "fixed" or (scaling == "wider" and width_mult < 1):
        return width
    return width if width_mult == 1 else round_channels(width * width_mult, divisor=divisor, nearest=nearest)


def round_repeats(repeats: int, depth_mult: float) -> int:
    """Layers of a stage after depth scaling: rounded up (EfficientNet, arXiv:1905.11946, released code).

    A product within 1e-9 of an integer counts as that integer, so that 5 x 1.2 is 6 and not 7.
    """
    return max(1, math.ceil(repeats * depth_mult - 1e-9))


def expand_of(channels: int, ratio: float, *, divisor: int = 1) -> int:
    """Expanded channels of an inverted residual: `channels * ratio` to the nearest integer, at least 1.

    With a `divisor`, to its multiples by `round_channels`: MobileNetV3's released code (`expand_input`, divisor 8).
    """
    return round_channels(channels * ratio, divisor=divisor) if divisor > 1 else max(1, round(channels * ratio))


def expand_ratio_of(pairs: Sequence[tuple[int, int]]) -> float:
    """The shortest decimal that explains all (input, expanded) channels, or the quotient; 1 for none."""
    if not pairs:
        return 1
    channels, expanded = max(pairs)
    quotient = expanded / channels
    for ratio in (round(quotient), round(quotient, 1), round(quotient, 2)):
        if all(expand_of(c, ratio) == e for c, e in pairs) and ratio:
            return ratio
    return quotient


def squeeze_of(channels: int, ratio: float, *, divisor: int = 1) -> int:
    """Squeezed channels of an SE block: `channels * ratio` rounded down, at least 1.

    Source: EfficientNet and MnasNet take `channels` = the block's input. MobileNetV3 takes the expanded channels and
    rounds to a `divisor` of 8 by `round_channels`.
    """
    if divisor > 1:
        return round_channels(int(channels * ratio + 1e-9) or 1, divisor=divisor)
    return max(1, int(channels * ratio + 1e-9))


def conv_out(size: int, stride: int, *, kernel: int = 1, padding: str = "half") -> int:
    """Height or width after a convolution or pooling; below 1 where the kernel does not fit.

    "half" (odd kernel k, (k - 1) / 2 on every side) and TensorFlow's "same" give ceil(size / stride) whatever the
    kernel; "valid" has no padding; "ceil" is "valid" with the last, incomplete window kept
    if it begins inside the map.
    """
    if padding in ("half", "same"):
        return -(-size // stride)
    if padding == "valid":
        return (size - kernel) // stride + 1
    assert padding == "ceil", padding
    return min(-(-(size - kernel) // stride), (size - 1) // stride) + 1


def scaled_pixels(best: int, resolution: int, largest: int) -> int:
    """The pixels for a network of input size `resolution` where one of size `largest` takes `best`.

    In proportion, to the nearest multiple of 8, at least 32 (or `best`, if that is less).
    """
    return best if resolution == largest else max(min(32, best), round(best * resolution / largest / 8) * 8)
