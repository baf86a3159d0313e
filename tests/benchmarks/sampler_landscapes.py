"""Landscapes for tests.benchmarks.sampler_comparison: spaces with prices and accuracies that cost nothing."""

import functools
import hashlib
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.budget import CostModel
from search.candidates import Candidate, PricedSpace
from search.sizes import Sizes
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, lower
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spaces.stage import StageChoices

SPREAD = 2.5  # points of accuracy, standard deviation over random networks

KINDS = mnasnet_space().stages[0].kinds


class KernelModel(CostModel):
    """Prices kernels by `kernel_ms`."""

    def layer(self, layer: Layer) -> float:
        return kernel_ms(layer)


class StagePricedSpace(PricedSpace):
    """Prices by sums over stages, each worked out once: 20 times as fast as a PricedSpace, and equal to it.

    A stage's kernels depend on its choices and its input's width; stem and tail on what stands next to them. Specs
    are not made: every candidate carries the smallest corner's.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space, KernelModel("ms"))
        self._spec = space.spec(space.corner("smallest"))
        self._names = {stage: tuple(f"{stage.name}.{kind}" for kind in KINDS) for stage in space.stages}
        self._only = {name: values[0] for name, values in space.parameters().items()}
        self._parts: dict[object, tuple[float, int, int]] = {}
        self._candidates: dict[object, Candidate] = {}

    def price(self, choices: Choices) -> Candidate:
        """The candidate that valid `choices` mean."""
        rows = {
            stage: tuple(choices.get(name, self._only[name]) for name in names)
            for stage, names in self._names.items()
            if choices[f"{stage.name}.layers"]
        }
        key = tuple((stage.name, row) for stage, row in rows.items())
        if key not in self._candidates:
            canonical: Choices = {f"{stage.name}.layers": 0 for stage in self._names if stage not in rows}
            canonical |= {n: v for stage, row in rows.items() for n, v in zip(self._names[stage], row, strict=True)}
            ms, params, macs = map(sum, zip(*self._sums(rows, canonical), strict=True))
            print_of = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
            ordered = {name: canonical[name] for name in self._only if name in canonical}
            self._candidates[key] = Candidate(
                ordered,
                self._spec,
                print_of,
                int(params),
                int(macs),
                float(ms),
                float(ms),
                Sizes(int(params), 4 * int(params), 0),
            )
        return self._candidates[key]

    def _sums(self, rows: dict[StageChoices, tuple[Any, ...]], choices: Choices) -> list[tuple[float, int, int]]:
        activation, width = KINDS.index("activation"), KINDS.index("width_mult")
        first, last = rows[next(iter(rows))], rows[list(rows)[-1]]
        keys: dict[str, object] = {"stem": first[activation]}
        before: float = self.space.stem_width
        for stage, row in rows.items():
            keys[stage.name] = (before, row)
            before = stage.base_width * row[width]
        keys["tail"] = (before, last[activation])
        if not all(item in self._parts for item in keys.items()):
            found: dict[str, tuple[float, int, int]] = dict.fromkeys(keys, (0.0, 0, 0))
            for layer in lower(self.space.spec(choices)).layers:
                part = layer.name.partition(".")[0]
                part = part if part in keys else "tail"
                ms, params, macs = found[part]
                more_params, more_macs = layer_params_macs(layer)
                found[part] = (ms + kernel_ms(layer), params + more_params, macs + more_macs)
            self._parts.update(((part, keys[part]), sums) for part, sums in found.items())
        return [self._parts[item] for item in keys.items()]


def kernel_ms(layer: Layer) -> float:
    """A stand-in for a CPU: what starting a kernel, computing and moving bytes take."""
    params, macs = layer_params_macs(layer)
    values = math.prod(layer.out_shape)
    per_ms = {"conv": 4e6 if layer.groups > 1 else 25e6, "se": 5e6, "linear": 8e6}.get(layer.op, 1e9)
    activation_ms = {"h_swish": 0.5e-6, "swish": 1.5e-6}.get(layer.activation, 0.0) * values * (layer.op == "conv")
    return 0.02 + macs / per_ms + 4 * (math.prod(layer.in_shape) + values + params) / 12e6 + activation_ms


class Landscape:
    """A space, its prices, and an accuracy in points for each candidate, scaled to SPREAD over random networks."""

    def __init__(self, space: SearchSpace, raw: Callable[[Candidate], float], seed: int, priced: PricedSpace) -> None:
        self.priced, self._raw = priced, raw
        rng = random.Random(seed)
        drawn = [priced.price(space.sample(rng)) for _ in range(1000)]
        values = [raw(candidate) for candidate in drawn]
        self._mean, self._spread = statistics.mean(values), statistics.stdev(values)
        self._latencies = sorted(candidate.latency_ms for candidate in drawn)

    def accuracy(self, candidate: Candidate) -> float:
        """Noiseless accuracy in points over the mean of random networks."""
        return SPREAD * (self._raw(candidate) - self._mean) / self._spread

    def budget_ms(self, share: float) -> float:
        """What `share` of random networks fit; for 0, 1.35 times the fastest network."""
        if share == 0:
            return 1.35 * self.priced.fastest().latency_ms
        return self._latencies[int(share * (len(self._latencies) - 1))]

    def starting_points(self) -> list[Choices]:
        """The known networks, each choice at the nearest value that the space has."""
        points = []
        for known in KNOWN.values():
            near: Choices = {}
            for name, values in self.priced.space.parameters().items():
                wanted = known[name]
                numbers = [abs(float(v) - float(wanted)) for v in values] if not isinstance(wanted, str) else []
                near[name] = wanted if wanted in values else values[numbers.index(min(numbers)) if numbers else 0]
            points.append(near)
        return points


def synthetic(seed: int) -> Landscape:
    """Main effects (a direction for each kind and a few strong choices), twelve pairs, log MACs, too many layers."""
    import numpy as np

    rng, space = np.random.default_rng(seed), mnasnet_space()
    parameters = {name: values for name, values in space.parameters().items() if len(values) > 1}
    directions = {kind: rng.normal(0, 0.5 if kind == "layers" else 1.0) for kind in KINDS}
    effects: dict[str, dict[Any, float]] = {}
    for name, values in parameters.items():
        kind, strong = name.partition(".")[2], rng.random() < 0.35
        line = np.linspace(-1, 1, len(values)) * (0.35 * directions[kind] + strong * rng.normal())
        effect = line + strong * rng.normal(0, 0.3, len(values))
        if kind == "activation":
            effect = rng.normal(0, 0.6, len(values)) * (rng.random() < 0.7)
        effects[name] = dict(zip(values, effect.tolist(), strict=True))
    pairs = []
    for _ in range(12):
        a, b = (list(parameters)[i] for i in rng.choice(len(parameters), 2, replace=False))
        pairs.append((a, b, {(x, y): rng.normal(0, 0.8) for x in parameters[a] for y in parameters[b]}))
    capacity, deep, penalty = rng.uniform(1, 5), rng.uniform(8, 16), rng.uniform(0.01, 0.05)

    def raw(candidate: Candidate) -> float:
        choices = candidate.choices
        value = sum(effect.get(choices.get(name), 0.0) for name, effect in effects.items())
        value += sum(both[choices[a], choices[b]] for a, b, both in pairs if a in choices and b in choices)
        layers = sum(int(count) for name, count in choices.items() if name.endswith(".layers"))
        return float(value + capacity * math.log(candidate.macs) - penalty * max(0.0, layers - deep) ** 2)

    return Landscape(space, raw, seed, StagePricedSpace(space))


ACCEL_KINDS = {"expand_ratio": "e", "kernel": "k", "layers": "l", "se": "se"}


def accel_space() -> SearchSpace:
    """Accel-NASBench's networks as a space of ours."""
    shape = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
    return SearchSpace(
        name="accel",
        stages=tuple(
            StageChoices(
                name=f"stage{number}",
                base_width=width,
                stride=stride,
                expand_ratio=(1, 4, 6),
                kernel=(3, 5),
                activation=("swish",),
                layers=(1, 2, 3, 4) if number == 6 else (1, 2, 3),
                width_mult=(1.0,),
            )
            for number, (width, stride) in enumerate(shape, 1)
        ),
    )


