"""The depthwise 3 x 3 x 3 convolution and its gradients as compiled loops on a CPU, for where numba is (extra `fast`).

Channels and columns of a row lie side by side in memory, so a row is one long run of numbers, and each kernel is
repeated along it. All taps of a year are taken while a stretch of the row is in the innermost cache. Sums are taken in
a fixed order, so the bytes do not depend on the number of threads.
"""

from collections.abc import Callable
from itertools import product
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from model.conservation.solver_numba import part
from model.layers.kernels.autograd import AutogradContext
from model.layers.kernels.threads import in_threads

LAST = torch.channels_last_3d
RUN = 256  # numbers worked on at once, or a little fewer: a whole number of places
BAND = 15  # rows of a piece of work
Pairs = list[tuple[int, int, int]]  # year to fill, year to read, tap along time


def compiled_depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """A depthwise convolution with repeating edges, of float32 on a CPU.

    Args:
      x: (B, C, T, H, W).
      weight: (C, 1, kt, 3, 3) with kt 1 or 3; bias: (C,).
    Returns: same shape as x, channels last in memory.
    """
    around = (dilation,) * 4
    padded = functional.pad(x.contiguous(memory_format=LAST), (*around, 0, 0), mode="replicate")
    y: Tensor = _Looked.apply(padded, weight, bias, dilation)
    return y


class _Context(AutogradContext, Protocol):
    dilation: int
    biased: bool


class _Looked(torch.autograd.Function):
    """(B, C, T, H + 2 d, W + 2 d) -> (B, C, T, H, W); years repeat at both ends by themselves."""

    # Why float32 under autocast: the weight's gradient is a long sum, and a CPU gains nothing from bf16 here.
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        x = x.contiguous(memory_format=LAST)
        ctx.save_for_backward(x, weight)
        ctx.dilation, ctx.biased = dilation, bias is not None
        pairs = _years(x.shape[2], weight.shape[2], dilation)
        return _looked(x, weight[:, 0], bias, pairs, dilation)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad, apart = grads[0].contiguous(memory_format=LAST), ctx.dilation
        pairs = _years(x.shape[2], weight.shape[2], apart)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            around = functional.pad(grad, (*(2 * apart,) * 4, 0, 0)).contiguous(memory_format=LAST)
            back = [(seen, year, tap) for year, seen, tap in pairs]
            to_x = _looked(around, weight[:, 0].flip(2, 3), None, back, apart)
        if ctx.needs_input_grad[1]:
            to_weight = _weighed(x, grad, pairs, apart).reshape(weight.shape)
        if ctx.biased and ctx.needs_input_grad[2]:
            to_bias = _rows(grad).sum((0, 1, 2)).view(-1, len(weight)).sum(0)
        return to_x, to_weight, to_bias, None


def _years(years: int, taps: int, apart: int) -> Pairs:
    """Which year each tap reads; before the first and after the last year there is that year again."""
    reach = range(-(taps // 2), taps // 2 + 1)
    last = years - 1
    return [
        (year, min(max(year + step * apart, 0), last), tap)
        for year in range(years)
        for tap, step in enumerate(reach)
    ]


def _rows(x: Tensor) -> Tensor:
    """(B, C, T, H, W), channels last -> (B, T, H, W C), a view."""
    return x.permute(0, 2, 3, 4, 1).flatten(3)


def _looked(x: Tensor, weight: Tensor, bias: Tensor | None, pairs: Pairs, apart: int) -> Tensor:
    """(B, C, T, H + 2 d, W + 2 d), weight (C, kt, 3, 3) -> (B, C, T, H, W)."""
    batch, channels, years, rows, cols = x.shape
    rows, cols = rows - 2 * apart, cols - 2 * apart
    places = max(1, RUN // channels)
    taps = weight.permute(1, 2, 3, 0).reshape(-1, 9, channels).repeat(1, 1, places)
    start = x.new_zeros(channels * places) if bias is None else bias.repeat(places)
    y = x.new_empty(batch, years, rows, cols * channels)
    table = np.array(pairs)
    given = tuple(map(_array, (_rows(x), taps, start, y)))

    def work(sample: int, first: int) -> None:
        _look(sample, first, min(first + BAND, rows), apart * channels, apart, table, *given)

    _shared(work, batch, rows)
    return y.view(batch, years, rows, cols, channels).permute(0, 4, 1, 2, 3)


def _weighed(x: Tensor, grad: Tensor, pairs: Pairs, apart: int) -> Tensor:
    """(C, kt, 3, 3): for each tap, the sum over all places of the gradient times the input the tap saw there."""
    batch, channels, _, rows, _ = grad.shape
    places, bands = max(1, RUN // channels), -(-rows // BAND)
    taps = 1 + max(tap for _, _, tap in pairs)
    sums = x.new_zeros(batch * bands, taps, 9, channels * places)
    table = np.array(pairs)
    given = tuple(map(_array, (_rows(x), _rows(grad))))

    def work(sample: int, first: int) -> None:
        piece = sums[sample * bands + first // BAND].numpy()
        _weigh(sample, first, min(first + BAND, rows), apart * channels, apart, table, *given, piece)

    _shared(work, batch, rows)
    return sums.sum(0).view(taps, 9, places, channels).sum(2).permute(2, 0, 1).reshape(channels, taps, 3, 3)


def _array(values: Tensor) -> NDArray:
    array: NDArray = values.detach().numpy()
    return array


def _shared(work: Callable[[int, int], None], batch: int, rows: int) -> None:
    """Calls work(sample, first row) for every band of rows, in threads."""
    in_threads(work, list(product(range(batch), range(0, rows, BAND))))


@part
def _look(sample, first, last, aside, apart, pairs, x, taps, start, y):  # type: ignore[no-untyped-def]
    """Fills rows first to last of y; aside: numbers between two taps along a row, apart: rows between two taps."""
    run, length = start.size, y.shape[3]
    for year in range(y.shape[1]):
        for row in range(first, last):
            for begin in range(0, length, run):
                found = y[sample, year, row, begin : begin + run]
                count = found.size
                found[:] = start[:count]
                for pair in range(len(pairs)):
                    if pairs[pair, 0] != year:
                        continue
                    seen, w = x[sample, pairs[pair, 1]], taps[pairs[pair, 2]]
                    for down in range(3):
                        here = seen[row + down * apart, begin : begin + count + 2 * aside]
                        one, two, three = here[:count], here[aside : aside + count], here[2 * aside :]
                        left, middle, right = w[3 * down], w[3 * down + 1], w[3 * down + 2]
                        for j in range(count):
                            found[j] += one[j] * left[j] + two[j] * middle[j] + three[j] * right[j]


@part
def _weigh(sample, first, last, aside, apart, pairs, x, grad, sums):  # type: ignore[no-untyped-def]
    """Adds to sums (kt, 9, run) what rows first to last of the gradient say."""
    run, length = sums.shape[2], grad.shape[3]
    for pair in range(len(pairs)):
        felt, seen, found = grad[sample, pairs[pair, 0]], x[sample, pairs[pair, 1]], sums[pairs[pair, 2]]
        for row in range(first, last):
            for begin in range(0, length, run):
                said = felt[row, begin : begin + run]
                count = said.size
                for down in range(3):
                    for across in range(3):
                        offset = begin + across * aside
                        here = seen[row + down * apart, offset : offset + count]
                        total = found[3 * down + across]
                        for j in range(count):
                            total[j] += said[j] * here[j]
