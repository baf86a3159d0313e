"""Networks of a space as rows of numbers: every choice, and what each stage costs."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from searchspace.cost import layer_params_macs
from searchspace.graph import lower
from searchspace.spaces.space import Choices, SearchSpace

Floats = NDArray[np.float64]

_COSTS = 6  # numbers of one stage
_Key = tuple[object, ...]


class StageFeatures:
    """Makes the rows. What a stage adds depends on its own choices and on the stage before it that is there.

    It is worked out once for each such case, from a network that has it; after some thousand networks of a space most
    are known, and a row is put together in microseconds.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._stages = [_Stage(space, stage.name) for stage in space.stages]

    def of(self, networks: Sequence[Choices]) -> Floats:
        """float64 (networks, features), of canonical choices."""
        cases = np.empty((len(networks), len(self._stages)), np.int64)
        for row, choices in enumerate(networks):
            before: _Key = ()
            for column, stage in enumerate(self._stages):
                own = tuple([choices.get(name) for name in stage.names])
                key = (own, before)
                if key not in stage.cases:
                    self._learn(choices, column, key)
                cases[row, column] = stage.cases[key]
                if choices[stage.layers]:
                    before = (column, choices.get(stage.width))
        codes = [np.array(stage.codes)[cases[:, column]] for column, stage in enumerate(self._stages)]
        costs = [np.array(stage.costs)[cases[:, column]] for column, stage in enumerate(self._stages)]
        return np.hstack([*codes, _with_totals(np.stack(costs, 1))])

    def _learn(self, choices: Choices, column: int, key: _Key) -> None:
        """Work out one case of a stage from a network that has it."""
        stage, sums = self._stages[column], np.zeros(_COSTS)
        for layer in lower(self._space.spec(choices)).layers:
            if layer.name.partition(".")[0] == stage.name:
                params, macs = layer_params_macs(layer)
                depthwise = macs * (layer.op == "conv" and layer.groups > 1)
                sums += (macs, depthwise, params, layer.op == "conv", layer.op == "se", math.prod(layer.out_shape))
        stage.cases[key] = len(stage.cases)
        stage.codes.append(stage.code(choices))
        stage.costs.append(sums)


class _Stage:
    """One stage's choices, and the cases of it that are known: a row of codes and of costs each."""

    def __init__(self, space: SearchSpace, name: str) -> None:
        self.name, self.layers, self.width = name, f"{name}.layers", f"{name}.width_mult"
        values = {choice: each for choice, each in space.parameters().items() if choice.startswith(f"{name}.")}
        self.names = list(values)
        self._values = {choice: each for choice, each in values.items() if len(each) > 1}
        self.cases: dict[_Key, int] = {}
        self.codes: list[list[float]] = []
        self.costs: list[Floats] = []

    def code(self, choices: Choices) -> list[float]:
        """A column for every value but the first of each choice; all 0 where the stage is absent."""
        return [float(choices.get(name) == each) for name, values in self._values.items() for each in values[1:]]


def _with_totals(costs: Floats) -> Floats:
    """Of costs (networks, stages, numbers): each stage's and the whole network's, as they are and as logarithms."""
    every = np.concatenate([costs, costs.sum(1, keepdims=True)], axis=1).reshape(len(costs), -1)
    return np.hstack([every, np.log1p(every)])
