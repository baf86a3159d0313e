"""Help texts: one flag reads the same in all commands, and is short; what decides about images is in all of them."""

from __future__ import annotations

import argparse
from collections import defaultdict
from functools import cache

import pytest

from tests import commands

SHARED = ("--data", "--split-folders", "--label-column", "--ema", "--augment", "--class-weights")
OF_IMAGES = {"--split-folders", "--label-column", "--augment", "--class-weights"}


@cache
def flags_of() -> dict[str, dict[str, argparse.Action]]:
    """By command and sub-command: its flags."""
    return {
        f"{name} {sub}".strip(): {flag: action for action in cli._actions for flag in action.option_strings}
        for name in commands.names()
        if name != "scaling.efficientdet"  # its data has boxes
        for sub, cli in commands.parsers(name)
    }


@pytest.mark.parametrize("flag", SHARED)
def test_a_flag_of_several_commands_reads_the_same_in_all(flag: str) -> None:
    texts: dict[tuple[str, object], list[str]] = defaultdict(list)
    for command, flags in flags_of().items():
        if action := flags.get(flag):
            help = (action.help or "").replace("%(default)s", str(action.default)).replace("SOURCE", "--data")
            texts[help, action.metavar].append(command)
    assert len(texts) == 1, dict(texts)
    assert sum(map(len, texts.values())) > 1
    assert all(len(help) <= 480 for help, _ in texts)


def test_every_command_that_trains_on_data_takes_what_decides_about_images() -> None:
    trains = {command: flags for command, flags in flags_of().items() if "--data" in flags}
    assert len(trains) == 7, list(trains)
    assert not {command: missing for command, flags in trains.items() if (missing := OF_IMAGES - flags.keys())}


def test_every_command_that_reads_files_of_weights_chooses_among_those_in_a_file() -> None:
    reads = {
        command: flags
        for command, flags in flags_of().items()
        if "--weights" in flags and flags["--weights"].nargs != 0
    }
    assert len(reads) >= 6, list(reads)
    assert not [command for command, flags in reads.items() if not {"--ema", "--no-ema"} <= flags.keys()]
