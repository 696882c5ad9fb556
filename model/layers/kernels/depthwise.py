"""Depthwise 3D convolution, one kernel for each channel, with a backward of its own on a CPU.

Why: torch's backward of this operation takes three quarters of a CPU training step. In the layout with channels
last, the gradient of the input is one more forward with the flipped kernel, and the gradient of the weights is one
product and sum for each of the 27 offsets; all offsets are views of one padded row, so a row costs one operation.
Where numba is, its loops take over (model/layers/kernels/depthwise_numba.py), the same to the last digits.
"""

from collections.abc import Callable
from functools import cache
from operator import mul
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from model.layers.kernels.autograd import AutogradContext

LAST = torch.channels_last_3d
CELLS = 400_000  # products worked on at once: 1.6 MB in float32, in the cache
Three = tuple[int, int, int]


class Depthwise(nn.Module):
    """A convolution of each channel with its own k x k x k kernel: (B, C, T, H, W) -> same shape.

    Edges repeat, in space and in time: a window's border is not a wall of zeros, nor is a single year.
    """

    def __init__(self, channels: int, size: int = 3, dilation: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.reach, self.dilation = dilation * (size // 2), dilation
        self.weight = nn.Parameter(torch.empty(channels, 1, size, size, size))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        around = self.reach
        if x.shape[2] == 1:  # the years before and after repeat the only one, so the taps over time add up
            weight, around = weight.sum(2, keepdim=True), 0
        if self._suits_loops(x) and (loops := compiled()) is not None:
            return loops(x, weight, self.bias, self.dilation)
        padded = functional.pad(x, (*(self.reach,) * 4, around, around), mode="replicate")
        return depthwise(padded, weight, self.bias, dilation=(self.dilation,) * 3)

    def _suits_loops(self, x: Tensor) -> bool:
        single = self.weight.dtype == torch.float32
        return single and x.device.type == "cpu" and self.weight.shape[-1] == 3


@cache
def compiled() -> Callable[..., Tensor] | None:
    """The compiled loops; None where their extra is not installed.

    Looked up once. They serve float32 on a CPU with kernels of 3 taps; all else takes `depthwise`.
    """
    try:
        from model.layers.kernels.depthwise_numba import compiled_depthwise
    except Exception:  # numba missing, or broken in any way: torch is always there
        return None
    return compiled_depthwise


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    padding: Three = (0, 0, 0),
    dilation: Three = (1, 1, 1),
) -> Tensor:
    """functional.conv3d with as many groups as channels.

    Args:
      x: (B, C, T, H, W).
      weight: (C, 1, kt, kh, kw); bias: (C,).
      padding: zeros around x, along time, rows and columns; dilation: cells between two taps.
    Returns: (B, C, T', H', W'), channels last in memory.
    """
    if x.device.type != "cpu":
        return functional.conv3d(x, weight, bias, padding=padding, dilation=dilation, groups=len(weight))
    y: Tensor = _Depthwise.apply(x.contiguous(memory_format=LAST), weight, bias, padding, dilation)
    return y


class _Context(AutogradContext, Protocol):
    padding: Three
    dilation: Three


class _Depthwise(torch.autograd.Function):
    # Why float32 under autocast: the weight's gradient is a long sum, and a CPU gains nothing from bf16 here.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Three, dilation: Three
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        return _convolved(x, weight, bias, padding, dilation)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=LAST)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            around = _turned(weight.shape[2:], ctx.padding, ctx.dilation)
            to_x = _convolved(grad, weight.flip(2, 3, 4), None, around, ctx.dilation)
        if ctx.needs_input_grad[1]:
            to_weight = _weight_gradient(x, grad, weight.shape[2:], ctx.padding, ctx.dilation)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum((0, 2, 3, 4))
        return to_x, to_weight, to_bias, None, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Three, dilation: Three) -> Tensor:
    weight = weight.contiguous(memory_format=LAST)
    return functional.conv3d(x, weight, bias, padding=padding, dilation=dilation, groups=len(weight))


def _turned(taps: torch.Size, padding: Three, dilation: Three) -> Three:
    """Zeros around the gradient of the output, so that the flipped kernel gives that of the input."""
    return (
        dilation[0] * (taps[0] - 1) - padding[0],
        dilation[1] * (taps[1] - 1) - padding[1],
        dilation[2] * (taps[2] - 1) - padding[2],
    )


def _weight_gradient(x: Tensor, grad: Tensor, taps: torch.Size, padding: Three, dilation: Three) -> Tensor:
    """(C, 1, *taps): for each tap, the sum over all places of the gradient times the input the tap saw there."""
    time, rows, cols = padding
    wide = functional.pad(x.permute(0, 2, 3, 4, 1), (0, 0, cols, cols, rows, rows, time, time)).contiguous()
    grad = grad.permute(0, 2, 3, 4, 1)
    batch, years, height, width, channels = grad.shape
    strides = wide.stride()
    apart = tuple(map(mul, dilation, strides[1:4]))
    band = max(1, min(height, CELLS // (taps.numel() * width * channels)))
    products = x.new_zeros(*taps, band, width, channels)
    for sample in range(batch):
        for year in range(years):
            for row in range(0, height, band):
                part = grad[sample, year, row : row + band]
                first = sample * strides[0] + year * strides[1] + row * strides[2]
                seen = wide.as_strided(
                    (*taps, *part.shape), (*apart, *strides[2:]), wide.storage_offset() + first
                )
                products[..., : len(part), :, :].addcmul_(seen, part)
    return products.sum((3, 4)).permute(3, 0, 1, 2)[:, None]
