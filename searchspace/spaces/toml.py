"""A search space from a TOML file: the default one with other values for some choices."""

import tomllib
from pathlib import Path
from typing import Any

from searchspace.errors import InvalidChoice
from searchspace.files import storage_error
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import RESOLUTION, SearchSpace


def space_from_toml(path: Path, *, classes: int, resolution: int | tuple[int, ...]) -> SearchSpace:
    """The default space with the values that a TOML file gives in its table [choices], at one or several input sizes.

    Example: `"*.activation" = ["relu", "swish"]` and `"stage3.kernel" = [3, 5]`. Raises InvalidChoice for
    anything else in the file, StorageError if it cannot be read.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        repr(data)  # what is nested too deep to be told later is told here
    except OSError as error:
        raise storage_error("read the search space", path, error) from None
    except (ValueError, RecursionError) as error:  # of a number of 5000 digits, too
        raise InvalidChoice(
            f"{path} must be a TOML file and is not ({error}): mend it there, or name another"
        ) from None
    unknown = set(data) - {"choices"}
    if unknown or not isinstance(data.get("choices"), dict):
        raise InvalidChoice(
            f'{path} must have one table, [choices], with keys such as "stage3.kernel" or "*.se"; '
            f"got {sorted(data) or 'an empty file'}: write it so"
        )
    flat = _flatten(data["choices"], path)
    if RESOLUTION in flat:
        raise InvalidChoice(
            f"{path} must leave {RESOLUTION} out, got {flat[RESOLUTION]!r}: input sizes are given by the flag, as in "
            "--resolution 160,192,224"
        )
    return mnasnet_space(classes=classes, resolution=resolution).with_choices(flat)


def _flatten(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """Bare dotted TOML keys (stage3.kernel = ...) nest; quoted ones do not. Both mean the same here."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        nested = [(f"{key}.{kind}", values) for kind, values in value.items()] if isinstance(value, dict) else None
        for name, values in [(key, value)] if nested is None else nested:
            if name in flat:
                raise InvalidChoice(f"{path} gives {name!r} twice, quoted and bare: leave one out")
            flat[name] = values
    return flat
