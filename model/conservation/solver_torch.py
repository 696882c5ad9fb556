"""The search of model/conservation/solver.py in torch, for estimates that lie on a GPU.

The steps are the same. The few blocks that need more than that, because they are tied, tiny or far from their
totals, are solved by model/conservation/laws.py on the CPU and copied back.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.conservation import laws as projection
from model.conservation.refine import CLOSE
from model.conservation.solver import STEPS


def solve(raw: Tensor, totals: Tensor, support: Any, weights: Any, upper: Any) -> Tensor:
    """(blocks, cells) q, rounded once to the precision of raw; arguments as in model.conservation.laws.project.

    Raises: ValueError for what cannot be met; it looks once, which waits for the device.
    """
    given, totals = totals, totals.double()[:, None]
    _refuse(~(totals.isfinite() & (totals >= 0)), "totals are negative or not finite")
    within = None if support is None else support.to(raw.dtype)
    bare = totals > 0 if within is None else (within.sum(1, keepdim=True) == 0) & (totals > 0)
    _refuse(bare & (within is not None or raw.shape[1] == 0), "no cell may receive the total")
    hidden = raw if support is None else torch.where(support, raw, 0.0)
    _refuse(~hidden.isfinite().all(1), "estimates are not finite")
    bound = None if upper is None else torch.minimum(upper.double(), 2.0 * totals)
    if bound is not None:
        hold = (bound if within is None else bound * within).sum(1, keepdim=True)
        _refuse(totals * (1 - 1e-12) > hold, "upper bounds cannot hold the total")
        totals = torch.minimum(totals, hold)
    wide = _cells(hidden, totals, within, weights, bound, *_guess(hidden, totals, within, weights, bound))
    placed = wide.to(raw.dtype)
    tiny = (totals > 0) & (totals < 2.0 ** projection.FINE[np.dtype(str(raw.dtype).split(".")[1])])
    late = ~((wide.sum(1, keepdim=True) - totals).abs() <= CLOSE * totals) | tiny
    if bool(late.any()):
        rows = late[:, 0].nonzero()[:, 0]
        placed[rows] = _on_cpu(rows, raw, given, support, weights, upper).to(placed)
    return placed


def _on_cpu(rows: Tensor, raw: Tensor, totals: Tensor, *others: Tensor | None) -> Tensor:
    support, weights, upper = (None if part is None else part[rows].cpu().numpy() for part in others)
    few = raw[rows].cpu().numpy(), totals[rows].cpu().numpy()
    return torch.from_numpy(projection.project(*few, support, weights=weights, upper=upper))


def _guess(
    raw: Tensor, totals: Tensor, within: Tensor | None, weights: Tensor | None, upper: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Newton's steps in the precision of raw, held to a bracket where cells are bounded.

    Returns: 1 where a cell is free, 1 where it is full (None without bounds), both (blocks, cells), and the
      highest p / w of each block, (blocks, 1).
    """
    key = raw.clone() if weights is None else raw / weights
    if within is not None:
        key += (within - 1).mul_(torch.finfo(key.dtype).max / 4)
    top = key.amax(dim=1, keepdim=True)
    key -= top
    totals = totals.to(raw.dtype)
    depth = key if weights is None else raw - top * weights
    bound = None if upper is None else upper.to(raw.dtype)
    brim = None if bound is None else key - (bound if weights is None else bound / weights)
    ones = torch.ones_like(key[:1]) if within is None else within
    theta = (_dot(ones, depth) - totals) / _dot(ones, 1 if weights is None else weights)
    if weights is None and upper is None:
        theta = torch.fmax(theta, -totals)
    least, most = torch.full_like(theta, -torch.inf), torch.zeros_like(theta)
    free, full, before = torch.empty_like(key), None, None
    for _ in range(STEPS):
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
    return free, full, top


def _cells(
    raw: Tensor,
    totals: Tensor,
    within: Tensor | None,
    weights: Tensor | None,
    upper: Tensor | None,
    free: Tensor,
    full: Tensor | None,
    top: Tensor,
) -> Tensor:
    """The answer for a given set of free cells, float64."""
    wide = None if weights is None else weights.double()
    depth = raw.double() - (top.double() if wide is None else top.double() * wide)
    over = -totals if full is None or upper is None else _dot(full, upper) - totals
    free = free.double()
    theta = (_dot(free, depth) + over) / _dot(free, 1 if wide is None else wide)
    depth -= theta if wide is None else theta * wide
    placed = depth.clamp_min_(0.0)
    placed = placed if upper is None else torch.minimum(placed, upper, out=placed)
    return placed if within is None else placed.mul_(within)


def _middle(least: Tensor, most: Tensor) -> Tensor:
    """Of the bracket; twice as low where it is still open below."""
    return torch.where(least.isfinite(), least / 2 + most / 2, 2 * most - 1)


def _dot(left: Tensor, right: Tensor | int) -> Tensor:
    return (left * right).sum(1, keepdim=True)


def _refuse(bad: Tensor, fact: str) -> None:
    if bool(bad.any()):
        raise ValueError(f"{fact} in {int(bad.sum())} of the blocks")
