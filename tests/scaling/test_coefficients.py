"""Fitting alpha, beta and gamma: equal costs, what is called sure, a study that resumes, the answer's file."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import scaling
import studies
from scaling.coefficients import main
from scaling.fit import COST_FACTOR, Candidate, candidates, fit, stand
from scaling.formula import Coefficients, read_coefficients
from scaling.growth import Grown
from search.accuracy import EstimatorSettings, register
from searchspace import zoo
from searchspace.cost import macs
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.scripted import ScriptedEstimator, by_params

pytestmark = pytest.mark.usefixtures("one_thread")


def test_candidates_are_different_networks_of_twice_the_cost() -> None:
    template = zoo.template("mobilenet_v2")
    found = candidates(template, macs, divisions=2, rebase=False)
    assert len({one.grown.spec.fingerprint() for one in found}) == len(found) >= 7
    target = COST_FACTOR * macs(template.expand())
    shares = [macs(one.grown.spec) / target for one in found]
    assert max(shares) <= 1
    assert min(shares) > 0.93  # a rule with little but layers to add comes in coarse steps
    assert sum(share >= 0.98 for share in shares) >= len(shares) - 2
    assert {"compound", "fast", "width", "resolution"} <= {one.name for one in found}


def test_no_candidate_shrinks_a_dimension_to_come_within_2_percent() -> None:
    space = mnasnet_space(classes=10)
    template = space.decode(space.sample(random.Random(1)))  # layers in coarse steps: one candidate went to 192 px
    for one in candidates(template, macs, divisions=3, rebase=False):
        assert min(one.grown.factors[:2]) >= 1
        assert one.grown.factors.resolution >= template.resolution
        assert one.cost_share == macs(one.grown.spec) / (2 * macs(template.expand())) <= 1


def test_with_latency_as_cost_phi_1_is_the_network_of_twice_the_latency(latencies: LatencyTable) -> None:
    def predicted(spec: NetworkSpec) -> float:
        return latencies.predict(lower(spec)).latency_ms

    template = zoo.template("efficientnet_b0")
    found = candidates(template, predicted, divisions=1, rebase=True)
    target = 2 * predicted(template.expand())
    for one in found:
        assert predicted(one.grown.spec) <= target
        depth, width, resolution = one.grown.factors
        own = one.coefficients
        if one.name == "resolution":
            assert own.gamma == pytest.approx(resolution / 224, rel=1e-3)
        if one.name == "width":
            assert own.beta == pytest.approx(width, rel=1e-3)
        if depth == 1:
            assert own.cost_factor == pytest.approx((width * resolution / 224) ** 2, rel=1e-3)


def _candidate(name: str) -> Candidate:
    spec = zoo.get("mobilenet_v2")
    return Candidate(name, Coefficients(), Grown(1.0, Coefficients().factors(1, base_resolution=224), spec))


def test_the_best_is_sure_where_seeds_scatter_less_than_it_leads() -> None:
    a, b, c = (_candidate(name) for name in "abc")
    rows = stand([(a, (0.80, 0.81, 0.805)), (b, (0.90, 0.91, 0.905)), (c, (0.903, 0.897, 0.906))])
    assert [(row.candidate.name, row.tied) for row in rows] == [("b", True), ("c", True), ("a", False)]
    assert rows[0].standard_error == pytest.approx(0.005 / 3**0.5, rel=0.1)


@pytest.mark.parametrize(("lead", "tied"), [(0.060, True), (0.062, False)])
def test_the_lead_must_pass_a_two_sided_t_test_since_either_of_two_equals_may_be_ahead(lead: float, tied: bool) -> None:
    # Student's t with 2 degrees of freedom: 4.303 at 97.5 %; the deviation of each is 0.02 / sqrt(2), of the difference
    # of two means of 2 the same: 4.303 x 0.01414 = 0.0609. (One-sided, 2.920 x 0.01414 = 0.0413.)
    rows = stand([(_candidate("a"), (0.50, 0.52)), (_candidate("b"), (0.50 + lead, 0.52 + lead))])
    assert rows[1].tied == tied


def test_one_seed_each_ties_all() -> None:
    rows = stand([(_candidate("a"), (0.5,)), (_candidate("b"), (0.9,))])
    assert all(row.tied for row in rows)
    assert stand([]) == []


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.chdir(tmp_path)
    space = mnasnet_space(classes=10, resolution=64)
    spec = replace(space.spec(space.corner("smallest")), name="tiny")
    path = tmp_path / "best.json"
    path.write_text(spec.to_json())
    return path


JUDGES: list[ScriptedEstimator] = []


def run(*, minutes: float | None = None) -> dict[str, Any]:
    return fit(
        Path("best.json"),
        divisions=1,
        proxy_resolution=20,
        data="digits:20",
        seeds=1,
        epochs=1,
        minutes=minutes,
        accuracy="scripted by parameters",
        quiet=True,
    )


@register("scripted by parameters")
def by_parameters(settings: EstimatorSettings) -> ScriptedEstimator:
    JUDGES.append(ScriptedEstimator(by_params))
    return JUDGES[-1]


def test_a_fit_stops_and_goes_on_and_its_answer_grows_a_network(network: Path) -> None:
    first = run(minutes=1e-9)
    assert first["coefficients"] is None
    assert first["missing"] >= 5
    assert not Path("coefficients.json").exists()
    found = run()
    assert found["missing"] == 0
    assert not found["sure"]  # one seed tells nothing
    assert all(row["tied"] for row in found["candidates"])
    accuracies = [row["accuracy"] for row in found["candidates"]]
    assert accuracies == sorted(accuracies, reverse=True)
    frame = studies.load(found["study"])
    assert len(frame) == len(found["candidates"])
    assert frame["accuracy"].max() == accuracies[0]
    assert {"rule", "alpha", "beta", "gamma"} <= set(frame.columns)
    trained = sum(judge.calls for judge in JUDGES)
    assert run()["candidates"] == found["candidates"]
    assert sum(judge.calls for judge in JUDGES) == trained  # nothing is trained again
    own = read_coefficients(Path("coefficients.json"))
    assert own == Coefficients(**found["coefficients"])
    grown = scaling.compound("best.json", coefficients="coefficients.json", phi=1)
    assert grown.grown[0].coefficients == own


def test_the_command_says_how_sure_it_is_and_goes_on_only_with_its_own_settings_and_estimator(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["fit", "--network", "best.json", "--divisions", "1", "--proxy-resolution", "20", "--data", "digits:20"]
    flags += ["--seeds", "1", "--study", "own", "--epochs"]
    assert main([*flags, "1", "--accuracy", "scripted by parameters"]) == 0
    out = capsys.readouterr().out
    assert "NOT sure" in out
    assert "--coefficients coefficients.json --phi 1" in out
    assert main([*flags, "1"]) == 2
    assert "accuracy is 'training' and was 'scripted by parameters'" in capsys.readouterr().err


MISTAKES = {
    "": "the following arguments are required: COMMAND",
    "grow": "invalid choice: 'grow'",
    "fit --seeds 0": "--seeds must be above 0, got 0",
    "fit --minutes -1": "--minutes must be a number of minutes above 0, at most a million, got -1",
    "fit --network nowhere.json": "cannot read the spec file nowhere.json",
    "fit --network best.json --out best.json": "--out must not replace the file that --network reads",
    "fit --latency nowhere.json": "cannot read the latency table nowhere.json",
    "fit --network best.json --out best.json/answer.json": "cannot write best.json/answer.json",
    "fit --network best.json --divisions 0": "--divisions must be from 1 to 12 (3 gives thirds of the cost), got 0",
    "fit --network best.json --cost latency": "this device has no latency table yet",
    "fit --network best.json --data nowhere": "nowhere",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(line: str, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert MISTAKES[line] in err.splitlines()[-1]


def test_images_are_varied_as_asked_and_a_fit_goes_on_as_it_was_begun(
    network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["fit", "--network", "best.json", "--divisions", "1", "--proxy-resolution", "20", "--data", "digits:20"]
    flags += ["--seeds", "1", "--study", "own", "--accuracy", "scripted with a recipe"]
    assert main([*flags, "--augment", "rotate,shift"]) == 0
    assert "augmentation: shift,rotate: as asked" in capsys.readouterr().err
    assert main(flags) == 0  # auto takes what was decided
    assert main([*flags, "--augment", "none"]) == 2
    assert "--augment is 'none' and was 'shift,rotate'" in capsys.readouterr().err
    assert main([*flags, "--augment", "sideways"]) == 2
    assert "--augment must be auto, none, or of shift" in capsys.readouterr().err


@register("scripted with a recipe")
class WithRecipe(ScriptedEstimator):
    """Says what it would train by."""

    def __init__(self, settings: EstimatorSettings) -> None:
        super().__init__(by_params)
        self.recipe = settings.recipe

    def identity(self) -> dict[str, Any]:
        return {"recipe": self.recipe.identity()}
