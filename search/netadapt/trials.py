"""A pruning's proposals as trials of its study, so that `studies.load` shows them."""

import optuna

from search.budget import CostModel
from search.netadapt.history import History
from search.netadapt.job import Job
from search.netadapt.records import Iteration, ProposalRecord
from searchspace.errors import StudyMismatch
from searchspace.spec import NetworkSpec
from studies.schema import MEASURED, Status


def add_trials(job: Job) -> None:
    """Add what the job's study lacks of its history: a trial for each proposal, in order."""
    study, history = job.study, job.history
    if study is None:
        return
    rows = [(iteration.number, record) for iteration in history.iterations for record in iteration.proposals]
    known = len(study.get_trials(deepcopy=False))
    if known > len(rows):
        raise StudyMismatch(
            f"the study has {known} proposals and its iterations only {len(rows)}: files in {history.folder} were "
            "deleted; restore them, or begin anew with --fresh"
        )
    for number, record in rows[known:]:
        study.add_trial(_trial(number, record, job.cost_model))
    measured = {str(at): record.timing.after_ms for at, (_, record) in enumerate(rows) if record.timing is not None}
    if measured and study.user_attrs.get(MEASURED) != measured:
        study.set_user_attr(MEASURED, measured)


def trial_of(history: History, iteration: Iteration) -> int:
    """The number of the trial of an iteration's accepted proposal; -1 for the start."""
    if iteration.accepted is None:
        return -1
    before = sum(len(one.proposals) for one in history.iterations[: iteration.number])
    return before + iteration.proposals.index(iteration.accepted)


def _status(record: ProposalRecord) -> Status:
    if record.diverged:
        return Status.FAILED
    return Status.TRAINED if record.accuracy is not None or record.accepted else Status.STOPPED_EARLY


def _trial(number: int, record: ProposalRecord, cost_model: CostModel) -> optuna.trial.FrozenTrial:
    accuracy = record.screened if record.accuracy is None else record.accuracy  # the last that is known
    attrs = {
        "status": _status(record),
        "choices": {
            "iteration": number,
            "move": record.move,
            "where": record.where,
            "accepted": record.accepted,
            "screened_accuracy": record.screened,
            **({} if record.channels is None else {"channels": record.channels}),
            **({} if record.timing is None else {"ratio": record.timing.ratio}),
        },
        "spec": record.spec,
        "fingerprint": record.fingerprint,
        "params": record.params,
        "macs": record.macs,
        "accuracy": accuracy,
        "reward": accuracy,
    }
    if cost_model.table is not None:  # in measured terms: the table says how much less than before
        ms, low_ms, high_ms, _ = cost_model.table.predict(NetworkSpec.from_json(record.spec))
        for name, share in (("latency", 1.0), ("low", low_ms / ms), ("high", high_ms / ms)):
            attrs[f"predicted_{name}_ms"] = record.cost * share
    if record.seconds is not None:
        attrs["train_s"] = record.seconds
    return optuna.trial.create_trial(value=accuracy, user_attrs=attrs)
