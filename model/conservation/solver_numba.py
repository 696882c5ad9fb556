"""The search of model/conservation/solver.py as compiled loops over blocks, for where numba is (extra `fast`).

The plain path is always there and gives the same numbers to the last digits of float64. Here the row of a block
stays in the innermost cache while theta is sought, so what is left is little more than reading and writing.
"""

from typing import Any

import numba
import numpy as np

from model.conservation.problem import Chunk, Doubles, Floats

STEPS = 24  # Newton steps; few blocks need more than 6
# Sums may run in vector registers; infinities and NaN keep their meaning. Division by 0 is as in numpy.
# Kept beside this file once compiled: a short run should not wait for it again.
part: Any = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)
# For differences of large numbers, which must be taken in the order written.
as_written: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


class Search:
    """As model.conservation.solver.Search; it needs no desk."""

    def __init__(self, rows: int, cells: int, kind: np.dtype) -> None:
        """Sizes do not matter here."""

    def fill(self, chunk: Chunk, out: Floats) -> Doubles:
        """Writes q, rounded once to the precision of out; returns (blocks,) how far its float64 sums are off.

        Args: out: (blocks, cells) float32 or float64, overwritten. A block whose total is 0 becomes 0. What is
          off is mended by refine.py, as for the plain search.
        """
        missed = np.empty(len(chunk.raw))
        _fill(chunk.raw, chunk.totals[:, 0], chunk.support, chunk.weights, out, missed)
        return missed


@part
def _fill(raw, totals, support, weights, out, missed):  # type: ignore[no-untyped-def]
    kind = raw.dtype.type
    cells = raw.shape[1]
    key, depth = np.empty(cells, raw.dtype), np.empty(cells, raw.dtype)
    weight = np.ones(cells, raw.dtype)
    for block in range(raw.shape[0]):
        if not totals[block] > 0:
            for cell in range(cells):
                out[block, cell] = 0
            missed[block] = 0.0
            continue
        inside = None if support is None else support[block]
        scale = None if weights is None else weights[block]
        total = kind(totals[block])
        top = _keys(raw[block], inside, scale, key, depth, weight)
        theta = _rising(key, depth, weight, scale, total)
        missed[block] = _cells(raw[block], totals[block], inside, scale, top, theta, key, out[block])


@part
def _keys(row, inside, scale, key, depth, weight):  # type: ignore[no-untyped-def]
    """Fills where each cell runs dry, below the highest, and w, 0 outside the support; returns the highest."""
    zero, one, low = key.dtype.type(0), key.dtype.type(1), key.dtype.type(-np.inf)
    top = low
    for cell in range(row.size):
        value = row[cell]
        if scale is not None:
            value = value / scale[cell]
            weight[cell] = scale[cell]
        if inside is not None:
            value = value if inside[cell] else low
        key[cell] = value
        top = max(top, value)
    for cell in range(row.size):
        key[cell] -= top
        below = key[cell]
        if scale is not None:
            below = row[cell] - top * scale[cell]
        if inside is not None:
            below = below if inside[cell] else zero
            here = one if scale is None else scale[cell]
            weight[cell] = here if inside[cell] else zero
        depth[cell] = below
    return top


@part
def _rising(key, depth, weight, scale, total):  # type: ignore[no-untyped-def]
    """Newton from the left, as the sum falls and flattens."""
    zero = key.dtype.type(0)
    held, slope = zero, zero
    for cell in range(key.size):
        held += depth[cell]
        slope += weight[cell]
    theta, before = (held - total) / slope, -slope
    if scale is None:
        theta = max(theta, -total)  # the level of the highest cell alone
    for _ in range(STEPS):
        held, slope = zero, zero
        for cell in range(key.size):
            free = key[cell] > theta
            held += depth[cell] if free else zero
            slope += weight[cell] if free else zero
        if slope == before:
            break
        before, theta = slope, max((held - total) / slope, theta)
    return theta


@as_written
def _below(mass, level, wide):  # type: ignore[no-untyped-def]
    """What a cell holds above a level: p - level w.

    Why as written: a compiler free to regroup turns p - high w - level w into p - (high + level) w, and where p is
    far larger than the total, high + level loses the digits of level: cells were wrong by 2^-53 of p although their
    sum was right. Without weights that error is the same in every cell, so it shows in the sum and is mended.
    """
    return mass - level * wide


@part
def _cells(row, total, inside, scale, top, theta, key, out):  # type: ignore[no-untyped-def]
    """The answer for the set of free cells at theta, in float64; returns how far its sum is off."""
    high, held, slope = np.float64(top), -total, 0.0
    for cell in range(row.size):
        free = key[cell] > theta
        wide = 1.0 if scale is None else np.float64(scale[cell])
        if scale is None:
            held += np.float64(row[cell]) - high if free else 0.0
        else:
            held += _below(np.float64(row[cell]), high, wide) if free else 0.0
        slope += wide if free else 0.0
    level, placed = held / slope, 0.0
    for cell in range(row.size):
        wide = 1.0 if scale is None else np.float64(scale[cell])
        if scale is None:
            mass = max(np.float64(row[cell]) - high - level, 0.0)
        else:
            mass = max(_below(_below(np.float64(row[cell]), high, wide), level, wide), 0.0)
        if inside is not None:
            mass = mass if inside[cell] else 0.0
        placed += mass
        out[cell] = mass
    return abs(placed - total)
