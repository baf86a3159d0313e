"""Heads: Classifier (linear) and ConvClassifier (SqueezeNet's), and their template rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, Head, HeadRow, register
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow(HeadRow):
    """The classifier. `hidden_width` 0 means no hidden layer; `hidden_scaling` is as ConvRow's `scaling`."""

    hidden_width: int = 0
    hidden_activation: str = "h_swish"
    hidden_norm: bool = False
    hidden_scaling: str = "width"

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one Classifier row."""
        hidden = self.hidden_width and scaled_width(self.hidden_width, width_mult, scaling=self.hidden_scaling)
        return [self.make(Classifier, hidden_features=hidden)]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[Classifier]") -> Self:
        """Its hidden layer follows the width multiplier."""
        return cls.like(run, hidden_width=run[0].hidden_features)


@register(row=ClassifierRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier(Head):
    """Global average pooling, [a hidden linear layer with activation,] dropout, linear layer with bias.

    `hidden_features` 0 means no hidden layer; MobileNetV3's head has one (arXiv:1905.02244, section 5.1), and
    MobileNetV4's has a batch norm instead of a bias (`hidden_norm`).
    """

    counts: ClassVar[Mapping[str, str]] = {"hidden_features": ".hidden", "classes": ".linear"}
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"hidden_features": ("hidden_activation", "hidden_norm")}

    hidden_features: int = 0
    hidden_activation: str = "h_swish"
    hidden_norm: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """pool, [hidden,] linear."""
        graph.pool(name + ".pool")
        if self.hidden_features and self.hidden_norm:
            graph.conv(name + ".hidden", self.hidden_features, activation=self.hidden_activation)
        elif self.hidden_features:
            graph.linear(name + ".hidden", self.hidden_features, self.hidden_activation)
        graph.linear(name + ".linear", self.classes)

    def printed(self) -> str:
        """Hidden features behind a stroke, where there are some."""
        return f"linear/{self.hidden_features}" if self.hidden_features else "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifierRow(HeadRow):
    """SqueezeNet's classifier; no scaling changes it."""

    activation: str = "relu"

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one ConvClassifier row."""
        return [self.make(ConvClassifier)]


@register(row=ConvClassifierRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifier(Head):
    """Dropout, 1x1 convolution with bias to the classes, activation, global average pooling.

    Source: SqueezeNet (arXiv:1602.07360, Table 1).
    """

    label: ClassVar[str] = "conv"
    counts: ClassVar[Mapping[str, str]] = {"classes": ".conv"}

    activation: str = "relu"

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """conv, pool."""
        graph.conv(name + ".conv", self.classes, activation=self.activation, norm=False)
        graph.pool(name + ".pool")
