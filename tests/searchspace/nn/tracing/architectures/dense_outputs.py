"""Networks that give maps or read two images: U-Net, SRResNet, DCGAN, HRNet, a siamese network with CBAM."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.searchspace.nn.tracing.architectures.residual import Basic, conv_bn


def double(inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inner, out, 3, padding=1), nn.GroupNorm(8, out), nn.ELU()),
        *(nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(8, out), nn.ELU()),
    )


class UNet(nn.Module):
    """arXiv:1505.04597 with half of its widths, padded, with GroupNorm; one input channel, two classes a pixel."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 256, 512)
        self.enter = double(1, widths[0])
        self.down = nn.ModuleList(double(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, stride=2) for a in widths[-2::-1])
        self.join = nn.ModuleList(double(2 * a, a) for a in widths[-2::-1])
        self.leave = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.enter(x)]
        for down in self.down:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x, skip = up(x), skips.pop()
            x = F.pad(x, [0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2]])
            x = join(torch.cat([skip, x], dim=1))
        return self.leave(x)


class SrBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.PReLU()),
            *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SrResNet(nn.Module):
    """Four times as many pixels each way (arXiv:1609.04802, figure 4), with 4 of its 16 blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(SrBlock() for _ in range(4)), nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64))
        grow = [nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(64)]
        self.grow = nn.Sequential(*grow, nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
        self.leave = nn.Conv2d(64, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(self.grow(x + self.body(x)))


class DcGan(nn.Module):
    """The generator of arXiv:1511.06434, figure 1: 100 numbers become 1024 x 4 x 4, then an image; half as wide."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.project = nn.Linear(100, 8 * width * 16)
        ups: list[nn.Module] = [nn.BatchNorm2d(8 * width), nn.ReLU(True)]
        for inner, out in [(8 * width, 4 * width), (4 * width, 2 * width), (2 * width, width)]:
            ups += [nn.ConvTranspose2d(inner, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True)]
        self.ups = nn.Sequential(*ups, nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.ups(self.project(z.flatten(1)).view(z.size(0), -1, 4, 4))


class HrNet(nn.Module):
    """Parallel resolutions that are summed across (arXiv:1908.07919), W18: 18, 36, 72 channels, one module each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 3, 2), nn.ReLU(), conv_bn(64, 64, 3, 2), nn.ReLU())
        widths = (18, 36, 72)
        self.enter = nn.ModuleList([conv_bn(64, 18, 3), conv_bn(64, 36, 3, 2), conv_bn(36, 72, 3, 2)])
        self.branches = nn.ModuleList(nn.Sequential(Basic(w, w, 1), Basic(w, w, 1)) for w in widths)
        self.fuse = nn.ModuleDict()
        for a, inner in enumerate(widths):
            for b, out in enumerate(widths):
                if a > b:
                    self.fuse[f"{a}_{b}"] = conv_bn(inner, out, 1)
                elif a < b:
                    steps = [conv_bn(inner, inner, 3, 2) for _ in range(b - a - 1)]
                    self.fuse[f"{a}_{b}"] = nn.Sequential(*steps, conv_bn(inner, out, 3, 2))
        self.last = nn.Sequential(nn.Conv2d(sum(widths), 126, 1), nn.BatchNorm2d(126), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(126, 19, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        high, middle = torch.relu(self.enter[0](x)), torch.relu(self.enter[1](x))
        maps = [high, middle, torch.relu(self.enter[2](middle))]
        maps = [branch(each) for branch, each in zip(self.branches, maps, strict=True)]
        fused = []
        for b, own in enumerate(maps):
            total = own
            for a, other in enumerate(maps):
                if a != b:
                    other = self.fuse[f"{a}_{b}"](other)
                    total = total + F.interpolate(other, size=own.shape[2:], mode="bilinear", align_corners=False)
            fused.append(F.relu(total))
        size = fused[0].shape[2:]
        fused = [F.interpolate(each, size=size, mode="bilinear", align_corners=True) for each in fused]
        return F.interpolate(self.head(self.last(torch.cat(fused, 1))), scale_factor=4.0, mode="bilinear")


class Cbam(nn.Module):
    """Attention over channels by two poolings, and over pixels (arXiv:1807.06521)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.ReLU(), nn.Conv2d(16, channels, 1))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        seen = torch.cat([x.mean(1, keepdim=True), torch.max(x, 1)[0].unsqueeze(1)], 1)
        return x * torch.sigmoid(self.places(seen))


class Siamese(nn.Module):
    """One encoder for two images, whose features are compared by their difference and product (ICML 2015 workshop)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 128, 7), nn.ReLU(), Cbam(128)),
            *(nn.MaxPool2d(2), nn.Conv2d(128, 128, 4), nn.ReLU(), nn.Flatten(), nn.Linear(128 * 9, 512), nn.Sigmoid()),
        )
        self.compare = nn.Sequential(nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        a, b = self.encoder(one), self.encoder(two)
        return self.compare(torch.cat([torch.abs(a - b), a * b], 1))
