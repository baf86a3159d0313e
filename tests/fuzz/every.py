"""All kinds of files that the program reads; of those with a checksum also as versions before wrote them, without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from searchspace.strict_json import CHECKSUM
from tests.fuzz.law import Subject


def subjects(*, torch: bool = True) -> list[Subject]:
    """Every kind; without those whose readers need torch on demand."""
    from tests.fuzz import images
    from tests.fuzz import subjects as others

    found = [*others.SUBJECTS, *images.SUBJECTS]
    if torch:
        from tests.fuzz import boxes, detectors, jobs, networks

        found += [each for module in (networks, jobs, boxes, detectors) for each in module.SUBJECTS]
    return found + [of_before(one) for one in found if one.form == "json" and one.sealed]


def of_before(subject: Subject) -> Subject:
    """Without the checksum: what is accepted may be another thing than what was written."""
    return replace(subject, name=f"{subject.name}, of before", make=_bare(subject.make), sealed=False)


def _bare(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        path = make(folder)
        content = json.loads(path.read_bytes())
        content.pop(CHECKSUM, None)
        path.write_text(json.dumps(content))
        return path

    return made
