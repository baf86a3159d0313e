"""The winner: the best trained network that really runs within the budget, trained longer, tested once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch

from search.console import clock_text
from search.latency import Measurement
from search.loop import LONGER, Search, record_measured
from search.netadapt.settings import pruning_time_s
from search.training.augmentation import CENTRE, SCALE
from search.training.trainer import evaluate, train, wilson_interval
from searchspace.errors import InfeasibleBudget
from searchspace.files import write_atomic
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.nn import Network, build, network_bytes
from searchspace.spec import NetworkSpec

FINALISTS = 5
AFTER_PRUNING = 0.35  # of the winner's epochs
CLOSING_S = 20.0  # kept free for the last measurement, the test and writing


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The chosen network with everything that was found out about it.

    Accuracies are fractions. predicted_low_ms, predicted_high_ms: the table's 90 % interval. refined: how pruning
    brought it to the budget, if it had to.
    """

    trial: int
    spec: NetworkSpec
    predicted_latency_ms: float
    predicted_low_ms: float
    predicted_high_ms: float
    estimated_layers: int
    measured: Measurement
    search_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    test_low: float
    test_high: float
    test_images: int
    epochs: int
    within_budget: bool
    rejected: tuple[dict[str, Any], ...]
    refined: dict[str, Any] | None


def spec_of(trial: optuna.trial.FrozenTrial) -> NetworkSpec:
    """The network that a trial trained."""
    return NetworkSpec.from_json(trial.user_attrs["spec"])


def finalists_within(search: Search, budget_ms: float) -> tuple[list[Finalist], list[dict[str, Any]]]:
    """Trained trials that measure within `budget_ms`, best first, and those that did not.

    The best FINALISTS are measured in one interleaved run; if all are over the budget the next ones follow, until
    no trained network is left. A network passes if the upper end of its measured interval is within the budget,
    or, where none does, if its measured latency is. Raises InfeasibleBudget if not even one does.
    """
    trials = search.finished()
    if not trials:
        raise InfeasibleBudget(
            "no network was trained to its end, so there is no winner: give more --trials or --minutes"
        )
    rejected: list[dict[str, Any]] = []
    fallback: list[Finalist] = []
    for start in range(0, len(trials), FINALISTS):
        group = trials[start : start + FINALISTS]
        found = search.budget.networks(
            [spec_of(trial) for trial in group],
            progress=lambda fraction, what: search.progress.update(fraction, f"measuring finalists: {what}"),
        )
        _record(search, group, found)
        passing = []
        for trial, one in zip(group, found, strict=True):
            if one.high_ms <= budget_ms:
                passing.append(Finalist(trial, one))
                continue
            if one.latency_ms <= budget_ms:
                fallback.append(Finalist(trial, one))
            rejected.append(_rejected(trial, one))
            if not passing:
                search.progress.line(
                    f"trial {trial.number} ({trial.user_attrs['accuracy']:.1%}) {_takes(one)} {one.latency_ms:.2f} ms "
                    f"({one.low_ms:.2f} to {one.high_ms:.2f}): not surely within {budget_ms:g} ms, the next is taken"
                )
        if passing:
            return passing, [row for row in rejected if _better(trials, row["trial"], passing[0].trial.number)]
    if fallback:
        own = {finalist.trial.number for finalist in fallback}
        best = fallback[0].trial.number
        return fallback, [row for row in rejected if row["trial"] not in own and _better(trials, row["trial"], best)]
    nearest = min(rejected, key=_latency_of)
    raise InfeasibleBudget(
        f"none of the {len(trials)} trained networks is within {budget_ms:g} ms; the nearest is trial "
        f"{nearest['trial']} with {_latency_of(nearest):.2f} ms. Go on searching with more --minutes or "
        "--trials, or raise --budget-ms"
    )


def _better(trials: list[optuna.trial.FrozenTrial], number: int, other: int) -> bool:
    """Whether trial `number` stands before `other` in `trials`, which are sorted best first."""
    order = [trial.number for trial in trials]
    return order.index(number) < order.index(other)


