"""The files that images were read from, by their content: a study keeps the listing, to say what changed since."""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from search.data.source import printable, some
from search.sources import parse_source
from searchspace.errors import StorageError
from searchspace.files import read_json, write_json

CONTENTS = "images.json"  # in a study's folder
Contents = Mapping[str, str]
"""The digest of each image's file by its name: its path within the source, or its row."""
_NAMED = 3


def keep_contents(folder: Path, contents: Contents, source: str | None) -> None:
    """Write a listing into a study's folder, and the full path of the source that has it; nothing for drawn images.

    A listing that is there stays, with the source's present place. Raises StorageError.
    """
    if not contents:
        return
    known = kept_contents(folder)
    if not known or kept_source(folder) != source:
        write_json(folder / CONTENTS, {"images": known or dict(contents), "source": source})


def kept_contents(folder: Path) -> dict[str, str]:
    """The listing in a study's folder; empty where there is none that can be read, as in studies of before."""
    found = _kept(folder).get("images")
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def kept_source(folder: Path) -> str | None:
    """Where the images of a study stood, by its listing; None where that is not known or is no place on this disk."""
    found = _kept(folder).get("source")
    return found if isinstance(found, str) and os.path.isabs(found) else None


def _kept(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / CONTENTS)
    except StorageError:
        return {}
    return found if isinstance(found, dict) else {}


def can_compare(folder: Path, data: str | None) -> bool:
    """Whether a study's listing and the files that it was made of are both there."""
    return is_there(data) and bool(kept_contents(folder))


def is_there(data: str | None) -> bool:
    """Whether a source of images is a file or folder that exists."""
    return data is not None and os.path.exists(os.path.expanduser(parse_source(data).place))


def told_changes(folder: Path, contents: Contents, skipped: Collection[str] = ()) -> str:
    """What changed since the listing in a study's folder was kept; "" where either is not known.

    skipped: Files that are there and cannot be used.
    """
    if not contents or not (known := kept_contents(folder)):
        return ""
    return changes(known, contents, skipped) or "no file is another, but they are split or labelled otherwise"


def changes(before: Contents, now: Contents, skipped: Collection[str] = ()) -> str:
    """What changed from one listing to another: how many files, and the first of them by name; "" for nothing."""
    if outer := _outer(now, before):
        return f"all stand within {printable(outer)}/ now: give that folder, or pack what is in it"
    if outer := _outer(before, now):
        return f"all stood within {printable(outer)}/ before: give or pack the folder that holds it"
    added, removed = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    gone: dict[str, list[str]] = defaultdict(list)
    for name in removed:
        gone[before[name]].append(name)
    renamed = {new: gone[now[new]].pop(0) for new in added if gone.get(now[new])}
    old = set(renamed.values())
    kinds = {
        "added": [name for name in added if name not in renamed],
        "removed": [name for name in removed if name not in old and printable(name) not in skipped],
        "no longer readable": [name for name in removed if name not in old and printable(name) in skipped],
        "changed": changed,
        "renamed": [f"{was} to {name}" for name, was in renamed.items()],
    }
    return "; ".join(
        f"{len(names)} {kind} ({some([printable(name) for name in names], limit=_NAMED)})"
        for kind, names in kinds.items()
        if names
    )


def _outer(within: Contents, bare: Contents) -> str:
    """The folder within which one listing has what the other has without it; "" where there is none."""
    first, name = min(within, default=""), min(bare, default="")
    folder = first.removesuffix(f"/{name}")
    return folder if folder != first and {f"{folder}/{name}": digest for name, digest in bare.items()} == within else ""
