"""The laws that make blocks meet their totals, on whole arrays instead of lists of blocks."""

import numpy as np
from numpy.typing import ArrayLike

from model.conservation import laws
from model.conservation.problem import Doubles
from model.ground.blocks import from_blocks, to_blocks

Valid = ArrayLike | None


def water_fill(raw: ArrayLike, totals: ArrayLike, *, factor: int, valid: Valid = None) -> Doubles:
    """Takes the same depth from, or adds it to, every cell of a block that stays above 0 (Held et al. 1974).

    Args:
      raw: (..., rows, cols) estimate, mass per fine cell.
      totals: (..., rows / factor, cols / factor) mass per block, >= 0; factor: fine cells along a block.
      valid: (rows, cols), or the shape of raw; True = the cell may receive mass. Everywhere by default.
    Returns: the shape of raw, float64; 0 where not valid. Each block sums to its total.
    Raises: ValueError when shapes do not fit, a number is not finite, or a total has no valid cell.
    """
    return _by_block(laws.water_fill, raw, totals, factor, valid)


def proportional(raw: ArrayLike, totals: ArrayLike, *, factor: int, valid: Valid = None) -> Doubles:
    """Scales each block, so that every cell keeps its share; raw >= 0. Otherwise as water_fill.

    Blocks of zeros alone are shared out evenly over their valid cells; an estimate below 0 is a ValueError.
    """
    return _by_block(laws.proportional, raw, totals, factor, valid)


def power(raw: ArrayLike, totals: ArrayLike, *, factor: int, gamma: float, valid: Valid = None) -> Doubles:
    """Between water_fill (gamma 0) and proportional (gamma 1); raw >= 0. Otherwise as water_fill.

    Args: gamma: the larger, the more of what is lacking goes to cells that hold much already.
    """
    return _by_block(laws.power(gamma), raw, totals, factor, valid)


def _by_block(law: laws.Law, raw: ArrayLike, totals: ArrayLike, factor: int, valid: Valid) -> Doubles:
    cells, sums = np.asarray(raw, np.float64), np.asarray(totals, np.float64)
    if cells.ndim < 2 or cells.shape != (*sums.shape[:-2], *(factor * size for size in sums.shape[-2:])):
        raise ValueError(f"raw {cells.shape} is not totals {sums.shape} with blocks of {factor} x {factor}")
    support = np.broadcast_to(True if valid is None else np.asarray(valid, bool), cells.shape)
    blocks, inside = to_blocks(cells, factor), to_blocks(support, factor)
    placed = law(blocks.reshape(-1, factor**2), sums.ravel(), inside.reshape(-1, factor**2))
    return from_blocks(placed.reshape(blocks.shape), sums.shape[-2], sums.shape[-1], factor)
