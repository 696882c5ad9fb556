"""The search of model/conservation/solver.py in torch, for estimates that lie on a GPU.

The steps are the same. The few blocks that need more than that, because they are tied, tiny or far from their
totals, are solved by model/conservation/laws.py on the CPU and copied back.
"""

import numpy as np
import torch
from torch import Tensor

from model.conservation import laws as projection
from model.conservation.refine import CLOSE
from model.conservation.solver import STEPS


def solve(raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None) -> Tensor:
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
    free, top = _guess(hidden, totals, within, weights)
    wide = _cells(hidden, totals, within, weights, free, top)
    placed = wide.to(raw.dtype)
    tiny = (totals > 0) & (totals < 2.0 ** projection.FINE[np.dtype(str(raw.dtype).split(".")[1])])
    late = ~((wide.sum(1, keepdim=True) - totals).abs() <= CLOSE * totals) | tiny
    if bool(late.any()):
        rows = late[:, 0].nonzero()[:, 0]
        placed[rows] = _on_cpu(rows, raw, given, support, weights).to(placed)
    return placed


def _on_cpu(
    rows: Tensor, raw: Tensor, totals: Tensor, support: Tensor | None, weights: Tensor | None
) -> Tensor:
    mask = None if support is None else support[rows].cpu().numpy()
    scale = None if weights is None else weights[rows].cpu().numpy()
    few = raw[rows].cpu().numpy(), totals[rows].cpu().numpy()
    return torch.from_numpy(projection.project(*few, mask, weights=scale))


def _guess(
    raw: Tensor, totals: Tensor, within: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Newton's steps in the precision of raw.

    Returns: 1 where a cell is free, (blocks, cells), and the highest p / w of each block, (blocks, 1).
    """
    key = raw.clone() if weights is None else raw / weights
    if within is not None:
        key += (within - 1).mul_(torch.finfo(key.dtype).max / 4)
    top = key.amax(dim=1, keepdim=True)
    key -= top
    totals = totals.to(raw.dtype)
    depth = key if weights is None else raw - top * weights
    ones = torch.ones_like(key[:1]) if within is None else within
    theta = (_dot(ones, depth) - totals) / _dot(ones, 1 if weights is None else weights)
    if weights is None:
        theta = torch.fmax(theta, -totals)
    free, before = torch.empty_like(key), None
    for _ in range(STEPS):
        torch.gt(key, theta, out=free)
        slope, held = _dot(free, 1 if weights is None else weights), _dot(free, depth) - totals
        if before is not None and torch.equal(slope, before):
            break
        before, theta = slope, torch.fmax(held / slope, theta)
    return free, top


def _cells(
    raw: Tensor, totals: Tensor, within: Tensor | None, weights: Tensor | None, free: Tensor, top: Tensor
) -> Tensor:
    """The answer for a given set of free cells, float64."""
    wide = None if weights is None else weights.double()
    depth = raw.double() - (top.double() if wide is None else top.double() * wide)
    free = free.double()
    theta = (_dot(free, depth) - totals) / _dot(free, 1 if wide is None else wide)
    depth -= theta if wide is None else theta * wide
    placed = depth.clamp_min_(0.0)
    return placed if within is None else placed.mul_(within)


def _dot(left: Tensor, right: Tensor | int) -> Tensor:
    return (left * right).sum(1, keepdim=True)


def _refuse(bad: Tensor, fact: str) -> None:
    if bool(bad.any()):
        raise ValueError(f"{fact} in {int(bad.sum())} of the blocks")
