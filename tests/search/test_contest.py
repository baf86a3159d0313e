"""The contest of tied finalists: who is in it, what it costs, who goes on."""

from types import SimpleNamespace
from typing import Any

import pytest

from search.contest import Contest, Standing
from search.finalists import Finalist
from tests.small_search import measurement


def standing(number: int, mean: float, deviation: float = 0.02, network: str | None = None) -> Standing:
    trial: Any = SimpleNamespace(number=number, user_attrs={} if network is None else {"network": network})
    return Standing(Finalist(trial, measurement(9.0)), network or f"trial {number}", mean, deviation)


class Trainings:
    """What each trial's training comes to, by number, and which were asked for."""

    def __init__(self, **accuracies: float) -> None:
        self.accuracies = {int(name[1:]): accuracy for name, accuracy in accuracies.items()}
        self.asked: list[tuple[int, float]] = []

    def __call__(self, finalist: Finalist, until: float) -> float:
        self.asked.append((finalist.trial.number, until))
        return self.accuracies[finalist.trial.number]


def contest(train: Any = None, left_s: float | None = 1500.0, *, by_epochs: bool = False) -> Contest:
    progress: Any = SimpleNamespace(line=lambda _: None)
    return Contest(train, progress, left_s, by_epochs)


def held(here: Contest, *standings: Standing) -> tuple[list[Finalist], dict[str, Any] | None]:
    return here.run(standings, here.terms(standings))


def numbers(standings: list[Standing]) -> list[int]:
    return [one.finalist.trial.number for one in standings]


def test_only_those_within_a_deviation_of_the_best_are_tied_and_the_best_published_network_is_in() -> None:
    one, two, three, four = (
        standing(1, 0.70),
        standing(2, 0.68),
        standing(3, 0.66),
        standing(4, 0.64, network="mobilenet"),
    )
    assert numbers(contest().tied([one, two, three])) == [1, 2]
    assert numbers(contest().tied([one, two, three, four])) == [1, 2, 4]
    assert numbers(contest().tied([one, two, four._replace(mean=0.5)])) == [1, 2]  # hopeless
    assert numbers(contest().tied([four._replace(mean=0.8), one])) == [4]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_others_take_at_most_a_sixth_of_the_winner_s_time(count: int) -> None:
    here = contest(left_s=1000.0)
    reserve_s = here.reserve_s(count)
    winner_s = 1000.0 - reserve_s
    assert reserve_s == pytest.approx((count - 1) * here.until(count) * winner_s)  # each the same share of a training
    assert reserve_s <= 0.16 * 1000


def test_where_minutes_are_short_fewer_or_none_are_in_it() -> None:
    three = [standing(1, 0.70), standing(2, 0.70), standing(3, 0.69, network="mobilenet")]
    assert len(contest(left_s=400.0).tied(three)) == 3
    assert numbers(contest(left_s=200.0).tied(three)) == [1, 3]
    assert numbers(contest(left_s=60.0).tied(three)) == [1]


def test_the_best_after_equal_minutes_goes_on_and_the_summary_says_why() -> None:
    train = Trainings(t1=0.80, t2=0.83)
    order, found = held(contest(train), standing(1, 0.70), standing(2, 0.69), standing(3, 0.5))
    assert [one.trial.number for one in order] == [2, 1, 3]
    assert found is not None
    assert [row["contest_accuracy"] for row in found["tied"]] == [0.80, 0.83]
    assert found["decided_by"].startswith("trial 2 was the best")
    assert train.asked == [(1, 0.1), (2, 0.1)]


def test_a_contest_goes_on_by_the_terms_that_it_began_by_however_little_time_is_left() -> None:
    three = [standing(1, 0.70), standing(2, 0.69), standing(3, 0.69, network="mobilenet")]
    terms = contest().terms(three)
    assert terms is not None
    assert terms.trials == [1, 2, 3]
    assert terms.reserve_s == pytest.approx(1500 * 0.16 / 1.16)
    late = contest(train := Trainings(t1=0.80, t2=0.83, t3=0.81), left_s=10.0)
    assert late.terms(three) is None
    order, found = late.run(three, terms)
    assert [one.trial.number for one in order] == [2, 1, 3]
    assert found is not None
    assert train.asked == [(1, 0.08), (2, 0.08), (3, 0.08)]


def test_the_published_network_stays_where_one_too_many_is_tied() -> None:
    three = [standing(1, 0.70), standing(2, 0.70, network="mobilenet"), standing(3, 0.69)]
    assert numbers(contest(left_s=200.0).tied(three)) == [1, 2]
    assert numbers(contest(left_s=200.0).tied([three[1], three[0], three[2]])) == [2, 1]


def test_equal_results_leave_the_order_and_one_finalist_needs_no_contest() -> None:
    order, found = held(contest(Trainings(t1=0.8, t2=0.8)), standing(1, 0.70), standing(2, 0.69))
    assert [one.trial.number for one in order] == [1, 2]
    assert found
    assert held(contest(Trainings()), standing(1, 0.7), standing(2, 0.5))[1] is None


def test_from_scratch_two_train_past_the_rise_of_the_rate() -> None:
    train = Trainings(t1=0.8, t2=0.7)
    held(contest(train, None, by_epochs=True), standing(1, 0.70), standing(2, 0.70), standing(3, 0.70))
    assert train.asked == [(1, 0.2), (2, 0.2)]
