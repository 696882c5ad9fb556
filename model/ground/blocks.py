"""Blocks, the fine cells of one coarse cell: every reshape between cells and blocks, for numpy and torch."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Cells = TypeVar("Cells", NDArray, "Tensor")


def nested(values: Cells, factor: int) -> Cells:
    """Cells by block along either axis, without a copy where memory allows.

    Args:
      values: (..., rows * factor, cols * factor).
      factor: cells along a block.
    Returns: (..., rows, factor, cols, factor).
    """
    *lead, rows, cols = values.shape
    return values.reshape(*lead, rows // factor, factor, cols // factor, factor)


def to_blocks(values: Cells, factor: int) -> Cells:
    """The cells of each block as one row.

    Args:
      values: (..., rows * factor, cols * factor).
      factor: cells along a block.
    Returns: (..., rows * cols, factor * factor), blocks and cells row by row.
    """
    *lead, rows, cols = values.shape
    shaped = nested(values, factor).swapaxes(-3, -2)
    return shaped.reshape(*lead, (rows // factor) * (cols // factor), factor * factor)


def from_blocks(blocks: Cells, rows: int, cols: int, factor: int) -> Cells:
    """The inverse of to_blocks.

    Args:
      blocks: (..., rows * cols, factor * factor).
      rows, cols: number of blocks along each axis.
      factor: cells along a block.
    Returns: (..., rows * factor, cols * factor).
    """
    *lead, _, _ = blocks.shape
    shaped = blocks.reshape(*lead, rows, cols, factor, factor)
    return shaped.swapaxes(-3, -2).reshape(*lead, rows * factor, cols * factor)


def merge(values: Cells, group: int) -> Cells:
    """Sums over blocks.

    Args:
      values: (..., rows * group, cols * group); what is True counts as one.
      group: cells along a block.
    Returns: (..., rows, cols).
    """
    return nested(values, group).sum((-3, -1))


def spread(values: Cells, side: int) -> Cells:
    """Each value repeated over all cells of its block: no value is divided.

    Args:
      values: (..., rows, cols), one per block.
      side: cells along a block.
    Returns: (..., rows * side, cols * side).
    """
    if isinstance(values, np.ndarray):
        return np.repeat(np.repeat(values, side, axis=-2), side, axis=-1)
    return values.repeat_interleave(side, -2).repeat_interleave(side, -1)
