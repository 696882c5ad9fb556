"""Where a block's total goes when the law cannot place it: a written ladder, and which level placed each block."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from model.conservation.laws import Bools, Law, Masses, proportional


class FallbackLevel(IntEnum):
    """Which step of the fallback placed a block's total."""

    NOTHING = 0  # the total is 0
    MODEL = 1  # where the estimate is above 0
    PROXY = 2  # where a proxy is above 0, in proportion to it
    LAND = 3  # evenly over valid cells
    UNIFORM = 4  # evenly over the whole block: no cell of it is valid
    SINK = 5  # a negative total, evenly over valid cells: proxies of sources say nothing of sinks
    POINT = 6  # point sources took the whole total: nothing was left to be shared out
    OUTSIDE = 255  # the total is not known


@dataclass(frozen=True)
class Placed:
    """Blocks after the law.

    Attributes:
      mass: (blocks, cells), NaN where a cell may not receive any.
      fallback_levels: (blocks,) which level placed each.
    """

    mass: Masses
    fallback_levels: NDArray[np.uint8]
    not_finite: int  # estimates that were NaN or infinite on valid cells


def place(raw: Masses, totals: Masses, known: Bools, valid: Bools, proxy: Masses, law: Law) -> Placed:
    """Makes every known block meet its total; a block with nowhere to put it walks the fallback.

    Args:
      raw, valid, proxy: (blocks, cells).
      totals, known: (blocks,).
    Why raw = 0 leaves the support: an exact 0 is a statement of the method; the law must not undo it
    while the block has another place. Mass is never dropped: the last level ignores validity.
    """
    finite = np.isfinite(raw)
    not_finite = int((~finite & valid).sum())
    raw = np.where(finite, np.maximum(raw, 0.0), 0.0)
    model_support, proxy_support = valid & (raw > 0), valid & (proxy > 0)
    fallback_levels = np.select(
        [~known, totals == 0, totals < 0, model_support.any(1), proxy_support.any(1), valid.any(1)],
        [
            FallbackLevel.OUTSIDE,
            FallbackLevel.NOTHING,
            FallbackLevel.SINK,
            FallbackLevel.MODEL,
            FallbackLevel.PROXY,
            FallbackLevel.LAND,
        ],
        FallbackLevel.UNIFORM,
    ).astype(np.uint8)
    empty = ~valid.any(axis=1)
    everywhere = (fallback_levels == FallbackLevel.UNIFORM) | (
        (fallback_levels == FallbackLevel.SINK) & empty
    )
    mass = np.where(valid, 0.0, np.nan)
    chosen = fallback_levels == FallbackLevel.MODEL
    mass[chosen] = _on(law(raw[chosen], totals[chosen], model_support[chosen]), valid[chosen])
    chosen = fallback_levels == FallbackLevel.PROXY
    mass[chosen] = _on(proportional(proxy[chosen], totals[chosen], proxy_support[chosen]), valid[chosen])
    chosen = np.isin(fallback_levels, (FallbackLevel.LAND, FallbackLevel.UNIFORM, FallbackLevel.SINK))
    land = valid[chosen] | everywhere[chosen, None]
    sign = np.sign(totals[chosen])
    even = proportional(land.astype(np.float64), np.abs(totals[chosen]), land)
    mass[chosen] = _on(even * sign[:, None], land)
    mass[~known] = np.nan
    return Placed(mass, fallback_levels, not_finite)


def _on(mass: Masses, cells: Bools) -> Masses:
    return np.where(cells, mass, np.nan)
