"""The activations that a block row may name. Their torch and ONNX side is `searchspace.nn.activations`.

A new activation is one entry here and one there. A runtime's latency table then measures its kernels when it is built.
"""

from collections.abc import Mapping

ACTIVATIONS = ("identity", "relu", "relu6", "h_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")

# What a search may choose, the cheapest first, with the (inner activation, gate) of the SE block that belongs to it:
# MnasNet's (arXiv:1807.11626), MobileNetV3's (arXiv:1905.02244) and EfficientNet's (arXiv:1905.11946).
SEARCHED: Mapping[str, tuple[str, str]] = {
    "relu": ("relu", "sigmoid"),
    "relu6": ("relu", "sigmoid"),
    "h_swish": ("relu", "hard_sigmoid"),
    "swish": ("swish", "sigmoid"),
}
