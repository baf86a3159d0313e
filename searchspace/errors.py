"""Errors that a user can mend.

Each message states the rule, the value received and the next step. A command turns any of them into one line
on stderr and exit code 2; anything else is a bug of ours and keeps its traceback.
"""


class PhinasError(Exception):
    """The input is wrong, and the message says how to mend it."""


class InvalidArgument(PhinasError):
    """A command-line flag or a function argument is outside its range."""


class InvalidSpec(PhinasError):
    """A network description breaks a rule (unknown field, channels that do not fit, a width of nothing)."""


class UnsupportedModule(PhinasError):
    """A user's torch module with an operation that a Graph has no layer for; the message names the node."""


class InvalidChoice(PhinasError):
    """A search-space choice that the space does not contain."""


class InvalidData(PhinasError):
    """Images, labels or archives that cannot be used."""


class InvalidTable(PhinasError):
    """A latency table that is damaged or belongs to another device, runtime or setting."""


class MissingLatency(PhinasError):
    """A kernel that the latency table has never seen; a missing measurement is never 0."""


class InfeasibleBudget(PhinasError):
    """No network of the space meets the budget; the message names the smallest cost found."""


class StudyMismatch(PhinasError):
    """A study on disk was made with other settings, or is damaged."""


class StorageError(PhinasError):
    """A file could not be written (read-only or full disk) or read."""