def _rejected(trial: optuna.trial.FrozenTrial, found: Measurement) -> dict[str, Any]:
    return {"trial": trial.number, f"{'measured' if found.rounds else 'predicted'}_latency_ms": found.latency_ms}


def _latency_of(row: dict[str, Any]) -> float:
    return float(row.get("measured_latency_ms") or row["predicted_latency_ms"])


def _takes(found: Measurement) -> str:
    return "measures" if found.rounds else "is predicted at"


def _record(search: Search, trials: list[optuna.trial.FrozenTrial], found: list[Measurement]) -> None:
    if search.budget.measures:
        pairs = zip(trials, found, strict=True)
        found_ms = {trial.number: one.latency_ms for trial, one in pairs if not one.noisy}
        record_measured(search.study, found_ms, search.budget.table)


class Finalist(NamedTuple):
    """A trained trial and what its network takes, in ms."""

    trial: optuna.trial.FrozenTrial
    found: Measurement


class _Plan(NamedTuple):
    """Epochs from scratch, and after pruning (0: the network is not pruned)."""

    first: int
    last: int


class _Selected(NamedTuple):
    """A trained network that is within the budget, or the best that there is; `test` is None until it was made.
    `table` is what predicts it: after pruning, with those kernels of its channels that were measured for it."""

    trial: optuna.trial.FrozenTrial
    spec: NetworkSpec
    module: Network
    measured: Measurement
    validation_accuracy: float
    test: tuple[float, float, float, int] | None  # accuracy, low, high, images
    epochs: int
    refined: dict[str, Any] | None
    table: LatencyTable


def select_winner(search: Search, folder: Path) -> tuple[Winner, Network]:
    """Choose the winner, train it longer, prune it to the budget if it is over it, measure it, test it once.

    If pruning cannot bring it there, or the trained module measures over the budget, the next finalist is taken; where
    none of what the search looked at comes down, one that measures within the budget as it is.
    """
    finalists, rejected = finalists_within(search, search.budget.search_limit_ms)
    found = _first_within(search, folder, finalists, rejected)
    if found is None and search.settings.overshoot > 1:
        finalists, _ = finalists_within(search, search.settings.budget_ms)
        found = _first_within(search, folder, finalists, rejected)
    if found is None:
        raise InfeasibleBudget(
            f"none of the {len(finalists)} finalists is within {search.settings.budget_ms:g} ms or could be pruned to "
            "it: go on searching with more --minutes or --trials, or raise --budget-ms"
        )
    if found.refined is None:
        _record(search, [found.trial], [found.measured])
    predicted_ms, predicted_low_ms, predicted_high_ms, estimated = found.table.predict(lower(found.spec))
    accuracy, low, high, images = found.test or _tested(search, found.module)
    winner = Winner(
        trial=found.trial.number,
        spec=found.spec,
        predicted_latency_ms=predicted_ms,
        predicted_low_ms=predicted_low_ms,
        predicted_high_ms=predicted_high_ms,
        measured=found.measured,
        search_accuracy=found.trial.user_attrs["accuracy"],
        validation_accuracy=found.validation_accuracy,
        test_accuracy=accuracy,
        test_low=low,
        test_high=high,
        estimated_layers=len(estimated),
        test_images=images,
        epochs=found.epochs,
        within_budget=search.budget.within(found.measured),
        rejected=tuple(rejected),
        refined=found.refined,
    )
    return winner, found.module


