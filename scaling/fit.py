"""Which (alpha, beta, gamma) is best for one step of phi, for any baseline, data and device?

EfficientNet's step 1 (arXiv:1905.11946, section 3.3): fix phi = 1, assume twice the resources, and search alpha, beta
and gamma with alpha x beta^2 x gamma^2 close to 2. Where the paper leaves costs to that product, every candidate here
is grown to twice the baseline's cost, at most 2 % less where its layers allow and no dimension shrinks. The cost is
MACs, or the predicted latency of a device (as EfficientNet-X argues, arXiv:2102.05610). So candidates differ in
accuracy alone.
"""

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from scipy.special import stdtrit

from scaling.base import Base, base_template, latency_table, separate_files
from scaling.formula import RULES, Coefficients, exponents
from scaling.growth import Cost, Grown, grow_to
from search.accuracy import AccuracyEstimator, Estimate, EstimatorSettings, estimator
from search.accuracy.protocol import OnProgress
from search.budget import CostModel
from search.console import Progress, TimeLeft
from search.cores import limit_threads
from search.data import load
from search.session import bind, opened_study
from search.settings import check_minutes
from search.sources import parse_source, source_text
from search.study_augment import decide_in
from search.training.recipe import Recipe
from search.training.variation import AUTO, NONE, check_class_weights, checked
from searchspace.arguments import check_flag
from searchspace.cost import costs, macs
from searchspace.files import check_writable, write_json
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.template import Template
from studies.schema import Status, is_recorded
from studies.storage import folder

COSTS = ("macs", "latency")
COST_FACTOR = 2.0  # times the baseline's cost, at phi = 1
CONFIDENCE = 0.95
MOST_DIVISIONS = 12  # 91 splits


class Candidate(NamedTuple):
    """A way to grow by one step: a rule's name or the shares of the cost, the bases, and the network of twice the cost.

    With the cost in MACs the bases are nominal (their product is about 2); in latency they are those at which phi = 1
    is the network. `cost_share`: its cost as a share of twice the baseline's; below 0.98 only where the layers come in
    coarser steps.
    """

    name: str
    coefficients: Coefficients
    grown: Grown
    cost_share: float = 1.0


class Standing(NamedTuple):
    """A candidate's validation accuracies by seed, their mean, and its standard error by the scatter of all."""

    candidate: Candidate
    accuracies: tuple[float, ...]
    mean: float
    standard_error: float
    tied: bool

    def as_dict(self) -> dict[str, Any]:
        """All figures as JSON types."""
        grown = self.candidate.grown
        return {
            "rule": self.candidate.name,
            **asdict(self.candidate.coefficients),
            **grown.factors._asdict(),
            "macs": macs(grown.spec),
            "cost_share": self.candidate.cost_share,
            "accuracies": list(self.accuracies),
            "accuracy": self.mean,
            "standard_error": self.standard_error if math.isfinite(self.standard_error) else None,
            "tied": self.tied,
        }


