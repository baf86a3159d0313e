"""The winners of a search for several budgets: one after the other, the largest first, each finished before the next.

A network that is the best within a large budget and measures within a smaller one wins both: nothing larger is better.
It is trained once. When all are finished, a network that is better on validation images than that of a larger budget is
handed over for it. The time that is left is shared evenly by the budgets that are left, so that what one does not need
is the others'. Every finished network is on disk, in a folder of its own, before the next one begins.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.budget import LatencyBudget
from search.data import Dataset
from search.front_files import folder_of, write_front
from search.long_training import LongTraining
from search.loop import Search
from search.machinery import Machinery
from search.result import Result
from search.results import TESTED, WEIGHTS, write_results
from search.session import StudyClock
from search.turns import Turn
from search.winner import WinnerSelection
from searchspace.errors import InfeasibleBudget, PhinasError
from searchspace.files import write_json
from studies.frame import read_summary
from studies.storage import BEST, SUMMARY

ONNX = "best.onnx"
SAME = "the same network: nothing larger within the budget is better"
BETTER = "on validation images it is better than what was trained for the larger budget"
Summary = dict[str, Any]


class PartClock(StudyClock):
    """A study's clock for a part of its work, which ends when the whole has spent `limit_s` (None: no limit)."""

    def __init__(self, whole: StudyClock, limit_s: float | None) -> None:
        self._whole, self.limit_s, self.now = whole, limit_s, whole.now

    def elapsed_s(self) -> float:
        """Seconds spent on the whole study."""
        return self._whole.elapsed_s()


