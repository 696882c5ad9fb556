"""What is stored sums right: a cast to float32 after which the cells of each block still meet its total."""

import numpy as np
from numpy.typing import NDArray

from model.conservation.laws import Masses
from model.ground.blocks import from_blocks, to_blocks

# Half a float32 ulp, relative: the most that rounding one number to the nearest can change it.
ROUNDING = 2.0**-24
MOST_UNITS = 2.0**47  # in a block: beyond, what float64 rounds may add up to whole units


def store_float32(mass: Masses, totals: Masses, weights: Masses | None = None) -> NDArray[np.float32]:
    """Rounds every cell, then gives what rounding took from a block back to its largest cell.

    Why it is exact enough: after the second rounding a block is off by at most half an ulp of that one cell,
    so by less than 6e-8 of the total when no cell is larger than the total. A cell that is 0 stays 0, a cell
    keeps its sign, and a cell without value (NaN) stays without.

    Args:
      mass: (rows, cols) mass per fine cell; NaN where the cell has none. Its blocks meet
        their totals in float64.
      totals: (h, w) mass per block; rows = factor h, cols = factor w. Ignored where a block is all NaN.
      weights: (rows, 1) mass of a cell per unit of its value; what is stored is then values, mass / weight, and
        the sums of value x weight are kept. Without them mass is stored.
    Returns: (rows, cols).
    Raises: ValueError when a block misses its total by more than rounding explains: this law repairs a cast,
      it does not hide a broken field; OverflowError when a cell is too large for float32.
    """
    rows, cols = totals.shape
    factor = mass.shape[0] // rows
    blocks = to_blocks(mass, factor)
    missing = np.isnan(blocks)
    held = np.where(missing, 0.0, blocks)
    size = np.abs(held)
    if size.max(initial=0.0) > np.finfo(np.float32).max:
        raise OverflowError("a cell holds more mass than float32 can store")
    scale = np.ones(1) if weights is None else to_blocks(np.broadcast_to(weights, mass.shape), factor)
    stored = (held / scale).astype(np.float32)
    wanted = np.where(missing.all(axis=1), 0.0, totals.reshape(-1))
    loss = wanted - (stored * scale).sum(axis=1, dtype=np.float64)
    explained = size.sum(axis=1) * ROUNDING * 2.0 + blocks.shape[1] * np.finfo(np.float32).smallest_subnormal
    if (np.abs(loss) > explained).any():
        worst = int(np.argmax(np.abs(loss) - explained))
        raise ValueError(f"block {divmod(worst, cols)} misses its total by {loss[worst]:.6g}")
    block = np.arange(len(stored))
    largest = size.argmax(axis=1)
    loss = loss if weights is None else loss / scale[block, largest]
    stored[block, largest] = (stored[block, largest].astype(np.float64) + loss).astype(np.float32)
    stored[missing] = np.nan
    return from_blocks(stored, rows, cols, factor)


def store_units(mass: Masses, totals: Masses, scale_factor: float) -> NDArray[np.int64]:
    """Whole units for every cell, by largest remainder: each block's units are its total's, with nothing left.

    Every cell is rounded down, then the units still missing go one each to the cells that lost most (Hamilton
    1792). A cell is off by less than a unit; a cell that is 0 stays 0 while another can take the unit.

    Args:
      mass: (rows, cols) mass per fine cell, NaN where it has none; a block has one sign.
      totals: (h, w) mass per block, a whole number of quanta each. Ignored where a block is all NaN.
      scale_factor: mass of one unit, above 0.
    Returns: (rows, cols) units; 0 where there is no value.
    Raises: ValueError when a total is no whole number of quanta or above 2^47 of them, or a block misses it by
      a unit or more.
    """
    rows, cols = totals.shape
    factor = mass.shape[0] // rows
    blocks = to_blocks(mass, factor)
    missing = np.isnan(blocks)
    due = np.where(missing.all(axis=1), 0.0, totals.reshape(-1)) / scale_factor
    wanted = np.rint(due)
    not_whole = np.abs(due - wanted) > 1e-9 * np.maximum(np.abs(wanted), 1.0)
    if (not_whole | (np.abs(wanted) > MOST_UNITS)).any():
        raise ValueError(
            f"some totals are no whole number of {scale_factor:g}, or too many; choose another scale_factor"
        )
    sign = np.where(wanted < 0, -1, 1)
    units = np.where(missing, 0.0, blocks) * sign[:, None] / scale_factor
    # Why: float64 may hold a whole number as 2.9999999999999996.
    whole = np.floor(units * (1.0 + 4.0 * np.finfo(np.float64).eps))
    left = (np.abs(wanted) - whole.sum(axis=1)).astype(np.int64)
    if ((left < 0) | (left > (units > 0).sum(axis=1))).any():
        worst = int(np.flatnonzero((left < 0) | (left > (units > 0).sum(axis=1)))[0])
        raise ValueError(f"block {divmod(worst, cols)} misses its total by {left[worst]} units")
    order = np.argsort(np.where(units > 0, whole - units, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
    stored = (whole.astype(np.int64) + (rank < left[:, None])) * sign[:, None]
    return from_blocks(stored, rows, cols, factor)
