"""Arguments of a wrong type are told before anything is done."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import scaling
import search
from searchspace.arguments import check_types
from searchspace.errors import InvalidArgument


def _job(
    data: str | Path | None, *, minutes: float = 1.0, px: int = 1, phi: float | Sequence[float] = 1, fresh: bool = False
) -> "NotThere":  # type: ignore[name-defined]  # noqa: F821
    return None


@pytest.mark.parametrize(
    ("name", "value"),
    [("data", 3), ("minutes", "ten"), ("minutes", True), ("px", 1.5), ("px", None), ("phi", ["x"]), ("fresh", "yes")],
)
def test_a_value_of_another_type_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name} must be .*, got .*help"):
        check_types(_job, {name: value})


def test_values_that_mean_the_same_are_taken() -> None:
    check_types(
        _job, {"data": Path("a"), "minutes": 3, "px": np.int64(3), "phi": (1, np.float32(2)), "other": object()}
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: search.find(20, minutes="ten"),
        lambda: search.find(20, resolution=1.5),
        lambda: search.find(20, resolution="big"),
        lambda: search.find(None),
        lambda: search.finetune(minutes="ten"),
        lambda: search.finetune(resolution=1.5),
        lambda: search.finetune(minutes=float("inf")),
        lambda: search.finetune(resolution=4096),
        lambda: search.finetune(network="efficientnet_lite9"),
        lambda: search.prune("efficientnet_lite0", budget_ms="ten"),
        lambda: search.prune("efficientnet_lite0", budgets=3),
        lambda: scaling.compound(minutes="ten"),
        lambda: scaling.compound(weights=3),
        lambda: scaling.compound(phi="x"),
    ],
)
def test_the_functions_of_the_python_api_look_at_their_arguments(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgument):
        call()
