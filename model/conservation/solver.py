"""Finds the level theta at which sum max(p - theta w, 0) meets each block's total, for many blocks at once.

Newton's method on a piecewise linear function: no sort is needed, 3 to 6 steps are usual (Michelot 1986 for
w = 1). The search runs in the precision of the estimate and may end a rounding away from theta; one more step in
float64 puts it right. The few blocks that still miss their total are for model/conservation/refine.py.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.conservation.problem import Chunk, Doubles, Floats

STEPS = 24  # Newton steps; few blocks need more than 6
ALONE = 0.7  # share of the blocks under which those still moving go on alone


class Search:
    """A worker's desk: arrays as large as a chunk, laid out once because fresh memory costs more than the sums.

    Args:
      rows, cells: of the largest chunk.
      kind: precision of the estimate.
    """

    def __init__(self, rows: int, cells: int, kind: np.dtype) -> None:
        self._key, self._free, self._sunk = np.empty((3, rows, cells), kind)
        self._depth, self._placed, self._wide = np.empty((3, rows, cells))
        self._zeros = np.zeros((rows, cells))  # numpy compares two arrays faster than an array with a number
        self._rows = np.arange(rows)

    def fill(self, chunk: Chunk, out: Floats) -> Doubles:
        """Writes q, rounded once to the precision of out; returns (blocks,) how far its float64 sums are off.

        Args:
          chunk: blocks checked by `clean`; no more of them than the desk has rows.
          out: (blocks, cells), overwritten. What is off is mended by refine.py.
        """
        with np.errstate(all="ignore"):  # what is not finite misses its total, and is told so
            self._sink(chunk)
            key, top = self._keys(chunk)
            theta, slope = rising(chunk, key, top, self._free[: len(key)])
            return self._cells(chunk, top, theta, slope, out)

    def _sink(self, chunk: Chunk) -> None:
        """What is added to a cell so that it runs dry before any other: 0 on the support.

        Why a sum: numpy's masks cost ten times as much.
        """
        if chunk.support is not None:
            sunk = self._sunk[: len(chunk.raw)]
            np.copyto(sunk, chunk.support)
            sunk -= 1
            sunk *= np.finfo(sunk.dtype).max / 4

    def _keys(self, chunk: Chunk) -> tuple[Floats, Floats]:
        """Where each cell runs dry, p / w, below the highest of its block; and that highest, (blocks, 1).

        Why the highest is taken out: theta becomes as small as the total, so tiny totals survive huge estimates.
        """
        key, dry = self._key[: len(chunk.raw)], chunk.raw
        if chunk.weights is not None:
            dry = np.divide(dry, chunk.weights, out=key)
        if chunk.support is not None:
            dry = np.add(dry, self._sunk[: len(key)], out=key)
        top = dry[self._rows[: len(key)], dry.argmax(axis=1), None]  # far faster than max
        return np.subtract(dry, top, out=key), top

    def _cells(self, chunk: Chunk, top: Floats, theta: Floats, slope: Floats, out: Floats) -> Doubles:
        """One more Newton step and the answer, in float64 whatever the estimate came in.

        Why float64: with theta and p - theta w in float64, rounding q once to float32 moves a block's sum by
        less than 6e-8 of it, because no term is negative.
        """
        depth, placed = self._depth[: len(chunk.raw)], self._placed[: len(chunk.raw)]
        np.copyto(depth, chunk.raw)
        if chunk.weights is None:
            depth -= top
        else:
            np.copyto(self._wide[: len(depth)], chunk.weights)
            np.multiply(self._wide[: len(depth)], top.astype(np.float64), out=placed)
            depth -= placed
        if chunk.support is not None:
            depth += self._sunk[: len(depth)]
        level = theta.astype(np.float64)
        missed = self._level(chunk, depth, level, placed)
        # Why twice with weights: their slope was added up in the precision of the estimate.
        for _ in range(1 if chunk.weights is None else 2):
            level += np.where(slope > 0, missed / slope, 0.0)
            missed = self._level(chunk, depth, level, placed)
        np.copyto(out, placed, casting="same_kind")
        return np.abs(missed)[:, 0]

    def _level(self, chunk: Chunk, depth: Doubles, theta: Doubles, placed: Doubles) -> Doubles:
        """Fills `placed` with q at theta; returns (blocks, 1) by how much it exceeds the total."""
        if chunk.weights is None:
            np.subtract(depth, theta, out=placed)
        else:
            np.multiply(self._wide[: len(depth)], theta, out=placed)
            np.subtract(depth, placed, out=placed)
        np.maximum(placed, self._zeros[: len(placed)], out=placed)
        return sums(placed) - chunk.totals


def rising(chunk: Chunk, key: Floats, top: Floats, free: Floats) -> tuple[Floats, Floats]:
    """Newton from the left: as the sum falls and flattens when theta rises, it never steps too far.

    Args:
      key, top: as _keys gives them.
      free: workspace, shape of key.
    Returns: theta and the slope there, (blocks, 1).
    """
    weights, totals = chunk.weights, chunk.totals.astype(key.dtype)
    depth = key if weights is None else chunk.raw - top * weights
    level, before = _start(chunk, depth, totals), np.zeros_like(totals)
    theta, slope, rows = np.empty_like(level), np.empty_like(level), np.arange(len(key))
    for _ in range(STEPS):
        here = free[: len(rows)]
        np.copyto(here, key > level)
        steep = dot(here, weights)
        level = np.fmax((dot(here, depth) - totals) / steep, level)
        moving = np.flatnonzero(steep != before)
        if moving.size < ALONE * len(rows):
            theta[rows], slope[rows] = level, steep
            rows, depth, weights, totals, level, steep = _taken(
                moving, rows, depth, weights, totals, level, steep
            )
            key = depth if weights is None else key[moving]
        before = steep
        if not moving.size:
            return theta, slope
    theta[rows], slope[rows] = level, steep
    return theta, slope


def _taken(rows: NDArray[np.integer], *parts: NDArray | None) -> list[Any]:
    return [None if part is None else part[rows] for part in parts]


def _start(chunk: Chunk, depth: Floats, totals: Floats) -> Floats:
    """The level if every cell were free: at or below the answer."""
    if chunk.support is None:
        held = sums(depth)
        steep = depth.shape[1] if chunk.weights is None else sums(chunk.weights)
    else:
        inside = chunk.support.astype(depth.dtype)
        held, steep = dot(inside, depth), dot(inside, chunk.weights)
    theta = (held - totals) / steep
    # For w = 1 so is the level of the highest cell alone.
    return np.fmax(theta, -totals) if chunk.weights is None else theta


def dot(left: Floats, right: Floats | None) -> Floats:
    """(blocks, 1) sum over the cells of left x right; right is 1 if None."""
    return sums(left) if right is None else np.vecdot(left, right)[:, None]


def sums(values: Floats) -> Floats:
    """(blocks, 1) sum over the cells; as a product, which runs in vector registers."""
    return (values @ np.ones(values.shape[1], values.dtype))[:, None]
