"""The winners of a search for several budgets: one after the other, the largest first, each finished before the next.

A network that is the best within a large budget and measures within a smaller one wins both: nothing larger is better.
It is trained once. When all are finished, a network that is better on validation images than that of a larger budget is
handed over for it. All budgets' finalists are measured first; the time that is left is then shared evenly by those
budgets that are left, but for those that surely have the network of a larger one. Every finished network is on disk, in
a folder of its own, before the next one begins. A budget within which no network measures has none, which is said, and
the others are finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.budget import LatencyBudget
from search.data import Dataset
from search.finalists import Finalist, finalists_within
from search.front_files import copy_network, folder_of, write_front
from search.long_training import LongTraining
from search.loop import Search
from search.machinery import Machinery
from search.result import Result
from search.results import write_results
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
ALONE = "no other network is within the larger budget"
Summary = dict[str, Any]


class PartClock(StudyClock):
    """A study's clock for a part of its work, which ends when the whole has spent `limit_s` (None: no limit)."""

    def __init__(self, whole: StudyClock, limit_s: float | None) -> None:
        self._whole, self.limit_s, self.now = whole, limit_s, whole.now

    def elapsed_s(self) -> float:
        """Seconds spent on the whole study."""
        return self._whole.elapsed_s()


@dataclass
class Waiting:
    """A budget whose network is not made yet: its finalists, measured, and those of them that its contest may name."""

    turn: Turn
    selection: WinnerSelection
    clock: PartClock
    measured: tuple[list[Finalist], list[Summary]]
    may_win: list[Finalist]


def shares(waiting: Sequence[Waiting]) -> int:
    """How many budgets, the largest first, need time: all but those that surely have the network of a larger one."""
    count, larger = 0, list[Finalist]()
    for one in waiting:
        if not larger or any(one.turn.budget.times_over(each.found) > 1 for each in larger):
            count, larger = count + 1, one.may_win
    return count


@dataclass
class Front:
    """The winners of one search with several budgets. weights: where they began, for people.

    done: the summary of each finished network, by its budget in ms. lacking: why a budget has none.
    """

    search: Search
    training: LongTraining
    images: Dataset
    folder: Path
    machinery: Machinery
    weights: str | None
    done: dict[float, Summary] = field(default_factory=dict)
    lacking: dict[float, str] = field(default_factory=dict)

    def finish(self) -> Summary:
        """Finish a network for each budget; the content of the study's summary.json.

        Raises InfeasibleBudget where there is none for any of them.
        """
        turns = self.search.turns
        for turn in reversed(turns):
            self.search.take(turn)
            if (found := self._finished(turn)) is not None:
                self.done[turn.budget.limit_ms] = found
        self._hand_down()
        left = [turn for turn in reversed(turns) if turn.budget.limit_ms not in self.done]
        waiting = [one for turn in left if (one := self._measured(turn)) is not None]
        while waiting:
            self._find(waiting[0], shares(waiting))
            self._hand_down()
            waiting = [one for one in waiting[1:] if one.turn.budget.limit_ms not in self.done]
        if not self.done:
            raise InfeasibleBudget(self.lacking[turns[-1].budget.limit_ms])
        self._hand_up()
        self._tidy()
        self.search.take(turns[-1])
        self.search.progress.about = ""
        notes = [note for ms in sorted(self.done) if (note := self._export(ms)) is not None]
        return write_front(self.search, self.folder, self.done, self.lacking, notes)

    def _measured(self, turn: Turn) -> Waiting | None:
        """A budget with its finalists, measured; None where no network is within it."""
        clock = PartClock(self.search.clock, self.search.clock.limit_s)
        part, folder = self.search.of_turn(turn, clock), folder_of(self.folder, turn.budget.limit_ms)
        try:
            measured = finalists_within(part, turn.budget.search_limit_ms)
        except InfeasibleBudget as error:
            self._lack(turn, error)
            return None
        selection = WinnerSelection(part, self.training, self.images, folder, self.machinery.timer, kept_in=self.folder)
        return Waiting(turn, selection, clock, measured, selection.may_win(measured[0]))

    def _lack(self, turn: Turn, error: InfeasibleBudget) -> None:
        self.lacking[turn.budget.limit_ms] = str(error)
        self.search.progress.line(f"no network for {turn.text}: {error}")

    def _find(self, one: Waiting, left: int) -> None:
        """The winner of a budget; `left` budgets, this one among them, have the time that is left."""
        budget, folder, part = one.turn.budget, one.selection.folder, one.selection.search
        self.search.take(one.turn)
        one.clock.limit_s = self._limit_s(budget, left)
        folder.mkdir(exist_ok=True)
        try:
            winner = one.selection.select_winner(one.measured)
        except InfeasibleBudget as error:
            self._lack(one.turn, error)
            return
        about = {"finished_for": self._asked, "counted_ms": budget.counted_ms(winner.measured), "handed_over": None}
        (folder / ONNX).unlink(missing_ok=True)
        summary = write_results(part, winner, self.images, folder, weights=self.weights, about=about)
        self.done[budget.limit_ms] = summary
        self.search.progress.line(f"finished: {folder}")

    def _tidy(self) -> None:
        """Take away what trainings left that found no network."""
        for turn in self.search.turns:
            folder = folder_of(self.folder, turn.budget.limit_ms)
            for state_file in folder.glob("winner-*.ckpt"):
                state_file.unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()  # where nothing else is in it

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
        self.lacking.pop(ms, None)
        noted = {**self._handed, f"{ms:g}": {"from": source_ms, "why": why}}
        self.search.study.set_user_attr("front_handed", {"asked": self._asked, "budgets": noted})
        source, folder = folder_of(self.folder, source_ms), folder_of(self.folder, ms)
        folder.mkdir(exist_ok=True)
        (folder / ONNX).unlink(missing_ok=True)
        copy_network(source, folder)
        handed = {"from_budget_ms": source_ms, "why": why}
        own = {"folder": str(folder), "budget_ms": ms, "within_budget": True, "handed_over": handed}
        summary = {**found, **own}
        write_json(folder / SUMMARY, summary)
        self.search.progress.line(f"the network for {source_ms:g} ms is handed over for {ms:g} ms too: {why}")
        return summary

    def _hand_down(self) -> None:
        """A network that is within a smaller budget that has none wins that too."""
        larger: Summary | None = None
        for turn in reversed(self.search.turns):
            ms = turn.budget.limit_ms
            if ms not in self.done and larger is not None and larger["counted_ms"] <= ms:
                self.search.take(turn)
                self.done[ms] = self._hand_over(larger, turn.budget, SAME)
            larger = self.done.get(ms, larger)

    def _hand_up(self) -> None:
        """A larger budget's network is never worse, on validation images, than a smaller one's."""
        best: Summary | None = None
        for turn in self.search.turns:
            self.search.take(turn)
            ms = turn.budget.limit_ms
            found = self.done.get(ms)
            is_better = best is not None and (found is None or _validation(best) > _validation(found))
            if best is not None and is_better and best["counted_ms"] <= ms:
                self.done[ms] = self._hand_over(best, turn.budget, ALONE if found is None else BETTER)
            elif not is_better:
                best = found

    def _export(self, ms: float) -> str | None:
        """An ONNX model beside the network; why there is none."""
        folder = folder_of(self.folder, ms)
        if (folder / ONNX).exists():
            return None
        self.search.progress.update(1.0, f"exporting the network for {ms:g} ms")
        return self.machinery.export(folder / BEST)


def _validation(summary: Summary) -> float:
    return float(summary["winner"]["validation_accuracy"])
