"""The machine's name, by which tables of different devices are told apart."""

from pathlib import Path

import pytest

from search.latency import machine


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU 3000\nmodel\t: 6\n", "Fast CPU 3000"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\nHardware\t: BCM2835\nModel\t\t: A Board Rev 1.1\n", "A Board Rev 1.1"),
        ("processor\t: 0\nHardware\t: SDM845\n", "SDM845"),
    ],
)
def test_boards_whose_processors_have_no_name_go_by_the_board(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.machine().startswith(f"{name} ")


def test_a_mac_goes_by_its_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        stdout = "Apple M3\n"

    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: Told)
    assert machine.machine().startswith("Apple M3 ")
