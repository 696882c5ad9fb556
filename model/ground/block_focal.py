"""What lies around a place: means of layers over squares of several sizes, for blocks as for cells."""

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses


def around(values: NDArray, cells: NDArray, radius: int) -> Masses:
    """Mean of each layer over the valid cells of a square; 0 where the square holds none.

    Args:
      values: (..., H, W) sums over the valid cells of each element; 0 where there are none.
      cells: (H, W) number of valid cells: of a block, or one and none where an element is a fine cell.
      radius: elements from the middle of the square to its edge. Squares end where the array does.
    Returns: same shape as values.
    """
    count = _square_sum(cells.astype(np.float64), radius)
    return _square_sum(values.astype(np.float64), radius) / np.maximum(count, 1.0)


def radius_in_cells(blocks: int, factor: int) -> int:
    """Radius in fine cells of the square that is as wide as one of that radius in blocks, or one cell less.

    A square of radius r in blocks is factor (2 r + 1) cells wide; where that is even, one centred on a cell is a
    cell narrower.
    """
    return (factor * (2 * blocks + 1) - 1) // 2


def _square_sum(values: Masses, radius: int) -> Masses:
    """Sums over squares, one axis after the other.

    Why no running sum: added up in the same order everywhere, a square gives the same bits in every window.
    """
    for axis in (-2, -1):
        size = values.shape[axis]
        lead = np.moveaxis(values, axis, 0)
        out = np.zeros_like(lead)
        for shift in range(max(-radius, 1 - size), min(radius, size - 1) + 1):
            low, high = max(0, -shift), min(size, size - shift)
            out[low:high] += lead[low + shift : high + shift]
        values = np.moveaxis(out, 0, axis)
    return values
