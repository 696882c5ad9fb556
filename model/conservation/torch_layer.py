"""The law of model/conservation/laws.py as a differentiable layer: same numbers, on any device, with its own gradient.

Forward is that law itself on a CPU, and its twin in torch (model/conservation/solver_torch.py) elsewhere. Backward
is the closed form; with F the free cells, q > 0, and D = sum_F w, every change dq obeys

    dq = dp - w (sum_F dp - dS) / D   on F,   dq = 0 elsewhere,

so only q is kept, and no sort (Martins & Astudillo 2016 for w = 1; Niculae & Blondel 2017 in general).
"""

from typing import Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from model.conservation import laws as projection
from model.conservation import solver_torch as device_law

PIXELS = 200_000  # worked on at once on a CPU: they stay in the cache


class _Saved(Protocol):
    """What autograd hands to a backward pass."""

    saved_tensors: tuple[Tensor | None, ...]
    needs_input_grad: tuple[bool, ...]


def project(
    raw: Tensor, totals: Tensor, support: Tensor | None = None, *, weights: Tensor | None = None
) -> Tensor:
    """q = max(p - theta w, 0) on the support, 0 elsewhere; differentiable in p, S and w.

    Args:
      raw: (blocks, cells) estimate p, float32 or float64; finite on the support.
      totals: (blocks,) S >= 0.
      support: (blocks, cells) True = may receive mass.
      weights: (blocks, cells) w > 0.
    Returns: (blocks, cells) in the precision of raw.
    Raises: ValueError for totals that are negative, not finite or have no support, and for estimates that are not
      finite; it looks once, which on a GPU waits for the device.
    """
    if raw.ndim != 2 or totals.shape != raw.shape[:1]:
        raise ValueError(f"the estimate is {tuple(raw.shape)}, the totals {tuple(totals.shape)}")
    for name, part in (("support", support), ("weights", weights)):
        if part is not None and part.shape != raw.shape:
            raise ValueError(f"{name} is {tuple(part.shape)}, the estimate {tuple(raw.shape)}")
    placed: Tensor = _Project.apply(raw, totals, support, weights)
    return placed


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        solve = _on_cpu if raw.device.type == "cpu" else device_law.solve
        placed = solve(raw, totals, support, weights)
        ctx.save_for_backward(placed, raw, weights)  # type: ignore[arg-type]  # None is kept as None
        return placed

    @staticmethod
    @once_differentiable
    def backward(ctx: _Saved, *grads: Tensor) -> tuple[Tensor | None, ...]:
        placed, raw, weights = ctx.saved_tensors
        assert placed is not None and raw is not None
        (grad,) = grads
        to_raw, to_totals = torch.empty_like(placed), placed.new_empty(len(placed))
        to_weights = torch.empty_like(placed) if ctx.needs_input_grad[3] else None
        for rows in _chunks(placed):
            weight = None if weights is None else weights[rows]
            free = placed[rows].sign()
            spread = free if weight is None else free * weight
            mean = (grad[rows] * spread).sum(1, keepdim=True) / _positive(spread.sum(1, keepdim=True))
            torch.mul(grad[rows] - mean, free, out=to_raw[rows])
            to_totals[rows] = mean[:, 0]
            if to_weights is not None and weight is not None:
                # theta, read off the free cells: dq/dw = -theta dq/dp.
                theta = ((raw[rows] - placed[rows]) * free).sum(1, keepdim=True)
                to_weights[rows] = -to_raw[rows] * theta / _positive(spread.sum(1, keepdim=True))
        return to_raw, to_totals.to(grad.dtype), None, to_weights


def _on_cpu(raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None) -> Tensor:
    mask = None if support is None else _array(support)
    scale = None if weights is None else _array(weights)
    placed = projection.project(
        _array(raw), _array(totals), mask, weights=scale, threads=torch.get_num_threads()
    )
    return torch.from_numpy(placed)


def _array(values: Tensor) -> NDArray:
    return values.detach().numpy()


def _chunks(values: Tensor) -> list[slice]:
    """All at once on a GPU, which has no use for small pieces."""
    blocks, cells = values.shape
    step = max(1, PIXELS // max(1, cells)) if values.device.type == "cpu" else max(1, blocks)
    return [slice(first, first + step) for first in range(0, blocks, step)]


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)
