"""What a training's folder was begun with: job.json. Other flags, images or another network are refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.efficientdet.examples import DetectionData
from search.data.contents import keep_contents, told_changes
from searchspace.errors import StudyMismatch
from searchspace.files import content_of, read_json, write_json

JOB = "job.json"
IMAGES, NETWORK = "images", "network"  # fingerprints, beside the flags


def check_flags(folder: Path, flags: Mapping[str, Any]) -> None:
    """Raises StudyMismatch where the folder is of other flags, StorageError where job.json is damaged."""
    path = folder / JOB
    if not path.exists():
        return
    with content_of(path):
        stored = dict(read_json(path))
        differs = [name for name, value in flags.items() if stored[name] != value]
    if differs:
        told = ", ".join(f"--{name.replace('_', '-')} {stored[name]} (now {flags[name]})" for name in differs)
        raise StudyMismatch(f"{folder} was begun with {told}: give the same again, or another --out")


def check_content(folder: Path, network: str, data: DetectionData) -> None:
    """Raises StudyMismatch where images, boxes or the file of a network changed since the folder was begun."""
    path = folder / JOB
    if not path.exists():
        return
    with content_of(path):
        stored = dict(read_json(path))
    if stored.get(NETWORK, network) != network:
        raise StudyMismatch(
            f"{folder} was begun with another network in the file of --backbone or --detector: give the same again, or "
            "another --out"
        )
    if stored.get(IMAGES, data.fingerprint) != data.fingerprint:
        told = told_changes(folder, data.contents) or "images or boxes changed"
        raise StudyMismatch(
            f"{folder} was begun with other images in {data.name} ({told}): give the same again, or another --out"
        )


def bind(folder: Path, flags: Mapping[str, Any], network: str, data: DetectionData) -> None:
    """Write what the folder is begun with. Raises StorageError."""
    keep_contents(folder, data.contents, None)
    write_json(folder / JOB, {**flags, NETWORK: network, IMAGES: data.fingerprint})
