"""Results: one folder a study, read back in pandas.

    import studies
    df = studies.load("digits-20ms")        # one row a trial; df.attrs["settings"]
    studies.best("digits-20ms").spec        # the winner, or the best so far
    studies.pareto(df), studies.names(), studies.history("digits-20ms")

Importing this package imports no pandas, Optuna or torch; the first use of a name does what it needs.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from studies.frame import Best, best, history, load, pareto, write_trials_csv
    from studies.storage import names

__all__ = ["Best", "best", "history", "load", "names", "pareto", "write_trials_csv"]
__getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(__all__, "studies.frame") | {"names": "studies.storage"})