@dataclass
class Front:
    """The winners of one search with several budgets. weights: where they began, for people."""

    search: Search
    training: LongTraining
    images: Dataset
    folder: Path
    machinery: Machinery
    weights: str | None
    done: dict[float, Summary] = field(default_factory=dict)

    def finish(self) -> Summary:
        """Finish a network for each budget; the content of the study's summary.json.

        Raises InfeasibleBudget for a budget within which no network was trained, before any winner is.
        """
        turns = self.search.turns
        self._check_candidates()
        for left, turn in reversed([*enumerate(turns, 1)]):
            self.search.take(turn)
            self.done[turn.budget.limit_ms] = self._finished(turn) or self._found(turn, left)
        self._hand_up()
        self.search.take(turns[-1])
        self.search.progress.about = ""
        notes = [note for turn in turns if (note := self._export(turn)) is not None]
        return write_front(self.search, self.folder, [self.done[turn.budget.limit_ms] for turn in turns], notes)

    def _check_candidates(self) -> None:
        for turn in self.search.turns:
            self.search.take(turn)
            if not self.search.finished():
                raise InfeasibleBudget(
                    f"no network within {turn.text} was trained to its end, so there is no winner for it: go on with "
                    "more --minutes or --trials, or leave this budget out"
                )

    def _found(self, turn: Turn, left: int) -> Summary:
        """The winner of a budget; `left` budgets, this one among them, have the time that is left."""
        budget, progress = turn.budget, self.search.progress
        larger = next((one for ms, one in sorted(self.done.items()) if ms > budget.limit_ms), None)
        if larger is not None and larger["counted_ms"] <= budget.limit_ms:
            return self._hand_over(larger, budget, SAME)
        clock = PartClock(self.search.clock, self._limit_s(budget, left))
        part, folder = self.search.of_turn(turn, clock), folder_of(self.folder, budget.limit_ms)
        folder.mkdir(exist_ok=True)
        selection = WinnerSelection(part, self.training, self.images, folder, self.machinery.timer, kept_in=self.folder)
        winner = selection.select_winner()
        about = {"finished_for": self._asked, "counted_ms": budget.counted_ms(winner.measured), "handed_over": None}
        (folder / ONNX).unlink(missing_ok=True)
        summary = write_results(part, winner, self.images, folder, weights=self.weights, about=about)
        progress.line(f"finished: {folder}")
        return summary

    @property
    def _asked(self) -> list[float | int | None]:
        """How far this run goes: what is finished for less is made anew."""
        return [self.search.settings.time_limit_s, self.search.settings.trials]

    def _limit_s(self, budget: LatencyBudget, left: int) -> float | None:
        """On the study's clock, when this winner is to be finished; decided once, as trainings are planned by it."""
        limit_s = self.search.clock.limit_s
        if limit_s is None:
            return None
        kept = dict(self.search.study.user_attrs.get("front_limits", {}))
        key = f"{budget.limit_ms:g} {self._asked}"
        if key not in kept:
            spent_s = self.search.clock.elapsed_s()
            kept[key] = spent_s + max(0.0, limit_s - spent_s) / left
            self.search.study.set_user_attr("front_limits", kept)
        return float(kept[key])

    # What an earlier, cut-off run finished

    def _finished(self, turn: Turn) -> Summary | None:
        ms = turn.budget.limit_ms
        source = self._handed.get(f"{ms:g}")
        if source is not None and (found := self._read(source["from"])) is not None:
            return self._hand_over(found, turn.budget, source["why"])  # it may have been cut off
        if (own := self._read(ms)) is not None:
            self.search.progress.line(f"finished before: {folder_of(self.folder, ms)}")
        return own

    def _read(self, ms: float) -> Summary | None:
        """The summary of a budget's finished network; None where there is none of this run, or it cannot be read."""
        folder = folder_of(self.folder, ms)
        if not (folder / SUMMARY).exists():
            return None
        try:
            found = read_summary(folder / SUMMARY)
            if found.get("finished_for") != self._asked:
                return None
            found |= {"folder": str(folder), "study": self.search.study.study_name}
            Result(found).check("it is made again")
        except PhinasError as error:
            self.search.progress.line(str(error))
            return None
        return found

    # One network for two budgets

    @property
    def _handed(self) -> Mapping[str, Any]:
        kept = self.search.study.user_attrs.get("front_handed", {})
        found: Mapping[str, Any] = kept.get("budgets", {}) if kept.get("asked") == self._asked else {}
        return found

    def _hand_over(self, found: Summary, budget: LatencyBudget, why: str) -> Summary:
        """Copy a finished network for another budget, which is noted first: a copy that is cut off is made again."""
        origin = found["handed_over"] or {"from_budget_ms": found["budget_ms"]}
        source_ms, ms = float(origin["from_budget_ms"]), budget.limit_ms
        noted = {**self._handed, f"{ms:g}": {"from": source_ms, "why": why}}
        self.search.study.set_user_attr("front_handed", {"asked": self._asked, "budgets": noted})
        source, folder = folder_of(self.folder, source_ms), folder_of(self.folder, ms)
        folder.mkdir(exist_ok=True)
        (folder / ONNX).unlink(missing_ok=True)
        for name in (WEIGHTS, BEST, TESTED):
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        handed = {"from_budget_ms": source_ms, "why": why}
        own = {"folder": str(folder), "budget_ms": ms, "within_budget": True, "handed_over": handed}
        summary = {**found, **own}
        write_json(folder / SUMMARY, summary)
        self.search.progress.line(f"the network for {source_ms:g} ms is handed over for {ms:g} ms too: {why}")
        return summary

    def _hand_up(self) -> None:
        """A larger budget's network is never worse, on validation images, than a smaller one's."""
        best: Summary | None = None
        for turn in self.search.turns:
            self.search.take(turn)
            found = self.done[turn.budget.limit_ms]
            if best is not None and _validation(best) > _validation(found):
                found = self._hand_over(best, turn.budget, BETTER)
                self.done[turn.budget.limit_ms] = found
            best = found

    def _export(self, turn: Turn) -> str | None:
        """An ONNX model beside the network; why there is none."""
        folder = folder_of(self.folder, turn.budget.limit_ms)
        if (folder / ONNX).exists():
            return None
        self.search.progress.update(1.0, f"exporting the network for {turn.text}")
        return self.machinery.export(folder / BEST)


def _validation(summary: Summary) -> float:
    return float(summary["winner"]["validation_accuracy"])
