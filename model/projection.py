"""What must stay true: raw estimates become fields whose blocks meet their totals, by a law or by the ladder.

Each law minimises sum (q - p)^2 / (2 w) subject to sum q = S and q >= 0, so q = max(p - theta w, 0)
(spec: weighted projection on the scaled simplex; Held, Wolfe, Crowder 1974; Duchi et al. 2008).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Masses = NDArray[np.float64]
Bools = NDArray[np.bool_]
Law = Callable[[Masses, Masses, Bools], Masses]

PASSES = 3  # a threshold is exact in real numbers; further passes take back what rounding left


def weighted(raw: Masses, totals: Masses, support: Bools, weights: Masses) -> Masses:
    """Projects every block; q = max(p - theta w, 0) on its support, 0 elsewhere.

    Args:
      raw: (blocks, cells) estimate p >= 0.
      totals: (blocks,) S >= 0.
      support: (blocks, cells) True = may receive mass; a block with S > 0 needs at least one.
      weights: (blocks, cells) w > 0 on the support.
    Returns: (blocks, cells) mass; each row sums to its total within a few ulps.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        key = np.where(support, raw / weights, -np.inf)
    order = np.argsort(-key, axis=1, kind="stable")
    sorted_raw = np.take_along_axis(np.where(support, raw, 0.0), order, axis=1)
    sorted_weights = np.take_along_axis(np.where(support, weights, 0.0), order, axis=1)
    sorted_key = np.take_along_axis(key, order, axis=1)
    # Why the largest key is taken out: theta becomes small beside p, so tiny totals survive large estimates.
    top = np.where(np.isfinite(sorted_key[:, :1]), sorted_key[:, :1], 0.0)
    depth = np.where(np.isfinite(sorted_key), sorted_raw - top * sorted_weights, 0.0)
    cumulated = np.cumsum(sorted_weights, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shifts = (np.cumsum(depth, axis=1) - totals[:, None]) / cumulated
    inside = np.isfinite(sorted_key) & (sorted_key - top >= shifts)
    last = np.maximum(inside.sum(axis=1) - 1, 0)
    shift = np.take_along_axis(shifts, last[:, None], axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        placed = np.where(support, np.maximum(raw - top * weights - shift * weights, 0.0), 0.0)
    return settle(np.where(totals[:, None] > 0, placed, 0.0), totals)


def settle(placed: Masses, totals: Masses) -> Masses:
    """Takes back what rounding left: scales each block by the ratio of its total to its sum."""
    for _ in range(PASSES):
        sums = placed.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(sums > 0, totals / sums, 1.0)
        if np.all(ratio == 1.0):
            break
        placed = placed * ratio[:, None]
    return placed


def water_fill(raw: Masses, totals: Masses, support: Bools) -> Masses:
    """w = 1: the same depth is taken from, or added to, every cell that stays above 0."""
    return weighted(raw, totals, support, np.ones_like(raw))


def proportional(raw: Masses, totals: Masses, support: Bools) -> Masses:
    """w = p: every cell keeps its share; the KL and the Pearson projection. All-zero blocks are split evenly."""
    inside = np.where(support, raw, 0.0)
    top = inside.max(axis=1, keepdims=True)
    shares = np.where(top > 0, inside / np.where(top > 0, top, 1.0), support.astype(np.float64))
    sums = np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return settle(shares / sums * totals[:, None], totals)


def power(gamma: float) -> Law:
    """w = p^gamma, between water_fill (0) and proportional (1); a floor of 1e-6 of the block's largest weight."""

    def law(raw: Masses, totals: Masses, support: Bools) -> Masses:
        inside = np.where(support, raw, 0.0)
        top = inside.max(axis=1, keepdims=True)
        weights = np.where(top > 0, inside / np.where(top > 0, top, 1.0), 1.0) ** gamma
        return weighted(raw, totals, support, np.maximum(weights, 1e-6))

    return law


LAWS: dict[str, Callable[[float], Law]] = {
    "water_fill": lambda _gamma: water_fill,
    "proportional": lambda _gamma: proportional,
    "power": power,
}


class Rung(IntEnum):
    """Which step of the ladder placed a block's total."""

    NOTHING = 0  # the total is 0
    MODEL = 1  # where the estimate is above 0
    PROXY = 2  # where a proxy is above 0, in proportion to it
    LAND = 3  # evenly over valid cells
    UNIFORM = 4  # evenly over the whole block: no cell of it is valid
    SINK = 5  # a negative total, evenly over valid cells: proxies of sources say nothing of sinks
    OUTSIDE = 255  # the total is not known


@dataclass(frozen=True)
class Placed:
    """Blocks after the law: mass (blocks, cells) with NaN where a cell may not receive any, and rungs (blocks,)."""

    mass: Masses
    rungs: NDArray[np.uint8]
    not_finite: int  # estimates that were NaN or infinite on valid cells


def place(raw: Masses, totals: Masses, known: Bools, valid: Bools, proxy: Masses, law: Law) -> Placed:
    """Makes every known block meet its total; a block with nowhere to put it walks the ladder.

    Args:
      raw, valid, proxy: (blocks, cells).
      totals, known: (blocks,).
    Why raw = 0 leaves the support: an exact 0 is a statement of the method; the law must not undo it
    while the block has another place. Mass is never dropped: the last rung ignores validity.
    """
    finite = np.isfinite(raw)
    not_finite = int((~finite & valid).sum())
    raw = np.where(finite, np.maximum(raw, 0.0), 0.0)
    model_support, proxy_support = valid & (raw > 0), valid & (proxy > 0)
    rungs = np.select(
        [~known, totals == 0, totals < 0, model_support.any(1), proxy_support.any(1), valid.any(1)],
        [Rung.OUTSIDE, Rung.NOTHING, Rung.SINK, Rung.MODEL, Rung.PROXY, Rung.LAND],
        Rung.UNIFORM,
    ).astype(np.uint8)
    empty = ~valid.any(axis=1)
    everywhere = (rungs == Rung.UNIFORM) | ((rungs == Rung.SINK) & empty)
    mass = np.where(valid, 0.0, np.nan)
    chosen = rungs == Rung.MODEL
    mass[chosen] = _on(law(raw[chosen], totals[chosen], model_support[chosen]), valid[chosen])
    chosen = rungs == Rung.PROXY
    mass[chosen] = _on(proportional(proxy[chosen], totals[chosen], proxy_support[chosen]), valid[chosen])
    chosen = np.isin(rungs, (Rung.LAND, Rung.UNIFORM, Rung.SINK))
    land = valid[chosen] | everywhere[chosen, None]
    sign = np.sign(totals[chosen])
    even = proportional(land.astype(np.float64), np.abs(totals[chosen]), land)
    mass[chosen] = _on(even * sign[:, None], land)
    mass[~known] = np.nan
    return Placed(mass, rungs, not_finite)


def _on(mass: Masses, cells: Bools) -> Masses:
    return np.where(cells, mass, np.nan)


def to_blocks(values: NDArray, factor: int) -> NDArray:
    """(..., rows * factor, cols * factor) as (..., rows * cols, factor * factor)."""
    *lead, rows, cols = values.shape
    shaped = values.reshape(*lead, rows // factor, factor, cols // factor, factor)
    return np.moveaxis(shaped, -3, -2).reshape(*lead, (rows // factor) * (cols // factor), factor * factor)


def from_blocks(blocks: NDArray, rows: int, cols: int, factor: int) -> NDArray:
    """The inverse of to_blocks; rows and cols count blocks."""
    *lead, _, _ = blocks.shape
    shaped = blocks.reshape(*lead, rows, cols, factor, factor)
    return np.moveaxis(shaped, -3, -2).reshape(*lead, rows * factor, cols * factor)
