"""Every command with every flag given nonsense: exit code 2 and one line with rule, value and next step.

Whether the rule is well put no test can tell: looked at are the value (or both of two flags that exclude each other),
and words of a next step.

Commands and flags are found in the program: one that is new is tried too, and a command without a line in BASES fails.
Nothing is measured or trained here: each command is given what ends it at once where the flag is accepted.
"""

from __future__ import annotations

import argparse
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from searchspace.command import CommandParser, word
from searchspace.errors import InvalidArgument
from searchspace.latency.table import Identity
from searchspace.spec import write_spec
from tests import commands
from tests.fuzz.subjects import SPEC, table

NUMBERS = ("abc", "nan", "inf", "-inf", "1e999", "1,5", "0x10", "-1", "-3.5", "9" * 12, "9" * 30, "9" * 400, "None")
FILES = ("absent/file", "FOLDER", "/dev/null", "x" * 5000, "BINARY", "\udcff")
WORDS = ("abc", "../..", "x" * 300, "FOLDER", "\udcff", "a\nb {}", "/dev/null")
EVERY = ("", " ", "--")  # whatever the type
# By command: flags that end it where nothing is wrong with another one, and a word of what it says then. One
# command is over in a moment, and says "".
BASES: dict[str, tuple[str, str]] = {
    "scaling.coefficients fit": ("--network SPEC --data ./nowhere --out o.json", "nowhere"),
    "scaling.compound": ("--network SPEC --epochs 1 --data ./nowhere --out o.json", "nowhere"),
    "scaling.efficientdet": ("--phi 0", ""),
    "scaling.efficientdet evaluate": ("--detector ./nowhere", "nowhere"),
    "scaling.efficientdet export": ("--detector ./nowhere --out o.onnx", "nowhere"),
    "scaling.efficientdet predict": ("BINARY --detector ./nowhere", "nowhere"),
    "scaling.efficientdet train": ("--data ./nowhere --weights none", "nowhere"),
    "search.data": ("./nowhere", "nowhere"),
    "search.finetune": ("--data ./nowhere --weights none", "nowhere"),
    "search.latency adapt": ("--latency TABLE --out o.json --space absent.toml", "absent.toml"),
    "search.latency build": ("--space absent.toml", "absent.toml"),
    "search.latency check": ("--space absent.toml", "absent.toml"),
    "search.latency export": ("--folder FOLDER --networks 1", "at least 4 networks"),
    "search.latency import": ("--folder FOLDER --device d --threads 1 --out o.json", "manifest.json"),
    "search.latency measure": ("--network mobilenet_v2 --device abacus", "abacus"),
    "search.latency predict": ("--network mobilenet_v2 --latency TABLE", "has no kernel"),
    "search.netadapt": ("--network TRAINED --budget-ms 20 --data ./nowhere", "nowhere"),
    "search.run": ("--budget-ms 20 --data ./nowhere --weights none", "nowhere"),
    "search.shared": ("--study s --images 10 --data ./nowhere --weights none", "nowhere"),
    "search.validate": ("--reference r.csv --budget-macs 1e6 --data ./nowhere --weights none", "nowhere"),
    "searchspace.convert": ("absent.pth --network SPEC --from timm --out o.pth", "absent.pth"),
    "searchspace.export": ("SPEC --weights absent.safetensors", "absent.safetensors"),
    "searchspace.zoo": ("mobilenet_v2", ""),
    "studies": ("no-such-study", "no-such-study"),
}
WRITTEN = ("absent/file", "BINARY", "\udcff")  # such a file can be made
# By flag, or command and flag: what is no nonsense after all.
MEANT: dict[str, tuple[str, ...]] = {
    "--label-column": WORDS,
    "--study": ("abc",),
    "--out": WRITTEN,
    "--cache-dir": ("absent/file", "FOLDER", "\udcff"),
    "scaling.efficientdet evaluate --data": WORDS,  # looked at once the detector is read
    "scaling.efficientdet predict ": ("BINARY",),
    "scaling.efficientdet predict --out": ("absent/file", "FOLDER", "\udcff"),
    "scaling.efficientdet train --out": ("absent/file", "FOLDER", "\udcff"),
    "search.latency export --folder": ("absent/file", "FOLDER", "\udcff"),
    "search.latency import --folder": ("FOLDER",),
    "search.latency import --runtime": WORDS,
    "search.latency import --device": WORDS,
    "--budget-ms": ("9" * 12, "9" * 30),
    "--budget-macs": ("9" * 12, "9" * 30),
    "--budget-params": ("9" * 12, "9" * 30),
    "--budgets": ("9" * 12, "9" * 30),
    "--max-flash-kb": ("9" * 12, "9" * 30),
    "--max-ram-kb": ("9" * 12, "9" * 30),
    "--band": ("9" * 12, "9" * 30),
    "--phi": ("1,5", "-1", "-3.5"),
}
NEXT_STEP = re.compile(
    r"\b(add|give|choose|use|name|leave|look|see|make|install|measure|restore|bring|mend|write|save|set|go to|"
    r"did you mean|python -m)\b",
    re.IGNORECASE,
)
COMMANDS = [f"{name} {sub}".strip() for name in commands.names() for sub, _ in commands.parsers(name)]


