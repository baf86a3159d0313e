"""The settings of a search: checked once, stored with the study, compared when the study goes on."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from search.accuracy import names as estimators
from search.budget import DEFAULT_CONFIDENCE
from search.budgets import budgets_text, check_budgets, check_pareto
from search.differences import command_of, in_words, moved
from search.latency.kernels import placed_blocks
from search.latency.runtimes import check_profiles_layers, names
from search.reward import REWARDS
from search.samplers import EARLIER, KINDS
from search.sources import parse_source
from search.training import variation
from searchspace.arguments import check_flag, check_threads
from searchspace.errors import InvalidArgument, InvalidTable, MissingLatency, StudyMismatch
from searchspace.files import full_path
from searchspace.latency.table import LatencyTable
from searchspace.spaces.presets import is_preset, space_of
from searchspace.spaces.space import SearchSpace

DEFAULT_MINUTES = 9.0
DEFAULT_RESOLUTION = 224
MOST_MINUTES = 1e6
MAX_RESOLUTION = 2048
MAX_OVERSHOOT = 2.0
PRUNED_FROM_S = 300.0  # a job of 2 minutes took 4 with the pruning of its winner
BEFORE = {"overshoot": 1.0, "weights": "none", "accuracy": "training"}  # of older studies, which do not store these
RENAMED_IN_RECIPE = {"calm_residuals": "zero_init_residual"}  # older studies store the first name
UNRECORDED = {"table"}  # older studies do not store it: it is taken to be as it is now
AUTO = "auto"
BEST_OF_ALL = "best"  # of --baselines: those of the zoo that frozen features say are worth the time
NO_WEIGHTS = "none"
_FILES = (".tar", ".gz", ".tgz", ".zip", ".parquet", ".csv", ".tsv", ".jsonl", ".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `search.run`. `minutes`, `trials`, `until_settled` say how far to go; all others define the study.

    budget_ms: the largest where there are several.
    budgets_ms: one network is found for each of these, the smallest first; None where there is one budget.
    pareto: how many budgets are spread up to `budget_ms`; `budgets_ms` are they, once the fastest network is known.
    proxy_resolution: pixels that candidates are trained at from scratch; with weights images are judged at their own
        size, or at least at this.
    resolution: pixels of the deployed network: latency is measured there, and the winner is tested there. Several, the
        smallest first, are a choice of each candidate.
    auto_resolution: choose these pixels by the images' own size (search.deployed), whatever `resolution` says.
    weights: what networks start from: "auto" for what is at hand, "none" for random weights, names or files.
    ema: of a weights file that has both, take the averaged ones; None where a file has one kind.
    from_study: the name of an earlier study of the same space, whose trials are a prior for the sampler's surrogate.
    accuracy: the estimator; "auto" for frozen features where there are weights, else training.
    confidence: the probability of measuring within the budget that a candidate's prediction must leave.
    runtime: what runs the deployed network; latency is measured with it.
    threads: of the deployed network; None for as many as torch uses in this process, one where others hold the cores.
    latency: the file of a latency table, of any device; None for this device's own.
    max_params, max_flash_kb, max_ram_kb: what a network may take beside time, see search.sizes; None for any.
    overshoot: the search looks at networks up to this many times the budget, and pruning brings the winner down to it
        (search.netadapt); 1 searches within the budget and prunes nothing, as does a job of less than five minutes.
    augment: how training images are varied: names with commas between, "none", or "auto" to find out on the images.
    class_weights: what images weigh in training: "none", or "balanced" for all classes alike.
    epochs, images: the short training's length and training images; None takes the recipe's and the data's own.
    Raises InvalidArgument naming rule, value and next step.
    """

    budget_ms: float
    budgets_ms: tuple[float, ...] | None = None
    pareto: int | None = None
    data: str | None = None
    resolution: int | tuple[int, ...] = DEFAULT_RESOLUTION
    auto_resolution: bool = False
    proxy_resolution: int = 48
    weights: str = AUTO
    ema: bool | None = None
    from_study: str | None = None
    reward: str = "feasible"
    accuracy: str = AUTO
    sampler: str = KINDS[0]
    confidence: float = DEFAULT_CONFIDENCE
    runtime: str = "eager"
    threads: int | None = None
    latency: str | None = None
    max_params: int | None = None
    max_flash_kb: float | None = None
    max_ram_kb: float | None = None
    overshoot: float = 1.15
    seed: int = 0
    space_file: str | None = None
    augment: str = AUTO
    class_weights: str = NO_WEIGHTS
    epochs: int | None = None
    images: int | None = None
    study: str | None = None
    minutes: float | None = None
    trials: int | None = None
    until_settled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampler", EARLIER.get(self.sampler, self.sampler))
        check_flag("--budget-ms", self.budget_ms, 0 < self.budget_ms < math.inf, "a number of ms above 0", needed=True)
        if self.budgets_ms is not None:
            check_budgets(self.budgets_ms)
        check_pareto(self.pareto, self.trials, self.winners, self.reward)
        sizes = self.resolutions
        for flag, px in (*(("--resolution", px) for px in sizes), ("--proxy-resolution", self.proxy_resolution)):
            check_flag(flag, px, 32 <= px <= MAX_RESOLUTION, f"32 to {MAX_RESOLUTION} px (total stride is 32)")
        is_rising = list(sizes) == sorted(set(sizes))
        check_flag(
            "--resolution", px_text(sizes, ","), is_rising, "one size, or different ones with the smallest first"
        )
        check_flag("--seed", self.seed, 0 <= self.seed < 2**31, "an integer from 0 to 2147483647")
        check_flag("--confidence", self.confidence, 0.5 <= self.confidence < 1, "a probability from 0.5 to less than 1")
        check_flag("--overshoot", self.overshoot, 1 <= self.overshoot <= MAX_OVERSHOOT, f"from 1 to {MAX_OVERSHOOT:g}")
        for flag, name, known in (
            ("--sampler", self.sampler, KINDS),
            ("--accuracy", self.accuracy, (AUTO, *estimators())),
            ("--runtime", self.runtime, names()),
            ("--reward", self.reward, tuple(REWARDS)),
        ):
            check_flag(flag, name, name in known, f"one of {', '.join(known)}")
        check_flag("--weights", self.weights, bool(self.weights.strip(" ,")), "auto, none, names or files")
        variation.checked(self.augment)
        variation.check_class_weights(self.class_weights)
        if self.latency is None:
            check_profiles_layers(self.runtime)
        for flag, count in (
            ("--epochs", self.epochs),
            ("--images", self.images),
            ("--trials", self.trials),
            ("--max-params", self.max_params),
        ):
            check_flag(flag, count, count is None or count >= 1, "an integer of at least 1")
        for flag, kb in (("--max-flash-kb", self.max_flash_kb), ("--max-ram-kb", self.max_ram_kb)):
            check_flag(flag, kb, kb is None or 0 < kb < math.inf, "a number of KB (1024 bytes) above 0")
        check_threads(self.threads)
        check_minutes("--minutes", self.minutes)
        if self.until_settled and self.sampler != KINDS[0]:
            raise InvalidArgument(
                f"--until-settled goes by what --sampler {KINDS[0]} expects to gain, got --sampler {self.sampler}: "
                "leave one of them out"
            )

    @property
    def winners(self) -> int:
        """Networks that are found: one for each budget."""
        return self.pareto or len(self.budgets_ms or (self.budget_ms,))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The deployed sizes that candidates may have, the smallest first."""
        return (self.resolution,) if isinstance(self.resolution, int) else self.resolution

    @property
    def time_limit_s(self) -> float | None:
        """Seconds for everything; None where only --trials limits the search."""
        if self.minutes is None:
            return None if self.trials is not None else DEFAULT_MINUTES * 60
        return self.minutes * 60

    @property
    def candidates_overshoot(self) -> float:
        """Times the budget that candidates may take; 1 where a winner's time is too short to prune it besides."""
        limit_s = self.time_limit_s
        return 1.0 if limit_s is not None and limit_s / self.winners < PRUNED_FROM_S else self.overshoot

    @property
    def study_name(self) -> str:
        """--study, or a name made of the data and budget: `digits-20ms`, `digits-5-10-20ms`, `digits-20ms-pareto4`."""
        if self.study is not None:
            return self.study
        stem = Path(parse_source(self.data).place).name if self.data else "digits"
        for suffix in (".gz", ".tar", ".tgz", ".zip", ".parquet", ".csv", ".tsv", ".jsonl"):
            stem = stem.removesuffix(suffix)
        several = () if self.pareto else self.budgets_ms
        budget = f"{budgets_text(several or (self.budget_ms,), '-')}ms{f'-pareto{self.pareto}' if self.pareto else ''}"
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', stem).strip('-.') or 'data'}-{budget}".replace("+", "")

    def search_space(self, *, classes: int) -> SearchSpace:
        """The space to search, for networks of `classes` outputs."""
        return space_of(self.space_file, classes=classes, resolution=self.resolution)

    def check_epochs(self, *, trains: bool) -> None:
        """Raises InvalidArgument for --epochs where the estimator `trains` no candidate by them.

        Without a time limit the winner's training is measured by them too.
        """
        if self.epochs is not None and not trains and self.time_limit_s is not None:
            raise InvalidArgument(
                f"--epochs is the length of short trainings, got {self.epochs} and --accuracy {self.accuracy}, which "
                "makes none: leave --epochs out, or give --accuracy training or finetune"
            )

    def check_table(self, table: LatencyTable, space: SearchSpace) -> None:
        """Raises InvalidTable for a table of other pixels, or that has no kernels of a kind that the space needs.

        The largest of several sizes must be the table's: those of its kernels that smaller networks have are known, and
        the others are estimated from them.
        """
        pixels, largest = table.identity["resolution"], self.resolutions[-1]
        if pixels != largest:
            which = "that" if len(self.resolutions) == 1 else "sizes up to that"
            raise InvalidTable(
                f"--resolution must be {which} of the table {self.latency}, {pixels} px, got "
                f"{px_text(self.resolutions, ',')}: leave --resolution out, or measure a table there with python -m "
                f"search.latency build --resolution {largest}"
            )
        for layer in {layer.signature: layer for block in placed_blocks(space) for layer in block.layers}.values():
            try:
                table.kernel_ms(layer)
            except MissingLatency as error:
                raise InvalidTable(
                    f"{self.latency} is no table of this search space: {str(error).partition(', needed by')[0]}, nor "
                    "any to estimate it from; narrow the space with --space, or measure a table for it"
                ) from None

    def going_on_with(self, stored: dict[str, Any]) -> "Settings":
        """These settings for a study that was begun: what is left to chance now was decided then."""
        was: dict[str, Any] = {**BEFORE, "augment": variation.before(stored.get("data")), **stored}
        weights = was["weights"] if self.weights == AUTO else self.weights
        accuracy = was["accuracy"] if self.accuracy == AUTO else self.accuracy
        resolution = resolution_of(was["resolution"]) if self.auto_resolution else self.resolution
        augment = was["augment"] if self.augment == AUTO else self.augment
        threads = was.get("threads") if self.threads is None else self.threads
        budgets = was.get("budgets_ms") if self.pareto is not None and was.get("pareto") == self.pareto else None
        decided = self if budgets is None else replace(self, budgets_ms=tuple(budgets))
        decided = replace(decided, weights=weights, accuracy=accuracy, augment=augment, threads=threads)
        return replace(decided, resolution=resolution, auto_resolution=False)

    def identity(self) -> dict[str, Any]:
        """The settings that must agree for a study to go on."""
        own = asdict(self)
        for free in ("study", "minutes", "trials", "until_settled", "auto_resolution"):
            del own[free]
        own["resolution"] = self.resolution if isinstance(self.resolution, int) else list(self.resolution)
        own["budgets_ms"] = self.budgets_ms and list(self.budgets_ms)
        own["weights"] = resolved_weights(self.weights)
        own["augment"] = variation.checked(self.augment)
        own["data"] = None if self.data == "digits" else self.data and resolved_source(self.data)
        for file in ("space_file", "latency"):
            is_name = file == "space_file" and own[file] and is_preset(own[file])
            own[file] = own[file] if is_name else own[file] and str(full_path(Path(own[file])))
        return own


