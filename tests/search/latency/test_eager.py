"""Eager torch and torch.compile: the deployed form that is timed, clocks of GPUs, threads, refusals."""

import shutil
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from search.latency import table_for
from search.latency.clock import Clock, EventClock, clock_of
from search.latency.kernels import placed_blocks
from search.latency.measurement import measure_specs
from search.latency.runtimes import is_this_machine, runtime, setting_of
from search.latency.runtimes.compile import Compiled
from search.latency.runtimes.eager import Eager
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.graph import lower
from searchspace.latency import LatencyTable
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space

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
        "stage5.layers": (0,),
        "stage7.layers": (0,),
    }
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    """Eager torch's own, of one thread."""
    return table_for(SPACE, cache_dir=tmp_path_factory.mktemp("cache"), rounds=2, runtime=Eager(threads=1))


SEEN: list[tuple[bool, bool, int]] = []


class Recording(nn.Module):
    """Notes of each call whether autograd and training are off, and how many batch norms there are."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        norms = sum(isinstance(part, nn.BatchNorm2d) for part in self.modules())
        SEEN.append((torch.is_inference_mode_enabled(), self.training, norms))
        logits: torch.Tensor = self.inner(image)
        return logits


def test_eager_torch_times_folded_networks_without_autograd() -> None:
    spec = SPACE.spec(SPACE.corner("smallest"))
    device = Eager(threads=1)
    timer = device.module(Recording(build(spec)), spec)
    SEEN.clear()
    with device.quiet():
        timer()
    assert SEEN == [(True, False, 0)]


@pytest.mark.slow
def test_a_trained_module_measures_as_its_network_does(table: LatencyTable) -> None:
    spec = SPACE.spec(SPACE.corner("largest"))
    (untrained,) = measure_specs([spec], table=table, seconds=0.1)
    (trained,) = measure_specs([spec], modules=[build(spec)], table=table, seconds=0.1)
    assert 0.3 < table.latency_ms(lower(spec)) / untrained.latency_ms < 3
    assert 0.3 < trained.latency_ms / untrained.latency_ms < 3
    assert untrained.low_ms <= untrained.latency_ms <= untrained.high_ms


class UnsteadyClock:
    """The first of five calls is a hundred times as slow as the others; a part takes longer the later it comes."""

    def __init__(self) -> None:
        self.calls = self.marks = 0

    def start(self) -> None:
        self.calls, self.marks = self.calls + 1, 0

    def mark(self) -> None:
        self.marks += 1

    def stop(self) -> list[int]:
        number = (self.calls - 1) % 5
        step = 1000 if number == 0 else 9 + number % 2
        return [step + place for place in range(self.marks - 1)]


def test_a_reading_on_a_gpu_is_each_part_s_median_of_five_calls() -> None:
    clock = UnsteadyClock()
    spec = SPACE.spec(SPACE.corner("smallest"))
    device, blocks = Eager("cpu:0", clock=clock), placed_blocks(SPACE)[:3]  # not "cpu" to it: as on a GPU
    network, kernels = device.network(spec), device.kernels(blocks)
    with device.quiet():
        assert (network(), clock.calls) == ([10], 5)
        parts = kernels()
        assert clock.calls == 10
    assert len(parts) == sum(len(block.layers) for block in blocks)
    assert parts == sorted(parts)
    assert max(parts) < 100


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

    class Event:
        def record(self) -> None:
            told.append("mark")
            self.ns = 5 * told.count("mark") + 1000 * told.count("work")  # an event takes 5 ns itself

        def elapsed_time(self, end: "Event") -> float:
            return (end.ns - self.ns) / 1e6

    clock = EventClock(Event, lambda: told.append("wait"))
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


def compiled(by: Callable[[nn.Module], nn.Module]) -> Compiled:
    """The runtime with another compiler."""

    class Other(Compiled):
        compiler = staticmethod(by)

    return Other(threads=1)


def test_torch_compile_names_the_layer_that_it_cannot_compile() -> None:
    def refusing(what: type[nn.Module]) -> Callable[[nn.Module], nn.Module]:
        def compiler(module: nn.Module) -> nn.Module:
            if any(isinstance(part, what) for part in module.modules()):
                raise RuntimeError("no such operator")
            return module

        return compiler

    spec = SPACE.spec(SPACE.corner("smallest"))
    with pytest.raises(InvalidArgument, match=r"torch.compile cannot compile layer \S*classifier\S*: no such operator"):
        compiled(refusing(nn.Linear)).network(spec)
    with pytest.raises(InvalidArgument, match=r"cannot compile a network here \(no such operator\): .* such as g\+\+"):
        compiled(refusing(nn.Conv2d)).network(spec)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_torch_compile_runs_a_network_as_its_own_compiler_makes_it() -> None:
    device = runtime("compile", threads=1)
    timer = device.network(SPACE.spec(SPACE.corner("smallest")))
    with device.quiet():
        assert len(timer()) == 1
        assert timer()[0] > 0


def test_torch_compile_has_no_table_of_its_own_kernels() -> None:
    device = compiled(lambda module: module)
    assert device.identity(32)["runtime"] == "torch.compile"
    assert setting_of(device.identity(32)) == ("compile", "cpu", "fp32")
    assert is_this_machine(device.identity(32))
    with pytest.raises(InvalidArgument, match=r"search\.latency adapt .*--runtime compile"):
        device.kernels(placed_blocks(SPACE)[:1])


def test_work_of_one_thread_is_timed_by_what_it_computes_where_others_hold_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.latency.clock.is_preempted", lambda: True)
    clock = clock_of("cpu", 1)
    clock.start()
    clock.mark()
    time.sleep(0.05)  # the thread waits
    clock.mark()
    (waited_ns,) = clock.stop()
    assert waited_ns < 20e6
    assert type(clock_of("cpu", 2)) is Clock
    monkeypatch.setattr("search.latency.clock.is_preempted", lambda: False)
    assert type(clock_of("cpu", 1)) is Clock
