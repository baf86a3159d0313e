"""The budgets of a study by its table and what its networks measured: what --pareto comes to, which can be reached."""

from collections.abc import Callable
from dataclasses import replace

import optuna

from search.budget import LatencyBudget
from search.budgets import budgets_text, spread
from search.candidates import PricedSpace
from search.device import Device
from search.loop import measured_before
from search.settings import Settings
from searchspace.latency.table import LatencyTable

Note = Callable[[str], None]


def with_budgets(
    settings: Settings, priced: PricedSpace, table: LatencyTable, device: Device, study: optuna.Study, *, note: Note
) -> tuple[Settings, list[LatencyBudget]]:
    """The settings with what --pareto comes to, and the budgets, the smallest first.

    Raises InfeasibleBudget where no network of the space meets one.
    """

    def budget_of(ms: float) -> LatencyBudget:
        return _budget(ms, settings, priced, table, device, study, note)

    largest = budget_of(settings.budget_ms)
    if settings.pareto is not None and settings.budgets_ms is None:
        sure = 1.0 if largest.measures else table.prediction_limit_ms(1.0, settings.confidence)
        budgets = spread(largest.fastest_ms / sure, settings.budget_ms, settings.pareto)
        note(f"--pareto {settings.pareto}: networks for {budgets_text(budgets, ', ')} ms")
        settings = replace(settings, budgets_ms=budgets)
    return settings, [*map(budget_of, (settings.budgets_ms or ())[:-1]), largest]


def _budget(
    budget_ms: float,
    settings: Settings,
    priced: PricedSpace,
    table: LatencyTable,
    device: Device,
    study: optuna.Study,
    note: Note,
) -> LatencyBudget:
    fastest = priced.fastest_within(budget_ms)
    budget = LatencyBudget(
        budget_ms,
        table,
        confidence=settings.confidence,
        overshoot=settings.candidates_overshoot,
        fastest_ms=fastest.latency_upper_ms,
        measured=measured_before(study, priced, table),
        device=device,
    )
    budget.check_reachable()
    name = f"{budget_ms:g} ms" if settings.winners > 1 else "the budget"
    goal = name if budget.overshoot == 1 else f"{budget.overshoot:g} times {name}"
    why = f"there they meet {goal} with a probability of {settings.confidence:.0%}"
    if not budget.is_confident:
        why = f"with a probability of {settings.confidence:.0%} none would do"
    note(
        f"the fastest network takes {fastest.latency_ms:.1f} ms; candidates are kept within "
        f"{budget.prediction_limit_ms:.2f} ms: {why}"
    )
    return budget
