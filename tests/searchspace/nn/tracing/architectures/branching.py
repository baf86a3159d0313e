"""Networks of branches and concatenations: VGG, DenseNet, GoogLeNet with factorised convolutions, ShuffleNet, CSP."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.searchspace.nn.tracing.architectures.residual import conv_bn


class Vgg16(nn.Module):
    """VGG-16 with batch norm (arXiv:1409.1556, column D); its linear layers have 512 units in place of 4096."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inner = 3
        for width, depth in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
            for _ in range(depth):
                parts += [nn.Conv2d(inner, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                inner = width
            parts.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 2 * 2, 512), nn.ReLU(True), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(True)),
            *(nn.Dropout(), nn.Linear(512, 1000)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1x1 to 128, batch norm, ReLU, 3x3 to 32 channels (arXiv:1608.06993)."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inner), nn.Conv2d(inner, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class DenseBlock(nn.ModuleList):
    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self:
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet121(nn.Module):
    """Blocks of 6, 12, 24 and 16 layers."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        width = 64
        for place, depth in enumerate((6, 12, 24, 16)):
            if place:
                half = nn.Conv2d(width, width // 2, 1, bias=False)
                parts += [nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True), half, nn.AvgPool2d(2, 2))]
                width //= 2
            parts.append(DenseBlock(DenseLayer(width + 32 * layer) for layer in range(depth)))
            width += 32 * depth
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


def conv_relu(inner: int, out: int, kernel: int | tuple[int, int], padding: int | tuple[int, int] = 0) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, out, kernel, padding=padding, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Inception(nn.Module):
    """1x1; 1x1, 3x3; 1x1 and a factorised 1x7, 7x1; pooling, 1x1 (arXiv:1409.4842 and 1512.00567, figure 6)."""

    def __init__(self, inner: int, one: int, three: tuple[int, int], seven: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.one = conv_relu(inner, one, 1)
        self.three = nn.Sequential(conv_relu(inner, three[0], 1), conv_relu(*three, 3, 1))
        tall, wide = conv_relu(*seven, (1, 7), (0, 3)), conv_relu(seven[1], seven[1], (7, 1), (3, 0))
        self.seven = nn.Sequential(conv_relu(inner, seven[0], 1), tall, wide)
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), conv_relu(inner, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.seven(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """The widths of arXiv:1409.4842, table 1, with 7x7 convolutions in two steps where the paper has 5x5."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.ReLU(), conv_relu(64, 64, 1), conv_relu(64, 192, 3, 1))
        self.early = nn.Sequential(
            Inception(192, 64, (96, 128), (16, 32), 32), Inception(256, 128, (128, 192), (32, 96), 64)
        )
        self.middle = nn.Sequential(
            *(Inception(480, 192, (96, 208), (16, 48), 64), Inception(512, 160, (112, 224), (24, 64), 64)),
            *(Inception(512, 128, (128, 256), (24, 64), 64), Inception(512, 112, (144, 288), (32, 64), 64)),
            Inception(528, 256, (160, 320), (32, 128), 128),
        )
        self.late = nn.Sequential(
            Inception(832, 256, (160, 320), (32, 128), 128), Inception(832, 384, (192, 384), (48, 128), 128)
        )
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.early(x), 3, 2, ceil_mode=True)
        x = self.late(F.max_pool2d(self.middle(x), 2, 2, ceil_mode=True))
        return self.fc(F.dropout(F.avg_pool2d(x, x.shape[-1]).squeeze(-1).squeeze(-1), 0.4, self.training))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    """Half of the channels pass, the other half go through 1x1, depthwise 3x3, 1x1 (arXiv:1807.11164, figure 3)."""

    def __init__(self, inner: int, out: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        self.branch1 = None
        if stride > 1:
            self.branch1 = nn.Sequential(
                conv_bn(inner, inner, 3, stride, inner), conv_bn(inner, half, 1), nn.ReLU(True)
            )
        first = conv_bn(inner if stride > 1 else half, half, 1)
        depthwise = conv_bn(half, half, 3, stride, half)
        self.branch2 = nn.Sequential(first, nn.ReLU(True), depthwise, conv_bn(half, half, 1), nn.ReLU(True))

    def forward(self, x: Tensor) -> Tensor:
        if self.branch1 is not None:
            return channel_shuffle(torch.cat((self.branch1(x), self.branch2(x)), dim=1), 2)
        x1, x2 = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((x1, self.branch2(x2)), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """Width 1x: 116, 232, 464 channels in 4, 8, 4 units (table 5)."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [conv_bn(3, 24, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
        inner = 24
        for width, depth in [(116, 4), (232, 8), (464, 4)]:
            parts += [ShuffleUnit(inner if place == 0 else width, width, 1 if place else 2) for place in range(depth)]
            inner = width
        self.features = nn.Sequential(*parts, conv_bn(464, 1024, 1), nn.ReLU(True))
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean([2, 3]))


class Leaky(nn.Module):
    """Convolution, batch norm, LeakyReLU of 0.1, as in Darknet (arXiv:1804.02767)."""

    def __init__(self, inner: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inner, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.conv(x)), 0.1, inplace=True)


class CspStage(nn.Module):
    """Two halves of the channels, one through residual blocks, all parts concatenated (arXiv:1911.11929)."""

    def __init__(self, inner: int, out: int, depth: int) -> None:
        super().__init__()
        half = out // 2
        self.down, self.enter, self.leave = (
            Leaky(inner, out, 3, 2),
            Leaky(out, out),
            Leaky((2 + depth) * half, out),
        )
        self.blocks = nn.ModuleList(nn.Sequential(Leaky(half, half), Leaky(half, half, 3)) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(self.down(x)).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class CspDarknet(nn.Module):
    """A detector's backbone and neck: Focus, CSP stages, pyramid pooling, a top-down path; here with a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.focus = Leaky(12, 32, 3)
        self.stage1, self.stage2, self.stage3 = CspStage(32, 64, 1), CspStage(64, 128, 2), CspStage(128, 256, 2)
        self.reduce, self.spread = Leaky(256, 128), Leaky(512, 256)
        self.lateral, self.merge = Leaky(256, 128), Leaky(256, 128, 3)
        self.head = nn.Linear(128, 80)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        middle = self.stage2(self.stage1(self.focus(x)))
        x = self.reduce(self.stage3(middle))
        pooled = [x] + [F.max_pool2d(x, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
        x = self.lateral(self.spread(torch.cat(pooled, 1)))
        x = torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), middle), 1)
        return self.head(torch.amax(self.merge(x), (2, 3)))
