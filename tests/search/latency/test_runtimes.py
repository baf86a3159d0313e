"""What every runtime must do (search.latency.interleave.Runtime), and what each does of its own."""

import gc
import random
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import pytest
import torch
from torch import nn

from search.latency import table_for
from search.latency.__main__ import _of_onnx, parser
from search.latency.adapt import adapt, networks_to_measure
from search.latency.check import check
from search.latency.clock import EventClock
from search.latency.interleave import Runtime
from search.latency.kernels import blocks_of, placed_blocks
from search.latency.measurement import measure_specs, measure_without_table
from search.latency.onnx_models import Feeds, OnnxModels, Run, shares
from search.latency.runtimes import check_profiles_layers, is_this_machine, names, runtime, runtime_info, setting_of
from search.latency.runtimes.compile import Compiled
from search.latency.runtimes.eager import Eager
from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.graph import lower
from searchspace.nn import build, untrained
from searchspace.nn.onnx_model import to_onnx
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec

SPACE = mnasnet_space(resolution=32, classes=3).with_choices(
    {
        "*.expand_ratio": (3,),
        "*.kernel": (3,),
        "*.se": (False, True),
        "*.activation": ("relu", "swish"),
        "*.layers": (1,),
        "*.width_mult": (0.75,),
        "stage1.expand_ratio": (1,),
        "stage7.layers": (0,),
    }
)


pytestmark = pytest.mark.usefixtures("one_thread")


class Event:
    """A GPU's event, on the processor."""

    def record(self) -> None:
        self.ns = perf_counter_ns()

    def elapsed_time(self, end: "Event") -> float:
        return (end.ns - self.ns) / 1e6


WITH_KERNELS = [name for name in names() if runtime_info(name).profiles_layers]


def here(name: str) -> Runtime:
    """The runtime, if it is installed."""
    try:
        return runtime(name, threads=1)
    except InvalidArgument as error:
        pytest.skip(str(error))


TELLING = [*WITH_KERNELS, "as on a GPU", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=TELLING)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Every runtime that tells kernels apart."""
    return made(request.param, monkeypatch)


@pytest.fixture(params=[*TELLING, *(name for name in names() if name not in WITH_KERNELS)])
def any_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Every runtime."""
    return made(request.param, monkeypatch)


def made(name: str, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    if name == "compile":
        return Compiled(threads=1, compiler=partial(torch.compile, backend="eager"))  # which needs no C++ compiler
    if name == "as on a GPU":
        return Eager("cpu:0", clock=EventClock(Event, lambda: None), calls=1)
    if name == "cuda":
        return runtime("eager", threads=1, device="cuda")
    return here(name)


def every_block() -> list[NetworkSpec]:
    """One network of every family, so of every kind of kernel."""
    names = ("mobilenet_v1", "mobilenet_v3_small", "shufflenet_v1", "shufflenet_v2", "squeezenet1_1", "efficientnet_b0")
    return [zoo.get(name, resolution=64, classes=5) for name in names]


def test_it_says_what_it_is(any_device: Runtime) -> None:
    here, other = any_device.identity(64), any_device.identity(96)
    assert here["threads"] == 1
    assert here["versions"]
    assert here != other
    assert {**here, "resolution": 96} == other


@pytest.mark.parametrize("spec", every_block(), ids=lambda spec: spec.name)
def test_every_layer_of_every_block_gets_one_positive_time_in_each_call(device: Runtime, spec: NetworkSpec) -> None:
    blocks = blocks_of(spec)
    timer = device.kernels(blocks)
    with device.quiet():
        for _ in range(2):
            times = timer()
            assert len(times) == sum(len(block.layers) for block in blocks)
            assert min(times) > 0


def test_a_network_is_one_part(any_device: Runtime) -> None:
    timer = any_device.network(zoo.get("mobilenet_v3_small", resolution=32, classes=5))
    with any_device.quiet():
        assert len(timer()) == 1
        assert timer()[0] > 0


def test_a_trained_module_is_one_part_and_stays_as_it_is(any_device: Runtime) -> None:
    spec = zoo.get("mobilenet_v3_small", resolution=32, classes=5)
    module = build(spec, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with any_device.quiet():
        assert any_device.module(module, spec)()[0] > 0
        assert not gc.isenabled()
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_eager_torch_times_folded_networks_without_autograd() -> None:
    ran: list[tuple[bool, bool, int]] = []

    def seen(module: nn.Module, _: object) -> None:
        norms = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
        ran.append((torch.is_inference_mode_enabled(), module.training, norms))

    class Watched(Eager):
        def _ready(self, module: nn.Module, image: torch.Tensor) -> Callable[[torch.Tensor], object]:
            module.register_forward_pre_hook(seen)
            return super()._ready(module, image)

    device = Watched(threads=1)
    timer = device.network(zoo.get("mobilenet_v3_small", resolution=32, classes=5))
    with device.quiet():
        timer()
    assert ran == [(True, False, 0)]


def test_the_kernels_of_a_network_make_about_the_network(device: Runtime) -> None:
    spec = SPACE.spec(SPACE.corner("largest")).with_resolution(128)
    blocks = blocks_of(spec)
    kernels, network = device.kernels(blocks), device.network(spec)
    with device.quiet():
        parts = min((kernels() for _ in range(15)), key=sum)
        whole = min(network()[0] for _ in range(15))
    places = iter(parts)
    ns = {layer.signature: next(places) for block in blocks for layer in block.layers}
    assert 0.4 < sum(ns[layer.signature] for layer in lower(spec).layers) / whole < 2.5


def test_a_table_of_a_small_space_is_built_and_near_what_its_networks_measure(device: Runtime, tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, budget_s=0.0, runtime=device)
    assert table.identity == device.identity(32)
    spec = SPACE.spec(SPACE.sample(random.Random(1)))
    (fresh,) = measure_specs([spec], table=table, seconds=0.5, runtime=device)
    assert 0.3 < table.latency_ms(lower(spec)) / fresh.latency_ms < 3


def test_unknown_runtimes_threads_and_missing_extras_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="must be one of eager, compile, onnxruntime, openvino, got 'tvm'"):
        runtime("tvm")
    with pytest.raises(InvalidArgument, match="at least 1, got 0"):
        runtime(threads=0)
    for name, extra in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InvalidArgument, match=rf"phinas\[{extra}\]"):
            runtime(name, threads=1)


