"""Parameters, flash and RAM: by hand for a small network, and what limits on them keep out."""

from __future__ import annotations

from pathlib import Path

import pytest

import studies
from search import pipeline
from search.accuracy import register
from search.candidates import PricedSpace
from search.machinery import Machinery
from search.published import published_candidates
from search.report import report
from search.sizes import KB, SizeLimits, Sizes, sizes_of
from searchspace import zoo
from searchspace.errors import InfeasibleBudget
from searchspace.graph import Graph, lower
from searchspace.layers import NETWORK_INPUT, Layer
from searchspace.nn import build, fold_batch_norm
from searchspace.nn.weights.sources import Parents
from tests.scripted import ScriptedEstimator, ScriptedTrainer
from tests.search.test_loop import BUDGET_MS, PRICED, SPACE, ByMacs, for_trials, make_search
from tests.search.test_published import parent
from tests.small_search import scripted_settings, space_in, with_table

pytestmark = pytest.mark.usefixtures("one_thread")
MIDDLE = PRICED.price(SPACE.corner("largest"))
LIMITS = SizeLimits(0.6 * MIDDLE.params, ram_kb=0.7 * MIDDLE.sizes.ram_bytes / KB)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def priced(limits: SizeLimits) -> PricedSpace:
    return PricedSpace(SPACE, ByMacs("ms"), limits=limits)


def test_an_inverted_residual_by_hand() -> None:
    small, wide = (2, 4, 4), (8, 4, 4)
    layers = (
        Layer("expand", "conv", (NETWORK_INPUT,), small, wide, "expand", 1),
        Layer("depthwise", "conv", (0,), wide, wide, "depthwise", 3, groups=8),
        Layer("project", "conv", (1,), wide, small, "project", 1),
        Layer("sum", "add", (2, NETWORK_INPUT), small, small),
    )
    weights = 2 * 8 + 8 * 9 + 8 * 2
    alive = 32 + 128 + 128  # while the depthwise one runs: the shortcut's image, its input, its output
    found = sizes_of(Graph("residual", small, layers))
    assert found == Sizes(weights + 2 * (8 + 8 + 2), 4 * (weights + 8 + 8 + 2), 4 * alive)
    assert sizes_of(Graph("residual", small, layers), 1) == Sizes(found.params, weights + 18, alive)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "repvgg_a0", "shufflenet_v2_x0_5"])
def test_flash_is_the_weights_of_the_folded_module(name: str) -> None:
    spec = zoo.get(name, resolution=64, classes=10)
    folded = fold_batch_norm(build(spec))
    assert sizes_of(lower(spec)).flash_bytes == 4 * sum(each.numel() for each in folded.parameters())


@pytest.mark.parametrize("sampler", ["block", "random"])
def test_nothing_over_a_limit_is_ever_judged(sampler: str) -> None:
    search = make_search(
        for_trials(8, sampler=sampler), ScriptedEstimator(), priced=priced(LIMITS), starts=[SPACE.corner("largest")]
    )
    search.study.enqueue_trial(dict(SPACE.corner("largest")))
    search.run()
    df = studies.load("s")
    assert "over --max-params" in df["error"][0]
    judged = df[df["status"] != "failed"]
    assert len(judged) == 7
    assert (judged["params"] <= LIMITS.params).all()
    assert (judged["ram_kb"] <= LIMITS.ram_kb).all()
    assert (judged["predicted_latency_ms"] <= BUDGET_MS).all()
    assert judged["flash_kb"].max() > 0


def test_published_networks_are_narrowed_to_a_limit() -> None:
    own = parent("mobilenet_v2")
    limits = SizeLimits(flash_kb=2000)
    here = priced(limits)
    given = {"sizes": (64,), "classes": 10, "limit_ms": 1e9}
    found = published_candidates(Parents((own,)), upper_ms=here.counted_ms, **given)
    assert [one.as_it_is for one in found] == [False]
    assert all(here.is_within(one.spec, 1e9) and limits.share(sizes_of(lower(one.spec))) <= 1 for one in found)
    assert published_candidates(Parents((own,)), upper_ms=priced(SizeLimits()).counted_ms, **given)[0].as_it_is


def test_the_fastest_network_keeps_the_limits() -> None:
    smallest = PRICED.price(SPACE.corner("smallest"))
    found = priced(SizeLimits(params=1.1 * smallest.params)).fastest_within(1e9)
    assert found.params <= 1.1 * smallest.params
    assert priced(LIMITS).fastest().latency_ms >= PRICED.fastest().latency_ms


@pytest.mark.parametrize(
    ("limits", "budget_ms", "named"),
    [
        (SizeLimits(params=1000), 20.0, "meets --max-params 1000;.* fingerprint"),
        (SizeLimits(flash_kb=1, ram_kb=1e6), 20.0, "meets --max-flash-kb 1;"),
        (SizeLimits(ram_kb=1e6), 1.0, "meets a budget of 1 ms"),
    ],
)
def test_limits_that_nothing_keeps_are_named(limits: SizeLimits, budget_ms: float, named: str) -> None:
    with pytest.raises(InfeasibleBudget, match=named):
        priced(limits).fastest_within(budget_ms)


def test_limits_that_exclude_each_other_are_named_without_the_others() -> None:
    class BackToFront(ByMacs):
        """The fewer parameters the slower."""

        def cost(self, graph: Graph) -> float:
            return 1e8 / sizes_of(graph).params

    small = {"*.expand_ratio": (3,), "stage1.expand_ratio": (1,), "*.kernel": (3,), "*.layers": (1,)}
    space = SPACE.with_choices(small)
    assert PricedSpace(space, BackToFront("ms")).fastest().latency_ms < 100
    here = PricedSpace(space, BackToFront("ms"), limits=SizeLimits(8e5, 1e6, 1e6))
    with pytest.raises(InfeasibleBudget, match=r"keeps --max-params 800000 and --budget-ms 100 together"):
        here.fastest_within(100.0)


def test_a_search_hands_over_a_network_within_the_limits_and_says_so(tmp_path: Path) -> None:
    register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))
    space = space_in(tmp_path)
    with_table(tmp_path, space)
    every = PricedSpace(space, ByMacs("ms"))
    largest, smallest = (every.price(space.corner(corner)).sizes for corner in ("largest", "smallest"))
    limit = (largest.flash_bytes + smallest.flash_bytes) / 2 / KB
    settings = scripted_settings(tmp_path, 1000.0, trials=4, max_flash_kb=limit)
    summary = pipeline.run_search(settings, quiet=True, machinery=Machinery(trainer=ScriptedTrainer))
    assert smallest.flash_bytes / KB - 0.1 <= summary["winner"]["flash_kb"] <= limit < largest.flash_bytes / KB
    assert f"within --max-flash-kb {limit:g}" in report(summary)
    assert 0 < summary["winner"]["ram_kb"] < 1e4
