"""A search that came to its end: its summary, for the same command once more, also where its files were moved."""

import json
from pathlib import Path
from typing import Any

import optuna

from search import data
from search.data.contents import can_compare
from search.differences import flag_of, moved, weights_sums
from search.result import Result
from search.session import Note, check_study, given_table
from search.settings import Settings, check_same
from searchspace.files import content_of
from searchspace.latency.table import read_table
from studies.frame import read_summary
from studies.storage import BEST, SUMMARY
from studies.storage import folder as study_folder

_NEEDED = {"classes", "settings", "budget_ms", "trials", "spent_s"}


def about_images(settings: Settings, images: data.Dataset) -> dict[str, Any]:
    """What tells the images of a study from others."""
    return {"data": settings.identity()["data"], "data_fingerprint": images.fingerprint}


def finished_summary(settings: Settings, study: optuna.Study, *, note: Note) -> dict[str, Any] | None:
    """The summary, if this command has run to its end and asks for no more than it had.

    Raises StudyMismatch where its files have other content than before, or the winner cannot be read, StorageError for
    a damaged summary.
    """
    folder = study_folder(study.study_name)
    path, done = folder / SUMMARY, study.user_attrs.get("finished")
    if done is None or not path.exists() or not (folder / BEST).exists():
        return None
    asked = (settings.time_limit_s, settings.trials)
    if any(a is not None and (d is None or a > d) for a, d in zip(asked, done, strict=True)):
        return None
    summary = read_summary(path)
    with content_of(path):
        if not summary.keys() >= _NEEDED:
            raise KeyError(min(_NEEDED - summary.keys()))
        of_budgets = [row["folder"] for row in summary.get("front", ()) if row["folder"] is not None]
        if not all((folder / each / BEST).exists() for each in of_budgets):
            return None
        classes, written = len(summary["classes"]), dict(summary["settings"])
        pixels = int(summary.get("proxy_resolution", settings.proxy_resolution))
    space = settings.search_space(classes=classes).to_dict()
    check_same(study.study_name, study.user_attrs["settings"], {"space": json.loads(json.dumps(space))})
    own = {**written, **_moved(settings, study, pixels, note)}
    found = {**summary, "settings": own, "study": study.study_name, "folder": str(folder)}  # it may have been renamed
    Result(found).check(f"delete {BEST}, and this command makes them again")
    return found


def _moved(settings: Settings, study: optuna.Study, pixels: int, note: Note) -> dict[str, Any]:
    """Files of a finished search that have other names now.

    Raises StudyMismatch where these, or images that are where they were, have other content.
    """
    asked = settings.identity()
    elsewhere = moved(study.user_attrs["settings"], asked)
    if "data" in elsewhere or can_compare(study_folder(study.study_name), settings.data):
        images = data.load(settings.data, resolution=pixels, seed=settings.seed, images=settings.images)
        check_study(study, about_images(settings, images), images=images)
    if "latency" in elsewhere:
        table = read_table(Path(str(settings.latency)))
        check_study(study, {"latency": asked["latency"], **given_table(settings.latency, table)}, table=table)
    if "weights" in elsewhere:
        check_study(study, {"weights": asked["weights"], "weights_sha256": weights_sums(asked["weights"])})
    for setting, (was, now) in elsewhere.items():
        note(f"{flag_of(setting)} {now} holds what {was} held")
    return {setting: now for setting, (_, now) in elsewhere.items()}
