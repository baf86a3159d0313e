"""The modules of HGStem, HGBlock and AffineClassifier rows."""

from torch import Tensor, nn

from searchspace.blocks.hgnet import AffineClassifier, HGBlock, HGStem
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, Affine, Concat, ConvBNAct, GlobalPool, Linear, LinearAct


class _Chain(nn.Module):
    """A module whose submodules are called by name, each with its affine behind it where there is one."""

    def _named(self, name: str, part: nn.Module, affine: str | None) -> None:
        """Add a submodule, and an affine of that name."""
        self.add_module(name, part)
        if affine:
            self.add_module(affine, Affine())

    def _call(self, x: Tensor, name: str, affine: str) -> Tensor:
        out: Tensor = self._modules[name](x)  # type: ignore[misc]
        scale = self._modules.get(affine)
        return out if scale is None else scale(out)


@module_of(HGStem)
class HGStemModule(_Chain):
    """HGStem rows."""

    def __init__(self, in_channels: int, row: HGStem, conv: MakeConv) -> None:
        super().__init__()
        act = row.activation
        parts = {
            "first": conv(in_channels, row.first_channels, 3, 2, act=act),
            "branch": conv(row.first_channels, row.branch_channels, 2, act=act, padding="valid"),
            "side": conv(row.branch_channels, row.side_channels, 2, act=act, padding="valid"),
            "merge": conv(row.first_channels + row.side_channels, row.merge_channels, 3, 2, act=act),
            "last": conv(row.merge_channels, row.out_channels, act=act),
        }
        for name, part in parts.items():
            self._named(name, part, f"{name}_affine" if row.affine else None)
        self.pad, self.pad_branch = nn.ZeroPad2d((0, 1, 0, 1)), nn.ZeroPad2d((0, 1, 0, 1))
        self.pool = nn.MaxPool2d(2, 1)
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / 4), ceil(width / 4))."""
        x = self.pad(self._part(x, "first"))
        side = self._part(self.pad_branch(self._part(x, "branch")), "side")
        return self._part(self._part(self.concat(self.pool(x), side), "merge"), "last")

    def _part(self, x: Tensor, name: str) -> Tensor:
        return self._call(x, name, f"{name}_affine")


@module_of(HGBlock)
class HGBlockModule(_Chain):
    """HGBlock rows: the layers, concat, reduce, expand, [add]."""

    def __init__(self, in_channels: int, row: HGBlock, conv: MakeConv) -> None:
        super().__init__()
        act, inner, channels = row.activation, row.mid_channels, in_channels
        self.layers = row.layers
        for index in range(row.layers):
            affine = f"affine{index}" if row.affine else None
            if row.light:
                self.add_module(f"layer{index}", conv(channels, inner))
                self._named(f"depthwise{index}", conv(inner, inner, row.kernel, groups=inner, act=act), affine)
            else:
                self._named(f"layer{index}", conv(channels, inner, row.kernel, act=act), affine)
            channels = inner
        self.concat = Concat()
        total = in_channels + row.layers * inner
        self._named("reduce", conv(total, row.reduce_channels, act=act), "reduce_affine" if row.affine else None)
        expand = conv(row.reduce_channels, row.out_channels, act=act)
        self._named("expand", expand, "expand_affine" if row.affine else None)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The expansion, where there is a skip."""
        return self.get_submodule("expand") if self.add is not None else None  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height, width)."""
        outs = [x]
        for index in range(self.layers):
            last, light = outs[-1], f"depthwise{index}" in self._modules
            if light:
                last = self._modules[f"layer{index}"](last)  # type: ignore[misc]
            outs.append(self._call(last, f"depthwise{index}" if light else f"layer{index}", f"affine{index}"))
        out = self._call(self.concat(*outs), "reduce", "reduce_affine")
        out = self._call(out, "expand", "expand_affine")
        return out if self.add is None else self.add(out, x)


@module_of(AffineClassifier)
class AffineHead(nn.Module):
    """AffineClassifier rows: global pooling, hidden layer, affine, dropout, linear layer."""

    logits_shift = 0.0

    def __init__(self, in_channels: int, row: AffineClassifier, conv: MakeConv) -> None:
        super().__init__()
        self.pool = GlobalPool()
        self.hidden = LinearAct(in_channels, row.hidden_features, row.hidden_activation, bias=False)
        self.affine = Affine() if row.affine else None
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.linear = Linear(row.hidden_features, row.classes)

    @property
    def logits_layer(self) -> Linear:
        """The layer that gives the classes."""
        return self.linear

    def features(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> what `logits_layer` reads (batch, features), without dropout."""
        x = self.hidden(self.pool(x))
        return x if self.affine is None else self.affine(x)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.linear(self.dropout(self.features(x)))
        return out
