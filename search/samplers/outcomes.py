"""What trials gave, as numbers to learn from: the higher the better."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LOW = 4.0  # times the distance from the median to the ninth decile: what is lower below the median counts as that low


def outcomes(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[int, list[float]]:
    """One number for each objective, by trial number in order; minimised ones with the other sign.

    A trial that was stopped early counts as its last report plus what completed trials gained, in the mean, from that
    step to their end. One that cannot be compared so, or with a value that is infinite, is left out.
    """
    signs = [-1.0 if direction == StudyDirection.MINIMIZE else 1.0 for direction in study.directions]
    complete = [t for t in trials if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values or []))]
    values = {t.number: list(t.values) for t in complete}
    gained: dict[int, list[float]] = {}
    for trial in trials:
        step = trial.last_step
        if trial.state != TrialState.PRUNED or step is None or not math.isfinite(trial.intermediate_values[step]):
            continue
        if step not in gained:
            gains = [values[t.number][0] - t.intermediate_values.get(step, math.nan) for t in complete]
            gained[step] = [fmean(finite)] if (finite := [gain for gain in gains if math.isfinite(gain)]) else []
        if gained[step]:
            values[trial.number] = [trial.intermediate_values[step] + gained[step][0]]
    return {number: [s * v for s, v in zip(signs, values[number], strict=True)] for number in sorted(values)}


def clipped(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The values (n,) with those that are very low raised: a failed training tells little of how good others are."""
    middle, high = np.quantile(values, [0.5, 0.9])
    return values if high <= middle else np.maximum(values, middle - LOW * (high - middle))
