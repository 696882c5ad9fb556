"""Finds the level theta at which sum clip(p - theta w, 0, u) meets each block's total, for many blocks at once.

Newton's method on a piecewise linear function: no sort is needed, 3 to 6 steps are usual (Michelot 1986 for
w = 1). `guess` runs in the precision of the estimate and may be wrong; `cells` puts the answer together in
float64; `careful` solves the few blocks that still miss their total. Each works on one chunk of blocks.
"""

import numpy as np

from model.chunk import Chunk, Doubles, Floats

GUESSES = 12  # Newton steps in the precision of the estimate; few blocks need more than 6
CAREFUL = 600  # steps for single blocks; a third of them halve the bracket
GIVEN_UP = 1e-9  # of the total; further off is never passed on in silence
CLOSE = 1e-13  # of the total: summing 1,600 cells in float64 errs by less


def solve(chunk: Chunk) -> Doubles:
    """(blocks, cells) q, float64.

    Raises: ArithmeticError when a block could not be brought to its total.
    """
    free, full, top = guess(chunk)
    placed = cells(chunk, free, full, top)
    missed = np.abs(_sums(placed) - chunk.totals[:, 0])
    with np.errstate(invalid="ignore"):
        late = np.flatnonzero(~(missed <= CLOSE * chunk.totals[:, 0]))
    if late.size:
        placed[late] = careful(chunk.take(late))
        lacking = np.abs(_sums(placed[late]) - chunk.totals[late, 0])
        if not (lacking <= GIVEN_UP * chunk.totals[late, 0]).all():
            raise ArithmeticError(f"{late.size} blocks did not meet their totals; the steps ran out")
    return placed


def guess(chunk: Chunk) -> tuple[Floats, Floats | None, Floats]:
    """Newton's steps in the precision of the estimate; nearly always ends on the exact set of free cells.

    Returns: 1 where a cell is free, 0 < q < u; 1 where it is full, q = u (None without bounds); both
      (blocks, cells). And the highest p / w of each block, (blocks, 1).
    """
    kind = chunk.raw.dtype
    totals, within = chunk.totals.astype(kind), _within(chunk, kind)
    key, top = _keys(chunk, within)
    weights, depth = np.ones_like(key[:1]), key
    if chunk.weights is not None:
        weights, depth = chunk.weights, chunk.raw - top * chunk.weights
    # Every cell free: at or below the answer when nothing is bounded. For w = 1, so is the highest cell alone.
    theta = _ratio(_dot(within, depth) - totals, _dot(within, weights))
    if chunk.upper is not None:
        brim = key - (chunk.upper if chunk.weights is None else chunk.upper / weights)
        return *_between(key, brim, depth, weights, chunk.upper, totals, theta), top
    if chunk.weights is None:
        theta = np.fmax(theta, -totals)
    return _rising(key, depth, weights, totals, theta), None, top


def _rising(key: Floats, depth: Floats, weights: Floats, totals: Floats, theta: Floats) -> Floats:
    """No bounds: the sum falls and flattens as theta rises, so Newton from the left never steps too far."""
    free, before = np.empty_like(key), None
    for _ in range(GUESSES):
        np.copyto(free, key > theta)
        slope = _dot(free, weights)
        if before is not None and np.array_equal(slope, before):
            break
        before = slope
        theta = np.fmax(_ratio(_dot(free, depth) - totals, slope), theta)
    return free


def _between(
    key: Floats, brim: Floats, depth: Floats, weights: Floats, upper: Floats, totals: Floats, theta: Floats
) -> tuple[Floats, Floats]:
    """With bounds: the sum still falls, but Newton may overshoot; a bracket that only shrinks holds it."""
    free, full, before = np.empty_like(key), np.empty_like(key), None
    least, most = np.full_like(theta, -np.inf), np.zeros_like(theta)
    for _ in range(GUESSES):
        over = brim > theta
        np.copyto(full, over)
        np.copyto(free, (key > theta) & ~over)
        slope, held = _dot(free, weights), _dot(free, depth) + _dot(full, upper) - totals
        if before is not None and np.array_equal(slope, before):
            break
        before = slope
        low = held > theta * slope
        least, most = np.where(low, theta, least), np.where(low, most, theta)
        newton = _ratio(held, slope)
        # Held to the bracket: at the answer, rounding alone must not send theta to the middle of it.
        theta = np.where(np.isfinite(newton), np.clip(newton, least, most), _middle(least, most))
    return free, full


