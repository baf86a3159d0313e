"""Help texts: one flag reads the same in all commands, and is short."""

from collections import defaultdict
from importlib import import_module

import pytest

SHARED = ("--data", "--split-folders", "--label-column", "--ema", "--augment", "--class-weights")
COMMANDS = (
    "search.run",
    "search.finetune",
    "search.netadapt.__main__",
    "search.shared",
    "search.validate",
    "scaling.compound",
    "searchspace.export",
    "searchspace.convert",
)


@pytest.mark.parametrize("flag", SHARED)
def test_a_flag_of_several_commands_reads_the_same_in_all(flag: str) -> None:
    texts: dict[tuple[str, object], list[str]] = defaultdict(list)
    for command in COMMANDS:
        for action in import_module(command).parser()._actions:
            if flag in action.option_strings:
                help = (action.help or "").replace("%(default)s", str(action.default))
                texts[help, action.metavar].append(command)
    assert len(texts) == 1, dict(texts)
    assert sum(map(len, texts.values())) > 1
    assert all(len(help) <= 480 for help, _ in texts)
