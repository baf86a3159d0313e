"""A network as an ONNX model: one or a few standard operators for each layer of its Graph, batch norm folded.

The operators are of opset 17, which every runtime of the last years reads. Nodes are named LAYER/PART
("stage3.1.depthwise/conv"), weights as in the state dict of the folded module.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from searchspace.errors import InvalidArgument
from searchspace.graph import NETWORK_INPUT, Layer, lower
from searchspace.nn.activations import TORCH
from searchspace.nn.build import Network
from searchspace.nn.fold import fold_batch_norm

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8  # what onnxruntime has read since 1.10
INPUT, OUTPUT = "image", "logits"


def to_onnx(network: Network, *, batch: int | None = 1) -> "onnx.ModelProto":
    """The network with its weights, in eval mode.

    The input is "image" (batch, channels, resolution, resolution) float32, the output "logits" (batch, classes).
    `batch` None leaves the batch free. Raises InvalidArgument for a `batch` below 1, and where the extra `onnx` is not
    installed.
    """
    if batch is not None and batch < 1:
        raise InvalidArgument(f"batch must be at least 1, or None for any, got {batch}")
    model = OnnxGraph()
    graph, folded = lower(network.spec), fold_batch_norm(network).float().cpu()
    tensors = folded.state_dict()
    values = {NETWORK_INPUT: model.input(INPUT, (batch or "batch", *graph.in_shape))}
    for index, layer in enumerate(graph.layers):
        values[index] = model.layer(layer, [values[source] for source in layer.inputs], tensors, layer.name)
    model.node("Flatten", [values[len(graph.layers) - 1]], OUTPUT, name="output")
    model.output(OUTPUT, (batch or "batch", graph.layers[-1].out_shape[0]))
    return model.proto(network.spec.name)


def logits_difference(network: Network, model: bytes, *, images: int = 1) -> float:
    """Largest difference of ONNX Runtime's logits from torch's (eval mode) on noise, as a share of the largest logit.

    nan for infinite logits. Raises InvalidArgument where onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise _not_installed("onnxruntime") from None
    spec = network.spec
    shape = (images, spec.in_channels, spec.resolution, spec.resolution)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(image)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([OUTPUT], {INPUT: image.numpy()})[0])
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _not_installed(package: str) -> InvalidArgument:
    return InvalidArgument(
        f'ONNX models need the optional package {package}, which is not installed: pip install "phinas[onnx]" (in a '
        'clone of the project: pip install -e ".[onnx]")'
    )


