"""Some blocks that await the law, checked and cleaned: what cannot be met is refused here, by name.

What a subnormal total is: a total like any other. Below the smallest normal number numbers no longer keep 53 binary
digits, they have a grain of 2^-1074. The laws meet such a total exactly: each cell is off by a grain at most, all of
them together by none. It has no room for point sources, though, whose shares of it would have no digits: they are
excess, which is counted, and the total is shared out by the law (model/conservation/point_sources.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32 or float64
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

SMALLEST_NORMAL = float(np.finfo(np.float64).smallest_normal)  # 2^-1022; below it numbers lose digits


@dataclass(frozen=True)
class Chunk:
    """Blocks that can be met: finite estimates, positive weights.

    Attributes:
      raw: (blocks, cells) p, float32 or float64.
      totals: (blocks, 1) S >= 0, float64.
      support: (blocks, cells) True = may receive mass, or None = everywhere.
      weights: (blocks, cells) in the precision of raw, or None for w = 1.
    """

    raw: Floats
    totals: Doubles
    support: Bools | None = None
    weights: Floats | None = None

    def take(self, rows: NDArray[np.integer]) -> "Chunk":
        """Some of the blocks, in float64.

        Args: rows: indices of blocks. Returns: copies, for the careful way of refine.py, so writing to them
          changes nothing here.
        """
        weights = None if self.weights is None else self.weights[rows].astype(np.float64)
        support = None if self.support is None else self.support[rows]
        return Chunk(self.raw[rows].astype(np.float64), self.totals[rows], support, weights)


def check(raw: Floats, totals: Doubles, **others: NDArray | None) -> None:
    """Refuses shapes that do not belong together and totals that are no masses.

    Raises: ValueError.
    """
    if raw.ndim != 2 or totals.shape != raw.shape[:1]:
        raise ValueError(
            f"the estimate is {raw.shape}, the totals {totals.shape}: wanted (blocks, cells) and (blocks,)"
        )
    for name, part in others.items():
        if part is not None and part.shape != raw.shape:
            raise ValueError(f"{name} is {part.shape}, the estimate {raw.shape}: wanted the same shape")
    refuse(~(np.isfinite(totals) & (totals >= 0)), 0, "totals are negative or not finite")


def refuse(bad: Bools, first: int, fact: str) -> None:
    """Raises ValueError for blocks of which something bad is true.

    Args:
      bad: (blocks,) or (blocks, cells).
      first: number of the first block, for the message.
      fact: what is bad.
    """
    rows = np.flatnonzero(bad if bad.ndim == 1 else bad.any(axis=1)) + first
    if rows.size:
        named = ", ".join(str(row) for row in rows[:5]) + (", ..." if rows.size > 5 else "")
        raise ValueError(f"{fact} in {rows.size} of the blocks: {named}")


def clean(
    raw: Floats,
    totals: Doubles,
    support: Bools | None,
    weights: Floats | None,
    first: int,
) -> Chunk:
    """Checks blocks; what lies outside their support is not looked at.

    Args:
      totals: (blocks, 1).
      first: number of the first block, for messages.
    Raises: ValueError that names the blocks.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is finite only if all its terms are, and costs half of asking each.
        finite = np.isfinite(raw @ np.ones(raw.shape[1], raw.dtype)).all() or np.isfinite(raw).all()
    if not finite:
        raw = _hidden(raw, support)
        refuse(~np.isfinite(raw), first, "estimates are not finite")
    if weights is not None:
        weights = weights.astype(raw.dtype, copy=False)
        if not ((weights > 0) & (weights < np.inf)).all():
            weights, support = _free_of_zeros(raw, support, weights, first)
    if support is not None or raw.shape[1] == 0:
        nowhere = np.ones(len(raw), bool) if support is None else ~support.any(axis=1)
        refuse(nowhere & (totals[:, 0] > 0), first, "no cell may receive the total")
    return Chunk(raw, totals, support, weights)


def _hidden(values: Floats, support: Bools | None) -> Floats:
    """0 outside the support."""
    return values if support is None else np.where(support, values, values.dtype.type(0))


def _free_of_zeros(raw: Floats, support: Bools | None, weights: Floats, first: int) -> tuple[Floats, Bools]:
    """A weight of 0 leaves an estimate of 0 at 0: such a cell is as good as outside the support."""
    weights = _hidden(weights, support)
    refuse(~((weights >= 0) & (weights < np.inf)), first, "weights are negative or not finite")
    refuse((weights == 0) & (_hidden(raw, support) != 0), first, "weights are 0 where the estimate is not")
    return np.where(weights > 0, weights, weights.dtype.type(1)), weights > 0
