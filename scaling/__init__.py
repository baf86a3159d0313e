"""Compound scaling: a network grows deeper, wider and finer at once."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaling.api import compound

__all__ = ["compound"]


def __getattr__(name: str) -> object:
    # The module scaling.compound is the command, and callable: the same name after any order of imports.
    if name == "compound":
        return import_module("scaling.compound")
    raise AttributeError(f"module 'scaling' has no attribute {name!r}")