class OnnxGraph:
    """Collects nodes, weights, inputs and outputs; values are known by name."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError:
            raise _not_installed("onnx") from None
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, shape: tuple[int | str, ...]) -> str:
        """Add a float32 input of the model; its name."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape))
        return name

    def output(self, name: str, shape: tuple[int | str, ...], *, kind: str = "FLOAT") -> None:
        """Make a value an output of the model."""
        of_kind = getattr(self._onnx.TensorProto, kind)
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, of_kind, shape))

    def node(self, op: str, inputs: list[str], output: str, *, name: str = "", **attributes: Any) -> str:
        """Add one operator; the name of its output."""
        self._nodes.append(self._onnx.helper.make_node(op, inputs, [output], name=name or output, **attributes))
        return output

    def weight(self, name: str, tensor: Tensor) -> str:
        """Add a float32 constant; equal names are the same one."""
        raw = tensor.detach().contiguous().numpy().tobytes()
        return self._constant(name, "FLOAT", tuple(tensor.shape), raw, raw=True)

    def integers(self, name: str, values: list[int]) -> str:
        """Add a constant of whole numbers: a shape, starts, ends."""
        return self._constant(name, "INT64", (len(values),), values)

    def numbers(self, name: str, values: list[float]) -> str:
        """Add a constant of float32 numbers."""
        return self._constant(name, "FLOAT", (len(values),), values)

    def scalar(self, name: str, value: float) -> str:
        """Add a float32 constant without a dimension."""
        return self._constant(name, "FLOAT", (), [value])

    def scaled(self, source: str, factor: float, name: str) -> str:
        """Multiply a value by a number."""
        return self.node("Mul", [source, self.scalar(f"{name}_factor", factor)], f"{name}_scaled")

    def _constant(self, name: str, kind: str, shape: tuple[int, ...], values: Any, *, raw: bool = False) -> str:
        if name not in self._constants:
            of_kind = getattr(self._onnx.TensorProto, kind)
            self._constants[name] = self._onnx.helper.make_tensor(name, of_kind, shape, values, raw=raw)
        return name

    def layer(self, layer: Layer, inputs: list[str], tensors: Mapping[str, Tensor], name: str) -> str:
        """Add a layer as nodes NAME/...; the name of its output. `tensors` holds its weights by the layer's name."""
        key = f"{layer.name}." if layer.name else ""
        window: dict[str, Any] = {
            "kernel_shape": [layer.kernel] * 2,
            "strides": [layer.stride] * 2,
            "pads": _pads(layer),
        }
        match layer.op:
            case "conv":
                out = self._conv(f"{name}/conv", inputs[0], tensors, f"{key}conv", group=layer.groups, **window)
            case "se":
                return self._squeeze_excite(layer, inputs[0], tensors, key, name)
            case "add":
                out = self.node("Add", inputs, f"{name}/add")
            case "concat":
                out = self.node("Concat", inputs, f"{name}/concat", axis=1)
            case "slice":
                parts = {"start": layer.start, "end": layer.start + layer.out_shape[0], "axis": 1}
                ranges = [self.integers(f"{name}/{what}", [value]) for what, value in parts.items()]
                out = self.node("Slice", [inputs[0], *ranges], f"{name}/slice")
            case "shuffle":
                return self._shuffle(layer, inputs[0], name)
            case "maxpool":
                out = self.node("MaxPool", inputs, f"{name}/pool", ceil_mode=int(layer.padding == "ceil"), **window)
            case "avgpool":
                out = self.node("AveragePool", inputs, f"{name}/pool", count_include_pad=1, **window)
            case "norm":
                out = inputs[0]
                if layer.scalars:
                    out = self.node("Mul", [out, self.weight(f"{key}scale", tensors[f"{key}scale"])], f"{name}/scale")
                    out = self.node("Add", [out, self.weight(f"{key}bias", tensors[f"{key}bias"])], f"{name}/shift")
            case "pad":
                pads = self.integers("pad_end", [0, 0, 0, 0, 0, 0, 1, 1])
                out = self.node("Pad", [inputs[0], pads], f"{name}/pad")
            case "pool":
                out = self.node("GlobalAveragePool", inputs, f"{name}/pool")
            case "linear":
                flat = self.node("Flatten", inputs, f"{name}/flat")
                weights = self._weights(tensors, key)
                out = self.node("Gemm", [flat, *weights], f"{name}/gemm", transB=1)
            case _:
                raise AssertionError(f"no ONNX operator for {layer.op!r}")
        return self.activation(layer.activation, out, name)

    def proto(self, name: str) -> "onnx.ModelProto":
        """The model, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        model: onnx.ModelProto = helper.make_model(
            graph, producer_name="phinas", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        self._onnx.checker.check_model(model)
        return model

    def _weights(self, tensors: Mapping[str, Tensor], key: str) -> list[str]:
        names = [f"{key}{part}" for part in ("weight", "bias")]
        return [self.weight(name, tensors[name]) for name in names if name in tensors]

    def _conv(self, name: str, source: str, tensors: Mapping[str, Tensor], key: str, **attributes: Any) -> str:
        return self.node("Conv", [source, *self._weights(tensors, f"{key}.")], name, **attributes)

    def activation(self, kind: str, source: str, name: str) -> str:
        """Add an activation as nodes NAME/...; the name of its output."""
        value = source
        nodes = TORCH[kind].onnx if kind != "identity" else ()
        for node in nodes:
            scalars = [self._constant(f"scalar_{scalar:.9g}", "FLOAT", (), [scalar]) for scalar in node.scalars]
            first = [source] if node.twice else []
            part = kind if node is nodes[-1] else node.op.lower()
            value = self.node(node.op, [*first, value, *scalars], f"{name}/{part}", **node.attributes)
        return value

    def _squeeze_excite(self, layer: Layer, source: str, tensors: Mapping[str, Tensor], key: str, name: str) -> str:
        scale = self.node("GlobalAveragePool", [source], f"{name}/mean")
        scale = self._conv(f"{name}/reduce", scale, tensors, f"{key}reduce", kernel_shape=[1, 1])
        scale = self.activation(layer.activation, scale, f"{name}/act")
        scale = self._conv(f"{name}/expand", scale, tensors, f"{key}expand", kernel_shape=[1, 1])
        scale = self.activation(layer.gate, scale, f"{name}/gate")
        return self.node("Mul", [source, scale], f"{name}/scale")

    def _shuffle(self, layer: Layer, source: str, name: str) -> str:
        channels, height, width = layer.in_shape
        by_group = self.integers(f"{name}/by_group", [0, layer.groups, channels // layer.groups, height, width])
        whole = self.integers(f"{name}/whole", [0, channels, height, width])
        value = self.node("Reshape", [source, by_group], f"{name}/split")
        value = self.node("Transpose", [value], f"{name}/transpose", perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", [value, whole], f"{name}/shuffle")


def _pads(layer: Layer) -> list[int]:
    """Explicit pixels [top, left, bottom, right], whatever the rule was that gave them."""
    if layer.padding != "same":
        return [(layer.kernel - 1) // 2 if layer.padding == "half" else 0] * 4
    height, width = (
        max((out - 1) * layer.stride + layer.kernel - size, 0)
        for size, out in zip(layer.in_shape[1:], layer.out_shape[1:], strict=True)
    )
    return [height // 2, width // 2, height - height // 2, width - width // 2]
