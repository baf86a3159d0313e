"""Hypothesis for every test: no deadline (machines differ), the same examples each time in CI; and any NetworkSpec.

`@given(...)` on a test with an argument `spec: NetworkSpec` draws points of the search space and hand-made networks.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from searchspace.blocks import (
    ACTIVATIONS,
    BLOCKS,
    GATES,
    PADDINGS,
    Block,
    Classifier,
    Conv,
    ConvBN,
    ConvClassifier,
    Fire,
    MaxPool,
    MBConv,
    SeparableConv,
    ShuffleUnit,
    ShuffleUnitV2,
)
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import Conventions, NetworkSpec, Stage

# Two workers share the cores, and torch is imported by tests only: one thread each, for what they start too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

_SPACE = mnasnet_space(classes=7).with_choices(
    {"*.activation": ("relu", "relu6", "h_swish", "swish"), "*.width_mult": (0.3, 0.75, 1.0)}
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: small networks run faster so, above all where other work runs beside them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scripted_runtimes() -> Iterator[None]:
    """`--runtime scripted` is known: tests/runtimes is one more folder of runtimes (see tests/scripted_runtime.py)."""
    import search.latency.runtimes as package

    folders = [*package.__path__, str(Path(__file__).parent / "runtimes")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "__path__", folders)
        yield


def write_smallest(path: Path, about: dict[str, object]) -> None:
    """Spec and weights of the space's smallest corner, as a search writes them: 10 classes, 64 px, random weights."""
    import torch

    from searchspace.nn import build, network_bytes

    space = mnasnet_space(classes=10, resolution=64)
    spec = space.spec(space.corner("smallest"), name=path.stem)
    path.write_text(spec.to_json())
    network = build(spec, generator=torch.Generator().manual_seed(0))
    path.with_suffix(".safetensors").write_bytes(network_bytes(network, about))


@pytest.fixture
def smallest() -> Callable[[Path, dict[str, object]], None]:
    """`write_smallest`."""
    return write_smallest


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
    kind = draw(
        st.sampled_from(
            (ConvBN, MBConv, SeparableConv, MBConv, SeparableConv, Conv, MaxPool, Fire, ShuffleUnit, ShuffleUnitV2)
        )
    )
    if kind is Conv:
        return Conv(**shared, padding=draw(st.sampled_from(("half", "valid"))))
    if kind is MaxPool:
        return MaxPool(kernel=shared["kernel"], stride=stride, padding=draw(st.sampled_from(PADDINGS)))
    if kind is Fire:
        squeeze, small, large = (draw(st.integers(1, 8)) for _ in range(3))
        return Fire(
            squeeze_channels=squeeze,
            expand1x1_channels=small,
            expand3x3_channels=large,
            activation=shared["activation"],
        )
    if kind in (ShuffleUnit, ShuffleUnitV2):
        return draw(_shuffle_units(in_channels, kind, stride, shared))
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
def _shuffle_units(draw: st.DrawFn, in_channels: int, kind: type, stride: int, shared: dict[str, object]) -> Block:
    inside = {key: shared[key] for key in ("kernel", "activation")}
    if kind is ShuffleUnitV2:
        stride = 2 if in_channels % 2 else stride
        out = in_channels if stride == 1 else 2 * draw(st.integers(1, 6))
        return ShuffleUnitV2(**inside, mid_channels=draw(st.integers(1, 8)), out_channels=out, stride=stride)
    out = in_channels if stride == 1 else in_channels + draw(st.integers(1, 12))
    branch = out if stride == 1 else out - in_channels
    groups = draw(st.sampled_from([n for n in range(1, 5) if branch % n == 0]))
    inner = groups * draw(st.integers(1, 4))
    reduce = draw(st.sampled_from([n for n in (1, groups) if in_channels % n == 0]))
    return ShuffleUnit(
        **inside, bottleneck_channels=inner, out_channels=out, groups=groups, reduce_groups=reduce, stride=stride
    )


@st.composite
def heads(draw: st.DrawFn) -> Block:
    """Any last row."""
    classes, percent = draw(st.integers(1, 9)), draw(st.integers(0, 99))
    if draw(st.integers(0, 3)) == 0:
        return ConvClassifier(classes=classes, dropout_percent=percent, activation=draw(st.sampled_from(ACTIVATIONS)))
    hidden = draw(st.sampled_from((0, 0, 5)))
    activation = draw(st.sampled_from(ACTIVATIONS))
    return Classifier(classes=classes, dropout_percent=percent, hidden_features=hidden, hidden_activation=activation)


CONVENTIONS = st.builds(
    Conventions,
    padding=st.sampled_from(("half", "half", "same")),
    norm_eps=st.sampled_from((1e-5, 1e-3)),
    norm_momentum=st.sampled_from((0.1, 0.01)),
)


@st.composite
def hand_made_specs(draw: st.DrawFn) -> NetworkSpec:
    """Up to six unequal blocks of a few channels in up to three stages, at 150 to 170 px."""
    channels = in_channels = draw(st.integers(1, 4))
    stages = []
    for index in range(draw(st.integers(1, 3))):
        blocks = []
        for _ in range(draw(st.integers(1, 2))):
            blocks.append(draw(_blocks(channels)))
            channels = blocks[-1].channels_after(channels)
        stages.append(Stage(f"part{index}", tuple(blocks)))
    stages.append(Stage("classifier", (draw(heads()),)))
    resolution = draw(st.integers(150, 170))  # six strides and unpadded kernels leave it some pixels
    return NetworkSpec("hand_made", resolution, tuple(stages), in_channels, draw(CONVENTIONS))


@pytest.fixture
def one_of_each_block() -> dict[str, Block]:
    """A row of every kind, each fit to follow three channels."""
    rows: tuple[Block, ...] = (
        ConvBN(out_channels=6, groups=3),
        Conv(out_channels=6, kernel=3, padding="valid"),
        MaxPool(padding="ceil"),
        MBConv(expand_channels=3, out_channels=6),
        SeparableConv(out_channels=6, project_activation="swish"),
        Fire(squeeze_channels=2, expand1x1_channels=3, expand3x3_channels=4),
        ShuffleUnit(bottleneck_channels=4, out_channels=7, groups=2, stride=2),
        ShuffleUnitV2(mid_channels=3, out_channels=6, stride=2),
        Classifier(classes=6, dropout_percent=50, hidden_features=4),
        ConvClassifier(classes=6, dropout_percent=50),
    )
    assert {type(row).__name__ for row in rows} == set(BLOCKS)
    return {type(row).__name__: row for row in rows}


st.register_type_strategy(NetworkSpec, hand_made_specs() | space_specs())
