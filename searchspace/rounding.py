"""Rounding rules of the papers, each once."""

import math

from searchspace.errors import InvalidSpec


def round_channels(channels: float, *, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not more than 10 % below `channels`, at least `divisor`.

    Source: MobileNetV2's released code (`_make_divisible`), taken over by MnasNet, MobileNetV3 and EfficientNet.
    Raises InvalidSpec if `channels` is not positive.
    """
    if not channels > 0:
        raise InvalidSpec(f"a width must be above 0 channels, got {channels}: use a larger width multiplier")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: int, depth_mult: float) -> int:
    """Layers of a stage after depth scaling: rounded up (EfficientNet, arXiv:1905.11946, released code).

    A product within 1e-9 of an integer counts as that integer, so that 5 x 1.2 is 6 and not 7.
    """
    return max(1, math.ceil(repeats * depth_mult - 1e-9))


def expand_of(channels: int, ratio: float) -> int:
    """Expanded channels of an inverted residual: `channels * ratio` to the nearest integer, at least 1."""
    return max(1, round(channels * ratio))


def squeeze_of(channels: int, ratio: float) -> int:
    """Squeezed channels of an SE block: `channels * ratio` rounded down, at least 1.

    Source: EfficientNet and MnasNet take `channels` = the block's input (MobileNetV3 rounds a quarter of the
    expanded width instead).
    """
    return max(1, int(channels * ratio + 1e-9))


def conv_out(size: int, stride: int) -> int:
    """Height or width after a convolution with odd kernel k, stride s and padding (k - 1) / 2: ceil(size / s)."""
    return -(-size // stride)
