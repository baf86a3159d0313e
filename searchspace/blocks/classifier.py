"""Heads: Classifier (linear) and ConvClassifier (SqueezeNet's), and their template rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from searchspace.blocks.protocol import Block, CoupledChannels, Head, HeadRow, PrintedBlock, register
from searchspace.blocks.rules import member, zero_or_positive
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow(HeadRow):
    """The classifier. `hidden_width` 0 means no hidden layer; `hidden_scaling` is as ConvRow's `scaling`."""

    hidden_width: int = 0
    hidden_activation: str = "h_swish"
    hidden_scaling: str = "width"

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one Classifier row."""
        hidden = self.hidden_width and scaled_width(self.hidden_width, width_mult, scaling=self.hidden_scaling)
        return [
            Classifier(
                classes=self.classes,
                dropout_percent=self.dropout_percent,
                hidden_features=hidden,
                hidden_activation=self.hidden_activation,
            )
        ]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[Classifier]") -> "ClassifierRow":
        """Its hidden layer follows the width multiplier."""
        block = run[0]
        return cls(
            classes=block.classes,
            dropout_percent=block.dropout_percent,
            hidden_width=block.hidden_features,
            hidden_activation=block.hidden_activation,
        )


@register(row=ClassifierRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier(Head):
    """Global average pooling, [a hidden linear layer with activation,] dropout, linear layer with bias.

    `hidden_features` 0 means no hidden layer; MobileNetV3's head has one (arXiv:1905.02244, section 5.1).
    """

    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"hidden_features": ("hidden_activation",)}

    hidden_features: int = 0
    hidden_activation: str = "h_swish"

    def __post_init__(self) -> None:
        Head.__post_init__(self)
        zero_or_positive(self, "hidden_features", "no hidden layer")
        member(self, "hidden_activation")

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """pool, [hidden,] linear."""
        graph.pool(name + ".pool")
        if self.hidden_features:
            graph.linear(name + ".hidden", self.hidden_features, self.hidden_activation)
        graph.linear(name + ".linear", self.classes)

    def channels(self, in_channels: int) -> CoupledChannels:
        """Hidden features, and the classes, which stay."""
        return CoupledChannels({"hidden_features": ".hidden", "classes": ".linear"})

    def printed(self) -> PrintedBlock:
        """The number behind the stroke is of hidden features."""
        return PrintedBlock(f"linear/{self.hidden_features}" if self.hidden_features else "linear", None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifierRow(HeadRow):
    """SqueezeNet's classifier; no scaling changes it."""

    activation: str = "relu"

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one ConvClassifier row."""
        return [ConvClassifier(classes=self.classes, dropout_percent=self.dropout_percent, activation=self.activation)]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[ConvClassifier]") -> "ConvClassifierRow":
        """Field by field."""
        block = run[0]
        return cls(classes=block.classes, dropout_percent=block.dropout_percent, activation=block.activation)


@register(row=ConvClassifierRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifier(Head):
    """Dropout, 1x1 convolution with bias to the classes, activation, global average pooling.

    Source: SqueezeNet (arXiv:1602.07360, Table 1).
    """

    activation: str = "relu"

    def __post_init__(self) -> None:
        Head.__post_init__(self)
        member(self, "activation")

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """conv, pool."""
        graph.plain_conv(name + ".conv", self.classes, self.activation)
        graph.pool(name + ".pool")

    def channels(self, in_channels: int) -> CoupledChannels:
        """The classes, which stay."""
        return CoupledChannels({"classes": ".conv"})

    def printed(self) -> PrintedBlock:
        """Named as other convolutions are."""
        return PrintedBlock("conv", None, self.activation, None)