class Said(NamedTuple):
    """What a command came to."""

    code: int
    err: str


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a network, one that has weights, a table and a file of no kind."""
    from searchspace.nn import network_bytes, untrained

    here = tmp_path / "a" / "b" / "c"  # what is above it is empty: ../.. of pytest's own holds images of other tests
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PHINAS_STUDIES", str(here / "studies"))
    monkeypatch.setattr("search.data.readers.tables.hub_answers", lambda: False)
    monkeypatch.setenv("PHINAS_CACHE", str(here / "cache"))
    write_spec(here / "spec.json", SPEC)
    write_spec(here / "trained.json", SPEC)
    (here / "trained.safetensors").write_bytes(network_bytes(untrained(SPEC), {}))
    identity = Identity(**{**table().identity, "runtime": "eager torch"})
    (here / "table.json").write_text(replace(table(), identity=identity).to_json())
    (here / "binary").write_bytes(bytes(range(256)))
    (here / "folder").mkdir()
    return here


@pytest.fixture(autouse=True)
def _at_most_a_minute() -> Iterator[None]:
    """A flag that is accepted must not begin hours of work."""

    def stop(*_: Any) -> None:
        raise TimeoutError("the command went to work")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Command:
    """A command with its parser, made once."""

    def __init__(self, text: str, place: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        name, _, sub = text.partition(" ")
        self.text, self.sub, self.place, self.capsys = text, [sub] if sub else [], place, capsys
        self.module, owner = commands.module(name), commands.owner(name, sub)
        parser: CommandParser = owner.parser()
        patch.setattr(owner, "parser", lambda: parser)
        self.own = dict(commands.parsers(name))[sub]
        self.base = self.filled(BASES[text][0]).split()

    def filled(self, text: str) -> str:
        """With the files of `place`."""
        for name in ("SPEC", "TABLE", "TRAINED"):
            text = text.replace(name, str(self.place / f"{name.lower()}.json"))
        return text.replace("FOLDER", str(self.place / "folder")).replace("BINARY", str(self.place / "binary"))

    def argv(self, action: argparse.Action, value: str) -> list[str]:
        """The base with this value for one flag, or argument."""
        if not action.option_strings:
            return [*self.sub, value, *self.base[1:]]
        flag = action.option_strings[0]
        at = self.base.index(flag) if flag in self.base else len(self.base)
        return [*self.sub, *self.base[:at], *self.base[at + 2 :], f"{flag}={value}"]

    def refusal(self, argv: list[str]) -> str | None:
        """What the parser alone says."""
        try:
            self.own.parse_args(argv[len(self.sub) :])
        except InvalidArgument as error:
            return f"error: {error}"
        return None

    def run(self, argv: list[str]) -> Said:
        """The whole command."""
        code = self.module.main(argv)
        return Said(code, self.capsys.readouterr().err)


@pytest.fixture
def command(
    request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(request.param, place, monkeypatch, capsys)


def values(action: argparse.Action) -> tuple[str, ...]:
    """What to try: nothing for a switch."""
    if action.nargs == 0:
        return ()
    kinds: dict[Any, tuple[str, ...]] = {str: WORDS, word: WORDS, Path: FILES}
    return (*EVERY, *kinds.get(action.type, NUMBERS))


def shown(value: str) -> set[str]:
    """How a value may stand in a message, or the beginning of a long one."""
    plain = value.encode(errors="backslashreplace").decode()
    ways = (
        {plain, repr(value)[1:-1], " ".join(plain.split()), str(Path(value).resolve())}
        if value.strip()
        else {repr(value), "''"}
    )
    with suppress(ValueError):
        ways |= {f"{float(value):g}", f"{float(value):,.0f}"}
    return {way[:60] for way in ways}


def faults(text: str, value: str) -> str:
    """What a refusal lacks. Notes may stand before it; of flags that exclude each other it names both."""
    *notes, line = text.strip().splitlines()
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line.partition("; see ")[0]))
    lacks = {
        "one line": "error: " in line and "error: " not in "".join(notes),
        "a next step": NEXT_STEP.search(line),
        "the value": len(flags) > 1 or any(way in line for way in shown(value)),
    }
    return ", ".join(name for name, found in lacks.items() if not found)


def test_every_command_has_a_line_here() -> None:
    assert sorted(COMMANDS) == sorted(BASES)


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_nonsense_is_refused_with_rule_value_and_next_step(command: Command) -> None:
    usual = command.run([*command.sub, *command.base])
    said_then, wrong = BASES[command.text][1], list[str]()
    assert (usual.code, said_then in usual.err) == (2 if said_then else 0, True), usual
    if said_then:
        assert not faults(usual.err, said_then), usual
    for action in command.own._actions:
        flag = action.option_strings[0] if action.option_strings else ""
        meant = MEANT.get(f"{command.text} {flag}", MEANT.get(flag, ()))
        for value in values(action):
            if value == "--" and not flag:
                continue  # the end of the flags, by the rules of every command line
            given = command.filled(value)
            argv = command.argv(action, given)
            text = command.refusal(argv)
            said = command.run(argv) if text is None else Said(2, text)
            if value in meant and said in (usual, said._replace(code=0)):
                continue
            lacks = "another code" if said.code != 2 else "a refusal" if said == usual else faults(said.err, given)
            if lacks:
                wrong.append(f"{flag or action.dest} {value!r:.40} lacks {lacks}: {said.code}, {said.err!r:.400}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", COMMANDS, indirect=True)
def test_a_flag_that_is_unknown_or_has_no_value_or_one_too_many_is_refused(command: Command) -> None:
    named = [action for action in command.own._actions if action.option_strings and action.dest != "help"]
    needs = [action.option_strings[0] for action in named if action.nargs is None]
    switches = [flag for action in named if action.nargs == 0 for flag in action.option_strings]
    tried = [["--nonsense"], *([flag] for flag in needs), *([f"{flag}=abc"] for flag in switches)]
    told = {" ".join(one): command.refusal([*command.sub, *command.base, *one]) or "" for one in tried}
    assert not {one: text for one, text in told.items() if faults(text, one.partition("=")[0])}


# Flags that would do nothing, or undo each other.
TOGETHER = {
    "search.latency check --latency TABLE --cache-dir c": "--cache-dir says where this device's own table lies, got c",
    "search.latency measure --network SPEC --classes 10": "--classes is for networks of the zoo, got 10 and",
    "search.latency predict --network SPEC --latency TABLE --cache-dir c": "--cache-dir says where this device's own",
    "search.shared --study s --images 1 --minutes 1": "--minutes: not allowed with argument --images",
    "search.validate --reference r.csv --budget-macs 1e6 --minutes-each 1 --images-each 9": "got 1 and 9: leave",
    "search.validate --reference r.csv --budget-macs 1e6 --accuracy frozen --epochs 2": "got 2 and --accuracy frozen",
    "search.validate --reference r.csv --budget-macs 1e6 --accuracy frozen --prepare-minutes 2": "got 2 and --accuracy",
    "scaling.compound --network SPEC --seed 3": "--seed belongs to weights and their training, got --seed 3",
    "scaling.compound --preset b0 --seed 3": "goes without --seed, got --preset b0 and --seed 3: leave one",
    "studies --top 3": "--top is for the best trials of one study, got no NAME: leave",
    "studies s --top 3 --csv": "got --csv, which prints all: leave --top out",
    "studies --plot a.png": "--plot draws one study, got no NAME: give one",
}


@pytest.mark.parametrize("line", TOGETHER)
def test_flags_that_make_no_sense_together_are_refused(
    line: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *argv = line.replace("SPEC", "spec.json").replace("TABLE", "table.json").split()
    assert commands.module(name).main(argv) == 2
    text = capsys.readouterr().err
    assert TOGETHER[line] in text
    assert len(text.splitlines()) == 1
