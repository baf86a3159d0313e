"""Every command with every flag given nonsense: exit code 2 and one line that names the flag or the value.

The flags are read off the parsers, so that a new one is tried too. Each command is given what ends it at once where
the flag is accepted: nothing is measured or trained here.
"""

from __future__ import annotations

import argparse
import signal
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from search.latency import flags
from searchspace.command import word
from searchspace.spec import write_spec
from tests.fuzz.subjects import SPEC, table

ABSENT = "absent/photos"  # images that are not there
NUMBERS = (
    "",
    " ",
    "abc",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1,5",
    "0x10",
    "-1",
    "-3.5",
    "9" * 30,
    "9" * 400,
    "None",
    "--",
)
LOOKED_AT_LATER = ("-1", "-3.5", "9" * 30)  # numbers all the same: what ends the command may be told first
FILES = ("", "absent/file", "FOLDER", "/dev/null", "/proc/self/mem", "x" * 5000, "binary", "\udcff")
WORDS = ("", " ", "abc", "no such name", "../..", "x" * 300, "FOLDER", "\udcff", "a\nb", "{}", "--", "/dev/null")
# Each command: the module, the sub-command, and flags that end it with an error of another kind than a wrong flag's.
COMMANDS: list[tuple[str, str, tuple[str, ...]]] = [
    ("studies.__main__", "", ("no-such-study",)),
    ("searchspace.zoo.__main__", "", ("no_such_network",)),
    ("searchspace.export", "", ("SPEC", "--weights", "absent.safetensors")),
    ("searchspace.convert", "", ("SPEC", "--weights", "absent.safetensors", "--out", "o.pth")),
    (
        "search.run",
        "",
        ("--budget-ms", "20", "--data", ABSENT, "--weights", "none", "--minutes", "-1"),
    ),  # looked at last
    ("search.finetune", "", ("--data", ABSENT, "--weights", "none")),
    ("search.shared", "", ("--study", "s", "--images", "10", "--data", ABSENT, "--weights", "none")),
    ("search.netadapt.__main__", "", ("--network", "SPEC", "--budget-macs", "1", "--data", ABSENT)),
    *(
        ("search.latency.__main__", name, (*more, "--runtime", "abacus"))
        for name, more in (
            ("build", ()),
            ("check", ()),
        )
    ),
    ("search.latency.__main__", "export", ("--folder", "TABLE", "--networks", "1")),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a network, a table and a file of no kind."""
    here = tmp_path / "a" / "b" / "c"  # what is above it is empty: ../.. of pytest's own holds images of other tests
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PHINAS_STUDIES", str(here / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(here / "cache"))
    write_spec(here / "spec.json", SPEC)
    (here / "table.json").write_text(table().to_json())
    (here / "binary").write_bytes(bytes(range(256)))
    (here / "folder").mkdir()
    return here


@pytest.fixture(autouse=True)
def _at_most_a_minute() -> Iterator[None]:
    """A flag that is accepted must not begin hours of work."""

    def stop(*_: Any) -> None:
        raise TimeoutError("the command went to work")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _parser(module: str, command: str) -> Any:
    """The parser of a command."""
    if not command:
        return import_module(module).parser()
    runs: Any = defaultdict(lambda: str)
    cli = flags.parser(runs) if module.startswith("search.latency") else import_module(module).parser()
    (group,) = (each for each in cli._actions if isinstance(each, argparse._SubParsersAction))
    return group.choices[command]


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.type in (None, str, word):
        return WORDS
    if action.type is Path:
        return FILES
    return NUMBERS


def _filled(argument: str, place: Path) -> str:
    return {"SPEC": str(place / "spec.json"), "TABLE": str(place / "table.json"), "FOLDER": str(place / "folder")}.get(
        argument, argument
    )


def _without(argv: list[str], flag: str) -> list[str]:
    """The command line without what it gives for a flag."""
    if flag not in argv:
        return argv
    at = argv.index(flag)
    return argv[:at] + argv[at + 2 :]


@pytest.mark.parametrize(("module", "command", "base"), COMMANDS, ids=lambda value: str(value).replace("/", "."))
def test_nonsense_is_refused_in_one_line(
    module: str, command: str, base: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _try(module, command, base, place, capsys, only=())


@pytest.mark.slow
def test_nonsense_that_a_search_meets_with_its_study_open_is_refused_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--budget-ms", "20", "--data", ABSENT, "--weights", "none")
    _try("search.run", "", base, place, capsys, only=("--data", "--space", "--study", "--weights", "--latency"))


def _try(
    module: str,
    command: str,
    base: tuple[str, ...],
    place: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    only: tuple[str, ...],
) -> None:
    main, usual = import_module(module).main, [_filled(each, place) for each in base]
    wrong: list[str] = []
    for action in _parser(module, command)._actions:
        if action.dest == "help" or action.nargs == 0:
            continue
        flag = action.option_strings[0] if action.option_strings else ""
        if only and flag not in only:
            continue
        rest = _without(usual, flag) if flag else usual[1:]
        for value in _values(action):
            if value == "--" and not flag:
                continue  # the end of the flags, by the rules of every command line
            given = _filled(value, place)
            argv = [*([command] if command else []), *([*rest, f"{flag}={given}"] if flag else [given, *rest])]
            try:
                code = main(argv)
            except Exception as error:
                wrong.append(f"{flag or action.dest} {value!r:.40}: {type(error).__name__}: {error!s:.200}")
                continue
            said = capsys.readouterr()
            named = action.type in (None, str, word, Path) or not flag or flag in said.err or value in LOOKED_AT_LATER
            if code != 2 or not named or len(said.err.strip().splitlines()) != 1 or "error: " not in said.err:
                wrong.append(f"{flag or action.dest} {value!r:.40}: {code}, {said.err!r:.300} {said.out!r:.80}")
    assert not wrong, "\n".join(wrong)
