"""Figures of matplotlib, which is an extra: made without a display, written whole or not at all."""

from importlib import import_module
from pathlib import Path
from typing import Any

from searchspace.errors import InvalidArgument
from searchspace.files import atomic_path

SUFFIXES = (".png", ".svg", ".pdf")


def new_figure(path: Path) -> Any:
    """An empty matplotlib figure that can be saved in `path`.

    Raises InvalidArgument if matplotlib is missing or the suffix is unknown.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidArgument(
            f"--plot needs a file that ends in {', '.join(SUFFIXES)}, got {str(path)!r:.80}: name it so"
        )
    try:
        return import_module("matplotlib.figure").Figure(figsize=(7, 4.5), layout="constrained")
    except ImportError:
        raise InvalidArgument(
            "--plot needs matplotlib, which the extra 'plot' brings: pip install 'phinas[plot]' (in the project's "
            "folder: pip install -e '.[plot]')"
        ) from None


def save_figure(figure: Any, path: Path) -> None:
    """Write the figure. Raises StorageError."""
    with atomic_path(path) as temp:
        figure.savefig(temp, dpi=150)
