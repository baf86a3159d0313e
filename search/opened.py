"""A study of one command, opened or made, with no other process in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna

from search.pipeline import sole_runner
from search.settings import check_same
from studies.schema import SETTINGS
from studies.storage import folder, open_storage


@contextmanager
def opened_study(name: str, about: dict[str, Any]) -> Iterator[optuna.Study]:
    """The study, made or opened, with no other process in it; `about` is what defines it.

    Raises StudyMismatch for a study of other settings or one that is in use, StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with sole_runner(folder(name)):
        study = optuna.create_study(
            storage=open_storage(name, create=True), study_name=name, direction="maximize", load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
        plain = json.loads(json.dumps(about))
        stored = study.user_attrs.get(SETTINGS)
        if stored is None:
            study.set_user_attr(SETTINGS, plain)
        else:
            check_same(name, stored, plain)
        yield study
