"""What every proposal keeps: within the budget, new, repeatable, and an end where nothing is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from search.budget import CostModel
from search.candidates import PricedSpace
from search.samplers import KINDS
from search.samplers.moves import SpaceExhausted
from search.samplers.network_sampler import NetworkSampler, distributions
from searchspace.cost import layer_params_macs
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.graph import Layer
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spaces.stage import StageChoices
from tests.block_examples import all_choices

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = mnasnet_space(classes=10)


class ByMacs(CostModel):
    """20 us a kernel and 15 G MACs/s: the median of random networks takes about 30 ms."""

    def layer(self, layer: Layer) -> float:
        return 0.02 + layer_params_macs(layer)[1] / 15e6


PRICER = PricedSpace(SPACE, ByMacs("ms"))
SMALL = PricedSpace(
    SearchSpace(
        name="three stages",
        stages=(
            StageChoices(name="stage1", base_width=16, stride=2),
            StageChoices(name="stage2", base_width=32, stride=2),
            StageChoices(name="stage3", base_width=64, stride=1, layers=(0, 1, 2)),
        ),
        head_width=256,
        classes=10,
    ),
    ByMacs("ms"),
)
FASTEST_MS = SMALL.fastest().latency_ms


def tiny_space(layers: tuple[int, ...] = (1, 2)) -> SearchSpace:
    """One stage, 3 x len(layers) networks."""
    stage = StageChoices(
        name="stage1",
        base_width=16,
        stride=2,
        expand_ratio=(3,),
        se=(False,),
        activation=("relu",),
        layers=layers,
        width_mult=(1.0,),
    )
    return SearchSpace(name="tiny", stages=(stage,), head_width=32, classes=2, resolution=32)


def value_of(priced: PricedSpace, choices: Choices) -> float:
    """An instant landscape: large kernels and many parameters are good."""
    kernels = [int(value) for name, value in choices.items() if name.endswith(".kernel")]
    return sum(kernels) / len(kernels) + priced.price(choices).params / 1e5


def new_study(sampler: NetworkSampler, storage: JournalStorage | None = None) -> optuna.Study:
    return optuna.create_study(
        sampler=sampler, storage=storage, study_name="s", direction="maximize", load_if_exists=True
    )


def go_on(study: optuna.Study, sampler: NetworkSampler, trials: int) -> list[Choices]:
    """Ask and tell `trials` times."""
    asked = []
    for _ in range(trials):
        trial = study.ask(fixed_distributions=distributions(sampler.priced.space))
        choices = sampler.priced.space.canonical(trial.params)
        asked.append(choices)
        study.tell(trial, value_of(sampler.priced, choices))
        sampler.known.add(sampler.priced.price(choices).fingerprint)
    return asked


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(share=st.floats(1.0, 8.0), seed=st.integers(0, 1000), starts=st.integers(0, 2))
def test_every_proposal_is_within_the_budget_and_new(kind: str, share: float, seed: int, starts: int) -> None:
    sampler = NetworkSampler(
        SMALL,
        limit_ms=FASTEST_MS * share,
        seed=seed,
        kind=kind,
        known=set(),
        starting_points=[SMALL.space.corner("largest"), SMALL.space.corner("smallest")][:starts],
    )
    study = new_study(sampler)
    seen: set[str] = set()
    for _ in range(9):
        try:
            (choices,) = go_on(study, sampler, 1)
        except SpaceExhausted:
            assert share < 1.2
            break
        candidate = SMALL.price(choices)
        assert candidate.latency_ms <= FASTEST_MS * share
        assert candidate.fingerprint not in seen
        seen.add(candidate.fingerprint)
    assert set(sampler.rejected) == {"over_limit", "duplicate", "without_cost"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_goes_on_from_storage_proposes_what_an_undisturbed_one_would(kind: str, tmp_path: Path) -> None:
    space = SMALL.space

    def sampler(known: set[str]) -> NetworkSampler:
        starts = [space.corner("largest")]
        return NetworkSampler(SMALL, limit_ms=3 * FASTEST_MS, seed=3, kind=kind, known=known, starting_points=starts)

    whole = sampler(set())
    undisturbed = go_on(new_study(whole), whole, 10)

    def storage() -> JournalStorage:
        return JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))

    first = sampler(set())
    begun = go_on(new_study(first, storage()), first, 7)
    study = new_study(sampler(set()), storage())
    cut_off = study.ask(fixed_distributions=distributions(space))  # killed here: closed as failed, queued again
    study.tell(cut_off, state=TrialState.FAIL)
    study.enqueue_trial(cut_off.params)
    second = sampler({SMALL.price(choices).fingerprint for choices in begun})
    resumed = go_on(new_study(second, storage()), second, 3)
    assert begun + resumed == undisturbed


@pytest.mark.parametrize("kind", KINDS)
def test_a_space_that_is_used_up_ends_after_each_network_came_once(kind: str) -> None:
    priced = PricedSpace(tiny_space((1, 2, 3)), ByMacs("ms"))
    every = {priced.price(choices).fingerprint: priced.price(choices) for choices in all_choices(priced.space)}
    budget_ms = sorted(candidate.latency_ms for candidate in every.values())[5]
    fitting = {fingerprint for fingerprint, candidate in every.items() if candidate.latency_ms <= budget_ms}
    sampler = NetworkSampler(priced, limit_ms=budget_ms, seed=0, kind=kind, known=set())
    study = new_study(sampler)
    asked = go_on(study, sampler, len(fitting))
    assert {priced.price(choices).fingerprint for choices in asked} == fitting
    for _ in range(2):
        with pytest.raises(SpaceExhausted, match="has been tried"):
            study.ask(fixed_distributions=distributions(priced.space))
    assert [trial.state for trial in study.trials].count(TrialState.RUNNING) == 0


def test_a_space_of_one_network_ends_after_it() -> None:
    space = tiny_space((1,)).with_choices({"stage1.kernel": (3,)})
    sampler = NetworkSampler(PricedSpace(space, ByMacs("ms")), limit_ms=1e9, seed=0, known=set())
    study = new_study(sampler)
    assert len(go_on(study, sampler, 1)) == 1
    with pytest.raises(SpaceExhausted):
        study.ask(fixed_distributions=distributions(space))


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_that_nothing_meets_names_the_fastest_network(kind: str) -> None:
    sampler = NetworkSampler(SMALL, limit_ms=FASTEST_MS * 0.99, seed=0, kind=kind, known=set())
    with pytest.raises(InfeasibleBudget, match=SMALL.fastest().fingerprint):
        new_study(sampler).ask(fixed_distributions=distributions(SMALL.space))


def test_random_search_is_uniform_over_the_networks_that_fit() -> None:
    priced = PricedSpace(tiny_space(), ByMacs("ms"))
    every = [priced.price(choices) for choices in all_choices(priced.space)]
    budget_ms = sorted(candidate.latency_ms for candidate in every)[3]
    counts: Counter[str] = Counter()
    for seed in range(600):
        sampler = NetworkSampler(priced, limit_ms=budget_ms, seed=seed, kind="random", known=set())
        trial = new_study(sampler).ask(fixed_distributions=distributions(priced.space))
        counts[priced.price(trial.params).fingerprint] += 1
    assert len(counts) == 4
    assert sum((count - 150) ** 2 / 150 for count in counts.values()) < 16.3  # chi-square, 3 degrees, p = 0.001


def test_starting_points_come_first_and_lose_as_little_as_fits_the_budget() -> None:
    names = ("mobilenet_v2", "efficientnet_b0")
    starts = [KNOWN[name] for name in names]
    budget_ms = PRICER.price(starts[0]).latency_ms
    assert PRICER.price(starts[1]).latency_ms > budget_ms
    sampler = NetworkSampler(PRICER, limit_ms=budget_ms, seed=0, known=set(), starting_points=starts)
    first, second = go_on(new_study(sampler), sampler, 2)
    assert first == SPACE.canonical(starts[0])
    assert 0.8 * budget_ms < PRICER.price(second).latency_ms <= budget_ms
    assert sum(second.get(name) == value for name, value in starts[1].items()) >= 30  # of 42


def test_trials_that_run_now_and_known_fingerprints_are_not_proposed_again() -> None:
    priced = PricedSpace(tiny_space(), ByMacs("ms"))
    sampler = NetworkSampler(priced, limit_ms=1e9, seed=0, known=set())
    study = new_study(sampler)
    running = [study.ask(fixed_distributions=distributions(priced.space)) for _ in range(3)]
    fingerprints = {priced.price(trial.params).fingerprint for trial in running}
    assert len(fingerprints) == 3
    sampler.known |= {priced.price(choices).fingerprint for choices in all_choices(priced.space)} - fingerprints
    with pytest.raises(SpaceExhausted):
        study.ask(fixed_distributions=distributions(priced.space))


@pytest.mark.slow
def test_the_default_learns_what_random_search_does_not() -> None:
    def best(kind: str, seed: int) -> float:
        sampler = NetworkSampler(SMALL, limit_ms=3 * FASTEST_MS, seed=seed, kind=kind, known=set())
        return max(value_of(SMALL, choices) for choices in go_on(new_study(sampler), sampler, 16))

    assert sum(best("block", seed) for seed in range(3)) > sum(best("random", seed) for seed in range(3))


def test_a_trial_stopped_early_counts_against_what_it_was() -> None:
    """The same networks: the next one has SE where those without were stopped low, and none where those with were."""
    space = SMALL.space
    rng = random.Random(0)
    networks = [space.sample(rng) for _ in range(24)]

    def next_one(stopped: bool, seed: int) -> bool:
        sampler = NetworkSampler(SMALL, limit_ms=1e9, seed=seed, known=set())
        study = new_study(sampler)
        for choices in networks:
            params = {name: choices.get(name, space.parameters()[name][0]) for name in distributions(space)}
            bad = (params["stage2.se"] is True) == stopped
            study.add_trial(
                create_trial(
                    params=params,
                    distributions=distributions(space),
                    value=None if bad else 0.6,
                    state=TrialState.PRUNED if bad else TrialState.COMPLETE,
                    intermediate_values={1: 0.2} if bad else {1: 0.4, 2: 0.6},
                )
            )
        choices = space.canonical(study.ask(fixed_distributions=distributions(space)).params)
        return choices["stage2.se"] is True

    assert [next_one(True, seed) for seed in range(4)] == [False] * 4
    assert [next_one(False, seed) for seed in range(4)] == [True] * 4


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_a_proposal_after_200_trials_takes_less_than_a_second(kind: str) -> None:
    """0.2 to 0.3 s on a quiet machine; the limit leaves room for a busy one."""
    rng = random.Random(0)
    study = optuna.create_study(direction="maximize", study_name="s")
    for _ in range(200):
        choices = {name: rng.choice(values) for name, values in SPACE.parameters().items()}
        params = {name: choices[name] for name in distributions(SPACE)}
        value = value_of(PRICER, SPACE.canonical(choices))
        study.add_trial(create_trial(params=params, distributions=distributions(SPACE), value=value))
        PRICER.price(choices)
    study.sampler = NetworkSampler(PRICER, limit_ms=20.0, seed=0, kind=kind, known=set())
    study.ask(fixed_distributions=distributions(SPACE))
    began = time.thread_time()
    study.ask(fixed_distributions=distributions(SPACE))
    assert time.thread_time() - began < 1.0


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="block, tpe, random; got 'grid'"):
        NetworkSampler(PRICER, limit_ms=20.0, seed=0, kind="grid", known=set())


def test_trial_choices_are_canonical() -> None:
    sampler = NetworkSampler(PRICER, limit_ms=20.0, seed=0, known=set())
    trial = new_study(sampler).ask(fixed_distributions=distributions(SPACE))
    choices = SPACE.canonical(trial.params)
    assert choices == SPACE.canonical(choices)
    assert set(trial.params) == {name for name, values in SPACE.parameters().items() if len(values) > 1}
