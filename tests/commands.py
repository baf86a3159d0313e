"""The commands of this program, found in its source: every module that runs as `python -m NAME`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from searchspace.command import CommandParser

ROOT = Path(__file__).parent.parent
PACKAGES = ("scaling", "search", "searchspace", "studies")
_RUNS = '__name__ == "__main__"'


def names() -> list[str]:
    """As they are typed behind `python -m`."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if _RUNS in path.read_text()]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in files)


def module(name: str) -> ModuleType:
    """Where the `parser` and `main` of a command are."""
    is_folder = (ROOT / name.replace(".", "/") / "__main__.py").exists()
    return import_module(f"{name}.__main__" if is_folder else name)


def owner(name: str, sub: str = "") -> ModuleType:
    """Where the parser of a sub-command is: a command may keep each in a module of its own."""
    found = module(name)
    return import_module(f"{name}.{sub}_command") if sub in getattr(found, "COMMANDS", ()) else found


def parsers(name: str) -> Iterator[tuple[str, CommandParser]]:
    """The sub-commands of a command with their parsers, and "" with its own where it does something without any."""
    cli = module(name).parser()
    groups = [each for each in cli._actions if isinstance(each, argparse._SubParsersAction)]
    yield from groups[0].choices.items() if groups else [("", cli)]
    for sub in getattr(module(name), "COMMANDS", ()):
        yield sub, owner(name, sub).parser()
