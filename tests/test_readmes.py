"""Every code block of every README runs: python blocks as they stand, commands in this process, as small jobs.

The blocks of a README run in order, in one folder that has what they name. `QUICK` says what is added to a command so
that it takes seconds; `LEFT_OUT` which of its flags are dropped. Installing is what `.ci/run` does.
"""

import importlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.latency.__main__ import main as build
from searchspace import zoo
from searchspace.latency.estimate import layer_of
from searchspace.spec import NetworkSpec
from tests.scripted_runtime import true_ms, true_ns
from tests.search.measured.test_measured import written

ROOT = Path(__file__).parents[1]
READMES = [path for path in ROOT.rglob("README.md") if not any(part[0] == "." for part in path.relative_to(ROOT).parts)]
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INSTALLS = re.compile(r"(\.venv/bin/)?(python3 -m venv|pip |pytest|ruff|mypy|lint-imports)")
_TRAINING = "--epochs 1 --proxy-resolution 32"
QUICK = {
    "search.run": f"--trials 1 --images 40 --space space.toml {_TRAINING}",
    "search.finetune": "--minutes 0.04 --resolution 32",
    "search.validate": "--data digits:60 --budget-macs 3e6 --space space.toml --networks 3 --images-each 32 "
    "--resolution 32 --proxy-resolution 32 --epochs 1 --accuracy training",
    "search.netadapt": f"--short-steps 1 --shortlist 1 --validation-images 20 --epoch-images 40 {_TRAINING}",
    "search.latency build": "--seconds 1 --runtime scripted",
    "search.latency check": "--networks 2 --seconds 1 --no-zoo",
    "search.latency measure": "--seconds 1 --runtime scripted",
    "search.latency adapt": "--seconds 1 --runtime scripted",
    "search.latency export": "--networks 4 --kernels 30",
    "scaling.efficientdet train": "--data digits:40 --resolution 64 --steps 2 --batch-size 4",
    "scaling.coefficients fit": "--data photos --proxy-resolution 32",
}
IN_PYTHON = {
    "budget_ms=20, minutes=10": 'budget_ms=20, trials=1, data="photos", space="space.toml", latency="device.json", '
    "epochs=1, proxy_resolution=32",
    "budget_macs=200e6": 'budget_macs=30e6, data="photos", epochs=1, short_steps=1, shortlist=1, proxy_resolution=32',
}
LEFT_OUT = {"--minutes", "--runtime", "--threads", "--trials", "--networks", "--seconds", "--epochs", "--minutes-each"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, scripted_runtimes: None) -> Path:
    """photos/, photos.tar, space.toml, tables (device, measured networks), and the study digits-20ms."""
    folder = tmp_path_factory.mktemp("workshop")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    shutil.make_archive(str(folder / "photos"), "tar", folder, "photos")
    choices = {"activation": ["relu"], "kernel": [3], "se": [False], "layers": [1], "width_mult": [0.75, 1.0]}
    lines = "\n".join(f'"*.{name}" = {str(values).lower()}' for name, values in choices.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHINAS_CACHE", str(folder / "cache"))
        flags = ["--runtime", "scripted", "--seconds", "1", "--resolution", "32"]
        assert build(["build", *flags, "--out", str(folder / "device.json")]) == 0
    shutil.copy(folder / "device.json", folder / "phone.json")
    (folder / "best.json").write_text(zoo.get("mobilenet_v1", width=0.25).to_json())
    table = written(folder / "accel-nasbench.csv", 60)
    table.write_text(table.read_text().replace(",accuracy,latency", ",top1,latency_zcu102", 1))
    (folder / "space.toml").write_text("[choices]\n" + lines.replace("'", '"') + "\n")
    return folder


@pytest.fixture
def at_work(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop as the working folder."""
    folder = tmp_path / "work"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PHINAS_CACHE", str(folder / "cache"))
    monkeypatch.delenv("PHINAS_STUDIES", raising=False)
    return folder


def commands(block: str) -> Iterator[list[str]]:
    """The words of each `python -m` command of a block of shell lines, without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            if words and not _INSTALLS.match(command.strip()):
                assert words[0].rpartition("/")[2] == "python", f"no test runs {line!r}"
                assert words[1] == "-m"
                yield words[2:]


def quick(words: list[str]) -> list[str]:
    """The command with what makes it a small job."""
    if "--table" in words:
        return words
    key = next((key for key in QUICK if key.split() == words[: len(key.split())]), None)
    if key is None or ("--folder" in words and "adapt" in words):
        return [*words, "--data", "photos", "--proxy-resolution", "32"] if "--epochs" in words else words
    kept, rest = [], iter(words)
    for word in rest:
        if word in LEFT_OUT:
            next(rest)
        else:
            kept.append(word)
    if key == "search.run":
        if "--baselines" in kept:  # each has as long as the whole search: one of them
            kept = [*kept[: kept.index("--baselines") + 1], "efficientnet_lite0"]
        if "--data" not in kept:
            budget = kept[kept.index("--budgets" if "--budgets" in kept else "--budget-ms") + 1]
            kept += ["--data", "digits:40", "--study", f"digits-{budget.replace(',', '-')}ms"]
        if "--latency" not in kept:
            kept += ["--latency", "device.json"]
    if "--budgets" in kept:
        at = kept.index("--budgets") + 1
        first, *_, last = kept[at].split(",")
        kept[at] = first
        if key == "search.run":  # a candidate for each of two
            kept[at] = f"{first},{last}"
            return [*kept, *QUICK[key].split(), "--trials", "2"]
    if key == "search.netadapt" and "--latency" not in kept and {"--budgets", "--budget-ms"} & set(kept):
        kept += ["--latency", "device.json"]
    return kept + QUICK[key].split()


def time_exported(folder: Path) -> None:
    """Fill in times.csv, as the person with the device does."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kernels = {
        name: true_ns(layer_of((op, tuple(in_shape), tuple(out_shape), *rest))) / 1e6
        for name, (op, in_shape, out_shape, *rest) in manifest["kernels"].items()
    }
    networks = {name: true_ms(NetworkSpec.from_json(json.dumps(row))) for name, row in manifest["networks"].items()}
    (folder / "times.csv").write_text("file,ms\n" + "".join(f"{k},{ms}\n" for k, ms in (kernels | networks).items()))


def run_command(words: list[str]) -> None:
    """The command's `main` in this process; it must end with exit code 0."""
    module = importlib.import_module(words[0])
    if not hasattr(module, "main"):
        module = importlib.import_module(f"{words[0]}.__main__")
    if words[0].startswith("tests.benchmarks."):  # minutes to hours; their own tests run them small
        words = [words[0], "--help"]
    try:
        code = module.main(words[1:])
    except SystemExit as end:  # argparse, after --help
        code = end.code
    assert code == 0, shlex.join(words)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_code_block_of_a_readme_runs(readme: Path, at_work: Path) -> None:
    names: dict[str, object] = {}
    for language, block in _BLOCK.findall(readme.read_text()):
        if language == "python":
            for given, small in IN_PYTHON.items():
                block = block.replace(given, small)
            exec(compile(block, str(readme), "exec"), names)
            continue
        for words in commands(block):
            run_command(quick(words))
            if words[:2] == ["search.latency", "export"]:
                time_exported(Path(words[words.index("--folder") + 1]))
    assert os.listdir(at_work)
