"""--from-study: an earlier search of the same space, whose trials are a prior for this one."""

import json
from collections.abc import Iterator
from typing import Any

import optuna

from search.settings import check_command
from searchspace.errors import InvalidArgument, StudyMismatch
from searchspace.spaces.space import SearchSpace
from studies.schema import SETTINGS
from studies.storage import open_study

MAY_DIFFER = {"name", "classes", "resolution", "smaller_resolutions", "dropout_percent"}  # other data, other pixels


def earlier_study(name: str | None, space: SearchSpace, *, own: str) -> optuna.Study | None:
    """The study `name`, to learn from; None where none is named.

    Raises InvalidArgument where there is none, or for this search's `own` name; StudyMismatch, naming the difference,
    where it is of another command or another space.
    """
    if name is None:
        return None
    if name == own:
        raise InvalidArgument(
            f"--from-study names an earlier study, got {name!r}, which is this one: the same command without "
            "--from-study goes on with it, --study NAME makes a new one"
        )
    study = open_study(name, create=False)
    stored = study.user_attrs.get(SETTINGS, {})
    check_command(name, stored, "search.run")
    theirs, here = stored.get("space"), json.loads(json.dumps(space.to_dict()))
    if not isinstance(theirs, dict):
        raise StudyMismatch(
            f"--from-study takes a study of search.run, and {name!r} says no search space: give another"
        )
    if difference := next(_differences(theirs, here), None):
        raise StudyMismatch(
            f"--from-study takes a study of the same search space, and {name!r} differs in {difference}: give another "
            "study, or the --space of that one"
        )
    return study


def _differences(theirs: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """Each in words: stage3.kernel ([3, 5] there, [3] here)."""
    for key in sorted((theirs.keys() | here.keys()) - MAY_DIFFER - {"stages"}):
        if theirs.get(key) != here.get(key):
            yield f"{key} ({theirs.get(key)} there, {here.get(key)} here)"
    sizes = [[*each.get("smaller_resolutions", ()), each.get("resolution")] for each in (theirs, here)]
    if sizes[0] != sizes[1] and max(map(len, sizes)) > 1:  # a choice of the networks
        yield f"--resolution ({sizes[0]} there, {sizes[1]} here)"
    stages = [{str(stage["name"]): stage for stage in each["stages"]} for each in (theirs, here)]
    for name in sorted(stages[0].keys() | stages[1].keys()):
        there, now = (each.get(name, {}) for each in stages)
        for key in sorted(there.keys() | now.keys()):
            if there.get(key) != now.get(key):
                yield f"{name}.{key} ({there.get(key)} there, {now.get(key)} here)"
