"""Kinds of files that jobs keep in their studies: what was decided, what was tested, summaries and their reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import search
from search.baselines import BASELINES, stored_runs, told_right
from search.finetune_job import JOB, opened, run_finetune
from search.finetune_settings import Settings
from search.netadapt.finish import known_result
from search.netadapt.tuning import PLAN, known_plan
from search.results import TESTED
from search.training.finetune_state import FineTuningState
from search.training.recipe import FineTuning, Recipe
from search.versus import packed
from searchspace.files import write_json
from searchspace.nn import build, network_bytes
from searchspace.preprocessing import OWN
from searchspace.spec import write_spec
from searchspace.strict_json import dumps
from studies.frame import read_summary
from studies.storage import BEST, SUMMARY
from tests.fuzz.images import encoded
from tests.fuzz.law import Subject
from tests.fuzz.networks import NETWORK, values
from tests.fuzz.subjects import SPEC, studies_in, written

SETTINGS = Settings(data="digits:40", weights="none", minutes=0.5)
RECIPE = FineTuning()
AUGMENTATION = {"augment": "crop", "why": "as asked"}
ABOUT = json.loads(
    json.dumps(
        {
            "settings": asdict(SETTINGS),
            "recipe": RECIPE.identity(),
            "places": {"data": "digits:40", "weights": "none"},
        }
    )
)
DECIDED = {
    "spent_s": 12.5,
    "fit_s": 20.25,
    "test_images": 7,
    "data_fingerprint": "f",
    "weights_sha256": None,
    "augmentation": AUGMENTATION,
}
TESTED_OF = {"test_accuracy": 0.875, "test_low": 0.8, "test_high": 0.925, "test_images": 8}
TUNED: dict[str, Any] = {
    "study": "s",
    "folder": "studies/s",
    "kind": "finetune",
    "network": "tiny",
    "weights": "random weights, as asked",
    "licence": None,
    "not_kept": [],
    "params": 100,
    "macs": 1000,
    "resolution": 32,
    "resolution_reason": "as asked",
    "images_px": 32,
    "preprocessing": OWN.to_dict(),
    "classes": ["a", "b"],
    **TESTED_OF,
    "all_test_images": 8,
    "validation_accuracy": 0.75,
    "history": [0.5, 0.75],
    "images_seen": 80,
    "train_images": 40,
    "stopped_early": False,
    "spent": {"training": 10.5},
    "spent_s": 12.5,
    "augmentation": AUGMENTATION,
    "settings": asdict(SETTINGS),
}
SEARCHED: dict[str, Any] = {
    "study": "s",
    "folder": "studies/s",
    "budget_ms": 20.0,
    "within_budget": True,
    "winner": {
        "trial": 1,
        "network": None,
        "params": 100,
        "macs": 1000,
        "predicted_latency_ms": 3.25,
        "predicted_low_ms": 3.0,
        "predicted_high_ms": 3.5,
        "estimated_layers": 0,
        "as_predicted": True,
        "measured_latency_ms": 3.25,
        "measured_low_ms": 3.125,
        "measured_high_ms": 3.375,
        "noisy": False,
        "search_accuracy": 0.75,
        **TESTED_OF,
        "validation_accuracy": 0.75,
        "tested_at_px": 32,
        "trained_at_px": 32,
        "accuracy_at_training_px": 0.75,
        "epochs": 3,
        "trained_s": 1.5,
        "stopped_early": False,
        "parent": None,
    },
    "correction": {"networks": 2, "factor": 1.02},
    "refined": {"study": "s-pruned", "start_ms": 4.5, "iterations": 2, "proposals": 9, "timed": True},
    "rejected": [{"trial": 0, "measured_latency_ms": 25.5}],
    "contest": {
        "decided_by": "trial 1 was the best after equal epochs",
        "tied": [{"trial": 1, "network": None, "expected": 0.75, "deviation": 0.01, "contest_accuracy": 0.8125}],
    },
    "augmentation": AUGMENTATION,
    "published": {"network": "mnasnet_a1", "trial": 0, "is_winner": False, "judged": "contest", "behind": -0.0625},
    "trials": {"trained": 3},
    "priced_and_rejected": {},
    "times_tested": 1,
    "spent_s": 12.5,
    "resolution": 32,
    "proxy_resolution": 32,
    "preprocessing": OWN.to_dict(),
    "classes": ["a", "b"],
    "skipped_images": [],
    "threads": 2,
    "settings": {"budget_ms": 20.0, "runtime": "eager", "data": None},
    "weights": None,
    "baselines": [
        {
            **{"name": "mobilenet_v2", "width": 0.5, "resolution": 32, "status": "trained", "params": 90, "macs": 900},
            **{"measured_latency_ms": 3.5, **TESTED_OF},
            "versus_winner": {"value": 0.0, "low": -0.1, "high": 0.1, "verdict": "tied", "paired": True},
        },
        {"name": "fbnet_c", "status": "no width meets 20 ms"},
    ],
}
FOUND = {
    "choices": {"kernel": 3},
    **{"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.8},
    **{"latency_ms": 3.25, "latency_low_ms": 3.0, "latency_high_ms": 3.5},
    **{"measured_accuracy": None, "measured_latency_ms": None},
}
MEASURED: dict[str, Any] = {
    "study": "s",
    "folder": "studies/s",
    "kind": "table",
    "table": "m.csv",
    "networks": 20,
    "settings": {"latency_column": "ms", "accuracy_column": "top1", "budget_ms": 20.0},
    "budget_ms": 20.0,
    "fits": {name: {"networks": 20, "tau": 0.9, "rmse": 0.25} for name in ("accuracy", "latency")},
    "winner": {"trial": 1, "accuracy": 0.75},
    "found": [FOUND],
    "best_measured": {"accuracy": 0.75, "latency_ms": 3.25},
}
KEY = {"budget": 2.5, "iteration": 1, "epochs": 2, "epoch_images": 1280, "fingerprint": "f"}
RIGHT = packed([True] * 7 + [False])


def _json(name: str, content: dict[str, Any]) -> Callable[[Path], Path]:
    return written(name, lambda: dumps(content))


def _job_read(path: Path) -> Any:
    found = opened(path, ABOUT)
    return {name: found.get(name) for name in (*ABOUT, *DECIDED, "moved")}


def _tuned(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "s").mkdir()
        _network(folder / "s")
        write_json(folder / "s" / JOB, ABOUT | DECIDED)
        write_json(folder / "s" / SUMMARY, TUNED)
        return folder / "s" / name

    return make


def _tuned_read(path: Path) -> Any:
    with studies_in(path.parents[1]):
        found = run_finetune(SETTINGS, name="s", recipe=RECIPE, quiet=True)
        return found.summary, found.report()


def _summary(content: dict[str, Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_spec(folder / BEST, SPEC)
        write_json(folder / SUMMARY, content)
        return folder / SUMMARY

    return make


def _summary_read(path: Path) -> Any:
    found = read_summary(path)
    return found, search.Result(found | {"folder": str(path.parent)}).report()


def _baselines() -> dict[str, Any]:
    row = {"name": "mobilenet_v2", "width": 0.5, "status": "trained", "right": RIGHT, **TESTED_OF}
    run = {"effort": {"seconds": 12.5}, "networks": {"mobilenet_v2": row}, "lengths": {"mobilenet_v2": 3}}
    return {"runs": [run | {"best": ["mobilenet_v2"]}]}


def _done(folder: Path) -> Path:
    (folder / "best.safetensors").touch()
    result = {"validation_accuracy": 0.75, "epochs": 2, **TESTED_OF}
    write_json(folder / "best.done.json", {"key": KEY, "result": result})
    return folder / "best.done.json"


def _done_read(path: Path) -> Any:
    return known_result(path.with_name("best.safetensors"), KEY, Recipe())


def _plan() -> dict[str, Any]:
    settings = {"step": 0.06, "decay": 1.0, "shortlist": 3, "short_steps": 30, "validation_images": 1000}
    return {"minutes": 2.0, "first_s": 48.0, "settings": settings, "guessed_s": 30.5, "last_s": 40.0}


def _tuning(folder: Path) -> Path:
    state = FineTuningState(build(SPEC), RECIPE)
    state.history, state.seconds, state.images, state.image_s = [0.25, 0.5], 3.5, 80, 0.01
    state.spent = {"training": 3.0}
    state.save(folder / "t.ckpt", "key")
    return folder / "t.ckpt"


def _tuning_read(path: Path) -> Any:
    """None where the training begins anew, which a warning says."""
    state = FineTuningState(build(SPEC), RECIPE).resumed(path, "key")
    found = state.history, state.seconds, state.images, state.image_s, state.spent, values(state.module.state_dict())
    return found if state.history else None


def _network(folder: Path) -> None:
    write_spec(folder / BEST, SPEC)
    (folder / "best.safetensors").write_bytes(network_bytes(NETWORK, {"classes": ["a", "b"]}))


def _image(folder: Path) -> Path:
    _network(folder)
    return written("photo.png", lambda: encoded(1))(folder)


SUBJECTS = (
    Subject("job of a fine-tuning", _json(JOB, ABOUT | DECIDED), _job_read, form="json"),
    Subject("job of a finished fine-tuning", _tuned(JOB), _tuned_read, form="json"),
    Subject("summary of a fine-tuning", _tuned(SUMMARY), _tuned_read, form="json"),
    Subject("summary of a search", _summary(SEARCHED), _summary_read, form="json"),
    Subject("summary of a search by a table", _summary(MEASURED), _summary_read, form="json"),
    Subject("tested images", _json(TESTED, {"winner": RIGHT}), told_right, form="json"),
    Subject("baselines", _json(BASELINES, _baselines()), stored_runs, form="json"),
    Subject("finished network of a pruning", _done, _done_read, renewed=True, form="json"),
    Subject("plan of a pruning", _json(PLAN, _plan()), lambda path: known_plan(path.parent), form="json"),
    Subject("image to classify", _image, lambda path: search.classify(path.with_name(BEST), path), sealed=False),
    Subject("fine-tuning under way", _tuning, _tuning_read, renewed=True),
)
