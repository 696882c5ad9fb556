"""The law of model/projection.py as a differentiable layer: same numbers, on any device, with its own gradient.

Forward: Newton's steps in the precision of the estimate, theta and p - theta w in float64, rounded once. Backward
is the closed form; with F the free cells, 0 < q < u, and D = sum_F w, every change dq obeys

    dq = dp - w (sum_F dp + sum_full du - dS) / D   on F,   dq = du where q = u,   dq = 0 elsewhere,

so only q is kept, and no sort (Martins & Astudillo 2016 for w = 1; Niculae & Blondel 2017 in general).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIXELS = 200_000  # worked on at once on a CPU: they stay in the cache
GUESSES = 12  # Newton steps in the precision of the estimate
CAREFUL = 600  # steps for blocks that still miss their total
CLOSE = 1e-13  # of the total


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


def water_fill(raw: Tensor, totals: Tensor, support: Tensor) -> Tensor:
    """w = 1."""
    return project(raw, totals, support)


def proportional(raw: Tensor, totals: Tensor, support: Tensor) -> Tensor:
    """w = p, in closed form; all-zero blocks are split evenly."""
    inside = torch.where(support, raw, 0.0).double()
    sums = inside.sum(dim=1, keepdim=True)
    empty = sums == 0
    even = support.double() / support.sum(dim=1, keepdim=True).clamp_min(1)
    shares = torch.where(empty, even, inside / torch.where(empty, 1.0, sums))
    return (shares * totals.double()[:, None]).to(raw.dtype)


def power(raw: Tensor, totals: Tensor, support: Tensor, gamma: float, least: float = 1e-6) -> Tensor:
    """w = p^gamma, in proportion to the block's largest, at least `least`."""
    inside = torch.where(support, raw, 0.0)
    top = inside.detach().amax(dim=1, keepdim=True)
    shares = torch.where(top > 0, inside / torch.where(top > 0, top, 1.0), 1.0)
    # Why clamped before: the slope of p^gamma at 0 is infinite.
    weights = shares.clamp_min(least ** (1 / gamma)) ** gamma if gamma > 0 else torch.ones_like(shares)
    return project(raw, totals, support, weights=weights)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor, totals: Tensor, support: Any, weights: Any, upper: Any) -> Tensor:
        placed = torch.empty_like(raw)
        for rows in _chunks(raw):
            placed[rows] = _solve(
                raw[rows], totals[rows, None].double(), *_parts(rows, support, weights, upper)
            )
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


def _chunks(values: Tensor) -> list[slice]:
    """All at once on a GPU, which has no use for small pieces."""
    blocks, cells = values.shape
    step = max(1, PIXELS // max(1, cells)) if values.device.type == "cpu" else max(1, blocks)
    return [slice(first, first + step) for first in range(0, blocks, step)]


def _parts(rows: slice | Tensor, *parts: Tensor | None) -> list[Tensor | None]:
    return [None if part is None else part[rows] for part in parts]


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)


def _solve(
    raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None, upper: Tensor | None
) -> Tensor:
    """(blocks, cells) q, float64; the steps of model/threshold.py."""
    _refuse(~(totals.isfinite() & (totals >= 0)), "totals are negative or not finite")
    if not bool(raw.sum().isfinite()):
        raw = raw if support is None else torch.where(support, raw, 0.0)
        _refuse(~raw.isfinite().all(1), "estimates are not finite")
    within = None if support is None else support.to(raw.dtype)
    if upper is not None:
        upper = torch.minimum(upper.double(), 2.0 * totals)
        hold = (upper if support is None else upper * support).sum(1, keepdim=True)
        _refuse(totals * (1 - 1e-12) > hold, "upper bounds cannot hold the total")
        totals = torch.minimum(totals, hold)
    key = raw.clone() if weights is None else raw / weights
    if within is not None:
        key += (within - 1).mul_(torch.finfo(key.dtype).max / 4)
        _refuse((within.sum(1, keepdim=True) == 0) & (totals > 0), "no cell may receive the total")
    top = key.amax(dim=1, keepdim=True)
    key -= top
    free, full = _guess(raw, totals.to(raw.dtype), within, weights, upper, key, top)
    placed = _cells(raw.to(torch.float64, copy=True), totals, weights, upper, free, full, top.double())
    if within is not None:
        placed = placed.mul_(within)
    late = ~((placed.sum(1, keepdim=True) - totals).abs() <= CLOSE * totals)
    if bool(late.any()):
        rows = late[:, 0].nonzero()[:, 0]
        placed[rows] = _careful(raw[rows].double(), totals[rows], *_parts(rows, support, weights, upper))
    return placed


