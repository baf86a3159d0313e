"""Networks as users write them: residual, flattened, squeeze-and-excite, dense."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


def conv_bn(inner: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inner, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]


class BasicBlock(nn.Module):
    def __init__(self, inner: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inner, out, stride=stride)
        self.conv2, self.bn2 = conv_bn(out, out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(*conv_bn(inner, out, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """He et al.'s ResNet-18 (arXiv:1512.03385), narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = [8, 8, 16, 24, 32]
        self.blocks = nn.Sequential(
            *(
                BasicBlock(inner if not again else out, out, 1 if again or inner == out else 2)
                for inner, out in pairwise(widths)
                for again in (False, True)
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.avgpool(self.blocks(self.stem(x))), 1))


class Vgg(nn.Module):
    """Convolutions with bias and batch norm, a map that is flattened, hidden linear layers with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inner, out in ((3, 6), (6, 8), (8, 10)):
            parts += [nn.Conv2d(inner, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(True), nn.MaxPool2d(2, 2)]
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.classifier = nn.Sequential(
            nn.Linear(160, 20),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(20, 12, bias=False),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Linear(12, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


class Inverted(nn.Module):
    """MobileNetV3's block with the two usual ways to write SE."""

    def __init__(self, inner: int, expand: int, out: int, stride: int, *, linear: bool) -> None:
        super().__init__()
        self.expand = nn.Sequential(*conv_bn(inner, expand, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(*conv_bn(expand, expand, 5, stride, expand), nn.SiLU())
        dense: Callable[..., nn.Module] = nn.Linear if linear else (lambda a, b: nn.Conv2d(a, b, 1))
        self.fc1, self.fc2, self.linear = dense(expand, 4), dense(4, expand), linear
        self.project = nn.Sequential(*conv_bn(expand, out, 1))
        self.skip = stride == 1 and inner == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        b, c, _, _ = y.shape
        if self.linear:
            scale = torch.sigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(y, 1).view(b, c))))).view(b, c, 1, 1)
            y = scale.expand_as(y) * y
        else:
            y = y * F.hardsigmoid(self.fc2(F.relu(self.fc1(y.mean((2, 3), keepdim=True)), inplace=True)))
        y = self.project(y)
        return x + y if self.skip else y


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(True),
            Inverted(8, 16, 8, 1, linear=True),
            Inverted(8, 20, 12, 2, linear=False),
            Inverted(12, 24, 12, 1, linear=False),
        )
        self.head = nn.Linear(12, 7)

    def forward(self, x: Tensor, features: bool = False) -> Tensor:
        x = self.features(x).mean([-2, -1])
        return x if features else self.head(F.dropout(x, 0.2, self.training))


def stochastic_depth(x: Tensor, training: bool) -> Tensor:
    return x * (torch.rand(len(x), 1, 1, 1) > 0.2) if training else x


fx.wrap("stochastic_depth")


class Dense(nn.Module):
    """DenseNet's pre-activated layers, Inception's branches, grouped convolutions, calls of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * n) for n in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(8 + 4 * n, 4, 3, padding=1, bias=n == 1) for n in range(3))
        self.one, self.three = nn.Conv2d(20, 6, 1), nn.Conv2d(20, 6, 3, padding=1)
        self.grouped = nn.Sequential(*conv_bn(12, 12, 3, groups=3))
        self.after = nn.Conv2d(12 + 20, 9, 1, bias=False)
        self.fc = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), kernel_size=3, stride=2, ceil_mode=True)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat((x, stochastic_depth(conv(F.relu(norm(x))), self.training)), dim=1)
        mixed = self.grouped(torch.cat([self.one(x), F.silu(self.three(x))], 1)).sigmoid()
        x = torch.relu(self.after(torch.cat((mixed, F.avg_pool2d(x, 3, 1, 1)), 1)))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))
