"""How much of a drawn line or outline lies in each cell of a grid: exact, by cutting every edge at the cell borders.

Places are given in cells: x grows with the column, y with the row, and cell (r, c) is the square from (c, r) to
(c + 1, r + 1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPECK = 1e-12  # share of a cell: rounding of a running sum, no ground


@dataclass(frozen=True)
class Pieces:
    """Edges cut so that each piece lies in one cell.

    Attributes:
      x0, y0, x1, y1: ends of each piece, in the direction of its edge.
      row, col: the cell it lies in; a piece along a border belongs to the cell that begins there.
    """

    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats
    row: NDArray[np.int64]
    col: NDArray[np.int64]


def cut(x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> Pieces:
    """Cuts edges at every border of a cell they cross; the pieces of an edge follow each other.

    Args: x0, y0, x1, y1: (edges,) ends of each edge, in cells.
    Returns: pieces, at least one for each edge. A piece is assigned by its middle, so one along a border
      goes right or down.
    """
    edge_x, lines_x = _crossed(x0, x1)
    edge_y, lines_y = _crossed(y0, y1)
    edge = np.concatenate([np.arange(x0.size), edge_x, edge_y, np.arange(x0.size)])
    with np.errstate(invalid="ignore", divide="ignore"):
        at_x = (lines_x - x0[edge_x]) / (x1 - x0)[edge_x]
        at_y = (lines_y - y0[edge_y]) / (y1 - y0)[edge_y]
    share = np.concatenate([np.zeros(x0.size), at_x, at_y, np.ones(x0.size)])
    x = np.concatenate([x0, lines_x, x0[edge_y] + at_y * (x1 - x0)[edge_y], x1])
    y = np.concatenate([y0, y0[edge_x] + at_x * (y1 - y0)[edge_x], lines_y, y1])
    order = np.lexsort((share, edge))
    edge, x, y = edge[order], x[order], y[order]
    same = edge[1:] == edge[:-1]
    xa, xb, ya, yb = x[:-1][same], x[1:][same], y[:-1][same], y[1:][same]
    row = np.floor((ya + yb) / 2).astype(np.int64)
    col = np.floor((xa + xb) / 2).astype(np.int64)
    return Pieces(xa, ya, xb, yb, row, col)


def _crossed(start: Floats, end: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The whole numbers strictly between the two ends of each edge: (edge, number)."""
    first = np.floor(np.minimum(start, end)) + 1
    last = np.ceil(np.maximum(start, end)) - 1
    count = np.maximum(last - first + 1, 0).astype(np.int64)
    edge = np.repeat(np.arange(start.size), count)
    step = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count)
    return edge, np.asarray(first[edge] + step, np.float64)


def sum_lengths(pieces: Pieces, lengths: Floats, shape: tuple[int, int]) -> Floats:
    """(rows, cols) sum of the lengths of the pieces in each cell; pieces beyond the shape are left out.

    Args:
      lengths: (pieces,) in any unit; the caller measures them, since a cell's width on the ground may vary by
        row.
      shape: (rows, cols) of the grid.
    """
    rows, cols = shape
    inside = (pieces.row >= 0) & (pieces.row < rows) & (pieces.col >= 0) & (pieces.col < cols)
    index = pieces.row[inside] * cols + pieces.col[inside]
    return np.asarray(np.bincount(index, lengths[inside], rows * cols).reshape(shape), np.float64)


def cover(pieces: Pieces, shape: tuple[int, int]) -> Floats:
    """(rows, cols) share of each cell inside outlines that do not overlap, 0 to 1.

    The outlines must lie within the shape, holes turning against their shells. An edge that climbs by h through
    a cell adds h times the width to its right there, and h in every cell further right (Green's theorem, row by
    row): the running sum along the row is the area inside.
    """
    rows, cols = shape
    inside = (pieces.row >= 0) & (pieces.row < rows) & (pieces.col >= 0) & (pieces.col < cols)
    row, col = pieces.row[inside], pieces.col[inside]
    climb = (pieces.y1 - pieces.y0)[inside]
    left = ((pieces.x0 + pieces.x1) / 2)[inside] - col
    wide = cols + 1
    index = row * wide + col
    steps = np.bincount(index, climb * (1.0 - left), rows * wide)
    steps += np.bincount(index + 1, climb * left, rows * wide + 1)[: rows * wide]
    share = np.abs(np.cumsum(steps.reshape(rows, wide), axis=1)[:, :cols])
    share[share < SPECK] = 0.0
    share[share > 1.0 - SPECK] = 1.0
    return share
