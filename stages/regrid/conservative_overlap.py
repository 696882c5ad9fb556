"""Exact overlap of two regular grids in one reference system whose cells do not nest: shares, means and counts."""

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid, Region
from stages.formats.raster.band import Band
from stages.regrid.conservative_reproject import Codes, is_one_of

Floats = NDArray[np.float64]


def overlapped(
    raster: Band,
    source: Grid,
    fine: Grid,
    region: Region,
    *,
    total: bool,
    code: Codes | None,
) -> Floats:
    """Values of a layer on a window of the fine grid, every source cell weighed by the part of it that lies there.

    Why two passes: on grids with common axes a cell's overlap is that of its rows times that of its columns.
    Each output is added up in the order of its own source cells, so windows do not change a bit of it.

    Args:
      source: the raster's grid, perhaps a turn of the globe further.
      region: the window, in fine cells.
      total: True: source cells are divided by area; False: target cells are means, weighted by area.
      code: the classes whose area share together is wanted.
    Returns: (rows, cols); NaN where no source cell with a value lies.
    """
    row, col, rows, cols = region
    down = _shares(-_up(fine, row, rows), -_up(source, 0, source.rows), total=total)
    across = _shares(_along(fine, col, cols), _along(source, 0, source.cols), total=total)
    out = np.full((rows, cols), np.nan)
    if down is None or across is None:
        return out
    (top, height, down_index, down_weight), (left, width, across_index, across_weight) = down, across
    values = raster.read(top, left, height, width)
    there = ~np.isnan(values)
    values = np.where(there, values if code is None else is_one_of(values, code), 0.0)
    summed = _gather(_gather(values, down_index, down_weight, 0), across_index, across_weight, 1)
    weight = _gather(
        _gather(there.astype(np.float64), down_index, down_weight, 0), across_index, across_weight, 1
    )
    covered = weight > 0
    out[covered] = summed[covered] if total else summed[covered] / weight[covered]
    return out


def _along(grid: Grid, first: int, count: int) -> Floats:
    """Edges of columns, always computed from the grid's own corner: windows must not change a bit."""
    return np.asarray(grid.left + (first + np.arange(count + 1)) * grid.dx, np.float64)


def _up(grid: Grid, first: int, count: int) -> Floats:
    """Edges of rows from north to south; as sines of latitude on the globe, where equal steps are equal areas."""
    edges = np.asarray(grid.top - (first + np.arange(count + 1)) * grid.dy, np.float64)
    if grid.ellipsoid is None:
        return edges
    return np.asarray(np.sin(np.radians(np.clip(edges, -90.0, 90.0))), np.float64)


def _shares(
    target: Floats, source: Floats, *, total: bool
) -> tuple[int, int, NDArray[np.int64], Floats] | None:
    """How the intervals between rising edges overlap.

    Returns: first source interval and how many are met, then for each target interval the source intervals it
    meets, counted from that first, and their weights (targets, most); None when none meets.
    """
    first = np.clip(np.searchsorted(source, target[:-1], "right") - 1, 0, len(source) - 2)
    last = np.clip(np.searchsorted(source, target[1:], "left") - 1, 0, len(source) - 2)
    low, most = int(first.min()), int((last - first).max()) + 1
    index = np.minimum(first[:, None] + np.arange(most), len(source) - 2)
    inside = np.minimum(target[1:, None], source[index + 1]) - np.maximum(target[:-1, None], source[index])
    fresh = first[:, None] + np.arange(most) <= last[:, None]
    weight = np.where(fresh, np.maximum(inside, 0.0), 0.0)
    weight = weight / (source[index + 1] - source[index] if total else np.diff(target)[:, None])
    if not (weight > 0).any():
        return None
    return low, int(index.max()) - low + 1, index - low, weight


def _gather(values: Floats, index: NDArray[np.int64], weight: Floats, axis: int) -> Floats:
    """Weighted sums along an axis, one step of the overlap after the other."""
    shape = [1, 1]
    shape[axis] = len(index)
    out = np.zeros([len(index) if way == axis else size for way, size in enumerate(values.shape)])
    for step in range(index.shape[1]):
        out += np.take(values, index[:, step], axis=axis) * weight[:, step].reshape(shape)
    return out
