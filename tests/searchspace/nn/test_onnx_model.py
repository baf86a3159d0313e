"""ONNX models give the outputs of the torch modules, for every kind of network."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn import Network, build
from searchspace.nn.onnx_model import to_onnx
from searchspace.spec import NetworkSpec

onnxruntime = pytest.importorskip("onnxruntime")


Trained = Callable[[NetworkSpec, int], Network]
pytestmark = pytest.mark.usefixtures("one_thread")


def session(model: object) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def check_outputs(trained: Trained, spec: NetworkSpec, *, images: int = 1, batch: int | None = 1) -> None:
    network = trained(spec, 0)
    shape = (images, spec.in_channels, spec.resolution, spec.resolution)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = network(image)
    (found,) = session(to_onnx(network, batch=batch)).run(["logits"], {"image": image.numpy()})
    scale = expected.abs().max().clamp(min=1e-3)
    torch.testing.assert_close(torch.from_numpy(found) / scale, expected / scale, rtol=0, atol=1e-4)


@given(spec=..., images=st.integers(1, 3))
@settings(max_examples=8)
def test_any_network_gives_the_outputs_of_its_module(trained: Trained, spec: NetworkSpec, images: int) -> None:
    check_outputs(trained, spec, images=images, batch=None)


@pytest.mark.parametrize("name", zoo.representatives())
def test_published_networks_give_the_outputs_of_their_modules(trained: Trained, name: str) -> None:
    check_outputs(trained, zoo.get(name, width=0.25, depth=0.5, resolution=65, classes=10))


@pytest.mark.parametrize("resolution", [64, 65, 66])
def test_same_padding_is_that_of_the_module(trained: Trained, resolution: int) -> None:
    check_outputs(trained, zoo.get("mobilenet_v3_small", width=0.5, resolution=resolution, classes=10, padding="same"))


def test_every_layer_is_found_again_by_its_name() -> None:
    spec = zoo.get("mobilenet_v3_small", classes=10)
    nodes = [node.name for node in to_onnx(build(spec)).graph.node]
    for layer in lower(spec).layers:
        assert any(name.startswith(f"{layer.name}/") for name in nodes), layer.name
    assert len(nodes) == len(set(nodes))


def test_the_model_says_its_shapes() -> None:
    graph = to_onnx(build(zoo.get("mobilenet_v1", resolution=96, classes=7)), batch=4).graph
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]
    assert shapes == [[4, 3, 96, 96], [4, 7]]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="at least 1"):
        to_onnx(build(zoo.get("mobilenet_v1", resolution=32, classes=2)), batch=0)
