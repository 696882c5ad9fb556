"""Blocks out of a map and back: the fine cells of one coarse cell as one row."""

import numpy as np
from numpy.typing import NDArray


def to_blocks(values: NDArray, factor: int) -> NDArray:
    """(..., rows * factor, cols * factor) as (..., rows * cols, factor * factor)."""
    *lead, rows, cols = values.shape
    shaped = values.reshape(*lead, rows // factor, factor, cols // factor, factor)
    return np.moveaxis(shaped, -3, -2).reshape(*lead, (rows // factor) * (cols // factor), factor * factor)


def from_blocks(blocks: NDArray, rows: int, cols: int, factor: int) -> NDArray:
    """The inverse of to_blocks; rows and cols count blocks."""
    *lead, _, _ = blocks.shape
    shaped = blocks.reshape(*lead, rows, cols, factor, factor)
    return np.moveaxis(shaped, -3, -2).reshape(*lead, rows * factor, cols * factor)
