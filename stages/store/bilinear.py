"""Interpolates a smooth layer at the middles of fine cells, from the four source cells around each."""

import numpy as np
from numpy.typing import NDArray

from model.grid import Grid
from stages.store.band import Band
from stages.store.mesh import Floats, Region, middles


def interpolated(raster: Band, fine: Grid, region: Region, most: int) -> Floats:
    """Values on a window of the fine grid.

    A cell has a value where its middle lies in a source cell that has one; neighbours without a value, or beyond
    the file, leave their weight to the others.

    Args:
      most: source cells held at once; a larger need is met in quarters.
    Returns: (rows, cols); NaN where the layer has no value.
    """
    out = np.full(region[2:], np.nan)
    if raster.crs is None:
        return out
    down, across = middles(raster.transform, raster.wkt, fine, region)
    turn = 360.0 / raster.transform.a if raster.crs.is_geographic else 0.0
    for turned in (0.0, turn, -turn) if turn else (0.0,):
        inside = _inside(down, across + turned if turned else across, raster.shape)
        if not inside.any():
            continue
        if _need(down, across, inside) > most and out.size > 1:
            return _in_quarters(raster, fine, region, most)
        piece = _sampled(raster, down, across + turned if turned else across, inside)
        out = piece if inside.all() else np.where(np.isnan(out), piece, out)
        if inside.all():
            break
    return out


def _inside(down: Floats, across: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return (down >= 0) & (down < shape[0]) & (across >= 0) & (across < shape[1])


def _need(down: Floats, across: Floats, inside: NDArray[np.bool_]) -> float:
    """Source cells from the first to the last row and column wanted."""
    spans = [float(np.ptp(axis if inside.all() else axis[inside])) for axis in (down, across)]
    return (spans[0] + 3) * (spans[1] + 3)


def _in_quarters(raster: Band, fine: Grid, region: Region, most: int) -> Floats:
    row, col, rows, cols = region
    out = np.empty((rows, cols))
    half_row, half_col = (rows + 1) // 2, (cols + 1) // 2
    for i in range(0, rows, half_row):
        for j in range(0, cols, half_col):
            part = (row + i, col + j, min(half_row, rows - i), min(half_col, cols - j))
            out[i : i + half_row, j : j + half_col] = interpolated(raster, fine, part, most)
    return out


def _sampled(raster: Band, down: Floats, across: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Values at places counted in source cells from the file's corner; NaN outside it.

    Why the plain formula first: it gives NaN wherever a neighbour has no value, and only there weights are
    looked at. A cell's value so depends on its own four neighbours alone, to the last bit.
    """
    whole = bool(inside.all())
    if not whole:
        down, across = np.where(inside, down, np.nan), np.where(inside, across, np.nan)
    down, across = down - 0.5, across - 0.5  # from here on, whole numbers are middles of cells
    north, west = np.floor(down), np.floor(across)
    top, left = int(np.nanmin(north)), int(np.nanmin(west))
    rows, cols = int(np.nanmax(north)) - top + 2, int(np.nanmax(west)) - left + 2
    flat = raster.read(top, left, rows, cols).ravel()
    south, east = down - north, across - west  # shares of the neighbours there
    place = (north - top) * cols + (west - left)
    index = (place if whole else np.where(inside, place, 0.0)).astype(np.int64)
    corners = [flat[skip:].take(index) for skip in (0, 1, cols, cols + 1)]
    upper = corners[0] + (corners[1] - corners[0]) * east
    lower = corners[2] + (corners[3] - corners[2]) * east
    out = upper + (lower - upper) * south
    lacking = np.isnan(out) & inside
    if lacking.any():
        out[lacking] = _of_those_there(
            np.stack([corner[lacking] for corner in corners]), south[lacking], east[lacking]
        )
    return np.asarray(out, np.float64)


def _of_those_there(corners: Floats, south: Floats, east: Floats) -> Floats:
    """(n,) means of the neighbours that have a value, of (4, n); NaN where the cell around the place has none."""
    weights = np.stack(
        [(1 - south) * (1 - east), (1 - south) * east, south * (1 - east), south * east]
    ) * ~np.isnan(corners)
    nearest = corners[2 * (south >= 0.5) + (east >= 0.5), np.arange(south.size)]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.nan_to_num(corners) * weights).sum(axis=0) / weights.sum(axis=0)
    return np.where(np.isnan(nearest), np.nan, mean)
