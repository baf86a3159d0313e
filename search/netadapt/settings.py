"""What a pruning was asked to do, checked once; what defines it is stored with its study."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.budget import UNITS
from search.latency.runtimes import check_profiles_layers, names
from search.netadapt.proposals import MOVES
from search.settings import MAX_RESOLUTION, check_minutes, resolved_source
from search.training import variation
from searchspace.arguments import check_flag, check_threads
from searchspace.channels.steps import CRITERIA
from searchspace.errors import InvalidArgument
from searchspace.latency.table import LatencyTable

# The last stage of a search: a short way down, in little time.
LAST_STAGE: dict[str, Any] = {"step": 0.06, "decay": 1.0, "short_steps": 20, "shortlist": 2, "validation_images": 1000}
_TABLE_S = 8.0  # kernels of odd channel counts
_TIMING_S = 6.0  # an iteration's timing test and its proposals before training
ALGORITHMS = {"netadapt": (0.05, 0.98), "mobilenetv3": (0.01, 1.0)}  # --step and --decay where they are not given
EPOCHS = 20  # of the training at the end
MINUTES = 20.0  # where a network with a new head is fine-tuned
_LEAST = {"short_steps": 0, "shortlist": 1, "validation_images": 1, "epochs": 0, "epoch_images": 1}
_SAME = ("threads", "proxy_resolution", "criterion", "algorithm", "short_steps", "shortlist", "validation_images")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `search.netadapt`, which are also the keyword arguments of `search.prune`.

    network: the spec's file, or a name for a network that has none. Raises InvalidArgument naming the flag, its rule,
    the value and the next step.
    """

    network: Path
    weights: Path | str | None = None  # a file; or "auto", or names of published ones
    ema: bool | None = None
    data: str | None = None
    budget_ms: float | None = None
    budget_macs: float | None = None
    budget_params: float | None = None
    budgets: tuple[float, ...] | None = None
    latency: Path | LatencyTable | None = None
    runtime: str | None = None
    threads: int | None = None
    proxy_resolution: int | None = None
    resolution: int | str | None = None  # "auto"
    moves: tuple[str, ...] = MOVES
    criterion: str = "l2"
    algorithm: str = "netadapt"
    step: float | None = None
    decay: float | None = None
    short_steps: int = 40
    shortlist: int = 4
    validation_images: int = 2000
    minutes: float | None = None
    epochs: int | None = None
    epoch_images: int | None = None
    augment: str = variation.AUTO
    class_weights: str = variation.NONE
    workers: int = 1
    seed: int | None = None
    family: bool = False
    study: str | None = None
    replay: str | None = None

    def __post_init__(self) -> None:
        self._check_budget()
        are_moves = self.moves and {*self.moves} <= {*MOVES}
        check_flag("--moves", ",".join(self.moves), are_moves, f"one or more of {', '.join(MOVES)}")
        for flag, value, known in (
            ("--criterion", self.criterion, CRITERIA),
            ("--algorithm", self.algorithm, ALGORITHMS),
            ("--runtime", self.runtime or "eager", names()),
        ):
            check_flag(flag, value, value in known, f"one of {', '.join(known)}")
        check_flag("--step", self.step, self.step is None or 0 < self.step < 1, "a share above 0 and below 1")
        check_flag("--decay", self.decay, self.decay is None or 0 < self.decay <= 1, "a factor above 0, at most 1")
        for name, least in _LEAST.items():
            flag, value = f"--{name.replace('_', '-')}", getattr(self, name)
            check_flag(flag, value, value is None or value >= least, f"an integer of at least {least}")
        check_threads(self.threads)
        check_threads(self.workers, "--workers")
        px = self.proxy_resolution
        check_flag("--proxy-resolution", px, px is None or 1 <= px <= MAX_RESOLUTION, f"1 to {MAX_RESOLUTION} px")
        wanted = self.resolution
        fits = wanted is None or wanted == "auto" or (isinstance(wanted, int) and 1 <= wanted <= MAX_RESOLUTION)
        check_flag("--resolution", wanted, fits, f"auto, or 1 to {MAX_RESOLUTION} px")
        variation.checked(self.augment)
        variation.check_class_weights(self.class_weights)
        self._check_minutes()
        if self.latency is None and self.unit == "ms":
            check_profiles_layers(self.runtime or "eager")
        check_flag("--seed", self.seed, self.seed is None or 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")

    def _check_budget(self) -> None:
        names = ("budget_ms", "budget_macs", "budget_params", "budgets")
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]
        if len(given) != 1 or self.budgets == ():
            raise InvalidArgument(
                f"give one budget, got {' and '.join(given) or 'none'}: --budget-ms, --budget-macs, --budget-params, "
                "or --budgets 20,15,10 for several latencies"
            )
        flag = f"--budget-{self.unit}" if self.budgets is None else "--budgets"
        for budget in self.limits:
            check_flag(flag, budget, 0 < budget < math.inf, "a number above 0", needed=True)
        if self.unit != "ms" and self.latency is not None:
            raise InvalidArgument(f"--latency belongs to a budget in ms, got --budget-{self.unit}: leave one out")
        of_this_machine = "times a network for a budget in ms by this machine's own table"
        for flag, value, why in (
            ("--runtime", self.runtime, of_this_machine),
            ("--threads", self.threads, of_this_machine),
            ("--replay", self.replay, "gives the outcomes of timing tests, for a budget in ms"),
        ):
            by_table = self.latency is not None and flag != "--replay"
            if value and (self.unit != "ms" or by_table):
                got = f"--budget-{self.unit}{' and --latency' * by_table}"
                raise InvalidArgument(f"{flag} {why}, got {got}: leave it out")

    def _check_minutes(self) -> None:
        minutes = self.minutes
        check_minutes("--minutes", minutes)
        for flag, value in (("--epochs", self.epochs), ("--epoch-images", self.epoch_images)):
            if minutes is not None and value is not None:
                raise InvalidArgument(f"the training is by --minutes or by {flag}, got both: leave one out")
        if self.ema is not None and self.weights is None:
            raise InvalidArgument("--ema chooses among weights of a file, got no --weights: give both or none")
        if self.weights == "none":
            raise InvalidArgument(
                "a network is pruned with trained weights, got --weights none: give auto, a name or a file"
            )

    @property
    def long_epochs(self) -> int:
        """Of the training at the end, where it is not by minutes."""
        return EPOCHS if self.epochs is None else self.epochs

    @property
    def weights_beside(self) -> bool:
        """Whether the weights are the file beside the spec."""
        return self.weights == self.network.with_suffix(".safetensors")

    @property
    def unit(self) -> str:
        """Of the budgets: "ms", "macs" or "params"."""
        return next((unit for unit in UNITS if getattr(self, f"budget_{unit}") is not None), "ms")

    @property
    def limits(self) -> tuple[float, ...]:
        """The budgets, falling."""
        one = getattr(self, f"budget_{self.unit}")
        return tuple(sorted(set(self.budgets or ()), reverse=True)) if one is None else (one,)

    @property
    def reduction(self) -> tuple[float, float]:
        """The first reduction as a share of the start's cost, and its factor from one iteration to the next."""
        step, decay = ALGORITHMS[self.algorithm]
        return self.step or step, self.decay or decay

    @property
    def by_ratio(self) -> bool:
        """Whether what loses the least accuracy for its reduction is accepted, and not the most accurate."""
        return self.algorithm == "mobilenetv3"

    @property
    def study_name(self) -> str:
        """--study, or a name made of the network and the smallest budget: `digits-20ms-to-15ms`."""
        if self.study is not None:
            return self.study
        stem = self.network.parent.name if self.network.stem == "best" else self.network.stem
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")[:60] or "network"
        return f"{plain}-to-{budget_text(self.limits[-1])}{'' if self.unit == 'ms' else '-'}{self.unit}"

    def identity(self) -> dict[str, Any]:
        """The settings that must agree for a pruning to go on, as JSON."""
        step, decay = self.reduction
        return {
            **{name: getattr(self, name) for name in _SAME},
            "unit": self.unit,
            "budgets": list(self.limits),
            "runtime": self.runtime or "eager",
            "moves": list(self.moves),
            "step": step,
            "decay": decay,
            "augment": variation.checked(self.augment),
            "class_weights": self.class_weights,
            "data": resolved_source(self.data) if self.data else "digits",
            **({} if self.minutes is None else {"minutes": self.minutes}),
        }


def pruning_time_s(over: float, epoch_s: float) -> float:
    """About what the last stage of a search takes on 2 cores to come down from `over` times the budget.

    An epoch of the recipe's 1,280 images takes `epoch_s`.
    """
    iterations = math.ceil((1 - 1 / over) / LAST_STAGE["step"])
    return float(_TABLE_S + iterations * (LAST_STAGE["shortlist"] * 0.9 * epoch_s + _TIMING_S))


def budget_text(budget: float) -> str:
    """A budget for file names: 15, 150M."""
    return f"{budget:g}" if budget < 1e5 else f"{budget / 1e6:.6f}".rstrip("0").rstrip(".") + "M"