ABACUS = """
from search.latency.runtimes import RuntimeInfo
from search.latency.runtimes.eager import Eager

class Abacus(Eager):
    pass

RUNTIME = RuntimeInfo("beads", ("bf16",), Abacus, uses_onnx=True, profiles_layers=False)
"""


def test_a_runtime_is_known_everywhere_by_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import search.latency.runtimes as package

    assert {name for name in names() if runtime_info(name).uses_onnx} >= {"onnxruntime", "openvino"}
    (tmp_path / "abacus.py").write_text(ABACUS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert type(runtime("abacus", threads=3, dtype="bf16")).__name__ == "Abacus"
    assert "abacus" in " ".join(parser().format_help().split())
    assert _of_onnx(parser().parse_args(["build", "--runtime", "abacus"]))
    assert not _of_onnx(parser().parse_args(["build"]))
    identity = {**Eager(threads=1).identity(32), "runtime": "beads", "dtype": "bfloat16"}
    assert setting_of(identity) == ("abacus", "cpu", "bf16")  # type: ignore[arg-type]
    for wrong, message in (
        (lambda: runtime("abacus"), "dtypes of the runtime abacus are bf16, got 'fp32'"),
        (lambda: runtime("abacus", dtype="bf16", device="cuda"), "abacus is measured on the cpu, .* eager or compile"),
        (lambda: check_profiles_layers("abacus"), "beads does not say what a layer takes, .* --runtime abacus"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            wrong()


def test_a_device_that_is_not_here_or_not_the_runtime_s_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "tpu"):
        with pytest.raises(InvalidArgument, match=rf"torch .* finds here \(cpu.*\), got '{device}'"):
            runtime(device=device)
    with pytest.raises(InvalidArgument, match="onnxruntime is measured on the cpu, got device 'cuda'"):
        runtime("onnxruntime", device="cuda")


@pytest.mark.parametrize("name", names())
def test_every_dtype_of_a_runtime_runs_and_is_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made(name, monkeypatch)
    spec = SPACE.spec(SPACE.corner("smallest"))
    for dtype in runtime_info(name).dtypes:
        try:
            device = runtime(name, threads=1, dtype=dtype)
        except InvalidArgument:
            assert (name, dtype) in {("openvino", "bf16"), ("openvino", "fp16")}  # not on every processor
            continue
        assert setting_of(device.identity(32)) == (name, "cpu", dtype)
        with device.quiet():
            assert device.network(spec)()[0] > 0
            if runtime_info(name).profiles_layers:
                assert min(device.kernels(blocks_of(spec))()) > 0
    with pytest.raises(InvalidArgument, match=f"dtypes of the runtime {name} are fp32.*, got 'fp8'"):
        runtime(name, dtype="fp8")


@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_only_int8_models_hold_quantised_nodes_and_int8_weights(dtype: str) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    spec = SPACE.spec(SPACE.corner("smallest"))
    whole = to_onnx(untrained(spec)).SerializeToString()
    device = runtime("onnxruntime", threads=1, dtype=dtype)
    assert isinstance(device, OnnxModels)
    loaded: list[bytes] = []
    load = device.load
    device.load = lambda model: loaded.append(model) or load(model)  # type: ignore[method-assign,func-returns-value]
    device.network(spec)
    for model in (device.prepared(whole), *loaded):  # what is prepared is what is timed
        graph = onnx.load_from_string(model).graph
        convs = sum(node.op_type in ("Conv", "QLinearConv") for node in graph.node)
        quantised = [
            node for node in graph.node if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")
        ]
        bytes_in_int8 = sum(len(one.raw_data) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8)
        weights = sum(layer_params_macs(layer)[0] for layer in lower(spec).layers)
        assert (len(quantised) >= convs > 0) == (dtype == "int8")
        assert (bytes_in_int8 > 0.9 * weights) == (dtype == "int8")
    assert len(loaded) == 1


def test_a_layer_that_torch_has_no_operator_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("\"hardswish\" not implemented for 'Half'")

    monkeypatch.setattr("torch.nn.functional.hardswish", missing)
    with pytest.raises(
        InvalidArgument, match=r"float16 on cpu cannot run layer stem\.0.* of mobilenet_v3_small.*'Half'"
    ):
        Eager("cpu", "float16").network(zoo.get("mobilenet_v3_small", resolution=32))


def test_a_table_of_a_gpu_is_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    here, gpu = Eager().identity(64), Eager("cuda").identity(64)
    assert gpu == {**here, "machine": f"a GPU in {here['machine']}", "runtime": "eager torch on cuda"}
    assert (setting_of(here), setting_of(gpu)) == (("eager", "cpu", "fp32"), ("eager", "cuda", "fp32"))
    with pytest.raises(InvalidTable, match="the table is of 'tvm'"):
        setting_of({**here, "runtime": "tvm"})


def test_a_gpu_s_clock_waits_for_what_was_asked_before_and_during_a_call() -> None:
    told: list[str] = []

    class Told(Event):
        def record(self) -> None:
            told.append("mark")
            self.ns = 5 * told.count("mark") + 1000 * told.count("work")  # an event takes 5 ns itself

    clock = EventClock(Told, lambda: told.append("wait"))
    for _ in range(2):
        clock.start()
        told.clear()
        clock.mark()
        for work in (["work"], ["work", "work"]):
            told += work
            clock.mark()
        assert clock.stop() == [1000, 2000]
        assert told == ["mark", "work", "mark", "work", "work", "mark", "wait"]
    clock.start()
    assert told[-1] == "wait"


def test_measuring_with_onnxruntime_leaves_the_sessions_of_others_alone() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = zoo.get("mobilenet_v3_small", resolution=32, classes=5)
    for threads in (1, 2):
        assert runtime("onnxruntime", threads=threads).identity(32)["threads"] == threads
        assert runtime("onnxruntime", threads=threads).network(spec)()[0] > 0
    onnxruntime.InferenceSession(to_onnx(untrained(spec)).SerializeToString(), providers=["CPUExecutionProvider"])


def test_torch_compile_names_the_layer_that_it_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(what: type[nn.Module]) -> Callable[[nn.Module], nn.Module]:
        def compiled(module: nn.Module) -> nn.Module:
            if any(isinstance(part, what) for part in module.modules()):
                raise RuntimeError("no such operator")
            return module

        return compiled

    device, spec = runtime("compile", threads=1), zoo.get("mobilenet_v3_small", resolution=32, classes=5)
    monkeypatch.setattr(torch, "compile", refuse(nn.Linear))
    with pytest.raises(InvalidArgument, match=r"torch.compile cannot compile layer \S*classifier\S*: no such operator"):
        device.network(spec)
    monkeypatch.setattr(torch, "compile", refuse(nn.Conv2d))
    with pytest.raises(InvalidArgument, match=r"cannot compile a network here \(no such operator\): .* such as g\+\+"):
        device.network(spec)


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_torch_compile_runs_a_network_as_its_own_compiler_makes_it() -> None:
    device = runtime("compile", threads=1)
    timer = device.network(SPACE.spec(SPACE.corner("smallest")))
    with device.quiet():
        assert len(timer()) == 1
        assert timer()[0] > 0


def test_torch_compile_times_networks_and_has_a_table_by_adapting_that_of_eager_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # which needs no C++ compiler
    device = runtime("compile", threads=1)
    assert device.identity(32)["runtime"] == "torch.compile"
    assert setting_of(device.identity(32)) == ("compile", "cpu", "fp32")
    assert is_this_machine(device.identity(32))
    with pytest.raises(InvalidArgument, match=r"search\.latency adapt .*--runtime compile"):
        table_for(SPACE, cache_dir=tmp_path, runtime=device)
    table = table_for(SPACE, cache_dir=tmp_path, budget_s=0.0, runtime=Eager(threads=1))
    specs = networks_to_measure(SPACE, count=4)
    found, time_base = measure_without_table(specs, cache_dir=tmp_path, seconds=0.5, runtime=device)
    new = adapt(table, specs, [one.latency_ms for one in found], identity=device.identity(32), time_base=time_base)
    checked = check(new, specs[:1], seconds=0.2, explained=1, runtime=device)
    assert 0.3 < checked.predicted[0].latency_ms / checked.measured[0].latency_ms < 3
    assert checked.worst == {0: ()}  # it does not tell layers apart


def test_eager_runs_with_the_threads_asked_for_and_leaves_the_process_its_own() -> None:
    before = torch.get_num_threads()
    one = runtime("eager", threads=before + 1)
    assert one.identity(32)["threads"] == before + 1
    assert runtime("eager").identity(32)["threads"] == before
    with one.quiet():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    assert is_this_machine(one.identity(32))
    assert not is_this_machine({**one.identity(32), "machine": "a phone"})
    assert not is_this_machine({**one.identity(32), "runtime": "TFLite"})


def test_onnxruntime_covers_the_kernels_of_a_space() -> None:
    pytest.importorskip("onnxruntime")
    blocks = placed_blocks(SPACE)
    assert len(runtime("onnxruntime", threads=1).kernels(blocks)()) == sum(len(block.layers) for block in blocks)


def test_a_change_of_layout_counts_for_the_layer_that_needs_it() -> None:
    run = [
        ("ReorderInput_kernel_time", 50),
        ("feed0/conv_nchwc_kernel_time", 50),
        ("block0.0/conv_kernel_time", 100),
        ("ReorderOutput_token_1_kernel_time", 40),
        ("block0.1/mean_kernel_time", 60),
        ("block0.1/scale/fused_kernel_time", 100),
        ("tail0/pool_kernel_time", 100),
        ("block1.0/gemm_kernel_time", 500),
    ]
    found = shares([run] * 4, [3, 1])  # the third layer was fused into another
    assert found == pytest.approx([0.1, 0.2, 0.0, 0.5])


def test_a_disturbed_run_is_left_out_of_a_layer_s_share() -> None:
    run = [("block0.0/conv_kernel_time", 100), ("block0.1/conv_kernel_time", 100)]
    slow = [("block0.0/conv_kernel_time", 900), ("block0.1/conv_kernel_time", 100)]
    assert shares([run, run, slow, run], [2])[0] == pytest.approx(0.5)


def test_a_layer_that_a_runtime_of_onnx_models_does_not_take_is_named() -> None:
    class Narrow(OnnxModels):
        title, extra = "json", "json"  # any package that is there

        def load(self, model: bytes) -> Callable[[Feeds], object]:
            if b"HardSwish" in model:
                raise RuntimeError("no such operator: HardSwish")
            return lambda feeds: None

        def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
            return []

    pytest.importorskip("onnx")
    wanted = r"json cannot run layer stem\.0 of mobilenet_v3_small_w0\.5: no such operator"
    with pytest.raises(InvalidArgument, match=wanted):
        Narrow(1).network(zoo.get("mobilenet_v3_small", width=0.5, resolution=32))
    assert Narrow(1).network(zoo.get("mobilenet_v1", width=0.25, resolution=32))()[0] > 0
    with pytest.raises(InvalidArgument, match=r"json cannot run layer conv of isolated blocks: no such operator"):
        Narrow(1).kernels(blocks_of(zoo.get("mobilenet_v3_small", width=0.5, resolution=32)))


def test_a_network_that_loads_and_does_not_run_is_told() -> None:
    class Broken(OnnxModels):
        title, extra = "json", "json"  # any package that is there

        def load(self, model: bytes) -> Callable[[Feeds], object]:
            def run(feeds: Feeds) -> object:
                raise RuntimeError("out of registers")

            return run

        def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
            return []

    pytest.importorskip("onnx")
    small = zoo.get("mobilenet_v1", width=0.25, resolution=32)
    with pytest.raises(
        InvalidArgument, match=r"json cannot run layer stem\.0 of mobilenet_v1_w0\.25: out of registers"
    ):
        Broken(1).network(small)

    class Full(Broken):  # every layer runs alone (the largest has 1 MB), all of them (1.9 MB) do not
        def load(self, model: bytes) -> Callable[[Feeds], object]:
            return super().load(model) if len(model) > 1.5e6 else lambda feeds: None

    with pytest.raises(InvalidArgument, match=r"json cannot run mobilenet_v1_w0\.25: out of registers"):
        Full(1).network(small)
