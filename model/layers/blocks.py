"""Small parts of the network: convolutions over space, mixing of years, modulation of a stream by another."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from model.layers.kernels.autograd import AutogradContext


class Spatial(nn.Module):
    """A convolution over space, the same in every year: (B, C, T, H, W) -> (B, C', T, H, W).

    Why two-dimensional with the years folded into the batch: on a CPU a depthwise 3D convolution costs as
    much as a dense one, backwards far more. Edges repeat: a window's border is not a wall of zeros.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, dilation: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__()
        self.reach = dilation * (size // 2)
        groups = inputs if depthwise else 1
        self.convolution = nn.Conv2d(inputs, outputs, size, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, years, rows, cols = x.shape
        flat = x.transpose(1, 2).reshape(batch * years, channels, rows, cols)
        if self.reach:
            flat = functional.pad(flat, (self.reach,) * 4, mode="replicate")
        flat = self.convolution(flat)
        return flat.reshape(batch, years, -1, rows, cols).transpose(1, 2)


class Dilated(nn.Module):
    """Residual 3 x 3 convolutions with dilation 1, 2, 4: sees 7 cells each way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Spatial(channels, channels, 3, dilation) for dilation in (1, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        for convolve in self.steps:
            x = x + functional.silu(convolve(x))
        return x


class MultiScale(nn.Module):
    """A quarter of the channels as they are, three through depthwise 3 x 3 with dilation 1, 2, 4; fused."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        self.parts = [channels - 3 * quarter, quarter, quarter, quarter]
        branches = (Spatial(quarter, quarter, 3, dilation, depthwise=True) for dilation in (1, 2, 4))
        self.branches = nn.ModuleList(branches)
        self.fuse = Spatial(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        kept, *parts = x.split(self.parts, dim=1)
        seen = [branch(part) for branch, part in zip(self.branches, parts, strict=True)]
        return x + self.fuse(functional.silu(torch.cat([kept, *seen], dim=1)))


class Years(nn.Module):
    """Mixes each year with the one before and after it, channel by channel.

    It works on differences, so years that are equal, or a single year, pass through unchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.earlier = nn.Parameter(torch.zeros(channels, 1, 1, 1))
        self.later = nn.Parameter(torch.zeros(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        whole = x.to(
            torch.promote_types(x.dtype, self.earlier.dtype)
        )  # weights stay in float32 under autocast
        mixed: Tensor = _Mixed.apply(whole, self.earlier, self.later)
        return mixed


class _Mixed(torch.autograd.Function):
    """x + earlier (before - x) + later (after - x), on views: what is left where a year has no neighbour is 0."""

    @staticmethod
    def forward(ctx: AutogradContext, x: Tensor, earlier: Tensor, later: Tensor) -> Tensor:
        ctx.save_for_backward(x, earlier, later)
        rise, mixed = x[:, :, 1:] - x[:, :, :-1], x.clone()
        mixed[:, :, 1:].addcmul_(rise, earlier, value=-1)
        mixed[:, :, :-1].addcmul_(rise, later)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, *grads: Tensor) -> tuple[Tensor, ...]:
        x, earlier, later = ctx.saved_tensors
        (grad,) = grads
        rise, to_x = x[:, :, 1:] - x[:, :, :-1], grad.clone()
        gone, come = grad[:, :, 1:], grad[:, :, :-1]
        to_rise = (come * later).addcmul_(gone, earlier, value=-1)
        to_x[:, :, 1:] += to_rise
        to_x[:, :, :-1] -= to_rise
        return to_x, _by_channel(-(gone * rise)), _by_channel(come * rise)


def _by_channel(parts: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (C, 1, 1, 1) sums."""
    return parts.sum((0, 2, 3, 4))[:, None, None, None]


class Modulation(nn.Module):
    """SFT: out = main * (1 + scale) + shift, both read off the auxiliary stream (Wang et al. 2018).

    The last convolution starts at zero, so at first the main stream passes unchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = Spatial(channels, channels)
        self.tell = Spatial(channels, 2 * channels)
        for weight in self.tell.parameters():
            nn.init.zeros_(weight)

    def forward(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        seen = functional.leaky_relu(self.look(auxiliary), 0.1)
        scale, shift = self.tell(seen).chunk(2, dim=1)
        return main * (1.0 + scale) + shift
