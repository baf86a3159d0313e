"""What a study of choices has taught, whoever proposed its trials: what to hand over, what mattered, when to stop."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from search.samplers.acquisition import expected_improvement, front_of
from search.samplers.block_sampler import FIRST_TRIALS, BlockSampler
from search.samplers.history import History
from search.samplers.parameters import Rows
from search.samplers.surrogate import Surrogate
from searchspace.errors import InvalidArgument

BASE = 64  # random points that an effect is averaged over
DRAWS = 200  # functions drawn from what is believed
SURE = {2: 1.96, 3: 2.344, 4: 2.569, 5: 2.728, 6: 2.850, 8: 3.031, 12: 3.268, 20: 3.544}
"""Of 95% of normal values, the range of so many, over the standard deviation of a difference: Tukey's."""


def recommend(study: optuna.Study) -> Any:
    """The parameters to hand over: of the completed trial with the highest mean by the surrogate, a dict.

    The best of many noisy values is partly lucky; the mean takes from it what its neighbours do not share. With
    several objectives it is a list: the trials that no other is better than in all of them, the first objective's
    best first. Costs that the sampler minimises count as objectives. With fewer than FIRST_TRIALS values it goes by
    the values themselves. Raises InvalidArgument where no trial is complete.
    """
    sampler, trials, history = _read(study)
    complete = {t.number: t for t in trials if t.state == TrialState.COMPLETE}
    limits = sampler.limits_of(history.parameters)
    places = [p for p, n in enumerate(history.numbers) if n in complete and limits.fits(history.rows[p])]
    if not places:
        raise InvalidArgument(f"the study {study.study_name!r} has no complete trial of choices: run some first")
    values = history.values[places]
    if len(history.numbers) >= FIRST_TRIALS:
        surrogates = sampler.reader.surrogates(history)
        believed = [np.round(surrogate.fitted[places] / surrogate.noise, 6) for surrogate in surrogates]
        # Of alike choices, whose trials differ in what is no choice, the best value is first.
        own = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0) / len(places)
        values = np.stack(believed, axis=1) + 1e-7 * own
    values = np.hstack([values, sampler.free_costs(limits, history.rows[places])])
    found = [dict(complete[history.numbers[places[place]]].params) for place in front_of(values)]
    return found if values.shape[1] > 1 else found[0]


def importance(study: optuna.Study, *, objective: int = 0, plot: str | Path | None = None) -> pd.DataFrame:
    """Which choices mattered: one row for each, the largest effect first.

    effect: what its best value gives over its worst, in the objective's unit, in the mean over random points where it
    is present; low, high: the 95% interval of that, which allows for having chosen the two; best, worst: the values.
    The interval of one that did not matter reaches below 0; one that no trial had is left out. `plot` names a file for
    a drawing. Raises InvalidArgument with fewer than FIRST_TRIALS values, and for an objective that there is not.
    """
    sampler, _, history = _read(study)
    surrogates = _surrogates(sampler, study, history)
    if not 0 <= objective < len(surrogates):
        raise InvalidArgument(
            f"objective must be the place of one, from 0 to {len(surrogates) - 1}, got {objective}: choose one"
        )
    surrogate = surrogates[objective]
    rng = np.random.default_rng(0)
    drawn = history.parameters.canonical(history.parameters.draw(40 * BASE, rng))
    rows = []
    for place, name in enumerate(history.parameters.names):
        base = drawn[drawn[:, place] >= 0][:BASE]
        if len(base) and history.parameters.sizes[place] > 1 and (history.rows[:, place] >= 0).any():
            rows.append({"parameter": name, **_effect(surrogate, history, base, place)})
    frame = pd.DataFrame(rows, columns=["parameter", "effect", "low", "high", "best", "worst"])
    frame = frame.sort_values("effect", ascending=False, kind="stable", ignore_index=True)
    if plot is not None:
        _draw(frame, Path(plot))
    return frame


