"""What a network is and costs needs no torch, and no command makes a person wait for its help."""

import json
import pkgutil
import resource
import subprocess
import sys
from typing import Any

import pytest

import searchspace
from tests import commands

HEAVY = ("torch", "optuna", "pandas", "numpy", "sklearn", "datasets", "PIL", "fvcore")
COMMANDS = commands.names()
# The aim is 0.3 s on a quiet machine (python -m tests.benchmarks.core_speed measures it); a busy one gets more.
LONGEST_HELP_S = 1.0

_HELP = """
import io, json, runpy, sys, contextlib
command, heavy = json.loads(sys.argv[1])
sys.argv = [command, "--help"]
out, code = io.StringIO(), None
try:
    with contextlib.redirect_stdout(out):
        runpy.run_module(command, run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "help": out.getvalue(), "imported": sorted(set(heavy) & set(sys.modules))}))
"""
_IMPORT = """
import importlib, json, sys
names, heavy = json.loads(sys.argv[1])
for name in names:
    importlib.import_module(name)
    print(json.dumps([name, sorted(set(heavy) & set(sys.modules))]))
"""


def run(script: str, *argument: object) -> list[Any]:
    """The JSON lines that `script` prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(argument)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_searchspace_outside_nn_imports_no_torch_optuna_pandas_or_numpy() -> None:
    names = ["searchspace"] + [
        module.name
        for module in pkgutil.walk_packages(searchspace.__path__, "searchspace.")
        if not module.name.startswith("searchspace.nn")
    ]
    assert {"searchspace.graph", "searchspace.spaces.mnasnet", "searchspace.zoo.efficientnet"} <= set(names)
    imported = run(_IMPORT, names, HEAVY)
    assert imported == [[name, []] for name in names]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_imports_no_torch(command: str) -> None:
    (result,) = run(_HELP, command, HEAVY)
    assert result["code"] == 0
    assert result["help"].startswith(f"usage: python -m {command} ")
    assert result["imported"] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_answers_at_once(command: str) -> None:
    fastest = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)  # what the machine does beside it takes no CPU time of it
        subprocess.run([sys.executable, "-m", command, "--help"], capture_output=True, check=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        fastest = min(fastest, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if fastest < LONGEST_HELP_S:
            return
    pytest.fail(f"python -m {command} --help took {fastest:.2f} CPU s at best, more than {LONGEST_HELP_S} s")
