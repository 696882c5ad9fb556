"""How sure a score is: whole spatial blocks are drawn again with replacement, their sums added, the score redone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 2  # blocks with anything to score; with fewer there is nothing to draw
INSIDE = (2.5, 97.5)  # percent: the 95 % interval


@dataclass(frozen=True)
class Interval:
    """A number and the 95 % interval around it; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of zero.

        False where there is no interval: what could not be measured is not called sure.
        """
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def spatial_blocks(rows: int, cols: int, side: int) -> tuple[NDArray[np.int64], int]:
    """(rows, cols) block of each coarse cell, side x side cells each, and the number of blocks.

    Args: side: coarse cells along a block; those at the lower and right edge may be cut.
    Returns: numbers from 0, row by row, each of which occurs.
    """
    down, across = np.arange(rows) // side, np.arange(cols) // side
    return down[:, None] * (across[-1] + 1) + across[None, :], int((down[-1] + 1) * (across[-1] + 1))


def draw_blocks(filled: NDArray[np.bool_], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(draws, blocks) how often each block is drawn; blocks without a scored cell never are.

    Why blocks: errors of neighbours are alike, so single cells would make every difference look sure
    (Kuensch 1989, Lahiri 2003). The same draws serve all methods: differences between them are paired.
    """
    count = int(filled.sum())
    out = np.zeros((draws, filled.size))
    if count:
        out[:, filled] = rng.multinomial(count, np.full(count, 1.0 / count), size=draws)
    return out


def interval(value: float, drawn: NDArray[np.float64], blocks: int) -> Interval:
    """The percentile interval of a score over the draws; without one when there are too few blocks.

    Args:
      drawn: (draws,) the score redone for each draw; those not finite are left out.
      blocks: with anything to score; below LEAST there is nothing to draw from.
    """
    drawn = np.atleast_1d(drawn)
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return Interval(None, None, None)
    if blocks < LEAST or known.size == 0:
        return Interval(float(value) + 0.0, None, None)
    low, high = np.percentile(known, INSIDE)
    return Interval(float(value) + 0.0, float(low) + 0.0, float(high) + 0.0)  # no negative zero
