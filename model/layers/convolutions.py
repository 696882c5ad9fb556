"""Convolutions over time and space with channels last: pointwise, separable, and at several scales at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.layers.kernels.depthwise import Depthwise


class Pointwise(nn.Module):
    """A linear map of the channels of every place: (B, C, T, H, W) -> (B, C', T, H, W).

    Why not a 1 x 1 x 1 convolution: with channels last both are one matrix product, but torch's convolution
    takes a path ten times slower when it may use one thread only.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.linear(x.movedim(1, -1))
        return mixed.movedim(-1, 1)


class Separable(nn.Module):
    """Depthwise 3 x 3 x 3, then pointwise: (B, C, T, H, W) -> (B, C', T, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.look = Depthwise(inputs)
        self.mix = Pointwise(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.look(x))
        return mixed


class ManyScales(nn.Module):
    """A quarter of the channels stays at its place, three look 1, 2 and 4 cells around; fused, and added.

    (B, C, T, H, W) -> same shape; C a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = Pointwise(channels, channels)
        self.looks = nn.ModuleList(Depthwise(channels // 4, dilation=apart) for apart in (1, 2, 4))
        self.fuse = Pointwise(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        kept, *parts = self.enter(x).chunk(4, dim=1)
        seen = [look(part) for look, part in zip(self.looks, parts, strict=True)]
        return x + self.fuse(functional.relu(torch.cat([kept, *seen], dim=1)))


class Residual(nn.Module):
    """Two separable convolutions, added: (B, C, T, H, W) -> same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Separable(channels, channels)
        self.second = Separable(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))
