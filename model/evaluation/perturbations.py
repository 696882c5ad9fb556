"""Ways to make a world harder: layers flattened, shifted or blurred, and totals hidden in folds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import spatial_blocks
from model.ground.blocks import merge, spread

Floats = NDArray[np.float32]


def flattened(values: Floats, valid: NDArray[np.bool_], side: int) -> Floats:
    """(..., rows, cols) each block of side x side cells at the mean over its valid cells: nothing inside it shows.

    Args: valid: (rows, cols). Returns: float32, 0 where not valid. What a method still gains from a flattened
      layer it gains from block means alone.
    """
    weight = np.maximum(merge(valid.astype(np.float64), side), 1.0)
    mean = merge(np.where(valid, values, 0.0).astype(np.float64), side) / weight
    return np.where(valid, spread(mean, side), 0.0).astype(np.float32)


def shifted(values: Floats, cells: int) -> Floats:
    """Everything moved south and east by some cells; what enters repeats the first row and column.

    Args:
      values: (..., rows, cols).
      cells: 0 or more; 0 gives the array itself.
    """
    if not cells:
        return values
    rows, cols = values.shape[-2:]
    down = np.maximum(np.arange(rows) - cells, 0)
    across = np.maximum(np.arange(cols) - cells, 0)
    return values[..., down, :][..., across]


def blurred(values: Floats, cells: int) -> Floats:
    """The mean over the square of cells within this reach; at the edge over fewer.

    Args:
      values: (..., rows, cols), without NaN, which a running sum would carry on.
      cells: from the middle of the square to its edge.
    """
    ones = np.ones(values.shape[-2:])
    return (_around(values.astype(np.float64), cells) / _around(ones, cells)).astype(np.float32)


def _around(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Sum over (2 reach + 1) x (2 reach + 1) cells; nothing beyond the edge."""
    width = 2 * reach + 1
    rim = [(0, 0)] * (values.ndim - 2) + [(reach + 1, reach)] * 2
    table = np.pad(values, rim).cumsum(axis=-2).cumsum(axis=-1)
    return (
        table[..., width:, width:]
        - table[..., :-width, width:]
        - table[..., width:, :-width]
        + table[..., :-width, :-width]
    )


@dataclass(frozen=True)
class Fold:
    """One part of the ground of several: whole spatial blocks, or single coarse cells dealt out at random.

    Attributes:
      kind: blocks or random.
      fold, folds: which of how many.
      side: coarse cells along a block.
      buffer: coarse cells around a fold of blocks that are hidden with it.
      seed: of the deal.
    """

    kind: str
    fold: int
    folds: int
    side: int
    buffer: int
    seed: int


def hidden(fold: Fold, mass: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) the ground of the fold, and what must be hidden from training for it: the fold and its buffer.

    Blocks are dealt out by mass, heaviest first, to the fold that has least of it, so that no fold is empty.
    Raises: ValueError when there are fewer blocks than folds.
    """
    rows, cols = mass.shape
    label, count = spatial_blocks(rows, cols, 1 if fold.kind == "random" else fold.side)
    if count < fold.folds:
        raise ValueError(f"{count} spatial blocks for {fold.folds} folds")
    weight = np.bincount(label.ravel(), mass.ravel(), count).astype(np.float64)
    order = np.random.default_rng(fold.seed).permutation(count)
    if fold.kind == "random":
        part = np.empty(count, np.int64)
        part[order] = np.arange(count) % fold.folds
    else:
        part = _deal(weight, order, fold.folds)
    ground = (part == fold.fold)[label]
    reach = 0 if fold.kind == "random" else fold.buffer
    return ground, _around(ground.astype(np.float64), reach) > 0.5


def _deal(weight: NDArray[np.float64], order: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    got, part = np.zeros((folds, 2)), np.empty(weight.size, np.int64)
    for block in order[np.argsort(-weight[order], kind="stable")]:
        least = min(range(folds), key=lambda index: (got[index, 0], got[index, 1]))
        part[block] = least
        got[least] += (weight[block], 1.0)
    return part