def _guess(
    raw: Tensor,
    totals: Tensor,
    within: Tensor | None,
    weights: Tensor | None,
    upper: Tensor | None,
    key: Tensor,
    top: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Newton's steps in the precision of raw; held to a bracket where cells are bounded."""
    depth = key if weights is None else raw - top * weights
    bound = None if upper is None else upper.to(raw.dtype)
    brim = None if bound is None else key - (bound if weights is None else bound / weights)
    ones = torch.ones_like(key[:1]) if within is None else within
    theta = (_dot(ones, depth) - totals) / _positive(_dot(ones, 1 if weights is None else weights))
    if weights is None and upper is None:
        theta = torch.fmax(theta, -totals)
    least, most = torch.full_like(theta, -torch.inf), torch.zeros_like(theta)
    free, full, before = torch.empty_like(key), None, None
    for _ in range(GUESSES):
        torch.gt(key, theta, out=free)
        held = -totals
        if brim is not None and bound is not None:
            full = torch.gt(brim, theta, out=torch.empty_like(key))
            free -= full
            held = held + _dot(full, bound)
        slope, held = _dot(free, 1 if weights is None else weights), held + _dot(free, depth)
        if before is not None and torch.equal(slope, before):
            break
        before, newton = slope, held / slope
        if brim is None:
            theta = torch.fmax(newton, theta)
            continue
        low = held > theta * slope
        least, most = torch.where(low, theta, least), torch.where(low, most, theta)
        held_in = torch.maximum(torch.minimum(newton, most), least)
        theta = torch.where(newton.isfinite(), held_in, _middle(least, most))
    return free, full


def _cells(
    depth: Tensor,
    totals: Tensor,
    weights: Tensor | None,
    upper: Tensor | None,
    free: Tensor,
    full: Tensor | None,
    top: Tensor,
) -> Tensor:
    """The answer for a given set of free cells; changes depth, which starts as p, in place."""
    wide = None if weights is None else weights.double()
    depth -= top if wide is None else top * wide
    over = -totals if full is None or upper is None else _dot(full, upper) - totals
    free = free.double()
    theta = (_dot(free, depth) + over) / _dot(free, 1 if wide is None else wide)
    depth -= theta if wide is None else theta * wide
    placed = depth.clamp_min_(0.0)
    return placed if upper is None else torch.minimum(placed, upper, out=placed)


def _careful(
    raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None, upper: Tensor | None
) -> Tensor:
    """The same in float64, from an origin near theta: what is subtracted becomes as small as the total."""
    within = torch.ones_like(raw, dtype=torch.bool) if support is None else support
    wide = torch.ones_like(raw) if weights is None else torch.where(within, weights.double(), 1.0)
    bound = totals.expand_as(raw) if upper is None else torch.minimum(upper, totals)
    bound, placed = torch.where(within, bound, 0.0), torch.zeros_like(raw)
    origin = torch.where(within, raw / wide, -torch.inf).amax(1, keepdim=True)
    origin = torch.where(origin.isfinite(), origin, 0.0)
    for _ in range(2):  # the second time from the first answer, so that no cell carries a far origin's error
        depth = torch.where(within, raw - origin * wide, -torch.inf)
        placed, moved = _settle(depth, wide, bound, totals)
        origin = origin + moved
    return torch.where(totals > 0, placed, 0.0)


def _settle(depth: Tensor, weights: Tensor, upper: Tensor, totals: Tensor) -> tuple[Tensor, Tensor]:
    """Newton in a bracket, moving the origin along: (blocks, cells) q and (blocks, 1) how far it moved."""
    low, within = -torch.inf, depth > -torch.inf
    most = torch.where(within, depth / weights, low).amax(1, keepdim=True)
    least = torch.where(within, (depth - upper) / weights, torch.inf).amin(1, keepdim=True)
    # Every cell alone gives a level at or below the answer, when nothing is bounded.
    alone = torch.where(within, (depth - totals) / weights, low).amax(1, keepdim=True)
    theta = torch.maximum(torch.minimum(torch.where(alone > low, alone, 0.0), most), least)
    moved, placed = torch.zeros_like(theta), torch.zeros_like(depth)
    for turn in range(CAREFUL):
        depth = depth - theta * weights
        moved = moved + theta
        slack = 1e-15 * (theta.abs() + most - least)  # the bracket's own rounding
        least, most = least - theta - slack, most - theta + slack
        placed = torch.minimum(depth.clamp_min(0.0), upper)
        excess = placed.sum(1, keepdim=True) - totals
        met = excess.abs() <= CLOSE / 10 * totals
        if bool(met.all()):
            break
        least, most = torch.where(excess > 0, 0.0, least), torch.where(excess > 0, most, 0.0)
        newton = excess / (weights * ((depth > 0) & (depth < upper))).sum(1, keepdim=True)
        # Why every third step halves the bracket: with bounds, Newton can go back and forth for ever.
        inside = (newton > least) & (newton < most) & (turn % 3 < 2)
        theta = torch.where(met, 0.0, torch.where(inside, newton, _middle(least, most)))
    return placed, moved


def _middle(least: Tensor, most: Tensor) -> Tensor:
    """Of the bracket; twice as low where it is still open below."""
    return torch.where(least.isfinite(), least / 2 + most / 2, 2 * most - 1)


def _dot(left: Tensor, right: Tensor | int) -> Tensor:
    return (left * right).sum(1, keepdim=True)


def _refuse(bad: Tensor, fact: str) -> None:
    if bool(bad.any()):
        raise ValueError(f"{fact} in {int(bad.sum())} of the blocks")
