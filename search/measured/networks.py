"""A CSV of measured networks: one row each, with its choices, its accuracy and its costs."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from searchspace.blocks.protocol import Value
from searchspace.errors import InvalidChoice, InvalidTable, StorageError
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spaces.stage import StageChoices

Floats = NDArray[np.float64]

_MOST = 1e9  # ms or images/s: what is beyond is a mistake
FEWEST = 20  # networks that a fit can begin with
_ACCEL = re.compile(r"block(\d+)_(e|k|l|se)")
_ACCEL_KINDS = {"e": "expand_ratio", "k": "kernel", "l": "layers", "se": "se"}
_ACCEL_WIDTHS = (16, 24, 40, 80, 112, 192, 320)
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")
_ACCEL_STRIDES = (1, 2, 2, 2, 1, 2, 1)


@dataclass(frozen=True, eq=False)
class MeasuredNetworks:
    """Networks of one space and what was measured of each.

    Attributes:
        path: The file.
        space: The smallest one that holds every row.
        choices: Of each network, each network once.
        columns: Every numeric column that is no choice, a value for each network; NaN where it was not measured.
            Networks that were measured more than once have the mean.
        disagreeing: Of columns whose rows of one network are too far apart for a mean, what is wrong.
        notes: What a person should know of the file.
        digest: SHA-256 of the file.
    """

    path: Path
    space: SearchSpace
    choices: tuple[Choices, ...]
    columns: dict[str, Floats] = field(repr=False)
    disagreeing: dict[str, str] = field(repr=False)
    notes: tuple[str, ...]
    digest: str

    def column(self, name: str) -> Floats:
        """One column. Raises InvalidTable, with the names there are, for another, and where rows disagree."""
        if name not in self.columns:
            near = get_close_matches(name, self.columns, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InvalidTable(
                f"{self.path} has no column of numbers {name!r}; {hint}it has {', '.join(self.columns) or 'none'}"
            )
        if name in self.disagreeing:
            raise InvalidTable(f"{self.path}: {self.disagreeing[name]}")
        return self.columns[name]

    def accuracy(self, name: str) -> Floats:
        """An accuracy column as fractions: percent is told by values above 1. Raises InvalidTable out of 0 to 100 %."""
        values = self.column(name)
        scaled = values / 100 if np.nanmax(values, initial=0.0) > 1 else values
        self._check(name, values, (scaled >= 0) & (scaled <= 1), "an accuracy from 0 to 1, or from 0 to 100 %")
        return scaled

    def latency_ms(self, name: str) -> Floats:
        """A cost column in ms: of one image; for a column called throughput..., in images a second, 1000 / value."""
        values = self.column(name)
        self._check(name, values, (values >= 1 / _MOST) & (values <= _MOST), f"above 0, and {_MOST:g} at most")
        return 1000 / values if name.startswith("throughput") else values

    def _check(self, name: str, values: Floats, holds: NDArray[np.bool_], rule: str) -> None:
        wrong = np.flatnonzero(~(holds | np.isnan(values)))
        if len(wrong):
            raise InvalidTable(
                f"{self.path}: {name} must be {rule}, got {values[wrong[0]]:g} for the network "
                f"{_text(self.choices[wrong[0]])}: mend the row or take it out"
            )
        known = int((~np.isnan(values)).sum())
        if known < FEWEST:
            raise InvalidTable(
                f"{self.path}: a search needs {name} of at least {FEWEST} networks, got {known}: measure more of them"
            )
        if np.nanmax(values) == np.nanmin(values):
            raise InvalidTable(
                f"{self.path}: {name} must differ among networks to learn from, all have {np.nanmax(values):g}: take "
                "another column"
            )


def read_measured(path: Path | str) -> MeasuredNetworks:
    """The networks in a CSV file.

    Columns named as the choices of the default space (`stage3.kernel`) are choices, and so are those of Accel-NASBench
    (`block2_e`, `_k`, `_l`, `_se`: arXiv:2404.08005), whose space is EfficientNet-B0's with its widths. Every other
    column of numbers is a measurement. An empty cell was not measured. Raises StorageError for a file that cannot be
    read, InvalidTable for one that is no table of networks.
    """
    path = Path(path)
    frame, digest = _frame(path)
    found = _choice_columns(path, list(frame.columns))
    _check_choices_present(path, frame, found)
    try:
        space = _space(frame, found)
    except InvalidChoice as error:
        raise InvalidTable(
            f"{path} has a network that no space can have: {error}; mend the row or take it out"
        ) from None
    groups: dict[tuple[tuple[str, Value], ...], list[int]] = defaultdict(list)
    for row, choices in enumerate(_choices(frame, found, space)):
        groups[tuple(choices.items())].append(row)
    columns = {
        name: frame[name].to_numpy(np.float64)
        for name in frame.columns
        if name not in found and name != "id" and pd.api.types.is_numeric_dtype(frame[name])
    }
    _check_finite(path, columns)
    rows = list(groups.values())
    merged = {name: np.array([_mean(values[lines]) for lines in rows]) for name, values in columns.items()}
    disagreeing = {name: wrong for name, values in columns.items() if (wrong := _disagreement(name, values, rows))}
    twice = sum(len(each) - 1 for each in rows)
    notes = (f"{twice} rows are of networks that stand in another row too: their means count",) if twice else ()
    return MeasuredNetworks(path, space, tuple(map(dict, groups)), merged, disagreeing, notes, digest)


def _frame(path: Path) -> tuple[pd.DataFrame, str]:
    try:
        digest = sha256(path.read_bytes()).hexdigest()
        header = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True, header=None, nrows=1, dtype=str)
        frame = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True)
    except OSError as error:
        raise StorageError(f"cannot read the table {path}: {error.strerror or error}; look at the path") from None
    except (ValueError, pd.errors.ParserError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidTable(f"a table of measured networks must be a CSV file with a header, {path}: {reason}") from None
    names = [str(name).strip() for name in header.iloc[0]]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1 and name != "nan"]:
        raise InvalidTable(f"{path} has two columns called {twice[0]!r}: rename one or take it out")
    frame.columns = frame.columns.str.strip()
    if frame.empty:
        raise InvalidTable(f"{path} has no rows: give a CSV with one measured network a row")
    return frame, digest


def _choice_columns(path: Path, names: list[str]) -> dict[str, str]:
    """{column: choice of the space}."""
    accel = {name: match for name in names if (match := _ACCEL.fullmatch(name))}
    if accel:
        wanted = [f"block{stage}_{kind}" for stage in range(len(_ACCEL_WIDTHS)) for kind in _ACCEL_KINDS]
        found = {name: f"stage{int(match[1]) + 1}.{_ACCEL_KINDS[match[2]]}" for name, match in accel.items()}
    else:
        known = mnasnet_space().parameters()
        wanted = [name for name, values in known.items() if len(values) > 1]
        found = {name: name for name in names if name in known}
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if accel and name not in wanted]
    if missing or extra:
        what = f"lacks {', '.join(missing[:4])}" if missing else f"has {', '.join(extra[:4])} beside them"
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise InvalidTable(
            f"a table of measured networks needs a column for every choice, {wanted[0]} to {wanted[-1]}; {path} "
            f"{what}{more}. Its columns: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        )
    return found


def _check_choices_present(path: Path, frame: pd.DataFrame, found: dict[str, str]) -> None:
    """A stage of 0 layers is absent, and its other choices may be empty."""
    layers = {choice.partition(".")[0]: column for column, choice in found.items() if choice.endswith(".layers")}
    for column, choice in found.items():
        is_empty = frame[column].isna() & (frame[layers[choice.partition(".")[0]]] != 0)
        if is_empty.any():
            line = int(np.flatnonzero(is_empty)[0]) + 2
            raise InvalidTable(f"{path}, line {line}: {column} is empty; a network needs the choices of all its stages")


def _check_finite(path: Path, columns: dict[str, Floats]) -> None:
    for name, values in columns.items():
        if np.isinf(values).any():
            line = int(np.flatnonzero(np.isinf(values))[0]) + 2
            raise InvalidTable(
                f"{path}, line {line}: {name} must be a finite number, or empty where it was not measured"
            )


def _space(frame: pd.DataFrame, found: dict[str, str]) -> SearchSpace:
    """The space with the values that the rows have."""
    seen = {
        choice: sorted(
            {_value(choice, cell) for cell in frame[name].dropna()}, key=lambda value: (str(type(value)), value)
        )
        for name, choice in found.items()
    }
    if not any(_ACCEL.fullmatch(name) for name in found):
        space = mnasnet_space()
        return space.with_choices({choice: tuple(values) for choice, values in seen.items()})
    stages = tuple(
        StageChoices(
            name=f"stage{number}",
            base_width=width,
            stride=stride,
            activation=("swish",),
            width_mult=(1.0,),
        )
        for number, (width, stride) in enumerate(zip(_ACCEL_WIDTHS, _ACCEL_STRIDES, strict=True), 1)
    )
    space = SearchSpace(name="accel_nasbench", stages=stages)
    return space.with_choices({choice: tuple(values) for choice, values in seen.items()})


def _choices(frame: pd.DataFrame, found: dict[str, str], space: SearchSpace) -> Iterator[Choices]:
    cells = {choice: [_value(choice, value) for value in frame[name]] for name, choice in found.items()}
    for row in range(len(frame)):
        yield space.canonical({choice: values[row] for choice, values in cells.items()})


def _value(choice: str, cell: Any) -> Value:
    """A cell as the space writes it: SE as a truth value, whole numbers as such. The space checks all else."""
    value: Value = cell.item() if isinstance(cell, np.generic) else cell
    if choice.endswith(".se"):
        text = str(value).lower()
        return text in _YES if text in (*_YES, *_NO) else value
    return int(value) if isinstance(value, float) and value.is_integer() and "width" not in choice else value


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _disagreement(name: str, values: Floats, rows: list[list[int]]) -> str:
    """What is wrong where rows of one network are further apart than networks usually are; nothing elsewhere."""
    with np.errstate(over="ignore"):  # values of 1e308 are refused where their column is read
        spread = float(np.nanstd(values)) if not np.isnan(values).all() else 0.0
    for lines in rows:
        if len(lines) > 1 and np.nanmax(values[lines]) - np.nanmin(values[lines]) > spread > 0:
            found, at = values[lines], " and ".join(str(line + 2) for line in lines)
            return (
                f"lines {at} are of one network and disagree: {name} is {np.nanmin(found):g} and {np.nanmax(found):g}, "
                f"further apart than networks usually are ({spread:.3g}). Keep the right one"
            )
    return ""


def _text(choices: Choices) -> str:
    return ", ".join(f"{name} {value}" for name, value in list(choices.items())[:4]) + ", ..."
