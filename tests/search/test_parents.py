"""Which texts mean one file."""

from importlib import import_module
from pathlib import Path

import pytest

from search.parents import file_or_names


def test_only_one_file_is_a_path_the_rest_is_for_the_sources() -> None:
    texts = ["auto", "efficientnet_lite0", "tf_efficientnet_lite0.in1k=a.safetensors", "a.pth,b.pth", "", "x" * 5000]
    assert [file_or_names(text) for text in texts] == texts
    assert file_or_names("a.pth") == Path("a.pth")


COMMANDS = ("search.run", "search.finetune", "search.netadapt.__main__", "search.shared", "search.validate")
COMMANDS += ("scaling.compound", "searchspace.export", "searchspace.convert")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_weights_has_the_flag_for_averaged_ones(command: str) -> None:
    text = import_module(command).parser().format_help()
    assert "--ema, --no-ema" in text