def _effect(surrogate: Surrogate, history: History, base: Rows, place: int) -> dict[str, Any]:
    parameters = history.parameters
    known = [code for code in range(parameters.sizes[place]) if (history.rows[:, place] == code).any()]

    def changed(code: int) -> npt.NDArray[np.float64]:
        rows = base.copy()
        rows[:, place] = code
        return parameters.features(rows)

    means = {code: float(surrogate.mean(changed(code)).mean()) for code in known}
    best, worst = max(means, key=lambda code: means[code]), min(means, key=lambda code: means[code])
    _, covariance = surrogate.joint(np.vstack([changed(best), changed(worst)]))
    signs = np.repeat([1 / len(base), -1 / len(base)], len(base))
    sure = next((width for count, width in SURE.items() if count >= len(known)), 4.0)
    margin = sure * math.sqrt(max(0.0, signs @ covariance @ signs))
    effect = means[best] - means[worst]
    name, row = parameters.names[place], base[0].copy()
    values = []
    for code in (best, worst):
        row[place] = code
        values.append(parameters.choices(row)[name])
    return {
        "effect": effect,
        "low": effect - margin,
        "high": effect + margin,
        "best": values[0],
        "worst": values[1],
    }


class Gain(NamedTuple):
    """In the objective's unit, over what `recommend` hands over now."""

    next_trial: float
    """What the next trial is expected to improve the best by."""
    at_most: float
    """What all further trials together are, if they came to know every candidate's value."""


def expected_gain(study: optuna.Study) -> Gain:
    """What further trials are expected to gain: reason to stop where it is less than a trial is worth.

    Infinite with fewer than FIRST_TRIALS values. Raises InvalidArgument for a study of several objectives.
    """
    sampler, _, history = _read(study)
    if len(study.directions) > 1 or sampler.minimize:
        raise InvalidArgument(f"the gain is of one objective; the study {study.study_name!r} has several")
    if len(history.numbers) < FIRST_TRIALS:
        return Gain(math.inf, math.inf)
    pool = sampler.pool(history, turn=len(history.counted))
    parents, score = sampler.belief(history, pool)
    rows = np.array([row for row, _ in zip(pool.climbed(pool.candidates(parents), score), range(256), strict=False)])
    (surrogate,) = sampler.reader.surrogates(history)
    best = float(surrogate.mean(history.parameters.features(parents)).max())
    if not len(rows):
        return Gain(0.0, 0.0)
    means, covariance = surrogate.joint(history.parameters.features(np.vstack([parents, rows])))
    noise = np.random.default_rng(0).normal(size=(DRAWS, len(means)))
    values, vectors = np.linalg.eigh(covariance)
    draws = means + noise @ (vectors * np.sqrt(values.clip(0))).T
    gains = draws.max(axis=1) - draws[:, : len(parents)].max(axis=1)
    deviations = np.sqrt(np.diag(covariance)[len(parents) :].clip(1e-12))
    return Gain(float(expected_improvement(means[len(parents) :], deviations, best).max()), float(gains.mean()))


def _read(study: optuna.Study) -> tuple[BlockSampler, list[FrozenTrial], History]:
    """The study's sampler, or one that knows nothing more, its trials and what they teach."""
    sampler = study.sampler if isinstance(study.sampler, BlockSampler) else BlockSampler(seed=0)
    trials = study.get_trials(deepcopy=False)
    return sampler, trials, sampler.reader.read(study, trials)


def _surrogates(sampler: BlockSampler, study: optuna.Study, history: History) -> list[Surrogate]:
    if len(history.numbers) < FIRST_TRIALS:
        raise InvalidArgument(
            f"the study {study.study_name!r} has {len(history.numbers)} trials to learn from: run at least "
            f"{FIRST_TRIALS}"
        )
    return sampler.reader.surrogates(history)


def _draw(frame: pd.DataFrame, path: Path) -> None:
    from studies.figure import new_figure, save_figure

    figure = new_figure(path)
    axes = figure.add_subplot()
    shown = frame.iloc[:20][::-1]
    axes.barh(
        shown["parameter"], shown["effect"], xerr=[shown["effect"] - shown["low"], shown["high"] - shown["effect"]]
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("from its worst to its best value, with 95% interval")
    save_figure(figure, path)
