"""Trials that a person added to a study through Optuna itself: `study.enqueue_trial`, `study.add_trial`.

A queued one is a candidate like any other where its values are choices of the space; what it leaves open is proposed. A
finished one teaches the sampler where its parameters are choices of the space, and cannot win: nobody trained it here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from search.candidates import Candidate, PricedSpace
from searchspace.errors import InvalidChoice, StudyMismatch
from searchspace.spaces.space import SearchSpace
from studies.schema import is_recorded

_FIXED = "fixed_params"  # where Optuna keeps the values of a queued trial
AGAIN = "queued_again"  # marks one that the search itself queued


def is_trained_here(trial: FrozenTrial) -> bool:
    """Whether a finished trial has what a search stores of a network that it trained."""
    return is_recorded(trial, "status", "spec", "fingerprint", "accuracy", "train_s", "epochs")


def check_distributions(trials: Iterable[FrozenTrial], own: Mapping[str, BaseDistribution]) -> None:
    """Raises StudyMismatch where a trial has other values of a choice than the space: Optuna takes one set a study."""
    for trial in trials:
        for name in own.keys() & trial.distributions.keys():
            if trial.distributions[name] != own[name]:
                raise StudyMismatch(
                    f"a choice must have the same values in all trials of a study, and trial {trial.number}, added "
                    f"through Optuna, has {name!r} of {trial.distributions[name]}: --fresh sets this study aside, "
                    "--study NAME takes another name; study.enqueue_trial needs no distributions"
                )


def refusal(trial: FrozenTrial, space: SearchSpace) -> str | None:
    """Why a queued trial cannot be a candidate, in one sentence; None where it can."""
    fixed: Any = trial.system_attrs.get(_FIXED, {})
    given = {**trial.params, **(fixed if isinstance(fixed, dict) else {})}
    parameters = space.parameters()
    try:
        space.canonical({**{name: values[0] for name, values in parameters.items()}, **given})
    except InvalidChoice as error:
        return f"it was queued with values that the space does not have: {error}"
    for name, value in given.items():  # those of an absent stage too
        if value not in parameters[name]:
            return f"it was queued with a value that the space does not have: {name} is {value!r}"
    return None


def over_limits(candidate: Candidate, priced: PricedSpace, limit_ms: float) -> str | None:
    """Why a queued network is not judged, in one sentence; None where it keeps all limits."""
    if priced.limits.share(candidate.sizes) > 1:
        return f"it was queued and is over {priced.limits.text(candidate.sizes)}"
    if candidate.latency_upper_ms > limit_ms:
        return f"it was queued and is over the budget: {candidate.latency_ms:.2f} ms are predicted"
    return None
