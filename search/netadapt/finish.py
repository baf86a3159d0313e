"""The end of a pruning: what met each budget is trained on, tested once, and written."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.budget import latency_fields
from search.console import clock_text
from search.netadapt.job import Job
from search.netadapt.prunable import Prunable
from search.netadapt.pruner import prune
from search.netadapt.records import Iteration
from search.netadapt.selection import PRUNING_SHARE
from search.netadapt.settings import budget_text
from search.netadapt.trials import trial_of
from search.netadapt.tuning import last_s
from search.training.augmentation import preprocessing_of
from search.training.auto_augment import AUGMENTATION
from search.training.recipe import Recipe
from searchspace.channels.groups import in_the_way
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget
from searchspace.files import content_of, read_json, write_atomic, write_json
from searchspace.graph import lower
from searchspace.nn import module_macs, network_bytes
from searchspace.spec import write_spec
from studies.frame import write_trials_csv
from studies.storage import SUMMARY

_NEEDED = {"validation_accuracy", "epochs"}  # of a result that is read back


def prune_and_finish(job: Job) -> dict[str, Any]:
    """Prune, then finish what was reached: the summary.

    Where some budgets were reached and the smallest cannot be, "missed" says which and why. Raises InfeasibleBudget
    where there is nothing to finish.
    """
    missed = None
    try:
        prune(job)
    except InfeasibleBudget as error:
        missed = error
    summary = finish(job, missed=str(missed or ""))
    if missed and summary.get("nothing_to_do"):
        raise missed
    return summary


def finish(job: Job, *, always: bool = False, missed: str = "") -> dict[str, Any]:
    """Train on what met each budget, test it once, write everything: the summary.

    A budget that the start met already is left out, but for `always`. `missed`: why the budgets that were not reached
    were not.
    """
    start, left = next(iter(job.history.iterations), None), job.budgets_left
    begun = set(start.reached if start else ())
    budgets = [budget for budget in job.settings.limits if budget not in left and (always or budget not in begun)]
    for budget in begun - set(budgets):
        job.progress.line(f"{job.cost_model.text(budget)}: nothing to do, the network is within it already")
    summary: dict[str, Any] = {
        "study": job.study.study_name if job.study else None,
        "folder": str(job.folder) if job.folder else None,
        "unit": job.settings.unit,
        "budget": budgets[-1] if budgets else job.settings.limits[-1],
    }
    if not budgets or start is None:
        return summary | {"nothing_to_do": True, "cost": start.cost if start else None}
    stems = [f"{budget_text(budget)}{job.settings.unit}" for budget in budgets[:-1]] + ["best"]
    results = [
        _final(job, budget, stem, number, len(budgets))
        for number, (budget, stem) in enumerate(zip(budgets, stems, strict=True))
    ]
    summary |= {
        "within_budget": True,
        "held": results[-1]["held"],
        "start": _start(job, start),
        "winner": results[-1],
        "budgets": results,
        "iterations": [_row(one) for one in job.history.iterations],
        "proposals": sum(len(one.proposals) for one in job.history.iterations),
        "timed": job.timer is not None,
        "fixed": in_the_way(job.inputs.network.groups()),
        "proxy_resolution": job.inputs.trained_px,
        "resolution": job.inputs.network.graph.in_shape[1],
        "deployed_at": job.inputs.deployed_px,
        "preprocessing": preprocessing_of(job.inputs.network.module).to_dict(),
        "weights": job.inputs.source,
        AUGMENTATION: job.study.user_attrs.get(AUGMENTATION) if job.study else None,
        "classes": list(job.inputs.images.classes),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": job.study.user_attrs["settings"] if job.study else job.settings.identity(),
    }
    summary |= {"budget_ms": budgets[-1]} if job.settings.unit == "ms" else {}
    if missed:
        summary["missed"] = {"budgets": left, "why": missed}
    if job.study is not None and job.folder is not None:
        write_json(job.folder / SUMMARY, summary)
        write_trials_csv(job.study.study_name)
    return summary


def _final(job: Job, budget: float, stem: str, number: int, count: int) -> dict[str, Any]:
    """The result for one budget, number `number` of `count`. What an earlier run finished is read from its files."""
    found, recipe = job.history.snapshot(budget), job.recipe.onward(epochs=job.settings.long_epochs)
    recipe = replace(recipe, epoch_images=job.settings.epoch_images or recipe.epoch_images)
    path = job.folder / f"{stem}.safetensors" if job.folder else None
    key = {
        "budget": budget,
        "iteration": found.number,
        "epochs": job.settings.long_epochs,
        "epoch_images": recipe.epoch_images,
        "fingerprint": found.spec.fingerprint() if found.spec else "",
    }
    if job.settings.minutes is not None:
        key |= {"epochs": 0, "minutes": job.settings.minutes}
    result = _result(job, budget, found, path)
    known = known_result(path, key, job.recipe) if path else None
    if path is None or known is None:
        network = job.history.network(found.number)
        known = {"validation_accuracy": found.accuracy, "epochs": 0}
        if job.settings.minutes is not None or job.settings.long_epochs:
            known |= _train_on(job, network, recipe, path, number, count)
        if job.tests:
            known |= _tested(job, network, recipe)
        network.module.cpu()
        if path is None:
            return result | known | {"fvcore": str(module_macs(network.module, resolution=network.graph.in_shape[1]))}
        about = {**job.about_weights(deployed=True), "fingerprint": network.fingerprint}
        write_atomic(path, network_bytes(network.module, about))
        if network.spec:
            write_spec(path.with_suffix(".json"), network.spec)
        else:
            write_atomic(path.with_suffix(".json"), "")
        write_json(path.with_suffix(".done.json"), {"key": key, "result": result | known})
    for checkpoint in path.parent.glob(f"{stem}-*.ckpt"):  # they go once the result is on disk
        checkpoint.unlink(missing_ok=True)
    return result | known


def known_result(path: Path, key: dict[str, Any], recipe: Recipe) -> dict[str, Any] | None:
    """What an earlier run with the same `key` came to whose weights are at `path`. Raises StorageError."""
    done = path.with_suffix(".done.json")
    if not (done.exists() and path.exists()):
        return None
    with content_of(done):
        kept = read_json(done)
        if {"epoch_images": recipe.epoch_images, **kept.get("key", {})} != key:  # older keys lack it
            return None
        known = dict(kept["result"])
        if not known.keys() >= _NEEDED:
            raise KeyError(min(_NEEDED - known.keys()))
    return known


def _train_on(
    job: Job, network: Prunable, recipe: Recipe, path: Path | None, number: int, count: int
) -> dict[str, Any]:
    """Train on by minutes or epochs, in place; a spec's network is good at the deployed size afterwards."""
    begun = hashlib.sha256(network_bytes(network.module, {})).hexdigest()[:12]

    def on_share(share: float) -> None:
        done = PRUNING_SHARE + (1 - PRUNING_SHARE) * (number + share) / count
        job.progress.update(job.clock.at(done), "training the pruned network")

    handover = job.handover(recipe, on_share)
    if job.settings.minutes is not None:
        assert path is not None
        seconds = last_s(job) / count
        job.progress.line(f"fine-tuning for {clock_text(seconds)}, at up to {job.inputs.deployed_px} px")
        tuned = handover.fine_tune(network.module, seconds, state_file=path.with_name(f"{path.stem}-{begun}.ckpt"))
        return {"validation_accuracy": tuned.accuracy, "epochs": 0, "seconds": tuned.seconds}
    images = min(recipe.epoch_images, len(job.inputs.images.train))
    job.progress.line(f"training on for {recipe.epochs} epochs of {images} images")
    state_file = path and path.with_name(f"{path.stem}-{begun}-{recipe.epochs}x{images}.ckpt")
    trained = handover.train(network.module, state_file=state_file, deadline=job.late)
    return {"validation_accuracy": trained.accuracy, "epochs": trained.epochs}


