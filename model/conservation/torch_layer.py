"""The law of model/conservation/laws.py as a differentiable layer: same numbers, on any device, with its own gradient.

Forward is that law itself on a CPU, and its twin in torch (model/conservation/solver_torch.py) elsewhere. Backward
is the closed form; with F the free cells, 0 < q < u, and D = sum_F w, every change dq obeys

    dq = dp - w (sum_F dp + sum_full du - dS) / D   on F,   dq = du where q = u,   dq = 0 elsewhere,

so only q is kept, and no sort (Martins & Astudillo 2016 for w = 1; Niculae & Blondel 2017 in general).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.conservation import laws as projection
from model.conservation import solver_torch as device_law

PIXELS = 200_000  # worked on at once on a CPU: they stay in the cache


def project(
    raw: Tensor,
    totals: Tensor,
    support: Tensor | None = None,
    *,
    weights: Tensor | None = None,
    upper: Tensor | None = None,
) -> Tensor:
    """q = clip(p - theta w, 0, u) on the support, 0 elsewhere; differentiable in p, S, w and u.

    Args:
      raw: (blocks, cells) estimate p, float32 or float64; finite on the support.
      totals: (blocks,) S >= 0.
      support: (blocks, cells) True = may receive mass.
      weights, upper: (blocks, cells) w > 0 and u >= 0.
    Returns: (blocks, cells) in the precision of raw.
    Raises: ValueError for totals that are negative, not finite or cannot be held, and for estimates that are not
      finite; it looks once, which on a GPU waits for the device.
    """
    if raw.ndim != 2 or totals.shape != raw.shape[:1]:
        raise ValueError(f"the estimate is {tuple(raw.shape)}, the totals {tuple(totals.shape)}")
    for name, part in (("support", support), ("weights", weights), ("upper", upper)):
        if part is not None and part.shape != raw.shape:
            raise ValueError(f"{name} is {tuple(part.shape)}, the estimate {tuple(raw.shape)}")
    placed: Tensor = _Project.apply(raw, totals, support, weights, upper)
    return placed


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, totals: Tensor, support: Any, weights: Any, upper: Any) -> Tensor:
        solve = _on_cpu if raw.device.type == "cpu" else device_law.solve
        placed = solve(raw, totals, support, weights, upper)
        ctx.save_for_backward(placed, raw, weights, upper)
        return placed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        placed, raw, weights, upper = ctx.saved_tensors
        (grad,) = grads
        to_raw, to_totals = torch.empty_like(placed), placed.new_empty(len(placed))
        to_weights = torch.empty_like(placed) if ctx.needs_input_grad[3] else None
        to_upper = torch.empty_like(placed) if ctx.needs_input_grad[4] else None
        for rows in _chunks(placed):
            weight, bound = _parts(rows, weights, upper)
            free = placed[rows].sign()
            if bound is not None:
                full = free * (placed[rows] >= bound)
                free = free - full
            spread = free if weight is None else free * weight
            mean = (grad[rows] * spread).sum(1, keepdim=True) / _positive(spread.sum(1, keepdim=True))
            torch.mul(grad[rows] - mean, free, out=to_raw[rows])
            to_totals[rows] = mean[:, 0]
            if to_upper is not None and bound is not None:
                to_upper[rows] = (grad[rows] - mean) * full
            if to_weights is not None and weight is not None:
                # theta, read off the free cells: dq/dw = -theta dq/dp.
                theta = ((raw[rows] - placed[rows]) * free).sum(1, keepdim=True)
                to_weights[rows] = -to_raw[rows] * theta / _positive(spread.sum(1, keepdim=True))
        return to_raw, to_totals.to(grad.dtype), None, to_weights, to_upper


def _on_cpu(raw: Tensor, totals: Tensor, support: Any, weights: Any, upper: Any) -> Tensor:
    masks, scales, bounds = (_array(part) for part in (support, weights, upper))
    placed = projection.project(
        _array(raw), _array(totals), masks, weights=scales, upper=bounds, threads=torch.get_num_threads()
    )
    return torch.from_numpy(placed)


def _array(values: Tensor | None) -> Any:
    return None if values is None else values.detach().numpy()


def _chunks(values: Tensor) -> list[slice]:
    """All at once on a GPU, which has no use for small pieces."""
    blocks, cells = values.shape
    step = max(1, PIXELS // max(1, cells)) if values.device.type == "cpu" else max(1, blocks)
    return [slice(first, first + step) for first in range(0, blocks, step)]


def _parts(rows: slice | Tensor, *parts: Tensor | None) -> list[Tensor | None]:
    return [None if part is None else part[rows] for part in parts]


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)
