"""Results: one folder a study, read back in pandas.

    import studies
    df = studies.load("digits-20ms")        # one row a trial; df.attrs["settings"]
    studies.best("digits-20ms").spec        # the winner, or the best so far
    studies.pareto(df), studies.names(), studies.history("digits-20ms")

Importing this package imports no pandas, Optuna or torch; the first use of a name does what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.frame import Best, best, history, load, pareto, write_trials_csv
    from studies.storage import names

__all__ = ["Best", "best", "history", "load", "names", "pareto", "write_trials_csv"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'studies' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module("studies.storage" if name == "names" else "studies.frame"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
