"""Networks of residual blocks: ResNet, RegNetY, ConvNeXt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(inner: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)
    )


class Basic(nn.Module):
    """Two 3x3 convolutions (arXiv:1512.03385, figure 5 left)."""

    def __init__(self, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(inner, out, 3, stride), conv_bn(out, out, 3)
        self.shortcut = conv_bn(inner, out, 1, stride) if stride > 1 or inner != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times as many channels (figure 5 right)."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = conv_bn(inner, 4 * width, 1, stride) if stride > 1 or inner != 4 * width else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    """Table 1, column 18-layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        rows = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.stages = nn.Sequential(
            *(nn.Sequential(Basic(inner, out, stride), Basic(out, out, 1)) for inner, out, stride in rows)
        )
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class ResNet50(nn.Module):
    """Table 1, column 50-layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        inner = 64
        for width, depth, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
            for place in range(depth):
                blocks.append(Bottleneck(inner, width, stride if place == 0 else 1))
                inner = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.blocks(self.stem(x)))
        x = x.view(x.size(0), -1)
        return self.fc(x)


class YBlock(nn.Module):
    """1x1, grouped 3x3, squeeze-and-excite, 1x1 (arXiv:2003.13678, section 4)."""

    def __init__(self, inner: int, out: int, stride: int, group_width: int) -> None:
        super().__init__()
        self.a, self.b = conv_bn(inner, out, 1), conv_bn(out, out, 3, stride, out // group_width)
        self.squeeze, self.excite = nn.Conv2d(out, inner // 4, 1), nn.Conv2d(inner // 4, out, 1)
        self.c = conv_bn(out, out, 1)
        self.proj = conv_bn(inner, out, 1, stride) if stride > 1 or inner != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.b(torch.relu(self.a(x))))
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return torch.relu(self.c(y) + (x if self.proj is None else self.proj(x)))


class RegNetY400(nn.Module):
    """RegNetY-400MF: widths 48, 104, 208, 440, depths 1, 3, 6, 6, groups of 8 channels (table 9)."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [conv_bn(3, 32, 3, 2), nn.ReLU()]
        inner = 32
        for width, depth in [(48, 1), (104, 3), (208, 6), (440, 6)]:
            for place in range(depth):
                parts.append(YBlock(inner, width, 1 if place else 2, 8))
                inner = width
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(440, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=[2, 3]))


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of (batch, channels, height, width), written out."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class NextBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, two linear layers over channels, a learned scale (arXiv:2201.03545, figure 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1, self.act = nn.Linear(channels, 4 * channels), nn.GELU()
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class ConvNeXtTiny(nn.Module):
    """Channels 96, 192, 384, 768 in 3, 3, 9, 3 blocks."""

    def __init__(self, widths: Sequence[int] = (96, 192, 384, 768), depths: Sequence[int] = (3, 3, 9, 3)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), LayerNorm2d(widths[0]))
        stages: list[nn.Module] = []
        for place, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if place:
                before = widths[place - 1]
                stages += [nn.Sequential(LayerNorm2d(before), nn.Conv2d(before, width, 2, 2))]
            stages += [NextBlock(width) for _ in range(depth)]
        self.stages = nn.Sequential(*stages)
        self.norm, self.head = nn.LayerNorm(widths[-1], eps=1e-6), nn.Linear(widths[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(self.stem(x)).mean([-2, -1])))
