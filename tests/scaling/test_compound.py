"""`python -m scaling.compound`: formula and publication told apart, files, JSON, mistakes, imports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling.compound import main
from searchspace import zoo
from searchspace.cost import macs, params
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spec import NetworkSpec, read_spec
from searchspace.zoo.efficientnet import B0, PRESETS, preset

ROOT = Path(__file__).parents[2]


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    code = main(list(flags))
    out, err = capsys.readouterr()
    return code, out, err


def as_json(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    code, out, _ = run(capsys, *flags, "--json")
    assert code == 0
    data: dict[str, Any] = json.loads(out)
    return data


@pytest.fixture
def winner(tmp_path: Path) -> Path:
    """A spec file as a search writes it."""
    path = tmp_path / "best.json"
    path.write_text(mnasnet_space().spec(KNOWN["mnasnet_a1"], name="winner").to_json())
    return path


def test_phi_3_shows_the_formula_beside_the_published_b3(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--phi", "3")
    assert (code, err) == (0, "")
    header = next(line for line in out.splitlines() if "PUBLISHED" in line)
    assert [part.strip() for part in header.split("|")] == ["", "FORMULA, PHI = 3, 341 px", "PUBLISHED B3, 300 px"]
    assert "depth x1.728, width x1.331" in out
    assert "depth x1.4, width x1.2" in out
    assert "12,233,232" in out
    assert "Why they differ" in out


def test_formula_and_publication_are_different_networks_except_at_phi_0(capsys: pytest.CaptureFixture[str]) -> None:
    for phi in range(8):
        data = as_json(capsys, "--phi", str(phi))
        assert data["published"]["fingerprint"] == preset(f"b{phi}").fingerprint()
        assert (data["formula"]["fingerprint"] == data["published"]["fingerprint"]) == (phi == 0)


def test_the_formula_at_phi_1_is_the_published_b2_at_258_pixels(capsys: pytest.CaptureFixture[str]) -> None:
    # Both have depth 1.2 and width 1.1; B2 takes 260 px and more dropout.
    formula = as_json(capsys, "--phi", "1")["formula"]
    assert (formula["params"], formula["resolution"], formula["dropout_percent"]) == (9_109_994, 258, 20)


@pytest.mark.parametrize("phi", ["2.5", "9", "-1", "8"])
def test_a_phi_without_published_member_shows_the_formula_only_and_says_so(
    phi: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "--phi", phi)
    assert f"Only the formula is shown: phi = {phi} has no published member" in out
    assert "PUBLISHED" not in out
    assert as_json(capsys, "--phi", phi)["published"] is None


def test_without_any_flag_b0_grows_by_phi_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys)["phi"] == 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_and_written_alone_exactly_as_published(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = as_json(capsys, "--preset", name.upper(), "--out", str(tmp_path / "out.json"))
    assert data["formula"] is None
    assert (data["published"]["params"], data["published"]["macs"]) == (params(preset(name)), macs(preset(name)))
    assert data["published"]["dropout_percent"] == PRESETS[name].dropout_percent
    assert read_spec(tmp_path / "out.json") == preset(name)


def test_json_tells_the_same_as_the_written_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "grown.json"
    data = as_json(capsys, "--phi", "3", "--out", str(out))
    spec = read_spec(out)
    formula = data["formula"]
    assert spec == NetworkSpec.from_json(json.dumps(formula["spec"]))
    assert spec == B0.expand(width=1.331, depth=1.728, resolution=341, name="efficientnet_b0_phi3")
    assert (formula["params"], formula["macs"]) == (params(spec), macs(spec))
    assert sum(row["params"] for row in formula["stages"]) == formula["params"]
    assert sum(row["macs"] for row in formula["stages"]) == formula["macs"]
    assert (formula["depth"], formula["width"], formula["resolution"]) == (1.728, 1.331, 341)
    assert data["written"] == str(out)


def test_a_search_winner_grows_as_the_template_it_came_from(winner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = as_json(capsys, "--network", str(winner), "--phi", "2")
    grown = mnasnet_space().decode(KNOWN["mnasnet_a1"]).expand(depth=1.44, width=1.21, resolution=296)
    assert data["formula"]["fingerprint"] == grown.fingerprint()
    assert data["published"] is None
    _, out, _ = run(capsys, "--network", str(winner), "--phi", "2")
    assert "Only the formula is shown: the published family" in out


@pytest.mark.parametrize("name", [name for name in zoo.names() if not zoo.is_grown(name)])
def test_a_published_network_grows_from_its_papers_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    grown = as_json(capsys, "--network", name, "--phi", "1")["formula"]
    spec = zoo.template(name).expand(depth=1.2, width=1.1, resolution=grown["resolution"])
    assert (grown["params"], grown["macs"]) == (params(spec), macs(spec))
    assert abs(grown["resolution"] - 1.15 * zoo.get(name).resolution) <= 2


def test_phi_0_leaves_a_network_as_it_is(winner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_json(capsys, "--network", str(winner), "--phi", "0", "--out", str(tmp_path / "same.json"))
    assert read_spec(tmp_path / "same.json").fingerprint() == read_spec(winner).fingerprint()


def test_own_coefficients_are_used_and_a_cost_far_from_2_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--phi", "1", "--alpha", "2", "--beta", "1", "--gamma", "1.5", "--json")
    assert code == 0
    formula = json.loads(out)["formula"]
    assert (formula["depth"], formula["width"], formula["resolution"]) == (2.0, 1.0, 336)
    assert err.startswith("scaling.compound: warning: alpha x beta^2 x gamma^2 is 4.5, not close to 2")
    assert err.count("\n") == 1


@pytest.mark.parametrize("flags", [("--phi", "3"), ("--phi", "7"), ("--phi", "25"), ("--preset", "b7")])
def test_the_report_fits_100_columns_of_ascii(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, *flags)
    assert max(map(len, out.splitlines())) <= 100
    assert out.isascii()


MISTAKES = {
    "--phi three": "must be a finite number such as 3 or 1.15, got 'three'",
    "--phi nan": "must be a finite number",
    "--phi inf": "must be a finite number",
    "--phi 1000000": "may grow or shrink by 100 times at most, got --phi 1e+06",
    "--phi -15": "at least the network's total stride of 32 px",
    "--phi": "expected one argument",
    "--ph 3": "unrecognized arguments: --ph 3",
    "--alpha 0.5": "--alpha must be a finite number of at least 1, got 0.5",
    "--preset b8": "b0, b1, b2, b3, b4, b5, b6, b7; got 'b8'",
    "--preset b3 --phi 3": "goes without --phi, got --preset b3 and --phi 3:",
    "--preset b3 --network best.json": "goes without --network",
    "--network nowhere.json": "cannot read the spec file nowhere.json",
    "--network mobilenet_v9": "the zoo has no network 'mobilenet_v9'; did you mean mobilenet_v",
    "--out /dev/null": "cannot write /dev/null",
    "--preset b3 --data digits": "goes without --data",
    "--preset b3 --proxy-resolution 20": "goes without --proxy-resolution",
    "--resolution-step 10000": "in steps of 10000 px it becomes 10000",
    "--out grown.onnx --onnx grown.onnx": "--onnx must not replace the file that --out writes",
    "--preset b1 --out b1.onnx --onnx b1.onnx": "--onnx must not replace the file that --out writes",
    "--phi 1,2 --onnx a.svg --plot a.svg": "--plot must not replace the file that --onnx writes",
    "--phi 1 --target-ms 9": "one target or by --phi, got --target-ms and --phi: choose one",
    "--target-macs 0": "--target-macs must be above 0, got 0",
    "--target-macs 10": "--target-macs: the target must be within reach, got 10: the smallest network",
    "--target-params 1e15": "the largest network of this base and rule",
    "--rule fast --alpha 2": "come from one place, got --alpha and --rule",
    "--compare --rule fast": "--compare shows every rule",
    "--compare --phi 1,2": "--compare takes one phi, got 2",
    "--phi 1,2 --out a.json": "--out writes one network, got 2",
    "--phi 1 --plot a.png": "--plot draws a family, got one phi",
    "--phi 1,x": "must be a finite number such as 3 or 1.15, got 'x'",
    "--phi 1 --resolution-step 0": "--resolution-step must be at least 1 px, got 0",
    "--coefficients nowhere.json": "cannot read nowhere.json",
    "--latency nowhere.json": "cannot read the latency table nowhere.json",
    "--preset b1 --compare": "goes without --compare",
    "--phi -7 --onnx a.txt": "--onnx must end in .onnx, got a.txt",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *line.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert MISTAKES[line] in err


DAMAGED = {
    '{"schema": 1, "name"': "must be JSON",
    "[" * 100_000: "must be JSON",
    "[1, 2]": "must be a JSON object",
    '{"accuracy": 0.9}': 'must have "schema": 1',
    B0.expand().to_json().replace('"MBConv"', '"MBKonv"'): "got 'MBKonv'",
    B0.expand().to_json().replace('"classes": 1000', '"classes": 1' + "0" * 400): "must be an integer",
    B0.expand()
    .to_json()
    .replace('"classes": 1000', '"classes": 1000001'): "must be an integer from 1 to 1,000,000, got 1000001",
    B0.expand().to_json().replace('"resolution": 224', '"resolution": 9000'): "at most 8192 px",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_or_foreign_spec_file_is_refused_and_nothing_is_written(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "bad.json", tmp_path / "out.json"
    path.write_text(text)
    code, _, err = run(capsys, "--network", str(path), "--out", str(out))
    assert (code, err.count("\n")) == (2, 1)
    assert DAMAGED[text] in err
    assert not out.exists()


@pytest.mark.parametrize(
    "flags",
    [
        "--phi 1 --rule fast",
        "--phi 2 --beta 1.2",
        "--phi 0.123456789 --resolution-step 32",
        "--phi -0.001",
        "--target-macs 623456789 --network mobilenet_v3_large",
        "--coefficients own.json",
    ],
)
def test_the_command_that_is_printed_keeps_the_network_that_is_shown(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text('{"alpha": 1.3, "beta": 1.2, "gamma": 1.03}')
    _, out, _ = run(capsys, *flags.split())
    assert max(map(len, out.splitlines())) <= 100
    line = next(line for line in out.splitlines() if "--out grown.json" in line)
    command = line.partition("#")[0].split()
    assert command[:3] == ["python", "-m", "scaling.compound"]
    assert run(capsys, *command[3:])[0] == 0
    assert read_spec(Path("grown.json")).fingerprint() in out


def test_a_negative_phi_may_begin_a_list_and_minus_0_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["phi"] for row in as_json(capsys, "--phi", "-1,0,1e0")["phi"]] == [-1, 0, 1]
    assert as_json(capsys, "--phi", "-0")["published"]["name"] == "efficientnet_b0"


def test_a_table_that_is_read_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.json"
    own.write_text(before := '{"alpha": 1.3, "beta": 1.2, "gamma": 1.03}')
    code, _, err = run(capsys, "--coefficients", str(own), "--out", str(own))
    assert (code, own.read_text()) == (2, before)
    assert "--out must not replace the file that --coefficients reads" in err


def test_the_network_that_is_read_is_not_replaced(winner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = winner.read_bytes()
    code, _, err = run(capsys, "--network", str(winner), "--out", str(winner.parent / "." / "best.json"))
    assert code == 2
    assert "--out must not replace the file that --network reads" in err
    assert winner.read_bytes() == before


@pytest.mark.parametrize("flags", [["--phi", "3"], ["--help"]])
def test_the_command_imports_no_torch_optuna_pandas_or_numpy(flags: list[str]) -> None:
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'torch', 'optuna', 'pandas', 'numpy'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        f"sys.argv = ['compound', *{flags!r}]\n"
        "runpy.run_module('scaling.compound', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "heavy: []\n"
    assert "Next" in done.stdout or "examples" in done.stdout


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m scaling.compound --phi 20 --json | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("{\n", "")