def fit(
    network: Base = None,
    *,
    data: str | None = None,
    split_folders: str | None = None,
    label_column: str | None = None,
    cost: str = "macs",
    latency: LatencyTable | str | Path | None = None,
    divisions: int = 3,
    seeds: int = 2,
    epochs: int | None = None,
    proxy_resolution: int = 48,
    minutes: float | None = None,
    study: str | None = None,
    out: str | Path = "coefficients.json",
    accuracy: str = "training",
    augment: str = AUTO,
    class_weights: str = NONE,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train what is missing of a study, compare the candidates, and write the best coefficients to `out`.

    The keywords are the flags of `python -m scaling.coefficients fit`, whose --help explains each. `network` is a
    spec, a template, a spec file or a name of the zoo (None: EfficientNet-B0). `accuracy` is the name of an estimator
    of `search.accuracy`. Returns what --json prints. Raises PhinasError.
    """
    data = source_text(data, split_folders=split_folders, label_column=label_column)
    check_minutes("--minutes", minutes)
    numbers = {"seeds": seeds, "epochs": epochs, "proxy-resolution": proxy_resolution}
    for name, value in numbers.items():
        check_flag(f"--{name}", value, value is None or value > 0, "above 0")
    check_flag("--cost", cost, cost in COSTS, " or ".join(COSTS))
    fits = 1 <= divisions <= MOST_DIVISIONS
    check_flag("--divisions", divisions, fits, f"from 1 to {MOST_DIVISIONS} (3 gives thirds of the cost)")
    checked(augment)
    check_class_weights(class_weights)
    estimator(accuracy, EstimatorSettings())  # told before images are read if it cannot judge here
    if study is not None:
        folder(study)  # a name that cannot be is told before images are read
    separate_files({"--out": out}, {"--network": network, "--latency": latency})
    check_writable(Path(out))
    template = base_template(network)
    table = latency_table(latency, needed=cost == "latency")
    clock = TimeLeft(None if minutes is None else 60 * minutes)
    by_latency = cost == "latency"
    limit_threads()
    with Progress(clock.left_s, quiet=quiet) as progress:

        def reading(done: int, total: int) -> None:
            progress.update(done / max(1, total), "reading images")

        images = load(data, resolution=proxy_resolution, progress=reading)
        template = template.with_classes(len(images.classes))
        model = CostModel("ms", table) if by_latency else CostModel("macs")
        found = candidates(template, lambda spec: model.cost(lower(spec)), divisions=divisions, rebase=by_latency)
        name = study or _study_name(template, data, cost)
        with opened_study(name) as opened:
            augmentation = decide_in(opened, augment, data, images)
            recipe = Recipe(class_weights=class_weights, epochs=epochs or Recipe.epochs).varied(augmentation.augment)

            def judge(seed: int) -> AccuracyEstimator:
                return estimator(accuracy, EstimatorSettings(recipe=recipe, seed=seed))

            def score(grown: Grown, seed: int, on_progress: OnProgress) -> Estimate:
                pixels = round(proxy_resolution * grown.factors.resolution / template.resolution)
                (own := judge(seed)).prepare(load(data, resolution=pixels, progress=reading))
                return own.score(grown.spec, on_progress=on_progress)

            about = {
                "network": template.expand().fingerprint(),
                "cost": cost,
                "data_fingerprint": images.fingerprint,
                "proxy_resolution": proxy_resolution,
                "accuracy": accuracy,
                "augment": augmentation.augment,
                **judge(0).identity(),
                "device": dict(table.identity) if table and by_latency else None,
            }
            bind(opened, about, images=images, note=progress.line)
            progress.line(augmentation.sentence())
            job = Fit(opened, found, seeds, score, table, progress, clock)
            progress.line(f"{len(found)} candidates, {len(job.missing())} trainings missing in the study {name!r}")
            job.run()
    return _answer(job, {"study": name, "network": template.name, "cost": cost}, Path(out))


def candidates(template: Template, cost: Cost, *, divisions: int, rebase: bool) -> list[Candidate]:
    """The named rules and all splits of the cost among the dimensions in `divisions` parts, without equal networks.

    `rebase`: the bases become those at which phi = 1 is the network.
    """
    names = {rule.coefficients: name for name, rule in RULES.items()}
    for d, w in itertools.product(range(divisions + 1), repeat=2):
        if (r := divisions - d - w) >= 0:
            names.setdefault(exponents(d / divisions, w / divisions, r / divisions), f"{d}:{w}:{r}")
    target = COST_FACTOR * cost(template.expand())
    found: dict[str, Candidate] = {}
    for bases, name in names.items():
        grown = grow_to(template, cost=cost, target=target, coefficients=bases, one_way=True)
        phi = grown.phi if rebase else 1.0
        coefficients = Coefficients(*(round(max(1.0, base**phi), 6) for base in (bases.alpha, bases.beta, bases.gamma)))
        found.setdefault(grown.spec.fingerprint(), Candidate(name, coefficients, grown, cost(grown.spec) / target))
    return list(found.values())


@dataclass(frozen=True)
class Fit:
    """The trainings of a fit, each kept in the study.

    `score(grown, seed, on_progress)` trains one network; `latencies` prices the networks where there is a table; no
    training begins after the clock's limit.
    """

    study: optuna.Study
    candidates: list[Candidate]
    seeds: int
    score: Callable[[Grown, int, OnProgress], Estimate]
    latencies: LatencyTable | None
    progress: Progress
    clock: TimeLeft

    def run(self) -> None:
        """Train what has no trial yet, all candidates by one seed before the next, until the clock's limit."""
        missing = self.missing()
        for number, (seed, candidate) in enumerate(missing):
            if not self.clock.over():
                self._train(candidate, seed, number, len(missing))

    def missing(self) -> list[tuple[int, Candidate]]:
        """(seed, candidate) without a finished trial."""
        done = {(row["fingerprint"], row["seed"]) for row in self._finished()}
        wanted = itertools.product(range(self.seeds), self.candidates)
        return [(seed, one) for seed, one in wanted if (one.grown.spec.fingerprint(), seed) not in done]

    def _finished(self) -> list[dict[str, Any]]:
        complete = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [trial.user_attrs for trial in complete if is_recorded(trial, "fingerprint", "seed", "accuracy")]

    def _train(self, candidate: Candidate, seed: int, number: int, count: int) -> None:
        """The training `number` (from 0) of the `count` of this run."""
        spec = candidate.grown.spec
        graph = lower(spec)
        total = costs(graph)
        what = f"{candidate.name}, seed {seed}: {total.macs / 1e6:.0f} M MACs, made for {spec.resolution} px"

        def on_progress(share: float) -> None:
            self.progress.update(self.clock.at((number + share) / count), what)

        found = self.score(candidate.grown, seed, on_progress)
        attrs = {
            "status": Status.TRAINED,
            "choices": {"rule": candidate.name, **asdict(candidate.coefficients)},
            "spec": spec.to_json(),
            "fingerprint": spec.fingerprint(),
            "params": total.params,
            "macs": total.macs,
            "accuracy": found.mean,
            "history": list(found.history),
            "train_s": found.seconds,
            "epochs": len(found.history),
            "seed": seed,
            "reward": found.mean,
        }
        if self.latencies:
            attrs["predicted_latency_ms"] = self.latencies.predict(graph).latency_ms
        self.study.add_trial(optuna.trial.create_trial(value=found.mean, user_attrs=attrs))
        self.progress.line(f"{what}: {found.mean:.1%} validation accuracy in {found.seconds:.0f} s")

    def standings(self) -> list[Standing]:
        """The candidates that were trained, best mean first."""
        scores: dict[str, list[float]] = {}
        for row in self._finished():
            if row["seed"] < self.seeds:
                scores.setdefault(row["fingerprint"], []).append(row["accuracy"])
        known = {candidate.grown.spec.fingerprint(): candidate for candidate in self.candidates}
        return stand([(known[mark], tuple(values)) for mark, values in scores.items() if mark in known])


def stand(scores: list[tuple[Candidate, tuple[float, ...]]]) -> list[Standing]:
    """Candidates with their mean and standard error, best first, and which of them are tied with the best.

    The scatter of seeds is taken as one for all candidates. Tied are those that a two-sided t test (95 %) does not
    tell from the best: which of two equals is ahead is chance too. With one seed each nothing is known: all are tied.
    """
    freedom = sum(len(values) - 1 for _, values in scores)
    squares = sum(statistics.variance(values) * (len(values) - 1) for _, values in scores if len(values) > 1)
    deviation = (squares / freedom) ** 0.5 if freedom else math.inf
    ranked = sorted(scores, key=lambda score: -statistics.fmean(score[1]))
    if not ranked:
        return []
    best, reach = ranked[0][1], float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) if freedom else math.inf
    rows = []
    for candidate, values in ranked:
        mean, doubt = statistics.fmean(values), reach * deviation * (1 / len(best) + 1 / len(values)) ** 0.5
        is_tied = values is best or statistics.fmean(best) - mean <= doubt
        rows.append(Standing(candidate, values, mean, deviation / len(values) ** 0.5, is_tied))
    return rows


def _study_name(template: Template, data: str | None, cost: str) -> str:
    source = Path(parse_source(data).place).name.partition(".")[0] if data else "digits"
    text = f"fit-{template.name}-{source}-{cost}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text)[:100]


def _answer(job: Fit, head: dict[str, str], out: Path) -> dict[str, Any]:
    """Where the candidates stand; the coefficients are written to `out` once every one of them was trained."""
    standings = job.standings()
    rows = [row.as_dict() for row in standings]
    complete = len(rows) == len(job.candidates)
    tied = [row["rule"] for row in rows if row["tied"]]
    coefficients = asdict(standings[0].candidate.coefficients) if complete else None
    if coefficients:
        best = {name: rows[0][name] for name in ("accuracy", "standard_error")}
        answer = {**coefficients, **head, **best, "tied": tied[1:]}
        write_json(out, answer)
    return {
        **head,
        "seeds": job.seeds,
        "missing": len(job.missing()),
        "sure": complete and len(tied) == 1,
        "candidates": rows,
        "coefficients": coefficients,
        "written": str(out) if complete else None,
    }
