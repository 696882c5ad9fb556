"""What is stored sums right: a cast to float32 after which the cells of each block still meet its total."""

import numpy as np
from numpy.typing import NDArray

from model.projection import Masses, from_blocks, to_blocks

# Half a float32 ulp, relative: the most that rounding one number to the nearest can change it.
ROUNDING = 2.0**-24


def store_float32(mass: Masses, totals: Masses) -> NDArray[np.float32]:
    """Rounds every cell, then gives what rounding took from a block back to its largest cell.

    Why it is exact enough: after the second rounding a block is off by at most half an ulp of that one cell,
    so by less than 6e-8 of the total when no cell is larger than the total. A cell that is 0 stays 0, a cell
    keeps its sign, and a cell without value (NaN) stays without.

    Args:
      mass: (rows, cols) mass per fine cell; NaN where the cell has none. Its blocks meet
        their totals in float64.
      totals: (h, w) mass per block; rows = factor h, cols = factor w. Ignored where a block is all NaN.
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
    stored = held.astype(np.float32)
    wanted = np.where(missing.all(axis=1), 0.0, totals.reshape(-1))
    loss = wanted - stored.sum(axis=1, dtype=np.float64)
    explained = size.sum(axis=1) * ROUNDING * 2.0 + blocks.shape[1] * np.finfo(np.float32).smallest_subnormal
    if (np.abs(loss) > explained).any():
        worst = int(np.argmax(np.abs(loss) - explained))
        raise ValueError(f"block {divmod(worst, cols)} misses its total by {loss[worst]:.6g}")
    block = np.arange(len(stored))
    largest = size.argmax(axis=1)
    stored[block, largest] = (stored[block, largest].astype(np.float64) + loss).astype(np.float32)
    stored[missing] = np.nan
    return from_blocks(stored, rows, cols, factor)
