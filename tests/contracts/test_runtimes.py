"""What every runtime must do (search.latency.interleave.Runtime). A new runtime's file is tested here as it is."""

import gc
import random
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import pytest
import torch

from search.latency import table_for
from search.latency.clock import EventClock
from search.latency.interleave import Runtime
from search.latency.kernels import PlacedBlock, blocks_of, rough_cost
from search.latency.measurement import measure_specs
from search.latency.runtimes import names, runtime, runtime_info, setting_of
from search.latency.runtimes.compile import Compiled
from search.latency.runtimes.eager import Eager
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted_runtime import ScriptedRuntime

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = mnasnet_space(resolution=32, classes=3).with_choices(
    {
        "*.expand_ratio": (3,),
        "*.kernel": (3,),
        "*.se": (False, True),
        "*.activation": ("relu",),
        "*.layers": (1,),
        "*.width_mult": (0.75,),
        "stage1.expand_ratio": (1,),
        "stage7.layers": (0,),
    }
)
FAMILIES = ("mobilenet_v1", "mobilenet_v3_small", "shufflenet_v1", "shufflenet_v2", "squeezenet1_1", "efficientnet_b0")


class Event:
    """A GPU's event, on the processor."""

    def record(self) -> None:
        self.ns = perf_counter_ns()

    def elapsed_time(self, end: "Event") -> float:
        return (end.ns - self.ns) / 1e6


class Uncompiled(Compiled):
    """torch.compile without a C++ compiler."""

    compiler = staticmethod(partial(torch.compile, backend="eager"))


def made(name: str) -> Runtime:
    """The runtime, if it is installed."""
    if name == "scripted":
        return ScriptedRuntime(threads=1, identity={"versions": {"abacus": "1"}})
    if name == "as on a GPU":
        return Eager("cpu:0", clock=EventClock(Event, lambda: None), calls=1)
    if name == "compile":
        return Uncompiled(threads=1)
    try:
        return runtime("eager" if name == "cuda" else name, threads=1, device="cuda" if name == "cuda" else "cpu")
    except InvalidArgument as error:
        pytest.skip(str(error))


EVERY = [*names(), "as on a GPU", "scripted", *(["cuda"] if torch.cuda.is_available() else [])]
PROFILING = [name for name in EVERY if name not in names() or runtime_info(name).profiles_layers]


@pytest.fixture(scope="module", params=EVERY)
def any_device(request: pytest.FixtureRequest) -> Runtime:
    """Every runtime."""
    return made(request.param)


@pytest.fixture(scope="module", params=PROFILING)
def device(request: pytest.FixtureRequest) -> Runtime:
    """Every runtime that times single layers."""
    return made(request.param)


def test_it_says_what_it_is(any_device: Runtime) -> None:
    own, other = any_device.identity(64), any_device.identity(96)
    assert own["threads"] == 1
    assert own["versions"]
    assert own != other
    assert {**own, "resolution": 96} == other


def every_kind_of_block() -> list[PlacedBlock]:
    """A block of the zoo for every kind of kernel, as few as there can be."""
    blocks = [block for name in FAMILIES for block in blocks_of(zoo.get(name, resolution=32, classes=5))]
    kinds: dict[tuple[object, ...], PlacedBlock] = {}
    for block in sorted(blocks, key=lambda one: sum(map(rough_cost, one.layers))):
        for layer in block.layers:
            kinds.setdefault((type(block.block), layer.op, layer.kernel, layer.stride, layer.activation), block)
    return list(dict.fromkeys(kinds.values()))


def test_every_layer_of_every_block_gets_one_positive_time_in_each_call(device: Runtime) -> None:
    blocks = every_kind_of_block()
    timer = device.kernels(blocks)
    with device.quiet():
        for _ in range(2):
            times = timer()
            assert len(times) == sum(len(block.layers) for block in blocks)
            assert min(times) > 0


def test_a_network_is_one_part(any_device: Runtime) -> None:
    timer = any_device.network(SPACE.spec(SPACE.corner("smallest")))
    with any_device.quiet():
        assert len(timer()) == 1
        assert timer()[0] > 0


def test_a_trained_module_is_one_part_and_stays_as_it_is(any_device: Runtime) -> None:
    spec = SPACE.spec(SPACE.corner("smallest"))
    module = build(spec, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with any_device.quiet():
        assert any_device.module(module, spec)()[0] > 0
        assert isinstance(any_device, ScriptedRuntime) or not gc.isenabled()
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_kernels_of_a_network_make_about_the_network(device: Runtime) -> None:
    spec = SPACE.spec(SPACE.corner("largest")).with_resolution(96)
    blocks = blocks_of(spec)
    kernels, network = device.kernels(blocks), device.network(spec)
    with device.quiet():
        parts = min((kernels() for _ in range(15)), key=sum)
        whole = min(network()[0] for _ in range(15))
    places = iter(parts)
    ns = {layer.signature: next(places) for block in blocks for layer in block.layers}
    assert 0.4 < sum(ns[layer.signature] for layer in lower(spec).layers) / whole < 2.5


# Eager torch's table is that of tests/search/latency/test_eager.py; runtimes of ONNX models take long to load networks.
SLOW = ("onnxruntime", "openvino")
BUILT = [name for name in PROFILING if name not in ("eager", "as on a GPU", *SLOW)]


@pytest.mark.parametrize("name", [*BUILT, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_table_of_a_small_space_is_built_and_near_what_its_networks_measure(name: str, tmp_path: Path) -> None:
    device = made(name)
    table = table_for(SPACE, cache_dir=tmp_path, rounds=2, runtime=device)
    assert table.identity == device.identity(32)
    spec = SPACE.spec(SPACE.sample(random.Random(1)))
    (one,) = measure_specs([spec], table=table, seconds=0.1, runtime=device)
    assert 0.3 < table.latency_ms(lower(spec)) / one.latency_ms < 3


@pytest.mark.parametrize("name", names())
def test_every_dtype_of_a_runtime_runs_and_is_of_its_own(name: str) -> None:
    made(name)
    spec = SPACE.spec(SPACE.corner("smallest"))
    for dtype in runtime_info(name).dtypes:
        try:
            device = runtime(name, threads=1, dtype=dtype)
        except InvalidArgument:
            assert (name, dtype) in {("openvino", "bf16"), ("openvino", "fp16")}  # not on every processor
            continue
        assert setting_of(device.identity(32)) == (name, "cpu", dtype)
        if isinstance(device, Compiled):
            continue  # runs as eager torch, and takes long to compile
        with device.quiet():
            assert device.network(spec)()[0] > 0
            assert min(device.kernels(blocks_of(spec))()) > 0
    with pytest.raises(InvalidArgument, match=f"dtypes of the runtime {name} are fp32.*, got 'fp8'"):
        runtime(name, dtype="fp8")
