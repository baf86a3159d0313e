"""The papers' rounding rules: published widths and depths, and the laws the rules promise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchspace.errors import InvalidSpec
from searchspace.rounding import conv_out, expand_of, round_channels, round_repeats, squeeze_of

WIDTHS = st.floats(0.01, 5000)


@pytest.mark.parametrize(
    ("width", "multiplier", "rounded"),
    [
        # MobileNetV2 1.4 (released): stem 48, last block 448, head 1792.
        (32, 1.4, 48),
        (320, 1.4, 448),
        (1280, 1.4, 1792),
        # MobileNetV2 0.35: 11.2 goes up to 16, since 8 is more than 10 % below; 8.4 stays at 8.
        (32, 0.35, 16),
        (24, 0.35, 8),
        # EfficientNet-B2: 26.4 -> 24, 352 -> 352; B7: 2.0.
        (24, 1.1, 24),
        (320, 1.1, 352),
        (40, 2.0, 80),
    ],
)
def test_widths_of_published_networks(width: int, multiplier: float, rounded: int) -> None:
    assert round_channels(width * multiplier) == rounded


# EfficientNetV2-B3 and -B2 (released): 19.2 and 115.2 stay more than 10 % above their width, unlike EfficientNet's.
@pytest.mark.parametrize(
    ("width", "multiplier", "rounded"),
    [(16, 1.2, 16), (96, 1.2, 112), (112, 1.2, 136), (48, 1.1, 56), (1280, 1.1, 1408)],
)
def test_widths_of_efficientnet_v2_are_the_nearest_multiples(width: int, multiplier: float, rounded: int) -> None:
    assert round_channels(width * multiplier, nearest=True) == rounded


@given(WIDTHS, st.sampled_from([1, 2, 4, 8, 16]))
def test_the_nearest_multiple_is_at_most_half_a_divisor_away(width: float, divisor: int) -> None:
    rounded = round_channels(width, divisor=divisor, nearest=True)
    assert rounded % divisor == 0
    assert rounded == divisor or abs(rounded - width) <= divisor / 2


@given(WIDTHS, st.sampled_from([1, 2, 4, 8, 16]))
def test_a_rounded_width_is_a_multiple_at_most_ten_percent_below_and_one_divisor_above(
    width: float, divisor: int
) -> None:
    rounded = round_channels(width, divisor=divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert 0.9 * width <= rounded <= max(width + divisor, divisor)


@given(WIDTHS, WIDTHS)
def test_a_wider_layer_never_rounds_to_fewer_channels(one: float, other: float) -> None:
    assert round_channels(min(one, other)) <= round_channels(max(one, other))


@given(st.integers(1, 1000))
def test_a_multiple_of_eight_stays(n: int) -> None:
    assert round_channels(8 * n) == 8 * n


@pytest.mark.parametrize("width", [0, -3, float("nan")])
def test_a_width_of_nothing_is_an_error(width: float) -> None:
    with pytest.raises(InvalidSpec, match="above 0 channels, got"):
        round_channels(width)


@pytest.mark.parametrize(
    ("repeats", "depth", "layers"),
    # EfficientNet-B1 (1.1): 1 2 2 3 3 4 1 -> 2 3 3 4 4 5 2; B7 (3.1): 4 -> 13, 3 -> 10.
    [(1, 1.1, 2), (2, 1.1, 3), (3, 1.1, 4), (4, 1.1, 5), (4, 3.1, 13), (3, 3.1, 10), (5, 1.2, 6), (3, 0.1, 1)],
)
def test_depths_of_published_networks(repeats: int, depth: float, layers: int) -> None:
    assert round_repeats(repeats, depth) == layers


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 100))
def test_depth_is_the_ceiling_of_the_exact_product_for_decimal_multipliers(
    repeats: int, whole: int, hundredths: int
) -> None:
    assert round_repeats(repeats, whole + hundredths / 100) == -(-repeats * (100 * whole + hundredths) // 100)


def test_efficientnet_squeezes_to_a_quarter_of_the_block_input_rounded_down() -> None:
    # EfficientNet-B0's released checkpoints: inputs of the blocks, then their squeezed channels.
    inputs, squeezed = (32, 16, 24, 40, 80, 112, 192), (8, 4, 6, 10, 20, 28, 48)
    assert tuple(squeeze_of(channels, 0.25) for channels in inputs) == squeezed
    assert squeeze_of(3, 0.25) == 1


def test_expansion_rounds_to_the_nearest_and_keeps_one_channel() -> None:
    assert (expand_of(24, 6), expand_of(10, 1.26), expand_of(3, 0.1)) == (144, 13, 1)


@given(st.integers(1, 600), st.integers(1, 4), st.sampled_from([1, 3, 5, 7, 9]))
def test_conv_out_is_the_convolution_formula_with_symmetric_padding(size: int, stride: int, kernel: int) -> None:
    padding = (kernel - 1) // 2
    assert conv_out(size, stride) == (size + 2 * padding - kernel) // stride + 1


@given(st.integers(1, 40), st.integers(1, 4), st.sampled_from([1, 3, 5, 7]), st.sampled_from(["valid", "ceil"]))
def test_unpadded_sizes_are_those_of_torch(size: int, stride: int, kernel: int, padding: str) -> None:
    out = conv_out(size, stride, kernel=kernel, padding=padding)
    image = torch.zeros(1, 1, size, size)
    if out < 1:
        with pytest.raises(RuntimeError):
            torch.nn.functional.max_pool2d(image, kernel, stride, ceil_mode=padding == "ceil")
    else:
        pooled = torch.nn.functional.max_pool2d(image, kernel, stride, ceil_mode=padding == "ceil")
        assert pooled.shape[2:] == (out, out)


def test_mobilenet_v3_rounds_expansions_and_squeezes_to_multiples_of_8() -> None:
    # MobileNetV3-Large's rows 80 -> 200 and 184 (ratios 2.5 and 2.3), and its SE of 72, 120, 480, 672, 960 channels.
    assert (expand_of(80, 2.5, divisor=8), expand_of(80, 2.3, divisor=8)) == (200, 184)
    assert [squeeze_of(c, 0.25, divisor=8) for c in (72, 120, 480, 672, 960)] == [24, 32, 120, 168, 240]
