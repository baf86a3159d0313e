"""--resolution of several sizes: what the list may be, and a whole search whose winner has a size of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import studies
from search.accuracy import EstimatorSettings, estimator, register
from search.candidates import starting_points
from search.deployed import Deployed
from search.machinery import Machinery
from search.netadapt.settings import LAST_STAGE
from search.pipeline import run_search
from search.report import command, report
from search.run import find, main
from search.settings import Settings, check_same, resolution_of
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument, InvalidTable, StudyMismatch
from searchspace.graph import lower
from searchspace.nn import build, read_about
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.rounding import scaled_pixels
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, read_spec
from tests.scripted import ScriptedEstimator, ScriptedTrainer, dataset_of, two_halves
from tests.small_search import PHONE, WIDER, TableDevice, TableTimer, space_in, table_of

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = (64, 96)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (224, 224),
        ("224", 224),
        ([96], 96),
        ("160,192,224", (160, 192, 224)),
        ([224, 160], (160, 224)),
        ((32, 2048),) * 2,
    ],
)
def test_one_size_or_several_in_any_order(given: Any, means: Any) -> None:
    assert resolution_of(given) == means
    settings = Settings(budget_ms=20, resolution=resolution_of(given))
    assert settings.resolutions == (means if isinstance(means, tuple) else (means,))
    assert settings.search_space(classes=2).resolutions == settings.resolutions


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("160,160", "one size, or different ones with the smallest first, got '160,160'"),
        ("16,64", r"--resolution must be 32 to 2048 px \(total stride is 32\), got 16"),
        ("64,4096", "--resolution must be 32 to 2048 px .* got 4096"),
        ("64,big", "must be auto, a number of px, or several with commas between .* got '64,big'"),
        ("64,,96", "must be auto, a number of px, or several with commas between .* got '64,,96'"),
        ("auto,96", "must be auto, a number of px, or several with commas between .* got 'auto,96'"),
        ([], r"must be auto, a number of px, or several with commas between .* got \[\]"),
    ],
)
def test_a_bad_list_is_told_in_one_sentence(given: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidArgument, match=said):
        find(20, resolution=given)
    if isinstance(given, str):
        assert main(["--budget-ms", "20", "--resolution", given]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_sizes_define_a_study_and_are_printed_as_they_were_given() -> None:
    several = Settings(budget_ms=20, resolution=(160, 224))
    stored = json.loads(json.dumps(several.identity()))
    check_same("s", stored, several.identity())
    assert Settings(budget_ms=20, auto_resolution=True).going_on_with(stored).resolution == (160, 224)
    assert "--resolution 160,224 " in command(stored, study="s")
    with pytest.raises(StudyMismatch, match=r"--resolution is 224 and was 160,224"):
        check_same("s", stored, Settings(budget_ms=20, resolution=224).identity())


def test_a_deployed_size_may_be_several() -> None:
    assert Deployed(96, "why").resolution == 96
    assert Deployed(160, "why", (96, 128)).resolution == (96, 128, 160)


@given(st.integers(1, 300), st.integers(32, 2048), st.integers(32, 2048))
def test_networks_are_judged_at_pixels_in_proportion_to_their_size(best: int, one: int, largest: int) -> None:
    found = scaled_pixels(best, one, largest)
    assert scaled_pixels(best, largest, largest) == best
    assert found == best or found % 8 == 0
    assert found >= min(best, 32)
    assert abs(found - best * one / largest) <= 4 or found == min(best, 32)


def test_all_are_judged_alike_where_no_sizes_are_compared() -> None:
    spec = mnasnet_space(resolution=96).spec(mnasnet_space().corner("smallest"))
    assert EstimatorSettings().pixels_for(spec, 48) == 48
    assert EstimatorSettings(largest=192).pixels_for(spec, 96) == 48
    assert EstimatorSettings(largest=192, pixels=80).pixels_for(spec, 96) == 80


@pytest.mark.parametrize("name", ["frozen", "finetune", "training"])
def test_an_estimator_shows_half_the_pixels_to_a_network_of_half_the_largest_size(name: str) -> None:
    space = mnasnet_space(classes=2, resolution=64)
    spec = space.spec(space.corner("smallest"))
    network = build(spec.with_classes(5), generator=torch.Generator().manual_seed(0)).eval()
    given: dict[str, Any] = {
        "recipe": Recipe(epochs=1, batch_size=8, epoch_images=16),
        "parents": Parents([Parent("random", network, "this test", None, None, "0")]),
        "device": "cpu",
    }

    def history(**more: Any) -> Any:
        judge = estimator(name, EstimatorSettings(**given, **more))
        judge.prepare(dataset_of(two_halves(64, pixels=64), two_halves(40, pixels=64, seed=1)))
        return judge.score(spec).history

    assert history(largest=128) == history(pixels=32)
    assert history(largest=64) == history(pixels=64)


def test_known_networks_begin_at_the_largest_size() -> None:
    starts = starting_points(mnasnet_space(resolution=(160, 224)))
    assert len(starts) == len(starting_points(mnasnet_space()))
    assert {start["resolution"] for start in starts} == {224}


def by_size(spec: NetworkSpec) -> float:
    """Smaller images, more accuracy; of one size larger networks are better."""
    return 0.9 - spec.resolution / 1000 + len(spec.blocks) / 1e4


register("by_size")(lambda settings: ScriptedEstimator(by_size, epochs=settings.recipe.epochs))


@dataclass(frozen=True, kw_only=True)
class SizedTrainer(ScriptedTrainer):
    """Writes down the pixels of every training."""

    shown: list[int | None] = field(default_factory=list)

    def fit(self, module: Any, *, pixels: int | None = None, **more: Any) -> Any:
        self.shown.append(pixels)
        return super().fit(module, **more)


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    """With its table in the folder."""
    found = space_in(tmp_path, WIDER, resolution=SIZES)
    (tmp_path / "table.json").write_text(table_of(found, {**PHONE, "resolution": SIZES[-1]}).to_json())
    return found


def asked(folder: Path, budget_ms: float, **more: Any) -> Settings:
    given = {
        "data": "digits:60",
        "proxy_resolution": 48,
        "resolution": SIZES,
        "epochs": 1,
        "trials": 6,
        "accuracy": "by_size",
        "weights": "none",
        "space_file": str(folder / "space.toml"),
        "latency": str(folder / "table.json"),
        "study": "s",
        **more,
    }
    return Settings(budget_ms=budget_ms, **given)


@pytest.mark.parametrize("is_pruned", [False, True])
def test_the_winner_is_timed_trained_pruned_tested_and_written_at_its_own_size(
    tmp_path: Path, space: SearchSpace, is_pruned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LAST_STAGE, "short_steps", 2)
    budget_ms = 0.97 * largest_ms(space, 64) if is_pruned else 1000.0
    shown: list[int | None] = []
    machinery = Machinery(
        device=TableDevice(), timer=TableTimer, trainer=lambda **given: SizedTrainer(**given, shown=shown)
    )
    found = run_search(asked(tmp_path, budget_ms), quiet=True, machinery=machinery)
    folder, winner = Path(found["folder"]), found["winner"]
    spec = read_spec(folder / "best.json")
    assert (spec.resolution, found["resolution"], winner["tested_at_px"], winner["trained_at_px"]) == (64, 64, 64, 32)
    assert bool(found["refined"]) == is_pruned
    assert winner["measured_latency_ms"] == pytest.approx(table_of(space).predict(spec).latency_ms, rel=0.02)
    about = read_about(folder / "best.safetensors")
    assert (about["deployed_at_px"], about["trained_at_px"]) == (64, 32)
    assert set(shown) == {32}
    assert " at 64 px" in report(found)
    assert "96 px" not in report(found)
    tried = studies.load("s").dropna(subset="spec")
    assert set(tried["resolution"]) == ({64} if is_pruned else {64, 96})  # at 96 px all are over the budget
    assert [NetworkSpec.from_json(text).resolution for text in tried["spec"]] == list(tried["resolution"])
    assert found["settings"]["resolution"] == list(SIZES)
    assert run_search(asked(tmp_path, budget_ms), quiet=True) == found


def largest_ms(space: SearchSpace, px: int) -> float:
    """What the largest network of a size takes."""
    return table_of(space).latency_ms(lower(space.spec({**space.corner("largest"), "resolution": px})))


def test_the_table_given_is_that_of_the_largest_size(tmp_path: Path, space: SearchSpace) -> None:
    for sizes, said in (((64, 128), "got 64,128: "), (64, "96 px, got 64: ")):
        with pytest.raises(InvalidTable, match=f"--resolution must be .* of the table .*{said}"):
            run_search(asked(tmp_path, 1e3, resolution=sizes), quiet=True)
