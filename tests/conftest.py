"""Hypothesis for every test: no deadline (machines differ), the same examples each time in CI; and any NetworkSpec.

`@given(...)` on a test with an argument `spec: NetworkSpec` draws points of the search space and hand-made networks.
"""

import os
import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from searchspace.blocks import ACTIVATIONS, GATES, Block, Classifier, ConvBN, MBConv, SeparableConv
from searchspace.mnasnet_space import mnasnet_space
from searchspace.spec import NetworkSpec, Stage

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

_SPACE = mnasnet_space(classes=7).with_choices(
    {"*.activation": ("relu", "relu6", "h_swish", "swish"), "*.width_mult": (0.3, 0.75, 1.0)}
)


@st.composite
def space_specs(draw: st.DrawFn) -> NetworkSpec:
    """A point of the space, at 32 to 48 px."""
    seed = draw(st.integers(0, 2**32 - 1))
    return _SPACE.spec(_SPACE.sample(random.Random(seed))).with_resolution(draw(st.integers(32, 48)))


@st.composite
def _blocks(draw: st.DrawFn, in_channels: int) -> Block:
    stride = draw(st.sampled_from((1, 1, 2)))
    shared = {
        "out_channels": draw(st.integers(1, 12) | st.just(in_channels)),
        "kernel": draw(st.sampled_from((1, 3, 5))),
        "stride": stride,
        "activation": draw(st.sampled_from(ACTIVATIONS)),
    }
    kind = draw(st.sampled_from((ConvBN, MBConv, SeparableConv)))
    if kind is ConvBN:
        divisors = [n for n in range(1, 13) if in_channels % n == 0 and shared["out_channels"] % n == 0]
        return ConvBN(**shared, groups=draw(st.sampled_from(divisors)))
    shared |= {
        "squeeze_channels": draw(st.integers(0, 5)),
        "squeeze_activation": draw(st.sampled_from(ACTIVATIONS)),
        "gate": draw(st.sampled_from(GATES)),
        "skip": stride == 1 and shared["out_channels"] == in_channels and draw(st.booleans()),
    }
    if kind is SeparableConv:
        return SeparableConv(**shared, project_activation=draw(st.sampled_from(ACTIVATIONS)))
    return MBConv(**shared, expand_channels=draw(st.integers(1, 20)))


@st.composite
def hand_made_specs(draw: st.DrawFn) -> NetworkSpec:
    """Up to six unequal blocks of a few channels in up to three stages, at 64 to 75 px."""
    channels = in_channels = draw(st.integers(1, 4))
    stages = []
    for index in range(draw(st.integers(1, 3))):
        blocks = []
        for _ in range(draw(st.integers(1, 2))):
            blocks.append(draw(_blocks(channels)))
            channels = blocks[-1].out_channels
        stages.append(Stage(f"part{index}", tuple(blocks)))
    head = Classifier(classes=draw(st.integers(1, 9)), dropout_percent=draw(st.integers(0, 99)))
    stages.append(Stage("classifier", (head,)))
    return NetworkSpec("hand_made", draw(st.integers(64, 75)), tuple(stages), in_channels)


st.register_type_strategy(NetworkSpec, hand_made_specs() | space_specs())
