"""Estimators and proxies against networks that are trained fully: figures, which estimator is best, the report."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from search.accuracy import names
from search.settings import DEFAULT_MINUTES
from search.validation.files import Trained
from search.validation.scores import SIZES, Judged
from search.validation.statistics import Agreement, Tau, Truth, difference
from searchspace.errors import InvalidArgument
from searchspace.report import interval_text, notes, paragraphs, percent_text, table

if TYPE_CHECKING:
    import pandas as pd

SEED_ROW = "another seed"
CANDIDATES = 30  # that the default job judges at least
CANDIDATES_SHARE = 0.5  # of its minutes; the rest is the table's, the finalists' and the winner's
CEILING_SHARE = 0.7  # of the ceiling: what is asked of the default estimator
LEAD = 0.15  # above the better of MACs and depth, within the band: what is asked too
FEWEST = 3  # networks


@dataclass(frozen=True, eq=False)
class Comparison:
    """What each estimator is worth.

    Attributes:
        agreements: By name, best tau first, `SEED_ROW` among them where networks were trained twice.
        judged: Seconds of each.
        pixels: That the networks are judged at.
        threads: That compute.
    """

    truth: Truth
    agreements: dict[str, Agreement]
    judged: dict[str, Judged]
    pixels: int
    threads: int

    @classmethod
    def of(
        cls, trained: list[Trained], judged: dict[str, Judged], *, band: float, seed: int, pixels: int, threads: int
    ) -> "Comparison":
        """Of a set's first trainings, by `seed`; the second ones, by the next seed, are the ceiling.

        Raises InvalidArgument for fewer than FEWEST networks.
        """
        first, second = ({row.fingerprint: row for row in trained if row.seed == each} for each in (seed, seed + 1))
        if len(first) < FEWEST:
            raise InvalidArgument(f"a comparison needs {FEWEST} trained networks, got {len(first)}: train more")
        accuracy, macs = (np.array([getattr(row, of) for row in first.values()], float) for of in ("accuracy", "macs"))
        truth, every = Truth(accuracy, macs, band, seed), dict(judged)
        if second:
            again = {fingerprint: float(row.accuracy or 0.0) for fingerprint, row in second.items()}
            every[SEED_ROW] = Judged(again, 0.0, 0.0)
        found = {
            name: truth.agreement(np.array([one.scores.get(fingerprint, np.nan) for fingerprint in first]))
            for name, one in every.items()
        }
        order = sorted(found, key=lambda name: -_value(found[name].tau))
        return cls(truth, {name: found[name] for name in order}, every, pixels, threads)

    @property
    def ceiling(self) -> Tau | None:
        """Tau of two seeds of the reference itself."""
        return self.agreements[SEED_ROW].tau if SEED_ROW in self.agreements else None

    def job_s(self, name: str) -> float:
        """Seconds that judging CANDIDATES networks takes, what comes before it included."""
        return self.judged[name].prepare_s + CANDIDATES * self.judged[name].seconds

    @property
    def quick(self) -> list[str]:
        """Estimators that judge CANDIDATES networks within their share of the default minutes, the best first."""
        limit_s = 60 * DEFAULT_MINUTES * CANDIDATES_SHARE
        return [name for name in self.agreements if name in names() and self.job_s(name) <= limit_s]

    def rows(self) -> list[dict[str, Any]]:
        """The figures of each, as JSON values."""
        return [
            {
                "name": name,
                "networks": one.networks,
                **_tau_fields("tau", one.tau),
                **_tau_fields("band_tau", one.in_band),
                "top_overlap": one.top_overlap,
                "regret": one.regret,
                "seconds": self.judged[name].seconds,
                "prepare_s": self.judged[name].prepare_s,
            }
            for name, one in self.agreements.items()
        ]

    @property
    def frame(self) -> "pd.DataFrame":
        """The figures as a pandas frame, a row for each estimator and proxy."""
        import pandas as pd

        return pd.DataFrame(self.rows()).set_index("name")

    def report(self) -> str:
        """What the command prints: a table and sentences."""
        return _report(self)

    def verdict(self) -> dict[str, Any]:
        """The best estimator within the default minutes, and what it reaches of what is asked."""
        best, ceiling = next(iter(self.quick), None), self.ceiling
        if best is None:
            return {"best": None}
        sizes = [name for name in ("macs", "depth") if self.agreements[name].in_band.value is not None]
        rival = max(sizes, key=lambda name: _value(self.agreements[name].in_band), default=None)
        of_ceiling = None
        if ceiling is not None and ceiling.value is not None and ceiling.value > 0:
            of_ceiling = _value(self.agreements[best].tau) / ceiling.value
        lead = None if rival is None else difference(self.agreements[best].in_band, self.agreements[rival].in_band)
        return {
            "best": best,
            "ceiling": ceiling and ceiling.value,
            "of_ceiling": of_ceiling,
            "rival": rival,
            "lead": lead,
        }


def _value(tau: Tau) -> float:
    return -2.0 if tau.value is None else tau.value


def _tau_fields(name: str, tau: Tau) -> dict[str, Any]:
    return {name: tau.value, f"{name}_low": tau.low, f"{name}_high": tau.high, f"{name}_pairs": tau.pairs}


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['seconds']:.1f}", f"{row['prepare_s']:.0f}"


def _report(found: Comparison) -> str:
    """What a person reads."""
    rows = [
        [
            row["name"],
            _two(row["tau"]),
            interval_text(row["tau_low"], row["tau_high"], _two),
            _two(row["band_tau"]),
            interval_text(row["band_tau_low"], row["band_tau_high"], _two),
            percent_text(row["top_overlap"], 0),
            "-" if row["regret"] is None else f"{100 * row['regret']:.1f}",
            *(("-", "-") if row["name"] in (*SIZES, SEED_ROW) else _seconds(row)),
            str(row["networks"]),
        ]
        for row in found.rows()
    ]
    interval = "95 % interval"
    headers = ("estimator", "tau", interval, "band", interval, "top tenth", "regret", "s each", "s once", "networks")
    accuracy = found.truth.accuracy
    macs = found.agreements["macs"]
    return paragraphs(
        table(
            headers,
            rows,
            text_columns=(0,),
            title=f"{len(accuracy)} networks trained fully, judged at {found.pixels} px",
        ),
        notes(
            f"tau: Kendall's, of {macs.tau.pairs} pairs of networks; band: of the {macs.in_band.pairs} pairs whose "
            f"MACs differ by a factor of at most {found.truth.band:g}. top tenth: the share of the best tenth that an "
            "estimator puts there. regret: points lost by taking its best network. Intervals are of bootstrap "
            "resamples of the networks. s each, s once: of a network, and before the first one, where they judged.",
            f"The networks' accuracies are {percent_text(accuracy.min())} to {percent_text(accuracy.max())} of "
            "held-out validation images; the test split stays closed.",
        ),
        notes(*_sentences(found)),
    )


def _sentences(found: Comparison) -> list[str]:
    """Which estimator is best within the default minutes, what the ceiling is, what is reached of what is asked."""
    verdict, ceiling = found.verdict(), found.ceiling
    told = []
    if ceiling is None or ceiling.value is None:
        told.append("The ceiling is not known: no network is trained twice (--twice).")
    else:
        told.append(
            f"The ceiling is a tau of {_two(ceiling.value)} ({interval_text(ceiling.low, ceiling.high, _two)}): so far "
            f"do two seeds of the same training agree, by {found.agreements[SEED_ROW].networks} networks."
        )
    best = verdict["best"]
    within = (
        f"{CANDIDATES} candidates in {CANDIDATES_SHARE:.0%} of the default {DEFAULT_MINUTES:g} minutes "
        f"({60 * DEFAULT_MINUTES * CANDIDATES_SHARE:.0f} s)"
    )
    if best is None:
        return [*told, f"No estimator judges {within} on this machine."]
    agreement = found.agreements[best]
    told.append(
        f"{best} is the best of those that judge {within}: tau {_two(agreement.tau.value)}, within the band "
        f"{_two(agreement.in_band.value)}; it takes {found.job_s(best):.0f} s."
    )
    if verdict["of_ceiling"] is not None:
        told.append(f"It reaches {_two(verdict['of_ceiling'])} of the ceiling; {CEILING_SHARE:g} is asked.")
    lead = verdict["lead"]
    if lead is not None and lead["value"] is not None:
        told.append(
            f"Within the band it is {lead['value']:+.2f} ({interval_text(lead['low'], lead['high'], _signed)}) above "
            f"{verdict['rival']}, the better of MACs and depth; {LEAD:+g} is asked."
        )
    return told


def _signed(value: float) -> str:
    return f"{value:+.2f}"
