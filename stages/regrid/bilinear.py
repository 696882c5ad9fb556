"""Interpolates a smooth layer at the middles of fine cells, from the four source cells around each."""

import numpy as np

from model.ground.grid import Grid, Region
from stages.formats.raster.band import Band
from stages.regrid.transform_mesh import Floats, Places, middles


def interpolated(raster: Band, fine: Grid, region: Region, most: int) -> Floats:
    """Values on a window of the fine grid.

    A cell has a value where its middle lies in a source cell that has one; neighbours without a value, or beyond
    the file, leave their weight to the others.

    Args:
      most: source cells held at once; a larger need is met in quarters.
    Returns: (rows, cols); NaN where the layer has no value.
    """
    out = np.full(region.shape, np.nan)
    if raster.crs is None:
        return out
    places = middles(raster.transform, raster.wkt, fine, region)
    for turned in (0.0, raster.turn, -raster.turn) if raster.turn else (0.0,):
        near = _meeting(places, turned, raster.shape)
        if near is None:
            continue
        if (near.rows + 2) * (near.cols + 2) > most and out.size > 1:
            return _in_quarters(raster, fine, region, most)
        piece = _sampled(raster, places, turned, near)
        if turned == 0.0 and _lies_within(places, turned, raster.shape):
            return piece
        out = np.where(np.isnan(out), piece, out)
    return out


def _meeting(places: Places, turned: float, shape: tuple[int, int]) -> Region | None:
    """The source cells around the places in the file; None when none is in it."""
    top, left, bottom, right = places.box
    if bottom < -0.5 or top > shape[0] - 0.5 or right + turned < -0.5 or left + turned > shape[1] - 0.5:
        return None
    row, col = int(np.floor(max(top, -0.5))), int(np.floor(max(left + turned, -0.5)))
    last_row = int(np.floor(min(bottom, shape[0] - 0.5))) + 1
    last_col = int(np.floor(min(right + turned, shape[1] - 0.5))) + 1
    return Region(row, col, last_row - row + 1, last_col - col + 1)


def _lies_within(places: Places, turned: float, shape: tuple[int, int]) -> bool:
    top, left, bottom, right = places.box
    if not np.isfinite(places.down).all():
        return False
    within_rows = top >= -0.5 and bottom < shape[0] - 0.5
    return within_rows and left + turned >= -0.5 and right + turned < shape[1] - 0.5


def _in_quarters(raster: Band, fine: Grid, region: Region, most: int) -> Floats:
    row, col, rows, cols = region
    out = np.empty(region.shape)
    half_row, half_col = (rows + 1) // 2, (cols + 1) // 2
    for i in range(0, rows, half_row):
        for j in range(0, cols, half_col):
            part = Region(row + i, col + j, min(half_row, rows - i), min(half_col, cols - j))
            out[part.within(region).slices] = interpolated(raster, fine, part, most)
    return out


def _sampled(raster: Band, places: Places, turned: float, near: Region) -> Floats:
    """Values at places; NaN outside the file; near: the source cells around them.

    Why the plain formula first: it gives NaN wherever a neighbour has no value, and only there weights are
    looked at. A cell's value so depends on its own four neighbours alone, to the last bit.
    """
    down, across = places.down, places.across + turned if turned else places.across
    top, left, _, cols = near
    flat = raster.read(*near).ravel()
    north, west = np.floor(down), np.floor(across)
    south, east = down - north, across - west  # shares of the neighbours there
    north *= cols
    north += west
    north -= top * cols + left
    inside = None
    if not _lies_within(places, turned, raster.shape):
        with np.errstate(invalid="ignore"):
            inside = (down >= -0.5) & (down < raster.shape[0] - 0.5)
            inside &= (across >= -0.5) & (across < raster.shape[1] - 0.5)
        north[~inside] = 0.0
    index = north.astype(np.int64)
    corners = [flat[skip:].take(index) for skip in (0, 1, cols, cols + 1)]
    out = _between(_between(corners[0], corners[1], east), _between(corners[2], corners[3], east), south)
    lacking = np.isnan(out) if inside is None else np.isnan(out) & inside
    if lacking.any():
        four = np.stack([corner[lacking] for corner in corners])
        out[lacking] = _of_those_there(four, south[lacking], east[lacking])
    if inside is not None:
        out[~inside] = np.nan
    return out


def _between(first: Floats, last: Floats, share: Floats) -> Floats:
    out = last - first
    out *= share
    out += first
    return out


def _of_those_there(corners: Floats, south: Floats, east: Floats) -> Floats:
    """(n,) means of the neighbours that have a value, of (4, n); NaN where the cell around the place has none."""
    weights = np.stack(
        [(1 - south) * (1 - east), (1 - south) * east, south * (1 - east), south * east]
    ) * ~np.isnan(corners)
    nearest = corners[2 * (south >= 0.5) + (east >= 0.5), np.arange(south.size)]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.nan_to_num(corners) * weights).sum(axis=0) / weights.sum(axis=0)
    return np.where(np.isnan(nearest), np.nan, mean)
