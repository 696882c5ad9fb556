"""What must stay true: raw estimates become fields whose blocks meet their totals, by a law.

Every law is one problem: minimise sum (q - p)^2 / (2 w) subject to sum q = S and q >= 0. Its answer is
q = max(p - theta w, 0) with one number theta for each block, the one at which the sum is S (weighted
projection on the scaled simplex: Held, Wolfe, Crowder 1974; Duchi et al. 2008). w = 1 fills like water, w = p
scales in proportion, w = p^gamma lies between.

Why it is exact: the sum falls steadily as theta rises, so theta is found to the last digits of float64
(model/conservation/solver.py) for every total of at least 0; anything else is refused
(model/conservation/problem.py). A float32 estimate is searched in float32, but theta and p - theta w are float64
and rounded once: as no cell is negative, what is stored sums to the total within 2^-24 = 6e-8 of it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np

from model.conservation.problem import Bools, Chunk, Doubles, Floats, check, clean, refuse
from model.conservation.refine import careful, mend
from model.conservation.solver import Search

Masses = Doubles
Law = Callable[[Masses, Masses, Bools], Masses]

PIXELS = 250_000  # worked on at once: they stay in the cache, and are worth the calls
LEAST_WEIGHT = 1e-6  # of the block's largest, under `power`: an estimate near 0 may regain mass
# Powers of 2: the grain of the smallest numbers, and the total below which it would show. In float64 it must stay
# below the tolerance of the search, 1e-14 of the total, also when added up over 1,600 cells.
GRAIN = {np.dtype(np.float32): -149, np.dtype(np.float64): -1074}
FINE = {np.dtype(np.float32): -102, np.dtype(np.float64): -1000}


def project(
    raw: Floats,
    totals: Floats,
    support: Bools | None = None,
    *,
    weights: Floats | None = None,
    threads: int = 1,
    search: type[Search] | None = None,
    out: Floats | None = None,
) -> Floats:
    """q = max(p - theta w, 0) on the support, 0 elsewhere.

    Args:
      raw: (blocks, cells) estimate p, float32 or float64; may be negative.
      totals: (blocks,) S >= 0.
      support: (blocks, cells) True = may receive mass; everywhere by default. What the other arrays hold
        outside of it, NaN too, is not looked at.
      weights: (blocks, cells) w > 0, or 0 where p is 0: such a cell stays 0. 1 by default.
      threads: to share the work between.
      search: how theta is sought; by default the fastest way installed.
      out: where the answer goes, shape and precision of raw; fresh memory costs more than the law itself.
    Returns: (blocks, cells) in the precision of raw.
    Raises: ValueError naming the blocks: a total that is negative, not finite or without support; estimates that are
      not finite; negative weights. Shapes that differ.
    """
    raw, totals = np.asarray(raw), np.asarray(totals, np.float64)
    raw = raw if raw.dtype in GRAIN else raw.astype(np.float64)
    check(raw, totals, support=support, weights=weights)
    placed = np.empty_like(raw) if out is None else out
    if placed.shape != raw.shape or placed.dtype != raw.dtype:
        raise ValueError(f"out is {placed.shape} {placed.dtype}, the estimate {raw.shape} {raw.dtype}")
    turns = threads * max(1, -(-raw.size // (PIXELS * threads)))  # every thread has as many
    step = max(1, -(-len(raw) // turns))

    def work(worker: int) -> None:
        desk = (search or fastest())(step, raw.shape[1], raw.dtype)
        for first in range(worker * step, len(raw), threads * step):
            rows = slice(first, first + step)
            masks = None if support is None else support[rows]
            scales = None if weights is None else weights[rows]
            _solve(clean(raw[rows], totals[rows, None], masks, scales, first), desk, placed[rows])

    with ThreadPoolExecutor(threads) as pool:
        others = pool.map(work, range(1, threads))
        work(0)  # a thread less to start
        list(others)
    return placed


@cache
def fastest() -> type:
    """The compiled search where its extra is installed, else the plain one; both give the same numbers.

    Looked up once. The same to the last digits of float64; what neither settles goes to refine.py.
    """
    try:
        from model.conservation.solver_numba import Search as Compiled
    except Exception:  # numba missing, or broken in any way: the plain path is always there
        return Search
    return Compiled


def _solve(chunk: Chunk, desk: Search, out: Floats) -> None:
    missed = desk.fill(chunk, out)
    grainy = np.flatnonzero((chunk.totals[:, 0] > 0) & (chunk.totals[:, 0] < 2.0 ** FINE[chunk.raw.dtype]))
    missed[grainy] = 0.0  # they have their own way
    mend(chunk, out, missed)
    if grainy.size:
        out[grainy] = _in_grains(chunk.take(grainy), GRAIN[chunk.raw.dtype])


def _in_grains(chunk: Chunk, grain: int) -> Doubles:
    """Totals so small that numbers have a grain there: solved larger, then their running sum is rounded.

    Why the running sum: each cell is off by a grain at most, and all of them together by none.
    """
    _, power = np.frexp(chunk.totals)
    weights = np.ones_like(chunk.raw) if chunk.weights is None else chunk.weights
    inside = np.ones_like(chunk.raw, bool) if chunk.support is None else chunk.support
    top = np.where(inside, chunk.raw / weights, -np.inf).max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        # Far below the highest cell nothing arrives, however far it is.
        depth = np.clip(np.ldexp(chunk.raw - top * weights, -power), -1e200, 1e200)
    larger = careful(replace(chunk, raw=depth, totals=np.ldexp(chunk.totals, -power)))
    sums = np.rint(np.ldexp(np.cumsum(larger, axis=1), power - grain))
    due = np.ldexp(chunk.totals, -grain)
    # From the last cell that receives anything on, the sum is the total: none of it may slip out of the support.
    receives = larger > 0
    later: Masses = np.cumsum(receives[:, ::-1], axis=1)[:, ::-1] - receives
    sums = np.where(later > 0, np.minimum(sums, due), due)
    return np.ldexp(np.diff(sums, axis=1, prepend=0.0), grain)


def weighted(raw: Masses, totals: Masses, support: Bools, weights: Masses) -> Masses:
    """Any weights w."""
    return project(raw, totals, support, weights=weights)


def water_fill(raw: Masses, totals: Masses, support: Bools) -> Masses:
    """w = 1: the same depth is taken from, or added to, every cell that stays above 0.

    Returns: (blocks, cells) in the precision of raw, the nearest point of {q >= 0, sum q = S} in Euclid's sense
      (Held et al. 1974).
    Raises: ValueError as `project`.
    """
    return project(raw, totals, support)


def proportional(raw: Masses, totals: Masses, support: Bools) -> Masses:
    """w = p: every cell keeps its share; the KL and the Pearson projection. All-zero blocks are split evenly."""
    inside = np.where(support, raw, 0.0)
    refuse(~((inside >= 0) & (inside < np.inf)), 0, "estimates are negative or not finite")
    top = inside.max(axis=1, keepdims=True, initial=0.0)
    shares = np.where(top > 0, inside / np.where(top > 0, top, 1.0), support.astype(np.float64))
    sums = shares.sum(axis=1, keepdims=True)
    # Why the law again: p already meets the total but for rounding, which even the smallest total gets back.
    start = shares / np.where(sums > 0, sums, 1.0) * totals[:, None]
    return project(start, totals, support & (shares > 0), weights=shares)


def power(gamma: float) -> Law:
    """w = p^gamma, between water_fill (0) and proportional (1).

    Args: gamma: 0 to 1; weights are taken relative to the block's highest estimate and held at LEAST_WEIGHT,
      since a weight of 0 would bar a cell.
    Returns: a law (raw, totals, support) -> (blocks, cells).
    """

    def law(raw: Masses, totals: Masses, support: Bools) -> Masses:
        inside = np.where(support, raw, 0.0)
        top = inside.max(axis=1, keepdims=True, initial=0.0)
        weights = np.where(top > 0, inside / np.where(top > 0, top, 1.0), 1.0) ** gamma
        return weighted(raw, totals, support, np.maximum(weights, LEAST_WEIGHT))

    return law


LAWS: dict[str, Callable[[float], Law]] = {
    "water_fill": lambda _gamma: water_fill,
    "proportional": lambda _gamma: proportional,
    "power": power,
}


def additive(raw: Masses, totals: Masses, support: Bools) -> Masses:
    """For signed fields: the same amount to every cell, q = p + (S - sum p) / n; nothing is kept from below 0.

    Args: raw: (blocks, cells) of any sign; totals: (blocks,); support: (blocks, cells).
    Returns: 0 outside the support.
    Raises: ValueError where a total other than 0 has no cell.
    """
    inside = np.where(support, raw, 0.0)
    count = support.sum(axis=1)
    refuse((count == 0) & (totals != 0), 0, "no cell may receive the total")
    for _ in range(2):  # the second time for what rounding left
        lacking = (totals - inside.sum(axis=1)) / np.maximum(count, 1)
        inside = inside + np.where(support, lacking[:, None], 0.0)
    return inside
