"""Solves the few blocks that a search left off their total: slower, in float64, and for any numbers.

These are blocks where the search in the precision of the estimate ended on a wrong set of free cells, where its
steps ran out, or where theta is far larger than the total, so that rounding theta w would show.
"""

import numpy as np

from model.conservation.problem import Bools, Chunk, Doubles
from model.conservation.solver import sums

STEPS = 600  # a third of them halve the bracket
CLOSE = 1e-13  # of the total: summing 1,600 cells in float64 errs by less
SPLIT = 2.0**27 + 1.0  # parts the 53 binary digits of float64 into two halves
GIVEN_UP = 1e-9  # of the total; further off is never passed on in silence


def mend(chunk: Chunk, out: Doubles, missed: Doubles) -> None:
    """Solves again, in place, the blocks that missed their totals by more than rounding explains.

    Args:
      out: (blocks, cells) q as a search left it.
      missed: (blocks,) how far its sums are off.
    Raises: ArithmeticError when a block could not be brought to its total.
    """
    totals = chunk.totals[:, 0]
    late = np.flatnonzero(~(missed <= CLOSE * totals))
    if not late.size:
        return
    placed = careful(chunk.take(late))
    lacking = np.abs(placed.sum(axis=1) - totals[late])
    if not (lacking <= GIVEN_UP * totals[late]).all():
        raise ArithmeticError(f"{late.size} blocks did not meet their totals; the steps ran out")
    out[late] = placed


def careful(chunk: Chunk) -> Doubles:
    """The same in float64, from an origin near theta: what is subtracted becomes as small as the total.

    For blocks where float32 chose a wrong set, where the steps ran out, or where theta is far larger than the
    total, so that rounding theta w would show.
    """
    totals, within = chunk.totals, _inside(chunk)
    weights = np.ones_like(chunk.raw) if chunk.weights is None else chunk.weights
    with np.errstate(over="ignore", invalid="ignore"):
        origin = np.where(within, chunk.raw / weights, -np.inf).max(axis=1, keepdims=True)
        origin = np.where(np.isfinite(origin), origin, 0.0)
        # The second time from the first answer, so that no cell carries the error of a far origin.
        for _ in range(2):
            depth = np.where(within, _below(chunk.raw, origin, weights), -np.inf)
            placed, moved = _settle(depth, weights, totals)
            origin = origin + moved
    return np.where(totals > 0.0, placed, 0.0)


def _below(raw: Doubles, origin: Doubles, weights: Doubles) -> Doubles:
    """p - origin w, rounded once: what the product loses is taken off afterwards (Dekker 1971).

    Why: where p is far larger than the total, the rounding of the product alone would show in the cells.
    """
    product = origin * weights
    (high, low), (heavy, light) = _halves(origin), _halves(weights)
    lost = low * light - (((product - high * heavy) - low * heavy) - high * light)
    # Numbers too large to be halved keep the rounding.
    return (raw - product) - np.where(np.isfinite(lost), lost, 0.0)


def _halves(values: Doubles) -> tuple[Doubles, Doubles]:
    """Two numbers of 26 digits each that add up to the value (Veltkamp 1968)."""
    moved = values * SPLIT
    high = moved - (moved - values)
    return high, values - high


def _settle(depth: Doubles, weights: Doubles, totals: Doubles) -> tuple[Doubles, Doubles]:
    """Newton in a bracket, moving the origin along: (blocks, cells) q and (blocks, 1) how far it moved."""
    # At `most` every cell is dry, at `least` every cell holds the whole total.
    within = depth > -np.inf
    most = np.where(within, depth / weights, -np.inf).max(axis=1, keepdims=True)
    full = (depth - totals) / weights
    least = np.where(within, full, np.inf).min(axis=1, keepdims=True)
    # Every cell alone gives a level at or below the answer.
    alone = np.where(within, full, -np.inf).max(axis=1, keepdims=True)
    theta = np.clip(np.where(np.isfinite(alone), alone, 0.0), least, most)
    moved = np.zeros_like(theta)
    for turn in range(STEPS):
        depth = depth - theta * weights
        moved += theta
        slack = 1e-15 * (np.abs(theta) + most - least)  # the bracket's own rounding
        least, most = least - theta - slack, most - theta + slack
        placed = np.clip(depth, 0.0, totals)
        excess = sums(placed) - totals
        met = np.abs(excess) <= CLOSE / 10 * totals
        if met.all():
            break
        least, most = np.where(excess > 0, 0.0, least), np.where(excess > 0, most, 0.0)
        slope = (weights * (depth > 0.0)).sum(axis=1, keepdims=True)
        newton = np.divide(excess, slope, out=np.full_like(excess, np.nan), where=slope > 0)
        # Why every third step halves the bracket: where a cell is cut at the total, Newton can go back and forth.
        inside = (newton > least) & (newton < most) & (turn % 3 < 2)
        theta = np.where(met, 0.0, np.where(inside, newton, _middle(least, most)))
    return placed, moved


def _middle(least: Doubles, most: Doubles) -> Doubles:
    """Of the bracket; twice as low where it is still open below."""
    return np.where(np.isfinite(least), least / 2 + most / 2, 2 * most - 1)


def _inside(chunk: Chunk) -> Bools:
    return np.ones(chunk.raw.shape, bool) if chunk.support is None else chunk.support
