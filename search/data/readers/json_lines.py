"""A table of one JSON object in each line, such as the metadata.jsonl that `datasets` writes beside images."""

import json
from pathlib import Path
from typing import Any

from search.data.readers.csv_table import Table, read_text
from searchspace.errors import InvalidData


def read_json_lines(path: Path) -> Table:
    """The table: a column for each key that some object has, in their order. Raises InvalidData."""
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            objects.append((number, _object(path, number, line)))
    if not objects:
        raise InvalidData(f"{path} must have a line for each image and is empty: write an object into each line")
    columns = list(dict.fromkeys(key for _, found in objects for key in found))
    return Table(columns, [(number, [_cell(found.get(name)) for name in columns]) for number, found in objects])


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{path} must hold JSON in each line, not so line {number} ({error}): mend it") from None
    if not isinstance(found, dict):
        raise InvalidData(
            f'{path} must hold an object in each line, as {{"file_name": "1.jpg", "label": "cat"}}, not so '
            f"line {number}: write it so"
        )
    return found


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
