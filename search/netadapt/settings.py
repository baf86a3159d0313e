"""What a refinement was asked to do, checked once; what defines it is stored with its study."""

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.latency.runtimes import check_kernels, names
from search.netadapt.proposals import MOVES
from search.settings import resolved_source
from searchspace.channels.steps import CRITERIA
from searchspace.errors import InvalidArgument

# The last stage of a search: a short way down, in little time.
STAGE: dict[str, Any] = {"step": 0.06, "decay": 1.0, "short_steps": 20, "shortlist": 2, "validation_images": 1000}
_TABLE_S = 8.0  # kernels of odd channel counts
_TIMING_S = 6.0  # an iteration's timing test and its offers before training
ALGORITHMS = {"netadapt": (0.05, 0.98), "mobilenetv3": (0.01, 1.0)}  # --step and --decay where they are not given


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `search.netadapt`. `unit` and `budgets` (falling) are those of --budget-ms, --budget-macs or
    --budget-params, and --budgets. Raises InvalidArgument naming rule, value and next step."""

    network: Path
    weights: Path
    unit: str
    budgets: tuple[float, ...]
    data: str | None = None
    latency: Path | None = None
    runtime: str = "eager"
    threads: int | None = None
    proxy_resolution: int | None = None
    moves: tuple[str, ...] = MOVES
    criterion: str = "l2"
    algorithm: str = "netadapt"
    step: float | None = None
    decay: float | None = None
    short_steps: int = 40
    shortlist: int = 4
    validation_images: int = 2000
    epochs: int = 20
    epoch_images: int | None = None
    workers: int = 1
    seed: int | None = None
    family: bool = False
    study: str | None = None

    def __post_init__(self) -> None:
        for budget in self.budgets:
            _check(f"--budget-{self.unit}", budget, 0 < budget < math.inf, "a number above 0")
        unknown = [move for move in self.moves if move not in MOVES]
        _check("--moves", ",".join(self.moves), self.moves and not unknown, f"one or more of {', '.join(MOVES)}")
        _check("--criterion", self.criterion, self.criterion in CRITERIA, f"one of {', '.join(CRITERIA)}")
        _check("--algorithm", self.algorithm, self.algorithm in ALGORITHMS, f"one of {', '.join(ALGORITHMS)}")
        _check("--step", self.step, self.step is None or 0 < self.step < 1, "a share above 0 and below 1")
        _check("--decay", self.decay, self.decay is None or 0 < self.decay <= 1, "a factor above 0, at most 1")
        _check("--short-steps", self.short_steps, self.short_steps >= 0, "an integer of at least 0")
        _check("--runtime", self.runtime, self.runtime in names(), f"one of {', '.join(names())}")
        for flag, least in (
            ("shortlist", 1),
            ("validation_images", 1),
            ("epochs", 0),
            ("workers", 1),
            ("epoch_images", 1),
        ):
            value = getattr(self, flag)
            value = least if value is None else value
            _check(f"--{flag.replace('_', '-')}", value, value >= least, f"an integer of at least {least}")
        px = self.proxy_resolution
        _check("--proxy-resolution", px, px is None or px >= 1, "at least 1 px")
        if self.latency is None and self.unit == "ms":
            check_kernels(self.runtime)
        _check("--threads", self.threads, self.threads is None or self.threads >= 1, "an integer of at least 1")
        _check("--seed", self.seed, self.seed is None or 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")

    @property
    def reduction(self) -> tuple[float, float]:
        """(first reduction as a share of the start's cost, what it is multiplied by from one iteration to the next)."""
        step, decay = ALGORITHMS[self.algorithm]
        return self.step or step, self.decay or decay

    @property
    def study_name(self) -> str:
        """--study, or a name made of the network and the smallest budget: `digits-20ms-to-15ms`."""
        if self.study is not None:
            return self.study
        stem = self.network.parent.name if self.network.stem == "best" else self.network.stem
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")[:60] or "network"
        return f"{plain}-to-{budget_text(self.budgets[-1])}{'' if self.unit == 'ms' else '-'}{self.unit}"

    def identity(self) -> dict[str, Any]:
        """The settings that must agree for a refinement to go on, as JSON."""
        own = asdict(self)
        for free in ("network", "weights", "latency", "study", "workers", "epochs", "epoch_images", "family"):
            del own[free]
        own["step"], own["decay"] = self.reduction
        return {
            **own,
            "moves": list(self.moves),
            "budgets": list(self.budgets),
            "data": resolved_source(self.data) if self.data else "digits",
        }


def pruning_time_s(over: float, epoch_s: float) -> float:
    """About what the stage takes on 2 cores to come down from `over` times the budget; an epoch of the recipe's 1,280
    images takes `epoch_s`."""
    iterations = math.ceil((1 - 1 / over) / STAGE["step"])
    return float(_TABLE_S + iterations * (STAGE["shortlist"] * 0.9 * epoch_s + _TIMING_S))


def budget_text(budget: float) -> str:
    """A budget for file names: 15, 150M."""
    return f"{budget:g}" if budget < 1e5 else f"{budget / 1e6:.6f}".rstrip("0").rstrip(".") + "M"


def _check(flag: str, value: object, holds: object, rule: str) -> None:
    if not holds:
        raise InvalidArgument(f"{flag} must be {rule}, got {value}")