def _first_within(
    search: Search, folder: Path, finalists: list[Finalist], rejected: list[dict[str, Any]]
) -> _Selected | None:
    """The first finalist that is within the budget once it is trained, and pruned where it has to be, or is found to
    have to be after all. Without pruning the last one is taken as it is."""
    budget_ms = search.settings.budget_ms
    for place, (trial, known) in enumerate(_in_order(search, finalists)):
        plan = _plan(search, trial, known)
        found = (_pruned if plan.last else _trained)(search, trial, folder, plan)
        if found is None and search.budget.within(known):  # pruning was to make it surer, and there is no less
            found = _trained(search, trial, folder, _Plan(plan.first, 0))
        if found is not None and _slightly_over(search, found, plan):  # it was within before it was trained
            search.progress.line(
                f"trial {trial.number} {_takes(found.measured)} {found.measured.latency_ms:.2f} ms once it is trained, "
                f"not within {budget_ms:g} ms: it is pruned to it"
            )
            found = _pruned(search, trial, folder, _Plan(plan.first, 1)) or found
        last = search.settings.overshoot == 1 and place == len(finalists) - 1
        if found is not None and (search.budget.within(found.measured) or last):
            return found
        now = known if found is None else found.measured
        rejected.append(_rejected(trial, now))
        kept = (
            "" if search.budget.measures else f", so that {search.budget.latency_upper_ms(now):.2f} ms are surely kept"
        )
        search.progress.line(
            f"trial {trial.number} {_takes(now)} {now.latency_ms:.2f} ms{kept}, not within {budget_ms:g} ms: "
            "the next is taken"
        )
    return None


def _slightly_over(search: Search, found: _Selected, plan: _Plan) -> bool:
    """Whether a network that was not to be pruned is over the budget by what pruning may bring down: two measurements
    differ by some percent, and another finalist would have to be trained in what time is left (here 4 epochs and 91 %,
    not 12 and 97 %)."""
    over = search.budget.latency_upper_ms(found.measured) / search.settings.budget_ms
    return not plan.last and 1 < over <= search.settings.overshoot


def _in_order(search: Search, finalists: list[Finalist]) -> list[Finalist]:
    """Those last that need pruning, where too little time is left to train one well besides.

    Of a winner 1.4 % over the budget, pruned and trained for 7 epochs, 93.7 % were right; of one within the budget that
    was trained for 20 epochs in the same time 97.8 %.
    """
    enough, decided = LONGER * search.recipe.epochs, search.study.user_attrs.get("winner_epochs", {})

    def hurried(finalist: Finalist) -> bool:
        over = search.budget.times_over(finalist.found)
        if over <= 1 or search.settings.overshoot == 1 or _plan_key(search, finalist.trial) in decided:
            return False
        plan = _share_time(search, finalist.trial, over)
        return plan.first + plan.last < enough

    return sorted(finalists, key=hurried)


def _tested(search: Search, module: Network) -> tuple[float, float, float, int]:
    test = search.data.open_test()
    accuracy = evaluate(module, test)
    return (accuracy, *wilson_interval(accuracy, len(test)), len(test))


def _trained(search: Search, trial: optuna.trial.FrozenTrial, folder: Path, plan: _Plan) -> _Selected:
    """The trial's network trained for all the time that is left."""
    spec = spec_of(trial)
    module, validation_accuracy, epochs = train_longer(search, trial, folder, plan.first)
    search.progress.update(1.0, "measuring the winner")
    (measured,) = search.budget.modules([module], [spec])
    return _Selected(trial, spec, module, measured, validation_accuracy, None, epochs, None, search.budget.table)


def _pruned(search: Search, trial: optuna.trial.FrozenTrial, folder: Path, plan: _Plan) -> _Selected | None:
    """The trial's network trained for a part of that time, pruned to the budget and trained on; None where pruning
    cannot bring it there."""
    from search.netadapt.last_stage import refine_winner

    module, _, _ = train_longer(search, trial, folder, plan.first)
    search.study.set_user_attr("spent_s", search.clock.elapsed_s())
    try:
        result, network, measured, table = refine_winner(
            module,
            budget=search.budget,
            fixed=search.settings.latency is not None,
            images=search.data,
            recipe=search.recipe,
            epochs=plan.last,
            name=f"{search.study.study_name[:80]}-trial{trial.number}-pruned",
            data=search.settings.data,
            seed=search.settings.seed,
            space=search.priced.space,
            progress=search.progress,
            late=lambda: _late(search),
        )
    except InfeasibleBudget as error:
        search.progress.line(str(error))
        return None
    test = (result["test_accuracy"], result["test_low"], result["test_high"], result["test_images"])
    return _Selected(
        trial,
        network.spec,
        network,
        measured,
        result["validation_accuracy"],
        test,
        plan.first + result["epochs"],
        result["refined"],
        table,
    )


