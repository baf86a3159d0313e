"""When further candidates are not worth their time: --until-settled."""

import statistics
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

GAIN = "expected_gain"  # user attribute of a trial: what it was expected to improve the best by when it was proposed
SETTLED = 0.1  # of the deviation of one network's score: a proposal's expected gain below which it is not worth trying
SETTLED_AFTER = 3  # such proposals in a row
LEAST = 12  # candidates that are judged in any case


def settled(finished: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> float | None:
    """The largest expected gain of the last proposals where that is too small to go on for; None where it is not.

    Args:
        finished: Trials with a score and its "deviation".
        trials: All trials, in order; those without GAIN (first ones, published networks) tell nothing.
    """
    deviations = [float(trial.user_attrs.get("deviation", 0.0)) for trial in finished]
    ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    gains = [float(trial.user_attrs[GAIN]) for trial in ended if GAIN in trial.user_attrs][-SETTLED_AFTER:]
    if len(ended) < LEAST or len(gains) < SETTLED_AFTER or not deviations:
        return None
    return max(gains) if max(gains) < SETTLED * statistics.median(deviations) else None


def sentence(gain: float) -> str:
    """Why the search ends, for people."""
    return (
        f"settled: the last {SETTLED_AFTER} proposals were expected to gain {100 * gain:.2f} points at most, less than "
        f"{SETTLED:g} of the deviation with which a network is judged"
    )
