"""What a search writes: the winner's spec and weights, and summary.json."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from search.budget import latency_fields
from search.data import Dataset
from search.loop import Search
from search.samplers import expected_gain
from search.sizes import VALUE_BYTES, sizes_of
from search.training.augmentation import weights_metadata
from search.training.auto_augment import AUGMENTATION
from search.training.balance import balance
from search.versus import packed
from search.winner import Winner
from searchspace.cost import costs
from searchspace.files import write_atomic, write_json
from searchspace.graph import lower
from searchspace.nn import network_bytes
from searchspace.preprocessing import OWN
from searchspace.spec import write_spec
from studies.storage import BEST, SUMMARY

WEIGHTS = "best.safetensors"
TESTED = "tested.json"  # which test images the winner told right, to compare others with


def write_results(
    search: Search,
    winner: Winner,
    data: Dataset,
    folder: Path,
    *,
    weights: str | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write best.json, best.safetensors, tested.json and summary.json; gives the content of the last.

    about: What else it holds. Weights carry in their metadata: classes, pixels, the seed of the splits and how images
    are normalised.
    """
    metadata = weights_metadata(
        data,
        seed=search.settings.seed,
        preprocessing=winner.spec.preprocessing,
        trained_at=winner.trained.pixels,
        deployed_at=winner.spec.resolution,
    )
    metadata |= {"fingerprint": winner.spec.fingerprint()}
    write_atomic(folder / WEIGHTS, network_bytes(winner.module, metadata))
    write_spec(folder / BEST, winner.spec)
    if winner.tested is not None:
        write_json(folder / TESTED, {"winner": packed(winner.tested.right)})
    summary = _summary(search, winner, data, folder) | {"weights": weights} | dict(about)
    write_json(folder / SUMMARY, summary)
    for state_file in folder.glob("winner-*.ckpt"):
        state_file.unlink(missing_ok=True)
    return summary


def _summary(search: Search, winner: Winner, data: Dataset, folder: Path) -> dict[str, Any]:
    study = search.study
    statuses = [trial.user_attrs.get("status", "running") for trial in study.get_trials(deepcopy=False)]
    tested = int(study.user_attrs.get(f"times_tested{search.suffix}", 0)) + 1
    study.set_user_attr(f"times_tested{search.suffix}", tested)
    return {
        "study": study.study_name,
        "folder": str(folder),
        "budget_ms": search.budget.limit_ms,
        "within_budget": search.budget.within(winner.measured),
        "winner": _winner(winner, data),
        "correction": {"networks": len(search.budget.measured), "factor": search.budget.correction},
        "refined": winner.refined,
        "rejected": list(winner.rejected),
        "contest": winner.contest,
        AUGMENTATION: study.user_attrs.get(AUGMENTATION),
        "published": _published(search, winner),
        "trials": dict(Counter(map(str, statuses))),
        "priced_and_rejected": {
            "over_budget": search.sampler.rejected["over_limit"],
            "duplicate": search.sampler.rejected["duplicate"],
        },
        "expected_gain": _expected_gain(search),
        "times_tested": tested,
        "spent_s": round(search.clock.elapsed_s(), 1),
        "resolution": winner.spec.resolution,
        "proxy_resolution": data.resolution,
        "preprocessing": (winner.spec.preprocessing or OWN).to_dict(),
        "classes": list(data.classes),
        "skipped_images": list(data.skipped),
        "threads": search.budget.table.identity["threads"],
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": study.user_attrs["settings"],
    }


def _expected_gain(search: Search) -> float | None:
    """What one more candidate is expected to gain over the best, in the reward's unit; None where nobody knows yet."""
    gain = expected_gain(search.study).next_trial
    return gain if math.isfinite(gain) else None


def _published(search: Search, winner: Winner) -> dict[str, Any] | None:
    """How the winner stands to the best published network in the study; None without one."""
    found = next((trial for trial in search.finished() if "network" in trial.user_attrs), None)
    if found is None:
        return None
    own = winner.trial.user_attrs.get("network")
    if own is not None:
        return {"network": own, "trial": winner.trial.number, "is_winner": True}
    rows = winner.contest["tied"] if winner.contest else []
    after = {row["trial"]: row["contest_accuracy"] for row in rows if row["contest_accuracy"] is not None}
    about = {"network": found.user_attrs["network"], "trial": found.number, "is_winner": False}
    if {found.number, winner.trial.number} <= after.keys():
        return {**about, "judged": "contest", "behind": after[winner.trial.number] - after[found.number]}
    behind = winner.trial.user_attrs["accuracy"] - found.user_attrs["accuracy"]
    return {**about, "judged": "search", "behind": behind}


def _winner(winner: Winner, data: Dataset) -> dict[str, Any]:
    graph = lower(winner.spec)
    cost, predicted = costs(graph), winner.table.predict(graph)
    found = winner.measured if winner.measured.rounds else None  # nothing where the table is of another device
    return {
        "trial": winner.trial.number,
        "network": winner.trial.user_attrs.get("network"),
        "fingerprint": winner.spec.fingerprint(),
        "params": cost.params,
        "macs": cost.macs,
        **sizes_of(graph, VALUE_BYTES.get(winner.table.identity["dtype"], 4)).kb,
        **latency_fields("predicted", predicted),
        "estimated_layers": len(predicted.estimated),
        "as_predicted": found and predicted.low_ms <= found.latency_ms <= predicted.high_ms,
        **latency_fields("measured", found),
        "noisy": found and found.noisy,
        "search_accuracy": winner.trial.user_attrs["accuracy"],
        **_accuracies(winner, data),
        "epochs": winner.trained.epochs,
        "trained_s": round(winner.trained.seconds, 1),
        "stopped_early": winner.trained.stopped_early,
        "parent": winner.trained.parent,
    }


def _accuracies(winner: Winner, data: Dataset) -> dict[str, Any]:
    """At the deployed size, where the network was tested, and the validation accuracy at the size of its training."""
    found = {"trained_at_px": winner.trained.pixels, "accuracy_at_training_px": winner.trained.accuracy}
    if winner.tested is None:
        return found
    return {
        **winner.tested.test.as_test(),
        **balance(data, winner.tested.right),
        "validation_accuracy": winner.tested.validation_accuracy,
        "tested_at_px": winner.tested.pixels,
        **found,
    }
