"""Lowering: flat layers in execution order whose shapes follow from the rows."""

from hypothesis import given

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.graph import NETWORK_INPUT, OPS, lower
from searchspace.spec import NetworkSpec, Stage

SMALL = NetworkSpec(
    "small",
    9,
    (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2, activation="swish"),)),
        Stage(
            "body",
            (
                MBConv(
                    expand_channels=16,
                    out_channels=8,
                    kernel=5,
                    activation="relu6",
                    squeeze_channels=2,
                    squeeze_activation="swish",
                    gate="hard_sigmoid",
                    skip=True,
                ),
                SeparableConv(out_channels=4, stride=2, activation="relu", project_activation="h_swish"),
            ),
        ),
        Stage("classifier", (Classifier(classes=10),)),
    ),
)

WITHOUT_WEIGHTS = {
    "add",
    "concat",
    "slice",
    "shuffle",
    "maxpool",
    "avgpool",
    "pool",
    "pad",
    "norm",
}  # of a norm the activation alone


def test_a_network_lowers_to_the_kernels_that_a_runtime_runs() -> None:
    rows = [
        (layer.name, layer.op, layer.inputs, layer.in_shape, layer.out_shape, layer.activation)
        for layer in lower(SMALL).layers
    ]
    assert rows == [
        ("stem.0", "conv", (-1,), (3, 9, 9), (8, 5, 5), "swish"),
        ("body.0.expand", "conv", (0,), (8, 5, 5), (16, 5, 5), "relu6"),
        ("body.0.depthwise", "conv", (1,), (16, 5, 5), (16, 5, 5), "relu6"),
        ("body.0.squeeze", "se", (2,), (16, 5, 5), (16, 5, 5), "swish"),
        ("body.0.project", "conv", (3,), (16, 5, 5), (8, 5, 5), "identity"),
        ("body.0.add", "add", (4, 0), (8, 5, 5), (8, 5, 5), "identity"),
        ("body.1.depthwise", "conv", (5,), (8, 5, 5), (8, 3, 3), "relu"),
        ("body.1.project", "conv", (6,), (8, 3, 3), (4, 3, 3), "h_swish"),
        ("classifier.0.pool", "pool", (7,), (4, 3, 3), (4, 1, 1), "identity"),
        ("classifier.0.linear", "linear", (8,), (4, 1, 1), (10, 1, 1), "identity"),
    ]
    depthwise, squeeze = lower(SMALL).layers[2:4]
    assert (depthwise.kernel, depthwise.stride, depthwise.groups) == (5, 1, 16)
    assert (squeeze.squeeze_channels, squeeze.gate) == (2, "hard_sigmoid")


@given(...)
def test_every_layer_reads_earlier_layers_of_the_shape_it_says(spec: NetworkSpec) -> None:
    graph = lower(spec)
    for index, layer in enumerate(graph.layers):
        assert layer.op in OPS
        shapes = []
        for source in layer.inputs:
            assert NETWORK_INPUT <= source < index
            shapes.append(graph.in_shape if source == NETWORK_INPUT else graph.layers[source].out_shape)
        assert shapes[0] == layer.in_shape
        if layer.op == "concat":
            assert layer.out_shape == (sum(shape[0] for shape in shapes), *layer.in_shape[1:])
        else:
            assert set(shapes) == {layer.in_shape}


@given(...)
def test_only_the_classifier_is_read_by_nobody(spec: NetworkSpec) -> None:
    layers = lower(spec).layers
    read = {source for layer in layers for source in layer.inputs}
    assert set(range(-1, len(layers))) - read == {len(layers) - 1}
    assert layers[-1].out_shape == (spec.classes, 1, 1)


@given(...)
def test_names_and_weights_differ_from_layer_to_layer(spec: NetworkSpec) -> None:
    layers = lower(spec).layers
    weights = [layer.weights for layer in layers if layer.weights]
    assert len({layer.name for layer in layers}) == len(layers)
    assert len(set(weights)) == len(weights)
    assert {layer.op for layer in layers if not layer.weights} <= WITHOUT_WEIGHTS


@given(...)
def test_the_signature_is_the_layer_without_its_place(spec: NetworkSpec) -> None:
    renamed = NetworkSpec(
        "other",
        spec.resolution,
        tuple(Stage(f"x_{s.name}", s.blocks) for s in spec.stages),
        spec.in_channels,
        spec.conventions,
    )
    for one, other in zip(lower(spec).layers, lower(renamed).layers, strict=True):
        assert one.name != other.name
        assert one.signature == other.signature
        moved = one._replace(name="n", weights="w", inputs=(5,), norm=not one.norm, start=7)
        assert moved.signature == one.signature
        for field in (
            "op",
            "in_shape",
            "out_shape",
            "kernel",
            "stride",
            "groups",
            "activation",
            "padding",
            "squeeze_channels",
            "gate",
        ):
            assert one._replace(**{field: "changed"}).signature != one.signature
