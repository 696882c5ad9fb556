"""The selective scan of model/layers/kernels/scan.py as compiled loops on a CPU, for where numba is (extra `fast`).

The states of 64 channels stay in the innermost cache while time goes by, and every pass over them does all there is
to do. Channels come last, so that one instruction works on many of them; what each block of channels adds to shared
gradients is summed in a fixed order, so the bytes do not depend on the number of threads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.conservation.solver_numba import part
from model.layers.kernels.autograd import AutogradContext
from model.layers.kernels.threads import in_threads

STEPS = 32  # between two states that are kept
CHANNELS = 64  # in a block: 4 KB of states
Floats = np.ndarray[Any, np.dtype[np.float32]]

# exp(x) = 2^k exp(r) with |r| <= log(2) / 2, a polynomial for exp(r) as in Cephes expf; exact to 1.2e-7.
ONE, HALF, PER_LOG2 = np.float32(1), np.float32(0.5), np.float32(1.44269504088896341)
HIGH, LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # of log(2)
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
LEAST, BIAS, PLACES = np.float32(-87), 127, 23  # of the exponent of a float32


def compiled_scan(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    """As plain_scan, of float32 on a CPU.

    Args: shapes as in selective_scan. Backward keeps a state every STEPS places and makes the others again; sums
      over blocks of channels are taken in a fixed order, so the bytes do not depend on the number of threads.
    """
    y: Tensor = _Scan.apply(u, step, decay, into, out)
    return torch.addcmul(y, u, skip)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: AutogradContext, u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor
    ) -> Tensor:
        u, step, into, out = (value.contiguous() for value in (u, step, into, out))
        rates = decay.t().contiguous()
        batch, length, width = u.shape
        y = torch.empty_like(u)
        starts = u.new_empty(-(-length // STEPS), batch, *rates.shape)
        given = [value.detach().numpy() for value in (u, step, rates, into, out, y, starts)]
        _shared(lambda sample, block, first: _forward(sample, first, CHANNELS, STEPS, *given), batch, width)
        ctx.save_for_backward(u, step, rates, into, out, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, *grads: Tensor) -> tuple[Tensor, ...]:
        u, step, rates, into, out, starts = ctx.saved_tensors
        batch, _, width = u.shape
        blocks = -(-width // CHANNELS)
        to_u, to_step = torch.empty_like(u), torch.empty_like(step)
        to_into, to_out = (u.new_empty(blocks, *into.shape) for _ in range(2))
        to_rates = u.new_zeros(batch, *rates.shape)
        kept = (u, step, rates, into, out, starts, grads[0].contiguous(), to_u, to_step)
        given = [value.detach().numpy() for value in kept]
        shared = [value.numpy() for value in (to_into, to_out, to_rates)]

        def work(sample: int, block: int, first: int) -> None:
            into_block, out_block, all_rates = shared[0][block], shared[1][block], shared[2]
            _backward(sample, first, CHANNELS, STEPS, *given, into_block, out_block, all_rates)

        _shared(work, batch, width)
        return to_u, to_step, to_rates.sum(0).t(), to_into.sum(0), to_out.sum(0)


def _shared(work: Callable[[int, int, int], None], batch: int, width: int) -> None:
    """Calls work(sample, block, first channel) for all of them, in threads."""
    firsts = range(0, width, CHANNELS)
    pieces = [(sample, block, first) for sample in range(batch) for block, first in enumerate(firsts)]
    in_threads(work, pieces)


@part
def _exp(x):  # type: ignore[no-untyped-def]
    """Of x <= 0, float32."""
    x = max(x, LEAST)
    k = np.floor(x * PER_LOG2 + HALF)
    r = x - k * HIGH
    r = r - k * LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    return (p * (r * r) + r + ONE) * np.int32((np.int32(k) + BIAS) << PLACES).view(np.float32)


@part
def _forward(sample, first, most, kept, u, step, rates, into, out, y, starts):  # type: ignore[no-untyped-def]
    """Fills y (B, L, D) and starts (chunks, B, N, D) for one sample and the channels from `first` on."""
    length, count = u.shape[1], min(most, u.shape[2] - first)
    states = rates.shape[0]
    decay, h = np.empty((states, count), np.float32), np.zeros((states, count), np.float32)
    decay[:] = rates[:, first : first + count]
    pace, drive, said = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    for t in range(length):
        if t % kept == 0:
            starts[t // kept, sample, :, first : first + count] = h
        for d in range(count):
            pace[d] = step[sample, t, first + d]
            drive[d] = pace[d] * u[sample, t, first + d]
            said[d] = 0
        for n in range(states):
            b, c = into[sample, t, n], out[sample, t, n]
            for d in range(count):
                new = _exp(pace[d] * decay[n, d]) * h[n, d] + drive[d] * b
                h[n, d] = new
                said[d] += new * c
        y[sample, t, first : first + count] = said


@part
def _backward(  # type: ignore[no-untyped-def]
    sample,
    first,
    most,
    kept,
    u,
    step,
    rates,
    into,
    out,
    starts,
    grad,
    to_u,
    to_step,
    to_into,
    to_out,
    to_rates,
):
    """Fills the gradients for one sample and the channels from `first` on; states come again from each start."""
    length, count = u.shape[1], min(most, u.shape[2] - first)
    states, last = rates.shape[0], first + count
    decay, faded = np.empty((states, count), np.float32), np.empty((states, count), np.float32)
    decay[:] = rates[:, first:last]
    h, a = np.empty((kept + 1, states, count), np.float32), np.empty((kept, states, count), np.float32)
    later = np.zeros((states, count), np.float32)
    x, pace, heard = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    drive, driven, felt = (
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
    )
    for chunk in range(starts.shape[0] - 1, -1, -1):
        begin, end = chunk * kept, min(chunk * kept + kept, length)
        h[0] = starts[chunk, sample, :, first:last]
        faded[:] = 0
        for t in range(begin, end):
            pace[:] = step[sample, t, first:last]
            drive[:] = pace * u[sample, t, first:last]
            for n in range(states):
                b = into[sample, t, n]
                for d in range(count):
                    share = _exp(pace[d] * decay[n, d])
                    a[t - begin, n, d] = share
                    h[t - begin + 1, n, d] = share * h[t - begin, n, d] + drive[d] * b
        for t in range(end - 1, begin - 1, -1):
            x[:] = u[sample, t, first:last]
            pace[:] = step[sample, t, first:last]
            heard[:] = grad[sample, t, first:last]
            drive[:] = pace * x
            driven[:] = 0
            felt[:] = 0
            here, before, share = h[t - begin + 1], h[t - begin], a[t - begin]
            for n in range(states):
                b, c = into[sample, t, n], out[sample, t, n]
                given, taken = np.float32(0), np.float32(0)
                for d in range(count):
                    g = later[n, d] + heard[d] * c  # dloss/dh
                    given += here[n, d] * heard[d]
                    taken += g * drive[d]
                    driven[d] += g * b
                    later[n, d] = share[n, d] * g
                    gone = later[n, d] * before[n, d]  # dloss/d(step decay)
                    felt[d] += gone * decay[n, d]
                    faded[n, d] += gone * pace[d]
                to_out[sample, t, n], to_into[sample, t, n] = given, taken
            for d in range(count):
                to_u[sample, t, first + d] = driven[d] * pace[d]
                to_step[sample, t, first + d] = felt[d] + driven[d] * x[d]
        to_rates[sample, :, first:last] += faded  # chunk by chunk: long sums of float32 lose digits
