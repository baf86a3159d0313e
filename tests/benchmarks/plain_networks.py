"""Published networks in the plainest torch (nn.Sequential, no spec), to be timed beside those that are built here.

The rows are the papers' tables, written once more; layer by layer a network has the order of ours.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

# MobileNetV3-Large (arXiv:1905.02244, Table 1): kernel, expansion, output channels, SE channels, h-swish, stride.
V3_LARGE = (
    (3, 16, 16, 0, False, 1),
    (3, 64, 24, 0, False, 2),
    (3, 72, 24, 0, False, 1),
    (5, 72, 40, 24, False, 2),
    (5, 120, 40, 32, False, 1),
    (5, 120, 40, 32, False, 1),
    (3, 240, 80, 0, True, 2),
    (3, 200, 80, 0, True, 1),
    (3, 184, 80, 0, True, 1),
    (3, 184, 80, 0, True, 1),
    (3, 480, 112, 120, True, 1),
    (3, 672, 112, 168, True, 1),
    (5, 672, 160, 168, True, 2),
    (5, 960, 160, 240, True, 1),
    (5, 960, 160, 240, True, 1),
)
# EfficientNet-B0 (arXiv:1905.11946, Table 1): expansion ratio, kernel, stride, output channels, layers.
B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
B0_LAYERS = tuple(row[-1] for row in B0)
# PP-LCNet (arXiv:2109.15099, Table 1): kernel, output channels, stride, SE.
LCNET = (
    (3, 32, 1, False),
    *((3, out, stride, False) for out in (64, 128) for stride in (2, 1)),
    (3, 256, 2, False),
    *((5, 256, 1, False),) * 5,
    (5, 512, 2, True),
    (5, 512, 1, True),
)
# EfficientNet-EdgeTPU-S, the fused blocks and the others: expanded and output channels, kernel, stride, layers.
ES_FUSED = ((96, 24, 1, 1), (192, 32, 2, 2), (256, 48, 2, 4))
ES = ((96, 2, 5), (144, 1, 4), (192, 2, 2))
# EfficientNetV2-B0 (arXiv:2104.00298): output channels and layers of the fused stages; ratio, output, stride, layers.
V2_FUSED = ((32, 2), (48, 2))
V2 = ((4, 96, 2, 3), (6, 112, 1, 5), (6, 192, 2, 8))
# MobileNetV4-Conv-Small (arXiv:2404.10518): first and middle kernel, ratio, output channels, stride.
V4_CONVS = ((32, 3, 2), (32, 1, 1), (96, 3, 2), (64, 1, 1))
V4_SMALL = (
    (5, 5, 3, 96, 2),
    *((0, 3, 2, 96, 1),) * 4,
    (3, 0, 4, 96, 1),
    (3, 3, 6, 128, 2),
    (5, 5, 4, 128, 1),
    (0, 5, 4, 128, 1),
    (0, 5, 3, 128, 1),
    *((0, 3, 4, 128, 1),) * 2,
)


def conv_bn(inside: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm as everyone writes them."""
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