def _tested(job: Job, network: Prunable, recipe: Recipe) -> dict[str, Any]:
    test, as_trained, balance = job.handover(recipe).test(network.module)
    found: dict[str, Any] = test.as_test() | balance
    return found if as_trained is None else found | {"test_accuracy_as_trained": as_trained}


def _result(job: Job, budget: float, found: Iteration, path: Path | None) -> dict[str, Any]:
    graph = lower(found.spec) if found.spec else job.history.network(found.number).graph
    total, table, measured = costs(graph), job.cost_model.table, found.measured
    predicted = table.predict(graph) if table else None
    return {
        "budget": budget,
        "cost": found.cost,
        "used": found.cost / budget,
        "iteration": found.number,
        "trial": trial_of(job.history, found),
        "fingerprint": found.spec.fingerprint() if found.spec else None,
        "params": total.params,
        "macs": total.macs,
        "network": str(path.with_suffix(".json")) if path else None,
        **latency_fields("predicted", predicted),
        "estimated_layers": list(predicted.estimated) if predicted else [],
        "held": "measured" if measured else "predicted" if job.settings.unit == "ms" else "counted",
        **latency_fields("measured", measured),
        "noisy": bool(measured and measured.noisy),
    }


def _start(job: Job, start: Iteration) -> dict[str, Any]:
    total = costs(job.inputs.network.graph)
    images = min(job.settings.validation_images, len(job.inputs.images.validation))
    own = {"cost": start.cost, "accuracy": start.accuracy, "images": images}
    return own | {"params": total.params, "macs": total.macs}


def _row(one: Iteration) -> dict[str, Any]:
    accepted = one.accepted
    return {
        **{"number": one.number, "step": accepted.name if accepted else "start"},
        **{"cost": one.cost, "accuracy": one.accuracy, "tried": len(one.proposals)},
        "ratio": accepted.timing.ratio if accepted and accepted.timing else None,
        "refused": sum(record.timing is not None and not record.timing.faster for record in one.proposals),
    }
