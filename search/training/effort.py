"""What a training step costs, and what that is worth.

A winner trains for the time left. Steps of networks of one space differ by a factor of 3, and what trains slowly has
seen fewer images when the time is over: candidates are compared at equal time.
"""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING

from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from searchspace.spaces.space import SearchSpace

# A step in multiply-adds: so many for each value of an activation, beside its own. Fitted to 14 networks of the default
# space (48 px, one core): 13 % are left, where MACs alone leave 25 %.
ACTIVATION_MACS = 100
SAMPLED = 31  # networks of a space whose median is its middling one
# A fine-tuned network's errors fall with the images seen, to the power of some 0.2 (1.2 minutes on a core, CIFAR-10);
# 0.15 to 0.25 serve about as well, see tests/benchmarks/reference.
LEARNING = 0.15
# Times the errors to expect of a network that has all of its parent's weights, beside one whose features are as good
# but whose weights had to be moved: it learns faster. 0.90 for two of the reference set; 0.76 beside three finalists
# that the search had found (CIFAR-10, a minute each: EfficientNet-Lite0 75.2 %, the others 66.0 to 70.6 %).
WHOLE = 0.85
DOUBT = 0.06  # standard deviation, relative to the errors, of what this model leaves of the reference set


def step_cost(spec: NetworkSpec) -> float:
    """What a training step takes for one image, in multiply-adds: a model, so that the same seed judges alike."""
    found = costs(lower(spec), bytes_per_value=1)
    return found.macs + ACTIVATION_MACS * found.activation_bytes


class Effort:
    """Of the networks of a space, beside its middling one."""

    def __init__(self, space: SearchSpace) -> None:
        rng = random.Random(0)
        self._usual = statistics.median(step_cost(space.spec(space.sample(rng))) for _ in range(SAMPLED))

    def relative(self, spec: NetworkSpec) -> float:
        """How many times a step of the middling network one of this takes; its input size counts."""
        return step_cost(spec) / self._usual

    def errors(self, spec: NetworkSpec) -> float:
        """How many times the errors it has after a training of equal time, beside one of equal images."""
        return float(self.relative(spec) ** LEARNING)
