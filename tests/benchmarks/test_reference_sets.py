"""The reference sets that are kept here are of today's search space, and each file says what it holds."""

from pathlib import Path

import pytest

from search.validation.files import ReferenceFiles
from search.validation.scores import spec_of
from search.validation.settings import BAND, Settings

SETS = sorted(path for path in (Path(__file__).parent / "reference").glob("*.csv") if ".scores" not in path.name)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_kept_reference_set_is_whole(path: Path) -> None:
    files = ReferenceFiles.named(path)
    about = files.about()
    settings = Settings(**{name: value for name, value in about["settings"].items() if value is not None})
    space = settings.search_space(classes=len(about["classes"]))
    rows = list(files.trained())
    assert len({(row.fingerprint, row.seed) for row in rows}) == len(rows)
    for row in rows:
        assert spec_of(row, space).resolution == settings.resolution
        assert BAND[0] <= row.price / settings.budget <= BAND[1]
    known = {row.fingerprint for row in rows}
    assert {score.fingerprint for score in files.scores()} <= known