def _middle(least: Floats, most: Floats) -> Floats:
    """Of the bracket; twice as low where it is still open below."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(np.isfinite(least), least / 2 + most / 2, 2 * most - 1)


def cells(chunk: Chunk, free: Floats, full: Floats | None, top: Floats) -> Doubles:
    """The answer for a given set of free cells, in float64 whatever the estimate came in.

    Why float64: with theta and p - theta w in float64, rounding q once to float32 moves a block's sum by
    less than 6e-8 of it, because no term is negative.
    """
    depth = chunk.raw.astype(np.float64)
    high = top.astype(np.float64)
    weights = None if chunk.weights is None else chunk.weights.astype(np.float64)
    depth -= high if weights is None else high * weights
    free = free.astype(np.float64)
    over = -chunk.totals
    if full is not None and chunk.upper is not None:
        over = over + _dot(full.astype(np.float64), chunk.upper.astype(np.float64))
    slope = _sums(free)[:, None] if weights is None else _dot(free, weights)
    theta = _ratio(_dot(free, depth) + over, slope)
    with np.errstate(invalid="ignore", over="ignore"):  # blocks without free cells are for `careful`
        depth -= theta if weights is None else theta * weights
        placed = np.maximum(depth, 0.0, out=depth)
        if chunk.upper is not None:
            np.minimum(placed, chunk.upper, out=placed)
        if chunk.support is not None:
            placed *= chunk.support
    return placed


def careful(chunk: Chunk) -> Doubles:
    """The same in float64, from an origin near theta: what is subtracted becomes as small as the total.

    For blocks where float32 chose a wrong set, where the steps ran out, or where theta is far larger than the
    total, so that rounding theta w would show.
    """
    totals, within = chunk.totals, _within(chunk, np.dtype(np.float64)) > 0
    weights = np.ones_like(chunk.raw) if chunk.weights is None else chunk.weights
    upper = totals if chunk.upper is None else np.minimum(chunk.upper, totals)
    upper = np.where(within, upper, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        origin = np.where(within, chunk.raw / weights, -np.inf).max(axis=1, keepdims=True)
        origin = np.where(np.isfinite(origin), origin, 0.0)
        # The second time from the first answer, so that no cell carries the error of a far origin.
        for _ in range(2):
            depth = np.where(within, chunk.raw - origin * weights, -np.inf)
            placed, moved = _settle(depth, weights, upper, totals)
            origin = origin + moved
    return np.where(totals > 0.0, placed, 0.0)


def _settle(depth: Doubles, weights: Doubles, upper: Doubles, totals: Doubles) -> tuple[Doubles, Doubles]:
    """Newton in a bracket, moving the origin along: (blocks, cells) q and (blocks, 1) how far it moved."""
    # At `most` every cell is dry, at `least` every cell is full.
    within = depth > -np.inf
    most = np.where(within, depth / weights, -np.inf).max(axis=1, keepdims=True)
    least = np.where(within, (depth - upper) / weights, np.inf).min(axis=1, keepdims=True)
    # Every cell alone gives a level at or below the answer, when nothing is bounded.
    alone = np.where(within, (depth - totals) / weights, -np.inf).max(axis=1, keepdims=True)
    theta = np.clip(np.where(np.isfinite(alone), alone, 0.0), least, most)
    moved = np.zeros_like(theta)
    for turn in range(CAREFUL):
        depth = depth - theta * weights
        moved += theta
        slack = 1e-15 * (np.abs(theta) + most - least)  # the bracket's own rounding
        least, most = least - theta - slack, most - theta + slack
        placed = np.clip(depth, 0.0, upper)
        excess = _sums(placed)[:, None] - totals
        met = np.abs(excess) <= CLOSE / 10 * totals
        if met.all():
            break
        least, most = np.where(excess > 0, 0.0, least), np.where(excess > 0, most, 0.0)
        slope = (weights * ((depth > 0.0) & (depth < upper))).sum(axis=1, keepdims=True)
        newton = _ratio(excess, slope)
        # Why every third step halves the bracket: with bounds, Newton can go back and forth for ever.
        inside = (newton > least) & (newton < most) & (turn % 3 < 2)
        theta = np.where(met, 0.0, np.where(inside, newton, _middle(least, most)))
    return placed, moved


def _keys(chunk: Chunk, within: Floats) -> tuple[Floats, Floats]:
    """Where each cell runs dry, p / w, below the highest of its block; and that highest, (blocks, 1).

    Why the highest is taken out: theta becomes as small as the total, so tiny totals survive huge estimates.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        key = chunk.raw.copy() if chunk.weights is None else chunk.raw / chunk.weights
        if chunk.support is not None:
            # Outside the support: the bottom of the number range. Arithmetic, as masks cost ten times as much.
            sunk = within - 1
            sunk *= np.finfo(key.dtype).max / 4
            key += sunk
        top = key.max(axis=1, keepdims=True)
        key -= top
    return key, top


def _within(chunk: Chunk, kind: np.dtype) -> Floats:
    """The support as 0 and 1; one row when it is everywhere."""
    return np.ones((1, chunk.raw.shape[1]), kind) if chunk.support is None else chunk.support.astype(kind)


def _dot(left: Floats, right: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.vecdot(left, right)[:, None]


def _sums(values: Floats) -> Floats:
    return values @ np.ones(values.shape[1], values.dtype)


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN or infinite where nothing is free: the callers' comparisons then fall to the safe side."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return above / below
