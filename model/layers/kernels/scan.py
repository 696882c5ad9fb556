"""The selective scan S6: a recurrence whose step, input and output depend on the input (Gu and Dao 2023).

Why chunks and a loop: a tensor of all states (B, L, D, N) lives in memory, and every pass over it waits for that.
A chunk of steps stays in the cache, so a step costs one small operation and all else works on whole chunks. Only
the state at the start of each chunk is kept; backward makes the others again. Why not torch.compile: this form is
as fast as a compiled block of 32 steps up to 900 steps and a fifth slower beyond (tests/benchmarks/bench_scan.py),
needs no minute to start and has no limit of shapes beyond which it silently slows down. Where numba is, its
loops take over on a CPU: four times as fast, the same to the last digits (model/layers/kernels/scan_numba.py).
"""

from collections.abc import Callable
from functools import cache
from math import isqrt

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.layers.kernels.autograd import AutogradContext
from model.layers.kernels.scan_fused import fused_scan

CELLS = 400_000  # states worked on at once on a CPU: 1.6 MB in float32
CELLS_ELSEWHERE = 1 << 24  # on a GPU, where large operations are the fast ones
STEPS = 256  # in a chunk at most, on a CPU


def selective_scan(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    """h_t = exp(step_t decay) h_(t-1) + step_t u_t into_t;  y_t = <h_t, out_t> + skip u_t, from h_0 = 0.

    Why no logarithms or ratios: every factor lies in (0, 1], so products only fade and nothing overflows.

    Args:
      u, step: (B, L, D); step > 0.
      decay: (D, N), negative.
      into, out: (B, L, N).
      skip: (D,).
    Returns: y (B, L, D) in the precision of u; half precision is computed in float32. Time is linear in L;
      memory beyond inputs and outputs is one state in every chunk.
    """
    given = (u, step, decay, into, out, skip)
    if u.dtype in (torch.float16, torch.bfloat16):
        u, step, decay, into, out, skip = (value.float() for value in given)
    fused = fused_scan(u, step, decay, into, out, skip)
    if fused is not None:
        return fused.to(given[0].dtype)
    scan = fastest() if u.dtype == torch.float32 and u.device.type == "cpu" else plain_scan
    return scan(u, step, decay, into, out, skip).to(given[0].dtype)


@cache
def fastest() -> Callable[..., Tensor]:
    """The compiled scan where its extra is installed, else the plain one.

    Looked up once. Both give the same to the last digits of float32; the compiled one serves float32 on a CPU
    alone.
    """
    try:
        from model.layers.kernels.scan_numba import compiled_scan
    except Exception:  # numba missing, or broken in any way: the plain form is always there
        return plain_scan
    return compiled_scan


def plain_scan(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    """The same in plain PyTorch, on any device.

    Args and returns as selective_scan, which chooses between the forms; nothing is converted here. Backward keeps
    the state at the start of each chunk and makes the others again. Its second derivative is not defined.
    """
    y: Tensor = _Scan.apply(u, step, decay, into, out)
    return torch.addcmul(y, u, skip)


class _Scan(torch.autograd.Function):
    """y_t = <h_t, out_t>. Inside, time comes first and channels last: (steps, B, N, D)."""

    @staticmethod
    def forward(
        ctx: AutogradContext, u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor
    ) -> Tensor:
        work = _Work(u, decay)
        y = torch.empty_like(u)
        starts = []
        for part in work.parts:
            starts.append(work.states[0].clone())
            states, spare = work.advance(u, step, into, part)
            torch.mul(states[1:], _first(out, part)[..., None], out=spare)
            torch.sum(spare, 2, out=_first(y, part))
            work.states[0] = states[-1]
        ctx.save_for_backward(u, step, decay, into, out, *starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, *grads: Tensor) -> tuple[Tensor, ...]:
        u, step, decay, into, out, *starts = ctx.saved_tensors
        (grad,) = grads
        work = _Work(u, decay)
        rates = work.rates
        g, spare = torch.empty_like(work.factors), torch.empty_like(work.factors)  # g = dloss/dh
        to_u, to_step, to_into, to_out = (torch.empty_like(value) for value in (u, step, into, out))
        to_rates, later = torch.zeros_like(rates), torch.zeros_like(work.states[0])
        for part, start in zip(reversed(work.parts), reversed(starts), strict=True):
            work.states[0] = start
            h, a = work.advance(u, step, into, part)
            gh, free = g[: len(a)], spare[: len(a)]
            x, d, b, c, gy = (_first(value, part) for value in (u, step, into, out, grad))
            torch.mul(gy[:, :, None], c[..., None], out=gh)
            gh[-1] += later
            _recur(a[1:], gh, backwards=True)
            torch.mul(a[0], gh[0], out=later)
            torch.sum(torch.mul(h[1:], gy[:, :, None], out=free), 3, out=_first(to_out, part))
            torch.sum(torch.mul(gh, (d * x)[:, :, None], out=free), 3, out=_first(to_into, part))
            driven = torch.mul(gh, b[..., None], out=free).sum(2)  # dloss/d(step u)
            faded = a.mul_(h[:-1]).mul_(gh)  # dloss/d(step decay)
            torch.mul(driven, d, out=_first(to_u, part))
            felt = torch.mul(faded, rates, out=free).sum(2)
            torch.addcmul(felt, driven, x, out=_first(to_step, part))
            to_rates += torch.mul(faded, d[:, :, None], out=free).sum((0, 1))
        return to_u, to_step, to_rates.t(), to_into, to_out


class _Work:
    """Room for one chunk, used again for the next: states[0] is where it starts.

    Attributes:
      rates: (N, D) the decay.
      parts: the chunks as slices of time.
    """

    def __init__(self, u: Tensor, decay: Tensor) -> None:
        batch, length = u.shape[:2]
        self.rates = decay.t().contiguous()
        cells = max(1, batch * self.rates.numel())
        cpu = u.device.type == "cpu"
        steps = min(max(8, CELLS // cells), STEPS) if cpu else max(STEPS, CELLS_ELSEWHERE // cells)
        steps = max(1, min(steps, length))
        self.parts = [slice(first, min(first + steps, length)) for first in range(0, length, steps)]
        self.factors = u.new_empty(steps, batch, *self.rates.shape)
        self.states = u.new_zeros(steps + 1, batch, *self.rates.shape)

    def advance(self, u: Tensor, step: Tensor, into: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Goes on from states[0]: (steps + 1, B, N, D) states and (steps, B, N, D) factors, until the next call.

        Args:
          u, step: (B, L, D); into: (B, L, N), the whole sequence.
          part: the chunk's places in it.
        Returns: views of the working memory, which the next call overwrites; states[0] is the state before the
          chunk.
        """
        count = part.stop - part.start
        states, factors = self.states[: count + 1], self.factors[:count]
        steps = _first(step, part)
        torch.mul(steps[:, :, None], self.rates, out=factors).exp_()
        torch.mul((steps * _first(u, part))[:, :, None], _first(into, part)[..., None], out=states[1:])
        _recur(factors, states)
        return states, factors


def _first(values: Tensor, part: slice) -> Tensor:
    """A part of time, time first: (B, L, X) -> (steps, B, X); a view."""
    return values[:, part].transpose(0, 1)


def _recur(factors: Tensor, values: Tensor, backwards: bool = False) -> None:
    """In place, values[t+1] += factors[t] values[t]; backwards, values[t] += factors[t] values[t+1]."""
    if values.device.type != "cpu":
        order = (factors.flip(0), values.flip(0)) if backwards else (factors, values)
        found = _two_level(*order)
        values.copy_(found.flip(0) if backwards else found)
        return
    links, places = factors.unbind(0), values.unbind(0)
    if backwards:
        links, places = links[::-1], places[::-1]
    for link, before, here in zip(links, places, places[1:], strict=False):
        here.addcmul_(link, before)


def _two_level(factors: Tensor, values: Tensor) -> Tensor:
    """The recurrence with 2 sqrt(L) steps, not L: inside all pieces at once, then each piece's last state on.

    Twice the arithmetic of a loop, so it pays where a small operation costs as much as a large one.
    """
    length, cells = len(values), values.shape[1:]
    inner = max(1, isqrt(length))
    pieces = -(-length // inner)
    a, b = values.new_ones(pieces * inner, *cells), values.new_zeros(pieces * inner, *cells)
    a[1:length], b[:length] = factors, values
    a, b = a.view(pieces, inner, *cells), b.view(pieces, inner, *cells)
    for i in range(1, inner):
        b[:, i].addcmul_(a[:, i], b[:, i - 1])
        a[:, i].mul_(a[:, i - 1])
    for j in range(1, pieces):
        b[j, -1].addcmul_(a[j, -1], b[j - 1, -1])
    b[1:, :-1].addcmul_(a[1:, :-1], b[:-1, -1:])
    return b.view(-1, *cells)[:length]
