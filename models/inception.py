"""The Inception v3 network that FID is measured with (Szegedy et al. 2015, arXiv:1512.00567).

It is not torchvision's: its weights were ported from TensorFlow's graph of 2015-12-05, whose average pooling leaves
the padding out, and whose last block pools by maximum. Attribute names are the ported file's
(pt_inception-2015-12-05-6726825d.pth), which follow torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 2048
SIDE = 299  # pixels a side of what the network sees


class Conv(nn.Module):
    """A convolution, a batch norm of fixed statistics, a ReLU. `same`: the map keeps its size."""

    def __init__(
        self, given: int, made: int, size: tuple[int, int] = (1, 1), stride: int = 1, same: bool = False
    ) -> None:
        super().__init__()
        padding = (size[0] // 2, size[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(given, made, size, stride, padding, bias=False)
        self.bn = FixedNorm(made)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, made, H', W']."""
        return F.relu(self.bn(self.conv(x)))


class FixedNorm(nn.Module):
    """Batch norm with the statistics of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=1e-3)


def mean_pool(x: Tensor) -> Tensor:
    """3 x 3 averages; at the edge of what is there."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def max_pool(x: Tensor) -> Tensor:
    """3 x 3 maxima."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


def halved(x: Tensor) -> Tensor:
    """3 x 3 maxima of every other place."""
    return F.max_pool2d(x, 3, stride=2)


class Mixed35(nn.Module):
    """At 35 x 35: 1x1, 5x5, 3x3 twice, pooled."""

    def __init__(self, given: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(given, 64)
        self.branch5x5_1 = Conv(given, 48)
        self.branch5x5_2 = Conv(48, 64, (5, 5), same=True)
        self.branch3x3dbl_1 = Conv(given, 64)
        self.branch3x3dbl_2 = Conv(64, 96, (3, 3), same=True)
        self.branch3x3dbl_3 = Conv(96, 96, (3, 3), same=True)
        self.branch_pool = Conv(given, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """[B, given, 35, 35] -> [B, 224 + pooled, 35, 35]."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        wide = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat([self.branch1x1(x), wide, double, self.branch_pool(mean_pool(x))], dim=1)


class Reduced17(nn.Module):
    """From 35 x 35 to 17 x 17."""

    def __init__(self, given: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(given, 384, (3, 3), stride=2)
        self.branch3x3dbl_1 = Conv(given, 64)
        self.branch3x3dbl_2 = Conv(64, 96, (3, 3), same=True)
        self.branch3x3dbl_3 = Conv(96, 96, (3, 3), stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, given, 35, 35] -> [B, 480 + given, 17, 17]."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, halved(x)], dim=1)


class Mixed17(nn.Module):
    """At 17 x 17: 1x1, 7x7 once and twice, each as a row and a column, pooled."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(768, 192)
        self.branch7x7_1 = Conv(768, inner)
        self.branch7x7_2 = Conv(inner, inner, (1, 7), same=True)
        self.branch7x7_3 = Conv(inner, 192, (7, 1), same=True)
        self.branch7x7dbl_1 = Conv(768, inner)
        self.branch7x7dbl_2 = Conv(inner, inner, (7, 1), same=True)
        self.branch7x7dbl_3 = Conv(inner, inner, (1, 7), same=True)
        self.branch7x7dbl_4 = Conv(inner, inner, (7, 1), same=True)
        self.branch7x7dbl_5 = Conv(inner, 192, (1, 7), same=True)
        self.branch_pool = Conv(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 768, 17, 17] -> the same shape."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(mean_pool(x))], dim=1)


class Reduced8(nn.Module):
    """From 17 x 17 to 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192)
        self.branch3x3_2 = Conv(192, 320, (3, 3), stride=2)
        self.branch7x7x3_1 = Conv(768, 192)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7), same=True)
        self.branch7x7x3_3 = Conv(192, 192, (7, 1), same=True)
        self.branch7x7x3_4 = Conv(192, 192, (3, 3), stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 768, 17, 17] -> [B, 1280, 8, 8]."""
        wide = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), self.branch7x7x3_4(wide), halved(x)], dim=1)


class Mixed8(nn.Module):
    """At 8 x 8: 1x1, 3x3 once and twice, forked into a row and a column, pooled by mean or by maximum."""

    def __init__(self, given: int, by_maximum: bool) -> None:
        super().__init__()
        self.by_maximum = by_maximum
        self.branch1x1 = Conv(given, 320)
        self.branch3x3_1 = Conv(given, 384)
        self.branch3x3_2a = Conv(384, 384, (1, 3), same=True)
        self.branch3x3_2b = Conv(384, 384, (3, 1), same=True)
        self.branch3x3dbl_1 = Conv(given, 448)
        self.branch3x3dbl_2 = Conv(448, 384, (3, 3), same=True)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), same=True)
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), same=True)
        self.branch_pool = Conv(given, 192)

    def forward(self, x: Tensor) -> Tensor:
        """[B, given, 8, 8] -> [B, 2048, 8, 8]."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = self.branch_pool(max_pool(x) if self.by_maximum else mean_pool(x))
        forks = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        forks += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *forks, pooled], dim=1)


class Inception(nn.Module):
    """Pictures -> 2048 numbers each, the means of the last feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = Conv(32, 64, (3, 3), same=True)
        self.Conv2d_3b_1x1 = Conv(64, 80)
        self.Conv2d_4a_3x3 = Conv(80, 192, (3, 3))
        self.Mixed_5b = Mixed35(192, pooled=32)
        self.Mixed_5c = Mixed35(256, pooled=64)
        self.Mixed_5d = Mixed35(288, pooled=64)
        self.Mixed_6a = Reduced17(288)
        self.Mixed_6b = Mixed17(128)
        self.Mixed_6c = Mixed17(160)
        self.Mixed_6d = Mixed17(160)
        self.Mixed_6e = Mixed17(192)
        self.Mixed_7a = Reduced8()
        self.Mixed_7b = Mixed8(1280, by_maximum=False)
        self.Mixed_7c = Mixed8(2048, by_maximum=True)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, 3, H, W] in 0..1 -> [B, 2048]."""
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear") * 2 - 1
        x = halved(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halved(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean(dim=(2, 3))

    def see(self, picture: Tensor) -> Tensor:
        """The features of one picture, [H, W, 3] in 0..1 -> [2048] float32 on the CPU."""
        weight = self.Conv2d_1a_3x3.conv.weight
        return self(picture.movedim(-1, 0)[None].to(weight))[0].float().cpu()
