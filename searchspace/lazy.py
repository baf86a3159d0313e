"""Names that a package hands on without importing their modules until they are used, and modules that are called."""

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package. `homes`: the module that each name is taken from at its first use.

    A module of the same name in the package is handed on itself.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(homes)}")
        module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Make the module `name` callable like the function that it shares its name with.

    `python -m search.finetune` needs the module, `search.finetune(...)` the function: it works whichever of both was
    imported. Its signature is the function's, for notebooks and help().
    """

    class CallableModule(ModuleType):
        __call__ = staticmethod(function)
        __signature__ = inspect.signature(function)

    sys.modules[name].__class__ = CallableModule