def accel_rows(candidates: list[Candidate]) -> list[list[float]]:
    """What the accuracy is predicted from."""
    names = [f"stage{number}.{kind}" for number in range(1, 8) for kind in ACCEL_KINDS]
    return [[float(c.choices[n]) for n in names] + [math.log(c.params), math.log(c.macs)] for c in candidates]


def accel_models() -> list[Any]:
    """The two regressors whose mean is the landscape: a smooth one and one of steps."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    quadratic = PolynomialFeatures(2, include_bias=False)
    ridge = make_pipeline(StandardScaler(), quadratic, StandardScaler(), RidgeCV([10.0**k for k in range(-1, 5)]))
    return [ridge, HistGradientBoostingRegressor(max_iter=300, l2_regularization=1.0, random_state=0)]


def accel_data(csv: Path, priced: PricedSpace) -> tuple[Any, Any]:
    """Rows and ImageNet top-1 of the measured networks."""
    import numpy as np
    import pandas as pd

    frame = pd.read_csv(csv)
    points: list[Choices] = []
    for record in frame.to_dict("records"):
        point = {f"stage{i + 1}.{kind}": record[f"block{i}_{k}"] for i in range(7) for kind, k in ACCEL_KINDS.items()}
        points.append({name: bool(value) if name.endswith(".se") else value for name, value in point.items()})
    return np.array(accel_rows([priced.price(point) for point in points])), frame["top1"].to_numpy()


def accel_spearman(csv: Path) -> float:
    """Spearman's correlation of cross-validated predictions with the measured accuracies."""
    import numpy as np
    from scipy.stats import spearmanr
    from sklearn.model_selection import KFold, cross_val_predict

    rows, top1 = accel_data(csv, StagePricedSpace(accel_space()))
    folds = KFold(5, shuffle=True, random_state=0)
    predicted = np.mean([cross_val_predict(model, rows, top1, cv=folds) for model in accel_models()], axis=0)
    return float(spearmanr(predicted, top1).statistic)


@functools.cache
def landscape(name: str, seed: int, csv: Path) -> Landscape:
    """The landscape called `name`; synthetic ones differ by seed."""
    if name == "synthetic":
        return synthetic(seed)
    priced = StagePricedSpace(accel_space())
    models = [model.fit(*accel_data(csv, priced)) for model in accel_models()]

    @functools.cache
    def raw(fingerprint: str, row: tuple[float, ...]) -> float:
        return float(sum(model.predict([row])[0] for model in models) / len(models))

    return Landscape(priced.space, lambda c: raw(c.fingerprint, tuple(accel_rows([c])[0])), 0, priced)
