"""Compound scaling: a network grows deeper, wider and finer at once."""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.api import compound

__all__ = ["compound"]
# The module scaling.compound is the command, and callable: the same name after any order of imports.
__getattr__, __dir__ = lazy_names(__name__, {"compound": "scaling.compound"})
