"""The selective scan S6: a recurrence whose step, input and output depend on the input (Gu and Dao 2023)."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def selective_scan(u: Tensor, step: Tensor, decay: Tensor, into: Tensor, out: Tensor, skip: Tensor) -> Tensor:
    """h_t = exp(step_t decay) h_(t-1) + step_t u_t into_t;  y_t = <h_t, out_t> + skip u_t, from h_0 = 0.

    Why no logarithms or ratios: every factor lies in (0, 1], so products only fade and nothing overflows.

    Args:
      u, step: (B, L, D); step > 0.
      decay: (D, N), negative.
      into, out: (B, L, N).
      skip: (D,).
    Returns: y (B, L, D). Time and memory are linear in L.
    """
    factor = torch.exp(step[..., None] * decay)
    states = _Recurrence.apply(factor, (step * u)[..., None] * into[:, :, None, :])
    return (states @ out[..., None])[..., 0] + u * skip


class _Recurrence(torch.autograd.Function):
    """h_t = a_t h_(t-1) + b_t along axis 1; its gradient is the same recurrence run backwards."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        states = _two_level(a, b)
        ctx.save_for_backward(a, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, states = ctx.saved_tensors
        following = torch.cat([torch.zeros_like(a[:, :1]), a[:, 1:].flip(1)], dim=1)
        grad_b = _two_level(following, grad.flip(1)).flip(1)
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
        return before * grad_b, grad_b


def _two_level(a: Tensor, b: Tensor) -> Tensor:
    """Steps inside all chunks at once, then carries each chunk's last state on: 2 sqrt(L) steps, not L."""
    batch, length = a.shape[:2]
    inner = max(1, isqrt(length))
    chunks = -(-length // inner)
    pad = chunks * inner - length
    tail = [0, 0] * (a.dim() - 2)
    a = functional.pad(a, [*tail, 0, pad], value=1.0) if pad else a.clone()
    b = functional.pad(b, [*tail, 0, pad]) if pad else b.clone()
    a, b = (x.reshape(batch, chunks, inner, *x.shape[2:]) for x in (a, b))
    for i in range(1, inner):
        b[:, :, i].addcmul_(a[:, :, i], b[:, :, i - 1])
        a[:, :, i].mul_(a[:, :, i - 1])
    for j in range(1, chunks):
        b[:, j, -1].addcmul_(a[:, j, -1], b[:, j - 1, -1])
    if chunks > 1:
        b[:, 1:, :-1].addcmul_(a[:, 1:, :-1], b[:, :-1, -1:])
    return b.reshape(batch, chunks * inner, *b.shape[3:])[:, :length]
