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
        self.hidden: LinearAct | None = None
        if row.hidden_features:
            self.hidden = LinearAct(in_channels, row.hidden_features, row.hidden_activation)
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.linear = Linear(row.hidden_features or in_channels, row.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        x = self.pool(x)
        if self.hidden is not None:
            x = self.hidden(x)
        out: Tensor = self.linear(self.dropout(x))
        return out


@module_of(ConvClassifier)
class ConvHead(nn.Module):
    """ConvClassifier row: dropout, 1x1 convolution, activation, global pooling."""

    def __init__(self, in_channels: int, row: ConvClassifier, conv: MakeConv) -> None:
        super().__init__()
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.conv = conv(in_channels, row.classes, act=row.activation, bias=True)
        self.pool = GlobalPool()

    @property
    def logits_conv(self) -> ConvBNAct:
        """The convolution that gives the classes."""
        return self.conv

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.pool(self.conv(self.dropout(x)))
        return out
