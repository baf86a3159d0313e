"""The modules of Classifier and ConvClassifier rows."""

from torch import Tensor, nn

from searchspace.blocks.classifier import Classifier, ConvClassifier
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import ConvBNAct, GlobalPool, Linear, LinearAct


@module_of(Classifier)
class Head(nn.Module):
    """Classifier row: global pooling, [hidden layer,] dropout, linear layer."""

    def __init__(self, in_channels: int, row: Classifier, conv: MakeConv) -> None:
        super().__init__()
        self.pool = GlobalPool()
        self.hidden: LinearAct | ConvBNAct | None = None
        if row.hidden_features and row.hidden_norm:
            self.hidden = conv(in_channels, row.hidden_features, act=row.hidden_activation)
        elif row.hidden_features:
            self.hidden = LinearAct(in_channels, row.hidden_features, row.hidden_activation)
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.linear = Linear(row.hidden_features or in_channels, row.classes)

    @property
    def logits_layer(self) -> Linear:
        """The layer that gives the classes."""
        return self.linear

    logits_shift = 0.0

    def features(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> what `logits_layer` reads (batch, features), without dropout."""
        x = self.pool(x)
        if isinstance(self.hidden, ConvBNAct):
            x = self.hidden(x[:, :, None, None])
            return x.flatten(1)
        return x if self.hidden is None else self.hidden(x)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.linear(self.dropout(self.features(x)))
        return out


@module_of(ConvClassifier)
class ConvHead(nn.Module):
    """ConvClassifier row: dropout, 1x1 convolution, activation, global pooling."""

    def __init__(self, in_channels: int, row: ConvClassifier, conv: MakeConv) -> None:
        super().__init__()
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.conv = conv(in_channels, row.classes, act=row.activation, bias=True)
        self.pool = GlobalPool()
        # Added to all logits, which changes no probability, it keeps them where a ReLU lets them pass.
        self.logits_shift = 0.0 if row.activation == "identity" else 20.0

    @property
    def logits_conv(self) -> ConvBNAct:
        """The convolution that gives the classes."""
        return self.conv

    @property
    def logits_layer(self) -> nn.Conv2d:
        """The layer that gives the classes."""
        layer: nn.Conv2d = self.conv.conv  # type: ignore[assignment]
        return layer

    def features(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the mean of what `logits_layer` reads (batch, features)."""
        out: Tensor = self.pool(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.pool(self.conv(self.dropout(x)))
        return out
