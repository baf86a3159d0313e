"""The formula of compound scaling against values worked out by hand."""

import math
from pathlib import Path

import pytest

from scaling.formula import Coefficients, read_coefficients
from searchspace.errors import InvalidArgument

#        phi: (1.2^phi, 1.1^phi, 224 x 1.15^phi before rounding), all products done by hand
BY_HAND = {
    0: (1.0, 1.0, 224.0),
    1: (1.2, 1.1, 257.6),
    2: (1.44, 1.21, 296.24),
    3: (1.728, 1.331, 340.676),
    4: (2.0736, 1.4641, 391.7774),
    -1: (0.833333333333, 0.909090909091, 194.7826087),
}


@pytest.mark.parametrize("phi", BY_HAND)
def test_the_formula_gives_the_hand_computed_factors(phi: int) -> None:
    depth, width, pixels = BY_HAND[phi]
    factors = Coefficients().factors(phi, base_resolution=224)
    assert factors.depth == pytest.approx(depth, rel=1e-11)
    assert factors.width == pytest.approx(width, rel=1e-11)
    assert factors.resolution == math.floor(pixels + 0.5)


def test_phi_3_is_depth_1_728_width_1_331_and_341_pixels() -> None:
    assert Coefficients().factors(3, base_resolution=224) == (1.728, 1.331, 341)


def test_a_real_phi_lies_on_the_curve_between_integers() -> None:
    # sqrt(1.2) = 1.0954451, sqrt(1.1) = 1.0488088, sqrt(1.15) = 1.0723805; 224 x 1.0723805 = 240.2
    factors = Coefficients().factors(0.5, base_resolution=224)
    assert factors.depth == pytest.approx(1.0954451, abs=1e-7)
    assert factors.width == pytest.approx(1.0488088, abs=1e-7)
    assert factors.resolution == 240


def test_the_papers_coefficients_cost_1_92_a_step_and_raise_no_warning() -> None:
    # 1.2 x 1.21 x 1.3225 = 1.92027
    assert Coefficients().cost_factor == pytest.approx(1.92027)
    assert Coefficients().warning() is None


@pytest.mark.parametrize(("values", "factor"), [((1.2, 1.2, 1.2), "2.49"), ((1, 1, 1), "1"), ((2, 2, 1), "8")])
def test_a_step_that_does_not_double_the_cost_is_named(values: tuple[float, float, float], factor: str) -> None:
    warning = Coefficients(*values).warning()
    assert warning is not None
    assert f"is {factor}, not close to 2" in warning


@pytest.mark.parametrize("value", [0.99, 0, -1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_a_coefficient_below_1_or_not_finite_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=rf"--{name} must be a finite number of at least 1, got"):
        Coefficients(**{name: value})


@pytest.mark.parametrize("phi", [math.nan, math.inf, -math.inf, 1e300, -1e300, 26])
def test_a_phi_beyond_every_network_is_refused(phi: float) -> None:
    with pytest.raises(InvalidArgument, match="--phi"):
        Coefficients().factors(phi, base_resolution=224)


def test_a_resolution_beyond_8192_pixels_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 8192 px"):
        Coefficients(1, 1, 2).factors(6, base_resolution=224)


def test_a_file_with_an_integer_beyond_every_float_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"alpha": 1' + 400 * "0" + ', "beta": 1, "gamma": 1}')
    with pytest.raises(InvalidArgument, match="must be finite numbers"):
        read_coefficients(path)
