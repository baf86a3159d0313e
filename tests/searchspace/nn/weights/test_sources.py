import pytest

from searchspace.errors import InvalidArgument
from searchspace.nn.weights.sources import resolve


def _no_note(line: str) -> None:
    raise AssertionError(line)


def test_none_means_random_weights() -> None:
    assert resolve("none", note=_no_note) is None


def test_a_name_that_the_listing_lacks_is_told_with_its_nearest() -> None:
    with pytest.raises(InvalidArgument, match="mobilenetv2_100"):
        resolve("mobilenetv2-100", note=_no_note)
