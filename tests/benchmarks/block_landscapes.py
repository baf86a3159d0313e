"""Landscapes for tests.benchmarks.block_sampler: choices, noise-free values of any number of points, and prices.

  accel      Accel-NASBench's networks (7 stages x 4 choices), top-1 and the latency on one accelerator, each learned
             from its 4,138 rows: top-1 half by quadratic ridge regression, half by gradient-boosted trees
  pairs      synthetic: 16 choices, main effects, 40 pairs and 15 triples that matter as much
  cell       synthetic: six edges of a cell, five operations each, without an order; what connects nothing fails
             (every point is known)
  widths     synthetic: five widths of eight values, diminishing returns (every point is known)

Synthetic ones differ by seed. Values are points of accuracy; noise is 0.2 points, as the seeds of a training spread.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
NOISE = 0.2  # points
NAMES = ("accel", "pairs", "cell", "widths")


@dataclass(frozen=True)
class Landscape:
    """`values` and `price`: of points as rows of indices (n, choices), int, floats (n,). The higher value is better."""

    parameters: dict[str, tuple[Any, ...]]
    values: Callable[[Array], Array]
    price: Callable[[Array], Array]

    @property
    def sizes(self) -> list[int]:
        """Values of each choice."""
        return [len(values) for values in self.parameters.values()]

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Random points."""
        return np.stack([rng.integers(0, size, count) for size in self.sizes], axis=1)

    def point(self, choices: dict[str, Any]) -> Array:
        """One row of indices (1, choices)."""
        return np.array([[values.index(choices[name]) for name, values in self.parameters.items()]])

    def limit(self, share: float) -> float:
        """The price that `share` of random points keep."""
        return float(np.quantile(self.price(self.draw(4000, np.random.default_rng(0))), share))

    def best(self, score: Callable[[Array], Array] | None = None) -> float:
        """The highest value: of all points where there are few, else of 60 climbs, by single changes and by pairs."""
        score = score or self.values
        if np.prod(np.array(self.sizes, float)) <= 50_000:
            return float(score(np.array(list(itertools.product(*map(range, self.sizes))))).max())
        rng = np.random.default_rng(0)
        drawn = self.draw(20_000, rng)
        starts = drawn[np.argsort(-score(drawn))[:60]]
        return max(float(score(self.climb(score, start, rng)[None])[0]) for start in starts)

    def climb(self, score: Callable[[Array], Array], point: Array, rng: np.random.Generator) -> Array:
        """Where a climb from `point` ends, by the best single change or of 400 pairs each step."""
        here = float(score(point[None])[0])
        while True:
            around = neighbours(point, self.sizes)
            both = around[rng.integers(0, len(around), 400)].copy()
            places = rng.integers(0, len(self.sizes), 400)
            both[np.arange(400), places] = rng.integers(0, np.array(self.sizes)[places])
            around = np.concatenate([around, both])
            found = score(around)
            if found.max() <= here:
                return point
            here, point = float(found.max()), around[int(found.argmax())]


def neighbours(point: Array, sizes: list[int]) -> Array:
    """All points that differ in one choice."""
    rows = []
    for column, size in enumerate(sizes):
        for value in range(size):
            if value != point[column]:
                rows.append(point.copy())
                rows[-1][column] = value
    return np.array(rows)


def landscape(name: str, seed: int, csv: Path) -> Landscape:
    """The landscape called `name`."""
    return accel(csv) if name == "accel" else {"pairs": pairs, "cell": cell, "widths": widths}[name](seed)


@functools.cache
def accel(csv: Path, device: str = "latency_zcu102", accuracy: str = "top1") -> Landscape:
    """Accel-NASBench's space; the price is `device`'s by quadratic ridge regression of its logarithm."""
    import pandas as pd

    frame = pd.read_csv(csv)
    kinds = {"e": (1, 4, 6), "k": (3, 5), "l": (1, 2, 3), "se": (0, 1)}
    parameters = {
        f"block{block}_{kind}": (1, 2, 3, 4) if (block, kind) == (5, "l") else values
        for block in range(7)
        for kind, values in kinds.items()
    }
    rows = np.stack([frame[name].map(list(values).index) for name, values in parameters.items()], axis=1)
    priced, targets = frame[device].notna().to_numpy(), frame[accuracy].to_numpy(float)
    price = _quadratic(rows[priced], np.log(frame[device].to_numpy(float)[priced]))
    smooth, steps = _quadratic(rows, targets), _trees(rows, targets)
    return Landscape(parameters, lambda x: (smooth(x) + steps(x)) / 2, lambda x: np.exp(price(x)))


def _quadratic(rows: Array, values: Array) -> Callable[[Array], Array]:
    """Ridge regression on all numbers, squares and products."""
    from sklearn.linear_model import RidgeCV

    first, second = np.triu_indices(rows.shape[1])

    def products(x: Array) -> Array:
        return np.hstack([x, x[:, first] * x[:, second]])

    middle, unit = rows.mean(axis=0), rows.std(axis=0)
    features = products((rows - middle) / unit)
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    ridge = RidgeCV([10.0**k for k in range(-1, 5)]).fit((features - centre) / scale, values)
    weights, offset = ridge.coef_ / scale, ridge.intercept_ - (centre / scale) @ ridge.coef_
    return lambda x: np.asarray(products((x - middle) / unit) @ weights + offset)


