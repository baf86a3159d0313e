"""The table of tests/scripted_runtime's small space on its steady machine, built once."""

import shutil
from pathlib import Path

import pytest

from search.latency.build import table_for
from searchspace.latency.table import LatencyTable
from tests.scripted_runtime import SPACE, ScriptedRuntime


@pytest.fixture(scope="session")
def scripted_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds it, and in the file `calls` how many calls were timed."""
    folder, machine = tmp_path_factory.mktemp("scripted"), ScriptedRuntime()
    table_for(SPACE, cache_dir=folder, runtime=machine)
    (folder / "calls").write_text(str(machine.calls))
    return folder


@pytest.fixture
def built(scripted_cache: Path, tmp_path: Path) -> LatencyTable:
    """It, and a cache folder of its own in `tmp_path`."""
    shutil.copytree(scripted_cache, tmp_path, dirs_exist_ok=True)
    return table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
