"""Arguments of a wrong type are told before anything is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


FIND: Any = search.find
FINETUNE: Any = search.finetune
PRUNE: Any = search.prune
COMPOUND: Any = scaling.compound


@pytest.mark.parametrize(
    "call",
    [
        lambda: FIND(20, minutes="ten"),
        lambda: FIND(20, resolution=1.5),
        lambda: FIND(20, resolution="big"),
        lambda: FIND(None),
        lambda: FINETUNE(minutes="ten"),
        lambda: FINETUNE(resolution=1.5),
        lambda: FINETUNE(minutes=float("inf")),
        lambda: FINETUNE(resolution=4096),
        lambda: FINETUNE(network="efficientnet_lite9"),
        lambda: PRUNE("efficientnet_lite0", budget_ms="ten"),
        lambda: PRUNE("efficientnet_lite0", budgets=3),
        lambda: COMPOUND(minutes="ten"),
        lambda: COMPOUND(weights=3),
        lambda: COMPOUND(phi="x"),
    ],
)
def test_the_functions_of_the_python_api_look_at_their_arguments(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgument):
        call()