class PlainSE(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, squeezed: int, act: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            act(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        scaled: Tensor = x * self.scale(x)
        return scaled


class PlainBlock(nn.Module):
    """An inverted residual."""

    def __init__(
        self, inside: int, expanded: int, out: int, kernel: int, stride: int, act: type[nn.Module], se: nn.Module | None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inside:
            layers += [*conv_bn(inside, expanded, 1), act(inplace=True)]
        layers += [*conv_bn(expanded, expanded, kernel, stride=stride, groups=expanded), act(inplace=True)]
        if se is not None:
            layers.append(se)
        self.layers = nn.Sequential(*layers, *conv_bn(expanded, out, 1))
        self.residual = stride == 1 and inside == out

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inside, height, width) -> (batch, out, height / stride, width / stride)."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


def plain_v3_large() -> nn.Module:
    """MobileNetV3-Large without a spec."""
    layers: list[nn.Module] = [*conv_bn(3, 16, 3, stride=2), nn.Hardswish(inplace=True)]
    inside = 16
    for kernel, expanded, out, squeezed, swish, stride in V3_LARGE:
        se = PlainSE(expanded, squeezed, nn.ReLU, nn.Hardsigmoid) if squeezed else None
        act: type[nn.Module] = nn.Hardswish if swish else nn.ReLU
        layers.append(PlainBlock(inside, expanded, out, kernel, stride, act, se))
        inside = out
    return nn.Sequential(
        *layers,
        *conv_bn(160, 960, 1),
        nn.Hardswish(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(960, 1280),
        nn.Hardswish(inplace=True),
        nn.Dropout(0.2),
        nn.Linear(1280, 1000),
    )


def plain_b0(repeats_of: Sequence[int] = B0_LAYERS) -> nn.Module:
    """EfficientNet-B0 without a spec; with other layers TinyNet-A."""
    layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.SiLU(inplace=True)]
    inside = 32
    for (ratio, kernel, first_stride, out, _), repeats in zip(B0, repeats_of, strict=True):
        for stride in (first_stride, *[1] * (repeats - 1)):
            se = PlainSE(ratio * inside, inside // 4, nn.SiLU, nn.Sigmoid)
            layers.append(PlainBlock(inside, ratio * inside, out, kernel, stride, nn.SiLU, se))
            inside = out
    return nn.Sequential(
        *layers,
        *conv_bn(320, 1280, 1),
        nn.SiLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1280, 1000),
    )


class PlainResidual(nn.Module):
    """Layers, summed with their input where shapes are equal."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The sum, or what the layers give."""
        out: Tensor = self.layers(x)
        return x + out if out.shape == x.shape else out


def fused(inside: int, expanded: int, out: int, stride: int, act: type[nn.Module]) -> nn.Module:
    """A 3x3 fused inverted residual."""
    return PlainResidual(*conv_bn(inside, expanded, 3, stride=stride), act(inplace=True), *conv_bn(expanded, out, 1))


def plain_lcnet() -> nn.Module:
    """PP-LCNet without a spec."""
    layers: list[nn.Module] = [*conv_bn(3, 16, 3, stride=2), nn.Hardswish(inplace=True)]
    inside = 16
    for kernel, out, stride, squeezes in LCNET:
        layers += [*conv_bn(inside, inside, kernel, stride=stride, groups=inside), nn.Hardswish(inplace=True)]
        layers += [PlainSE(inside, inside // 4, nn.ReLU, nn.Hardsigmoid)] if squeezes else []
        layers += [*conv_bn(inside, out, 1), nn.Hardswish(inplace=True)]
        inside = out
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1280), nn.Hardswish(inplace=True)]
    return nn.Sequential(*layers, *pooled, nn.Dropout(0.2), nn.Linear(1280, 1000))


def _efficientnet_head(inside: int, act: type[nn.Module]) -> list[nn.Module]:
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return [*conv_bn(inside, 1280, 1), act(inplace=True), *pooled]


def plain_es() -> nn.Module:
    """EfficientNet-EdgeTPU-S without a spec."""
    layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.ReLU(inplace=True)]
    inside = 32
    for expanded, out, stride, repeats in ES_FUSED:
        layers.append(fused(inside, expanded, out, stride, nn.ReLU))
        layers += [fused(out, 8 * out, out, 1, nn.ReLU) for _ in range(repeats - 1)]
        inside = out
    for out, first_stride, repeats in ES:
        for stride in (first_stride, *[1] * (repeats - 1)):
            layers.append(PlainBlock(inside, 8 * inside, out, 5, stride, nn.ReLU, None))
            inside = out
    return nn.Sequential(*layers, *_efficientnet_head(inside, nn.ReLU))


def plain_v2_b0() -> nn.Module:
    """EfficientNetV2-B0 without a spec."""
    layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.SiLU(inplace=True)]
    layers += [*conv_bn(32, 16, 3), nn.SiLU(inplace=True)]
    inside = 16
    for out, repeats in V2_FUSED:
        layers.append(fused(inside, 4 * inside, out, 2, nn.SiLU))
        layers += [fused(out, 4 * out, out, 1, nn.SiLU) for _ in range(repeats - 1)]
        inside = out
    for ratio, out, first_stride, repeats in V2:
        for stride in (first_stride, *[1] * (repeats - 1)):
            se = PlainSE(ratio * inside, inside // 4, nn.SiLU, nn.Sigmoid)
            layers.append(PlainBlock(inside, ratio * inside, out, 3, stride, nn.SiLU, se))
            inside = out
    return nn.Sequential(*layers, *_efficientnet_head(inside, nn.SiLU))


def plain_v4_small() -> nn.Module:
    """MobileNetV4-Conv-Small without a spec."""
    layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.ReLU(inplace=True)]
    inside = 32
    for out, kernel, stride in V4_CONVS:
        layers += [*conv_bn(inside, out, kernel, stride=stride), nn.ReLU(inplace=True)]
        inside = out
    for start, middle, ratio, out, stride in V4_SMALL:
        inner = ratio * inside
        block = conv_bn(inside, inside, start, groups=inside) if start else []
        block += [*conv_bn(inside, inner, 1), nn.ReLU(inplace=True)]
        if middle:
            block += [*conv_bn(inner, inner, middle, stride=stride, groups=inner), nn.ReLU(inplace=True)]
        layers.append(PlainResidual(*block, *conv_bn(inner, out, 1)))
        inside = out
    layers += [*conv_bn(inside, 960, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    layers += [*conv_bn(960, 1280, 1), nn.ReLU(inplace=True), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1280, 1000))


PLAIN: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v3_large": plain_v3_large,
    "efficientnet_b0": plain_b0,
    "tinynet_a": partial(plain_b0, (1, 2, 2, 4, 4, 5, 1)),
    "lcnet": plain_lcnet,
    "efficientnet_es": plain_es,
    "efficientnetv2_b0": plain_v2_b0,
    "mobilenetv4_conv_small": plain_v4_small,
}