def _trees(rows: Array, values: Array) -> Callable[[Array], Array]:
    """Gradient boosting whose trees are walked all at once: one point takes a tenth of a millisecond."""
    from sklearn.ensemble import GradientBoostingRegressor

    depth = 4
    model = GradientBoostingRegressor(n_estimators=300, max_depth=depth, random_state=0).fit(rows, values)
    trees = [tree.tree_ for tree in model.estimators_[:, 0]]
    most = max(tree.node_count for tree in trees)

    def padded(of: Callable[[Any], Array]) -> Array:
        return np.stack([np.pad(of(tree), (0, most - tree.node_count)) for tree in trees])

    feature, threshold = padded(lambda t: np.maximum(t.feature, 0)), padded(lambda t: t.threshold)
    leaves = padded(lambda t: 0.1 * t.value[:, 0, 0])
    here = np.arange(most)

    def led_to(children: Callable[[Any], Array]) -> Array:
        return padded(
            lambda tree: np.where(children(tree) < 0, here[: tree.node_count], children(tree))
        )  # a leaf: itself

    left, right = led_to(lambda tree: tree.children_left), led_to(lambda tree: tree.children_right)
    every, start = np.arange(len(trees)), float(model.init_.constant_[0, 0])

    def predicted(x: Array) -> Array:
        at = np.zeros((len(x), len(trees)), int)
        for _ in range(depth):
            low = np.take_along_axis(x, feature[every, at], axis=1) <= threshold[every, at]
            at = np.where(low, left[every, at], right[every, at])
        return np.asarray(start + leaves[every, at].sum(axis=1))

    return predicted


def _sum_price(weights: list[Array]) -> Callable[[Array], Array]:
    return lambda points: np.asarray(1 + np.sum([w[points[:, column]] for column, w in enumerate(weights)], axis=0))


def pairs(seed: int) -> Landscape:
    """Sixteen choices of two to five values, half of them numbers; interactions of two and of three choices."""
    rng = np.random.default_rng([seed, 1])
    sizes = rng.integers(2, 6, 16)
    mains = [rng.normal(0, 1, size) * (rng.random() < 0.6) for size in sizes]
    groups = [rng.choice(16, 2, replace=False) for _ in range(40)] + [
        rng.choice(16, 3, replace=False) for _ in range(15)
    ]
    tables = [rng.normal(0, 0.5, tuple(sizes[list(group)])) for group in groups]

    def raw(x: Array) -> Array:
        parts = [main[x[:, c]] for c, main in enumerate(mains)]
        parts += [table[tuple(x[:, group].T)] for group, table in zip(groups, tables, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    parameters = {
        f"p{column}": tuple(range(size)) if column % 2 else tuple("abcde"[:size]) for column, size in enumerate(sizes)
    }
    price = _sum_price([np.sort(rng.exponential(1, size)) for size in sizes])
    return _scaled(parameters, raw, price, rng)


OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")


def cell(seed: int) -> Landscape:
    """A cell of four nodes, the edges in the order 01 02 12 03 13 23; what every way from 0 to 3 computes counts."""
    rng = np.random.default_rng([seed, 2])
    ways = ((3,), (0, 4), (1, 5), (0, 2, 5))
    power = np.array([[0, 0.3, 1.0, 1.6, 0.2] for _ in range(6)]) * rng.uniform(0.5, 1.5, (6, 5))
    bends = rng.normal(0, 0.15, (6, 6, 5, 5))
    ms = np.array([0, 0.1, 1.0, 2.0, 0.5]) * rng.uniform(0.7, 1.3, (6, 5))

    def raw(x: Array) -> Array:
        strength = np.zeros(len(x))
        connected = np.zeros(len(x), bool)
        for way in ways:
            whole = np.all(x[:, way] > 0, axis=1)
            depth = sum(power[edge, x[:, edge]] for edge in way)
            strength += whole * np.sqrt(depth)
            connected |= whole
        extra = sum(bends[a, b, x[:, a], x[:, b]] for a in range(6) for b in range(a))
        return np.where(connected, 8 * (1 - np.exp(-strength / 2)) + extra, -60.0)

    parameters = dict.fromkeys(("01", "02", "12", "03", "13", "23"), OPERATIONS)
    return Landscape(parameters, raw, _sum_price(list(ms)))


def widths(seed: int) -> Landscape:
    """Five stages of 8 to 64 channels: each of its own worth, the narrowest neighbour holds a stage back."""
    rng = np.random.default_rng([seed, 3])
    worth, held = rng.uniform(1, 4, 5), rng.uniform(0.5, 2, 4)
    channels = np.arange(8, 65, 8)
    bumps = rng.normal(0, 0.08, (5, 8))

    def raw(x: Array) -> Array:
        logs = np.log2(channels)[x]
        value = sum(worth[i] * (1 - np.exp(-(logs[:, i] - 2) / 2)) + bumps[i, x[:, i]] for i in range(5))
        return np.asarray(
            value - sum(held[i] * np.maximum(0, logs[:, i] - logs[:, i + 1] - 0.5) ** 2 for i in range(4))
        )

    parameters: dict[str, tuple[Any, ...]] = {f"width{i}": tuple(channels.tolist()) for i in range(5)}
    return Landscape(parameters, raw, _sum_price([np.sort(rng.uniform(0.1, 1, 8)) for _ in range(5)]))


def _scaled(
    parameters: dict[str, tuple[Any, ...]],
    raw: Callable[[Array], Array],
    price: Callable[[Array], Array],
    rng: np.random.Generator,
) -> Landscape:
    """With 2.5 points of standard deviation over random points."""
    drawn = np.stack([rng.integers(0, len(values), 2000) for values in parameters.values()], axis=1)
    found = raw(drawn)
    middle, unit = found.mean(), found.std() / 2.5
    return Landscape(parameters, lambda x: (raw(x) - middle) / unit, price)
