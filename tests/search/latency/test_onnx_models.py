"""Runtimes of ONNX models: shares of the profile, layers that are refused, int8."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search.latency.kernels import blocks_of, placed_blocks
from search.latency.onnx_models import Feeds, OnnxModels, Run, shares
from search.latency.quick import quick_table
from search.latency.runtimes import runtime
from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn import untrained
from searchspace.nn.onnx_model import to_onnx
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.presets import space_of

pytestmark = pytest.mark.usefixtures("one_thread")

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
CPU = ("cpu", "float32", 1)  # device, dtype, threads


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


def test_measuring_with_onnxruntime_leaves_the_sessions_of_others_alone() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    spec = zoo.get("mobilenet_v3_small", resolution=32, classes=5)
    for threads in (1, 2):
        assert runtime("onnxruntime", threads=threads).identity(32)["threads"] == threads
        assert runtime("onnxruntime", threads=threads).network(spec)()[0] > 0
    onnxruntime.InferenceSession(to_onnx(untrained(spec)).SerializeToString(), providers=["CPUExecutionProvider"])


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


def lacking(operator: str) -> OnnxModels:
    """A runtime that takes every model but those with the operator."""

    class Narrow(OnnxModels):
        title, extra = "json", "json"  # any package that is there

        def load(self, model: bytes) -> Callable[[Feeds], object]:
            if operator.encode() in model:
                raise RuntimeError(f"no such operator: {operator}")
            return lambda feeds: None

        def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
            return []

    return Narrow(*CPU)


def test_a_layer_that_a_runtime_of_onnx_models_does_not_take_is_named() -> None:
    pytest.importorskip("onnx")
    narrow = lacking("HardSwish")
    wanted = r"json cannot run layer stem\.0 of mobilenet_v3_small_w0\.5: no such operator"
    with pytest.raises(InvalidArgument, match=wanted):
        narrow.network(zoo.get("mobilenet_v3_small", width=0.5, resolution=32))
    assert narrow.network(zoo.get("mobilenet_v1", width=0.25, resolution=32))()[0] > 0
    with pytest.raises(InvalidArgument, match=r"json cannot run layer conv of isolated blocks: no such operator"):
        narrow.kernels(blocks_of(zoo.get("mobilenet_v3_small", width=0.5, resolution=32)))


def test_a_preset_with_a_runtime_that_lacks_one_of_its_operators_is_told_which(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    space = space_of("edge", classes=2, resolution=32)
    said = r"json cannot run layer .*: no such operator: Clip; it is a layer conv with relu6"
    wanted = said + ": choose another .* or a --space without it"
    with pytest.raises(InvalidArgument, match=wanted):
        quick_table(space, runtime=lacking("Clip"), cache_dir=tmp_path)


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
        Broken(*CPU).network(small)

    class Full(Broken):  # every layer runs alone (the largest has 1 MB), all of them (1.9 MB) do not
        def load(self, model: bytes) -> Callable[[Feeds], object]:
            return super().load(model) if len(model) > 1.5e6 else lambda feeds: None

    with pytest.raises(InvalidArgument, match=r"json cannot run mobilenet_v1_w0\.25: out of registers"):
        Full(*CPU).network(small)
