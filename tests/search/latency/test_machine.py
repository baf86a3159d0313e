"""The machine's name, by which tables of different devices are told apart."""

from pathlib import Path

import pytest

from search.latency.machine import machine


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU 3000\nmodel\t: 6\n", "Fast CPU 3000"),
        ("processor\t: 0\nBogoMIPS\t: 108.00\nHardware\t: BCM2835\nModel\t\t: A Board Rev 1.1\n", "A Board Rev 1.1"),
        ("processor\t: 0\nHardware\t: SDM845\n", "SDM845"),
    ],
)
def test_boards_whose_processors_have_no_name_go_by_the_board(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert machine(tmp_path / "cpuinfo").startswith(f"{name} ")


def test_a_mac_goes_by_its_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sysctl").write_text("#!/bin/sh\necho Apple M3\n")
    (tmp_path / "sysctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert machine(tmp_path / "none").startswith("Apple M3 ")