def check_minutes(flag: str, minutes: float | None) -> None:
    """Raises InvalidArgument for minutes that cannot be meant; None is no limit."""
    fits = minutes is None or 0 < minutes <= MOST_MINUTES
    check_flag(flag, minutes, fits, "a number of minutes above 0, at most a million")


def resolution_of(given: int | str | Sequence[int]) -> int | tuple[int, ...]:
    """What --resolution or `resolution=` means as a setting: 224, "224", "160,192,224" or (160, 192, 224).

    Raises InvalidArgument; ranges are for Settings to check.
    """
    if isinstance(given, int):
        return given
    try:
        sizes = sorted(map(int, given.split(",") if isinstance(given, str) else given))
        first, *more = sizes
    except ValueError:
        raise InvalidArgument(
            f"--resolution must be auto, a number of px, or several with commas between (160,192,224), got "
            f"{given!r:.80}: choose another value, or leave --resolution out"
        ) from None
    return tuple(sizes) if more else first


def px_text(sizes: Sequence[int], between: str = ", ") -> str:
    """Sizes for people: 160, 192, 224."""
    return between.join(map(str, sizes))


def resolved_weights(weights: str) -> str:
    """What `--weights` names, by commas: NAME, FILE or NAME=FILE, with one text for one file."""
    parts = (one.strip().rpartition("=") for one in weights.split(","))
    return ",".join(f"{name}{equals}{resolved_source(source)}" for name, equals, source in parts)


