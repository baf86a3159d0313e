"""A refinement's proposals as trials of its study, so that `studies.load` shows them."""

import optuna

from search.budget import CostModel
from search.netadapt.history import History, Tried
from searchspace.errors import StudyMismatch
from searchspace.spec import NetworkSpec
from studies.schema import MEASURED, Status


def add_trials(study: optuna.Study, history: History, cost_model: CostModel) -> None:
    """Add what the study lacks of the history: a trial for each proposal, in order."""
    rows = [(iteration.number, row) for iteration in history.iterations for row in iteration.tried]
    known = len(study.get_trials(deepcopy=False))
    if known > len(rows):
        raise StudyMismatch(
            f"the study has {known} proposals and its iterations only {len(rows)}: files in {history.folder} were "
            "deleted; restore them, or begin anew with --fresh"
        )
    for number, row in rows[known:]:
        study.add_trial(_trial(number, row, cost_model))
    measured = {str(index): row.timing.after_ms for index, (_, row) in enumerate(rows) if row.timing is not None}
    if measured and study.user_attrs.get(MEASURED) != measured:
        study.set_user_attr(MEASURED, measured)


def _status(row: Tried) -> Status:
    """Those that were only looked at are "stopped early"."""
    if row.diverged:
        return Status.FAILED
    return Status.TRAINED if row.accuracy is not None or row.accepted else Status.STOPPED_EARLY


def _trial(number: int, row: Tried, cost_model: CostModel) -> optuna.trial.FrozenTrial:
    accuracy = row.last_accuracy
    attrs = {
        "status": _status(row),
        "choices": {
            "iteration": number,
            "move": row.move,
            "where": row.where,
            "accepted": row.accepted,
            "screened_accuracy": row.screened,
            **({} if row.channels is None else {"channels": row.channels}),
            **({} if row.timing is None else {"ratio": row.timing.ratio}),
        },
        "spec": row.spec,
        "fingerprint": row.fingerprint,
        "params": row.params,
        "macs": row.macs,
        "accuracy": accuracy,
        "reward": accuracy,
    }
    if cost_model.table is not None:
        # In measured terms: the table says how much less than before.
        ms, low_ms, high_ms, _ = cost_model.table.predict(NetworkSpec.from_json(row.spec))
        for name, share in (("latency", 1.0), ("low", low_ms / ms), ("high", high_ms / ms)):
            attrs[f"predicted_{name}_ms"] = row.cost * share
    if row.seconds is not None:
        attrs["train_s"] = row.seconds
    return optuna.trial.create_trial(value=accuracy, user_attrs=attrs)