def _late(search: Search) -> bool:
    left = search.clock.left_s()
    return left is not None and left <= CLOSING_S


def train_longer(
    search: Search, trial: optuna.trial.FrozenTrial, folder: Path, epochs: int
) -> tuple[Network, float, int]:
    """The trial's network trained from scratch for so many epochs: (module, validation accuracy, epochs).

    Each epoch is on disk before the next; a run that was cut off goes on after its last epoch.
    """
    checkpoint = folder / f"winner-{trial.user_attrs['fingerprint']}-{epochs}.ckpt"
    what = f"training the winner, trial {trial.number}, for {epochs} epochs"
    search.progress.line(what)

    def on_epoch(epoch: int, accuracy: float) -> None:
        search.study.set_user_attr("spent_s", search.clock.elapsed_s())
        search.progress.line(f"winner: {accuracy:.1%} validation accuracy after epoch {epoch} of {epochs}")

    generator = torch.Generator().manual_seed(search.settings.seed)
    module = build(spec_of(trial), generator=generator)
    outcome = train(
        module,
        train=search.data.train,
        validation=search.data.validation,
        recipe=replace(search.recipe, epochs=epochs),
        seed=search.settings.seed,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        on_step=lambda step, total: search.progress.update(step / total, what),
    )
    search.progress.line(f"winner trained in {clock_text(outcome.seconds)}")
    return module, outcome.accuracy, epochs


def _plan(search: Search, trial: optuna.trial.FrozenTrial, known: Measurement) -> _Plan:
    """What fits the time left; what an earlier, cut-off run decided stands, so that a second measurement of the network
    changes nothing."""
    decided = search.study.user_attrs.get("winner_epochs", {})
    key = _plan_key(search, trial)
    if key not in decided:
        over = search.budget.times_over(known) if search.settings.overshoot > 1 else 1.0
        decided = {**decided, key: _share_time(search, trial, over)}
        search.study.set_user_attr("winner_epochs", decided)
    found = decided[key]
    return _Plan(found, 0) if isinstance(found, int) else _Plan(*found)  # studies of before had one number


def _plan_key(search: Search, trial: optuna.trial.FrozenTrial) -> str:
    return f"{trial.user_attrs['fingerprint']}@{search.clock.limit_s}"


def _share_time(search: Search, trial: optuna.trial.FrozenTrial, over: float) -> _Plan:
    """over: how many times the budget the network takes; up to 1 for none to prune."""
    left, short = search.clock.left_s(), search.recipe.epochs
    if left is None:
        return _Plan(LONGER * short, 0) if over <= 1 else _Plan(LONGER * short - short, short)
    epoch_s = trial.user_attrs["train_s"] / trial.user_attrs["epochs"]
    pruning_s = 0.0 if over <= 1 else pruning_time_s(over, epoch_s)
    epochs = max(short, int((left - CLOSING_S - pruning_s) * 0.95 / epoch_s))
    last = 0 if over <= 1 else max(1, round(AFTER_PRUNING * epochs))
    return _Plan(max(1, epochs - last), last)


def write_winner(
    winner: Winner, module: Network, folder: Path, *, classes: tuple[str, ...], pixels: int, seed: int
) -> None:
    """best.json (the spec) and best.safetensors (its weights; classes, training pixels, the seed of the splits and how
    images are normalised in the metadata)."""
    about = {
        "classes": classes,
        "trained_at_px": pixels,
        "fingerprint": winner.spec.fingerprint(),
        "pixel_centre": CENTRE,
        "pixel_scale": SCALE,
        "split_seed": seed,
    }
    write_atomic(folder / "best.safetensors", network_bytes(module, about))
    write_atomic(folder / "best.json", winner.spec.to_json())
    for checkpoint in folder.glob("winner-*.ckpt"):
        checkpoint.unlink(missing_ok=True)
