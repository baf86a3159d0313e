"""Hypothesis for every test: no deadline (machines differ), the same examples each time in CI; and any NetworkSpec.

`@given(...)` on a test with an argument `spec: NetworkSpec` draws points of the search space and hand-made networks.
"""

import functools
import gc
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import alembic.util
import pytest
from hypothesis import HealthCheck, reject, settings
from hypothesis import strategies as st

from searchspace.errors import InvalidSpec
from searchspace.preprocessing import OWN, Preprocessing
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import Conventions, NetworkSpec, Stage
from tests.block_examples import at_fewest_pixels, example, kinds

# Two workers share the cores, and torch is imported by tests only: one thread each, for what they start too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("local", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

_SPACE = mnasnet_space(classes=7).with_choices(
    {"*.activation": ("relu", "relu6", "h_swish", "swish"), "*.width_mult": (0.3, 0.75, 1.0)}
)


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector does not look at it again in each test that measures."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: as the last one it kept one worker busy for a minute and a half alone."""
    items.sort(key=lambda item: item.path.name != "test_readmes.py")


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Optuna reads the ten scripts of its tables' versions for each new study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alembic.util.load_python_file", functools.cache(alembic.util.load_python_file))
        yield


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


CONVENTIONS = st.builds(
    Conventions,
    padding=st.sampled_from(("half", "half", "same")),
    norm_eps=st.sampled_from((1e-5, 1e-3)),
    norm_momentum=st.sampled_from((0.1, 0.01)),
)

PREPROCESSING = st.sampled_from((None, None, OWN, Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))))


@st.composite
def hand_made_specs(draw: st.DrawFn) -> NetworkSpec:
    """Up to six unequal blocks of a few channels in up to three stages, at about the fewest pixels they work at."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    channels = in_channels = draw(st.integers(1, 4))
    stages = []
    for index in range(draw(st.integers(1, 3))):
        blocks = []
        for _ in range(draw(st.integers(1, 2))):
            kind = draw(st.sampled_from(kinds(heads=False)))
            blocks.append(example(kind, channels, rng))
            channels = blocks[-1].channels_after(channels)
        stages.append(Stage(f"part{index}", tuple(blocks)))
    head = draw(st.sampled_from(kinds(heads=True)))
    stages.append(Stage("classifier", (example(head, channels, rng),)))
    conventions, preprocessing = draw(CONVENTIONS), draw(PREPROCESSING)
    try:
        spec = NetworkSpec("hand_made", 170, tuple(stages), in_channels, conventions, preprocessing)
    except InvalidSpec:  # so many strides that 170 px are too few
        reject()
    return at_fewest_pixels(spec, more=draw(st.integers(0, 6)))


st.register_type_strategy(NetworkSpec, hand_made_specs() | space_specs())
