"""How the settings of a study differ from those that are asked for, in its user's words: flags, files, data."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from searchspace.files import storage_error

Settings = Mapping[str, Any]
# A file may move: where both are files, what is in them is compared in place of where they are.
CONTENT_OF = {"data": "data_fingerprint", "space_file": "space", "latency": "table", "weights": "weights_sha256"}
_HASH = re.compile(r"[0-9a-f]{16}")
_FLAGS = {"space_file": "--space", "budgets_ms": "--budgets"}
_NAMED = 3


def command_of(settings: Settings) -> str | None:
    """The command that made a study of these settings; None where they do not say."""
    if settings.get("kind") == "netadapt":
        return "search.netadapt"
    if "table_sha256" in settings:
        return "search.run --table"
    return "search.run" if "sampler" in settings else None


def moved(stored: Settings, asked: Settings) -> dict[str, tuple[str, str]]:
    """By setting, a file that is named otherwise than before, as it was and as it is: its content decides."""
    return {
        place: (stored[place], asked[place])
        for place, content in CONTENT_OF.items()
        if asked.get(place) != stored.get(place)
        and _is_file(place, asked.get(place))
        and _is_file(place, stored.get(place))
        and stored.get(content) is not None
    }


def weights_sums(weights: str) -> list[str]:
    """The SHA-256 of each file that `--weights` names. Raises StorageError."""
    from searchspace.nn.weights.recognise import sha256

    found = []
    for path in (Path(part.rpartition("=")[2]) for part in weights.split(",")):
        try:
            found.append(sha256(path))
        except OSError as error:
            raise storage_error("read", path, error) from error
    return found


def flag_of(setting: str) -> str:
    """The flag of a setting."""
    return _FLAGS.get(setting, f"--{setting.replace('_', '-')}")


def in_words(setting: str, stored: Settings, asked: Settings, told: str = "") -> str:
    """How one setting differs. `told`: what is known of changed content, of images or of a latency table."""
    was, now = stored.get(setting), asked[setting]
    if setting == "data_fingerprint":
        what = told or "some files are others, or are split otherwise; which is not known"
        name = f" {asked['data'] or 'digits'}" if "data" in asked else ""
        return f"the images of --data{name} have changed: {what}"
    if setting in _HASHED and all(isinstance(value, str) and _HASH.fullmatch(value) for value in (was, now)):
        return _HASHED[setting]
    if setting == "table":
        return _table(stored, asked, told)
    if setting in _CONTENTS:
        return _CONTENTS[setting](stored, asked)
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return f"{_NESTED.get(setting, setting)} ({'; '.join(_parts(was, now))})"
    if setting in _NESTED:
        return _NESTED[setting]
    is_name = setting == "data" and isinstance(now, str) and not {"/", os.sep} & set(now)  # no OWNER/NAME of the hub
    absent = ", which is not in this folder," if is_name and _is_file("data", was) and not os.path.exists(now) else ""
    return f"{_PLAIN.get(setting) or f'{flag_of(setting)} is'} {_value(now)}{absent} and was {_value(was)}"


def _is_file(place: str, text: object) -> bool:
    if not isinstance(text, str):
        return False
    parts = text.split(",") if place == "weights" else [text]
    return all(os.path.isabs(part.rpartition("=")[2] if place == "weights" else part) for part in parts)


def _table(stored: Settings, asked: Settings, told: str) -> str:
    if (stored.get("table") is None) != (asked["table"] is None):
        return f"--latency is {'given and was not' if asked['table'] else 'not given and was'}"
    name = f" {asked['latency']}" if isinstance(asked.get("latency"), str) else ""
    return f"the latency table is another: the content of --latency{name} has changed{f': {told}' * bool(told)}"


def _weights(stored: Settings, asked: Settings) -> str:
    was, now = stored.get("weights_sha256") or [], asked["weights_sha256"] or []
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return f"the weights {', '.join(name for name in now if was.get(name) != now[name])} of --weights have changed"
    names = str(asked.get("weights", "")).split(",")
    if len(was) != len(now) or len(names) != len(now):
        return f"--weights names {len(now)} sets of weights and named {len(was)}"
    others = [name for name, one, other in zip(names, was, now, strict=True) if one != other]
    return f"the weights of --weights {', '.join(others)} have changed"


def _space(stored: Settings, asked: Settings) -> str:
    was, now = stored.get("space") or {}, asked["space"]
    stages = [{stage["name"]: stage for stage in space.get("stages", ())} for space in (was, now)]
    parts = _parts({**was, **stages[0]}, {**now, **stages[1]}, without=("stages",))
    file = asked.get("space_file") or stored.get("space_file")
    return f"the search space is another{f', of --space {file}' if file else ''} ({'; '.join(parts)})"


_CONTENTS: dict[str, Callable[[Settings, Settings], str]] = {
    "weights_sha256": _weights,
    "space": _space,
    "table_sha256": lambda stored, asked: "the content of the file of --table has changed",
}
_HASHED = {
    "network": "--network is another network, or for other pixels",
    "weights": "--weights holds other weights",
}
_PLAIN = {"classes": "the classes of the images are", "unit": "the budget's unit is"}
_OR_DATA = ", --data or another version of this program"
_NESTED = {
    "recipe": f"trainings are other ones, by --epochs, --augment, --class-weights{_OR_DATA}",
    "finetune": f"fine-tunings are other ones, by --epochs{_OR_DATA}",
    "frozen": "--accuracy frozen judges by other images or weights",
    "shared": "--accuracy shared judges by another shared network",
    "device": "latency is of another device or setting",
}


def _parts(was: Settings, now: Settings, where: str = "", without: tuple[str, ...] = ()) -> list[str]:
    """The parts of two nested settings that differ, the first by name."""
    found: list[str] = []
    for name in (*now, *(name for name in was if name not in now)):
        one, other = was.get(name), now.get(name)
        if one == other or name in without:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _parts(one, other, f"{where}{name}.")
        elif name == "parents":
            found.append("other weights")
        else:
            found.append(f"{where}{name} is {_value(other)} and was {_value(one)}")
    return found if where or len(found) <= _NAMED else [*found[:_NAMED], f"{len(found) - _NAMED} more"]


def _value(value: object) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list | tuple):
        return ",".join(f"{one}" for one in value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
