"""Which column of a table holds the images and which the labels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from search.data.readers.names import flagged_part, same_name
from search.data.source import printable, some
from searchspace.errors import InvalidArgument, InvalidData

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category", "class_name", "label_name", "class_id")
_SPLIT_COLUMNS = frozenset(
    {"split", "set", "subset", "dataset", "partition", "fold", "kfold", "usage", "phase", "part"}
)
_COUNTERS = re.compile(r"__index_level_\d+__|unnamed: \d+|index|id", re.IGNORECASE)
_IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes")


class Columns(NamedTuple):
    """The names of two columns, a ClassLabel's names, sentences for a person, all columns of plain values."""

    image: str
    label: str
    names: tuple[str, ...] | None
    notes: tuple[str, ...]
    plain: tuple[str, ...] = ()


def find_columns(features: Mapping[str, Any], *, where: str, wanted: str | None = None) -> Columns:
    """The image and the label column of a table of `datasets`; `wanted`: --label-column.

    Raises InvalidData naming what there is, InvalidArgument for a wanted column that is not there or holds no labels.
    """
    import datasets

    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    encoded = [name for name, kind in features.items() if name not in images and _is_bytes(kind)]
    images += of_names(_IMAGE_COLUMNS, encoded) or (encoded if len(encoded) == 1 else [])
    classed = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [name for name, kind in features.items() if _is_plain(kind) and name not in images]
    floating = [name for name, kind in features.items() if str(getattr(kind, "dtype", "")).startswith("float")]
    got = [
        f"{printable(name)} ({getattr(kind, 'dtype', None) or type(kind).__name__})" for name, kind in features.items()
    ]
    if not images:
        raise InvalidData(
            f"{where} must have a column of encoded images (named image or img), {_got(got)}: rename or add it, or "
            "give a .csv of paths and labels"
        )
    if wanted is not None:
        check_wanted(wanted, [*classed, *plain, *floating], where=where)
        labels = [wanted]
    else:
        usual = without_counters([name for name in plain if not is_split_column(name)] or plain)
        labels = of_names(LABEL_COLUMNS, classed)
        labels += [name for name in classed if not is_split_column(name)]
        labels += of_names(LABEL_COLUMNS, [*plain, *floating]) or (usual if len(usual) == 1 else [])
    if not labels:
        raise InvalidData(
            f"{where} must have a column of whole numbers or names that are the labels (named label), {_got(got)}: "
            "say which one with --label-column NAME, or rename or add it"
        )
    image = [*of_names(_IMAGE_COLUMNS, images), *images][0]
    others = sorted({*images, *labels, *of_names(LABEL_COLUMNS, plain)} - {image, labels[0]})
    unusual = labels[0] not in (*of_names(LABEL_COLUMNS, labels), *classed) or not of_names(_IMAGE_COLUMNS, [image])
    left = f"; left out: {printable(some(others))}" if others else ""
    notes = (printable(f"images from the column {image}, labels from {labels[0]}") + left,) if others or unusual else ()
    names = getattr(features[labels[0]], "names", None)
    return Columns(image, labels[0], tuple(names) if names else None, notes, tuple(plain))


def is_split_column(name: str) -> bool:
    """Whether a column of this name may say which split a row belongs to."""
    return same_name(name).replace(" ", "") in _SPLIT_COLUMNS or flagged_part(name) is not None


def of_names(wanted: Sequence[str], columns: Iterable[str]) -> list[str]:
    """The columns of the wanted names, in the order of those, whatever their case."""
    by_lower = {name.lower(): name for name in reversed(list(columns))}
    return [by_lower[name] for name in wanted if name in by_lower]


def without_counters(columns: Sequence[str]) -> list[str]:
    """The columns but those that pandas and spreadsheets number rows by, where any other is left."""
    return [name for name in columns if not _COUNTERS.fullmatch(name)] or list(columns)


def check_wanted(wanted: str, columns: Sequence[str], *, where: str) -> None:
    """Raises InvalidArgument where --label-column is none of the columns that can be labels."""
    if wanted not in columns:
        raise InvalidArgument(
            f"--label-column must be a column of whole numbers or names, got {wanted!r}; {where} has "
            f"{printable(some(list(columns), limit=8)) or 'none'}: name one of those"
        )


def ordered(found: set[str], names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Classes in the order of a ClassLabel's `names`, of numbers, or of the alphabet."""
    if names is not None:
        return tuple(name for name in names if name in found)
    if all(re.fullmatch(r"-?\d+", name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _got(columns: Sequence[str]) -> str:
    if not columns:
        return "got no columns"
    count = f"{len(columns)} columns, " if len(columns) > 8 else ""
    return f"got {count}{some(columns, limit=8)}"


def _is_bytes(kind: Any) -> bool:
    cell = kind.get("bytes") if isinstance(kind, dict) else kind
    return getattr(cell, "dtype", None) in ("binary", "large_binary")


def _is_plain(kind: Any) -> bool:
    dtype = str(getattr(kind, "dtype", ""))
    is_class = type(kind).__name__ == "ClassLabel"
    return not is_class and (dtype in ("string", "large_string", "bool") or dtype.lstrip("u").startswith("int"))