def resolved_source(data: str) -> str:
    """One text for one file, also for a file that is gone; a name on the hub stays as it is."""
    place = (source := parse_source(data)).place
    is_file = os.path.exists(place) or place.startswith((".", "/", "~")) or Path(place).suffix in _FILES
    return str(source._replace(place=str(full_path(Path(place))))) if is_file else data


def check_command(name: str, stored: Mapping[str, Any], command: str | None) -> None:
    """Raises StudyMismatch for a study that another command made."""
    if command and (made_by := command_of(stored)) and made_by != command:
        raise StudyMismatch(
            f"the study {name!r} was made by python -m {made_by}, got {command}: give --study NAME for a new study"
        )


def check_same(
    name: str, stored: Mapping[str, Any], asked: Mapping[str, Any], *, told: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raises StudyMismatch naming every setting of `asked` that differs from the stored study's.

    A setting that is younger than the study had its default there, or what BEFORE says; of those UNRECORDED nothing
    is known. Recipes and samplers are compared under the names that they have now. Files may have
    other names than before: what is in them is compared, where `asked` says it. told: what is known of changed content,
    by setting.
    """
    check_command(name, stored, command_of(asked))
    if "recipe" in stored:
        recipe = {RENAMED_IN_RECIPE.get(key, key): value for key, value in stored["recipe"].items()}
        stored = {**stored, "recipe": recipe}
    if "sampler" in stored:
        stored = {**stored, "sampler": EARLIER.get(stored["sampler"], stored["sampler"])}
    unknown = {key: asked[key] for key in UNRECORDED & asked.keys()}
    augment = variation.before(stored["data"]) if "data" in stored else asked.get("augment")  # fits store no data
    before = {**BEFORE, "augment": augment}
    was = {field.name: field.default for field in fields(Settings)} | before | unknown | dict(stored)
    elsewhere = moved(stored, asked)
    differing = [key for key in asked if was.get(key) != asked[key] and key not in elsewhere]
    if told.get("table"):  # which says of which device it is
        differing = [key for key in differing if key != "device"]
    if differing:
        words = "; ".join(in_words(key, was, asked, told.get(key, "")) for key in differing)
        raise StudyMismatch(
            f"the study {name!r} was made with other settings: {words}. Give the same flags to go on with it, --study "
            "NAME for a new study, or --fresh to set the old one aside"
        )
