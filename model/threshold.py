"""Finds the level theta at which sum clip(p - theta w, 0, u) meets each block's total, for many blocks at once.

Newton's method on a piecewise linear function: no sort is needed, 3 to 6 steps are usual (Michelot 1986 for
w = 1). The search runs in the precision of the estimate and may end a rounding away from theta; one more step in
float64 puts it right. The few blocks that still miss their total are for model/careful.py.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.chunk import Chunk, Doubles, Floats

STEPS = 24  # Newton steps; few blocks need more than 6


class Search:
    """A worker's desk: arrays as large as a chunk, laid out once because fresh memory costs more than the sums.

    Args:
      rows, cells: of the largest chunk.
      kind: precision of the estimate.
    """

    def __init__(self, rows: int, cells: int, kind: np.dtype) -> None:
        self._key, self._free, self._sunk, self._brim = np.empty((4, rows, cells), kind)
        self._depth, self._placed, self._wide = np.empty((3, rows, cells))
        self._zeros = np.zeros((rows, cells))  # numpy compares two arrays faster than an array with a number

    def fill(self, chunk: Chunk, out: Floats) -> Doubles:
        """Writes q, rounded once to the precision of out; returns (blocks,) how far its float64 sums are off."""
        with np.errstate(all="ignore"):  # what is not finite misses its total, and is told so
            self._sink(chunk)
            key, top = self._keys(chunk)
            if chunk.upper is None:
                theta, slope = rising(chunk, key, top, self._free[: len(key)])
            else:
                theta, slope = between(chunk, key, top, self._free[: len(key)], self._brim[: len(key)])
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
        key = self._key[: len(chunk.raw)]
        if chunk.weights is None:
            np.copyto(key, chunk.raw)
        else:
            np.divide(chunk.raw, chunk.weights, out=key)
        if chunk.support is not None:
            key += self._sunk[: len(key)]
        top = np.take_along_axis(key, key.argmax(axis=1)[:, None], axis=1)  # far faster than max
        key -= top
        return key, top

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
        if chunk.upper is not None:
            np.minimum(placed, chunk.upper, out=placed)
        return sums(placed) - chunk.totals


def rising(chunk: Chunk, key: Floats, top: Floats, free: Floats) -> tuple[Floats, Floats]:
    """No bounds: the sum falls and flattens as theta rises, so Newton from the left never steps too far.

    Args:
      key, top: as _keys gives them.
      free: workspace, shape of key.
    Returns: theta and the slope there, (blocks, 1).
    """
    weights, totals = chunk.weights, chunk.totals.astype(key.dtype)
    depth = key if weights is None else chunk.raw - top * weights
    theta, slope = _start(chunk, depth, totals), np.zeros_like(totals)
    rows = np.arange(len(key))
    for _ in range(STEPS):
        level, here = theta[rows], free[: len(rows)]
        np.copyto(here, key > level)
        steep = dot(here, weights)
        theta[rows] = np.fmax((dot(here, depth) - totals[rows]) / steep, level)
        moving = np.flatnonzero(steep != slope[rows])
        slope[rows] = steep
        if not moving.size:
            break
        if moving.size < len(rows) // 2:  # most blocks have arrived: go on with the others alone
            rows = rows[moving]
            key, depth, weights = _taken(moving, key, depth, weights)
    return theta, slope


def between(chunk: Chunk, key: Floats, top: Floats, free: Floats, brim: Floats) -> tuple[Floats, Floats]:
    """With bounds: the sum still falls, but Newton may overshoot; a bracket that only shrinks holds it.

    Args:
      key, top: as _keys gives them.
      free, brim: workspace, shape of key.
    Returns: theta and the slope there, (blocks, 1).
    """
    weights, upper, totals = chunk.weights, chunk.upper, chunk.totals.astype(key.dtype)
    assert upper is not None
    depth = key if weights is None else chunk.raw - top * weights
    np.subtract(key, upper if weights is None else upper / weights, out=brim)
    theta, slope = _start(chunk, depth, totals), np.full_like(totals, -1)
    least, most = np.full_like(theta, -np.inf), np.zeros_like(theta)
    rows = np.arange(len(key))
    for _ in range(STEPS):
        level, here = theta[rows], free[: len(rows)]
        np.copyto(here, brim > level)
        held = dot(here, upper) - dot(here, depth) - totals[rows]
        steep = -dot(here, weights)
        np.copyto(here, key > level)
        held += dot(here, depth)
        steep += dot(here, weights)
        moving = np.flatnonzero(steep != slope[rows])
        slope[rows] = steep
        if not moving.size:
            break
        low = held > level * steep
        floor, roof = np.where(low, level, least[rows]), np.where(low, most[rows], level)
        newton = held / steep
        # Held to the bracket: at the answer, rounding alone must not send theta to the middle of it.
        theta[rows] = np.where(np.isfinite(newton), np.clip(newton, floor, roof), middle(floor, roof))
        least[rows], most[rows] = floor, roof
        if moving.size < len(rows) // 2:
            rows = rows[moving]
            key, depth, brim, upper, weights = _taken(moving, key, depth, brim, upper, weights)
    return theta, slope


def _taken(rows: NDArray[np.integer], *parts: Floats | None) -> list[Any]:
    return [None if part is None else part[rows] for part in parts]


def _start(chunk: Chunk, depth: Floats, totals: Floats) -> Floats:
    """The level if every cell were free: at or below the answer where nothing is bounded."""
    inside = np.ones_like(depth[:1]) if chunk.support is None else chunk.support.astype(depth.dtype)
    theta = (dot(inside, depth) - totals) / dot(inside, chunk.weights)
    # For w = 1 so is the level of the highest cell alone.
    return np.fmax(theta, -totals) if chunk.weights is None and chunk.upper is None else theta


def middle(least: Floats, most: Floats) -> Floats:
    """Of the bracket; twice as low where it is still open below."""
    return np.where(np.isfinite(least), least / 2 + most / 2, 2 * most - 1)


def dot(left: Floats, right: Floats | None) -> Floats:
    """(blocks, 1) sum over the cells of left x right; right is 1 if None."""
    return sums(left) if right is None else np.vecdot(left, right)[:, None]


def sums(values: Floats) -> Floats:
    """(blocks, 1) sum over the cells; as a product, which runs in vector registers."""
    return (values @ np.ones(values.shape[1], values.dtype))[:, None]
