"""Brings a raster onto a window of the fine grid: exact where the cells nest, warped by kind where they do not."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import ceil

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform_bounds

from model.ground.blocks import nested, spread
from model.ground.errors import InputError
from model.ground.grid import Grid, Region
from stages.formats.raster.band import Band
from stages.formats.zarr_groups import same_crs
from stages.regrid.bilinear import interpolated
from stages.regrid.conservative_overlap import overlapped
from stages.regrid.conservative_reproject import Codes, SourceWindow, as_share, conservative_reproject
from stages.regrid.transform_mesh import between

MAX_SOURCE = 16_000_000  # source cells held at once; a larger need is met in quarters
NEST_TOLERANCE = 1e-6  # cells; coordinates that differ by less are the same (7.24999999 is 7.25)
MARGIN = 3  # source cells read around a window
MAX_SPAN = 1000  # a wider cell would need more lattice points than memory should hold
DIVIDE = 1.5  # fine cells along a source cell from which on lattice points are counted instead

Floats = NDArray[np.float64]


def nesting(source: Grid | None, target: Grid) -> tuple[str, int] | None:
    """How the cells of two grids nest: ("finer", k), ("coarser", k) or None.

    k source cells lie along a target cell, or k target cells along a source cell; edges must coincide.
    """
    if source is None or not same_crs(source.crs, target.crs):
        return None
    for word, ratio in (("coarser", source.dx / target.dx), ("finer", target.dx / source.dx)):
        k = round(ratio)
        if (
            k < 1
            or abs(ratio / k - 1.0) > 1e-9
            or abs(source.dy / target.dy / (source.dx / target.dx) - 1.0) > 1e-9
        ):
            continue
        small = target if word == "coarser" else source
        large = source if word == "coarser" else target
        if max(map(abs, small.offset(large))) <= NEST_TOLERANCE:
            return word, k
    return None


def method_name(kind: str, nest: tuple[str, int] | None, finer: bool) -> str:
    """What bring() does to a layer, in the words of the report.

    Args: nest: as nesting() tells it; finer: about two or more source cells lie along a fine cell.
    """
    if nest == ("coarser", 1):
        return "none: cells coincide"
    if nest is not None:
        way, k = nest
        if way == "coarser":
            return (
                f"each cell split evenly in {k} x {k}" if kind == "total" else f"each cell repeated {k} x {k}"
            )
        return f"exact {'sum' if kind == 'total' else 'share per class' if kind == 'class' else 'mean'} of {k} x {k}"
    if kind == "total":
        return "mass of each source cell divided over the fine cells it covers"
    if kind == "class":
        return "area share per class"
    return "area mean" if finer or kind == "share" else "bilinear"


def bring(raster: Band, fine: Grid, region: Region, kind: str, code: Codes | None = None) -> Floats:
    """Values of a layer on a window of the fine grid.

    Args:
      fine: the whole fine grid; what it decides must not depend on the window.
      region: the window, in fine cells.
      kind: continuous, share, class or total.
      code: the classes whose area share together is wanted (kind class).
    Returns: (rows, cols); NaN where the layer has no value.
    """
    target, nest = fine.window(*region), nesting(raster.grid, fine)
    if nest is not None and raster.grid is not None:
        out = np.full(target.shape, np.nan)
        for turned in _turns(raster.grid, target):
            piece = _nested(raster, turned, target, kind, code, *nest)
            out = np.where(np.isnan(out), piece, out)
        return out
    if (source := _in_one_system(raster, fine)) is not None and _is_weighed(raster, fine, kind):
        out = np.full(target.shape, np.nan)
        for turned in _turns(source, target):
            piece = overlapped(raster, turned, fine, region, total=kind == "total", code=code)
            out = np.where(np.isnan(out), piece, out)
        return out
    if not _is_weighed(raster, fine, kind):
        return interpolated(raster, fine, region, MAX_SOURCE)
    span = cells_across(raster, fine)
    if kind == "total" and span > MAX_SPAN:
        raise InputError(
            raster.name,
            f"counts on cells {span:.0f} times as wide as the fine ones",
            f"at most {MAX_SPAN} times",
            "give the layer as a density with `kind: continuous`",
        )
    if span > DIVIDE:
        return _divided(raster, target, span) if kind == "total" else _shared(raster, target, span, code)
    return conservative_reproject(
        raster, fine, region, list(_source_windows(raster, target)), span, kind == "total", code
    )


def _in_one_system(raster: Band, fine: Grid) -> Grid | None:
    """The raster's grid when its axes are those of the fine grid."""
    return raster.grid if raster.grid is not None and same_crs(raster.grid.crs, fine.crs) else None


def _is_weighed(raster: Band, fine: Grid, kind: str) -> bool:
    """Amounts and shares are; a smooth quantity on larger cells is interpolated instead."""
    return kind != "continuous" or is_finer(raster, fine)


def _turns(source: Grid, target: Grid) -> list[Grid]:
    """The source where it meets the target; on the globe also one turn east or west, so 359 E is 1 W."""
    shifts = (0.0,) if source.ellipsoid is None else (0.0, 360.0, -360.0)
    turned = [replace(source, left=source.left + shift) for shift in shifts]
    return [grid for grid in turned if grid.left < target.right and grid.right > target.left]


def _nested(
    raster: Band, source: Grid, target: Grid, kind: str, code: Codes | None, way: str, k: int
) -> Floats:
    across = (target.left - source.left) / source.dx
    down = (source.top - target.top) / source.dy
    if way == "finer":
        row, col = round(down), round(across)
        values = as_share(raster.read(row, col, target.rows * k, target.cols * k), code)
        return _fold(nested(values, k), total=kind == "total")
    row, col = int(np.floor(down + NEST_TOLERANCE)), int(np.floor(across + NEST_TOLERANCE))
    skip_row, skip_col = round((down - row) * k), round((across - col) * k)
    rows, cols = -(-(skip_row + target.rows) // k), -(-(skip_col + target.cols) // k)
    values = as_share(raster.read(row, col, rows, cols), code)
    if kind == "total":
        values = values / (k * k)
    return spread(values, k)[skip_row : skip_row + target.rows, skip_col : skip_col + target.cols]


def _fold(cells: Floats, *, total: bool) -> Floats:
    """Sum or mean over axes 1 and 3 of what is there; NaN where nothing is."""
    there = ~np.isnan(cells)
    count = there.sum(axis=(1, 3))
    summed = np.where(there, cells, 0.0).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count == 0, np.nan, summed if total else summed / count)


def _source_windows(raster: Band, target: Grid) -> Iterator[SourceWindow]:
    """Source cells around the target, once per turn of the globe that meets it."""
    height, width = raster.shape
    crs = raster.crs
    bounds = transform_bounds(target.crs, raster.wkt, *target.bounds, densify_pts=21) if crs else None
    if crs is None or bounds is None or not np.all(np.isfinite(bounds)):
        return
    for shift in (0.0, 360.0, -360.0) if crs.is_geographic else (0.0,):
        inverse = ~(Affine.translation(shift, 0) @ raster.transform)
        corners = [inverse @ (x, y) for x in (bounds[0], bounds[2]) for y in (bounds[1], bounds[3])]
        cols, rows = zip(*corners, strict=True)
        top, bottom = max(int(np.floor(min(rows))) - MARGIN, 0), min(int(np.ceil(max(rows))) + MARGIN, height)
        left, right = max(int(np.floor(min(cols))) - MARGIN, 0), min(int(np.ceil(max(cols))) + MARGIN, width)
        if top < bottom and left < right:
            yield SourceWindow(Region(top, left, bottom - top, right - left), shift)


def bounds_of(raster: Band, grid: Grid | None = None) -> tuple[float, ...]:
    """(left, bottom, right, top) of the raster, or of a grid, in the raster's own CRS.

    Edges of a grid are densified before they are projected, since a straight line does not stay one.
    """
    if grid is not None and raster.crs is not None:
        return tuple(transform_bounds(grid.crs, raster.wkt, *grid.bounds, densify_pts=21))
    rows, cols = raster.shape
    corners = [raster.transform @ (x, y) for x in (0, cols) for y in (0, rows)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def meets(raster: Band, grid: Grid) -> bool:
    """True when the raster reaches into the grid.

    Why asked in the raster's CRS: the bounds of a layer of the whole globe mean nothing in a regional projection.
    """
    left, bottom, right, top = bounds_of(raster)
    wanted = bounds_of(raster, grid)
    turns = (0.0, 360.0, -360.0) if raster.crs is not None and raster.crs.is_geographic else (0.0,)
    down = min(top, wanted[3]) - max(bottom, wanted[1])
    across = max(min(right + turn, wanted[2]) - max(left + turn, wanted[0]) for turn in turns)
    return bool(down > 0 and across > 0)


def cells_across(raster: Band, grid: Grid) -> float:
    """Width or height, whichever is larger, of the raster's cells in cells of the grid, at the grid's middle.

    Returns: 10 for cells ten times as wide as those of the grid; 1 without a CRS, where nobody can tell.
    """
    return 1.0 if raster.crs is None else _cells_across(raster.transform, raster.wkt, grid)


@lru_cache(maxsize=256)
def _cells_across(transform: Affine, crs: str, grid: Grid) -> float:
    there = between(grid.crs, crs)
    x, y = (grid.left + grid.right) / 2, (grid.bottom + grid.top) / 2
    inverse = ~transform
    spans = []
    for dx, dy in ((grid.dx, 0.0), (0.0, grid.dy)):
        ends = [inverse @ there.transform(x + sign * dx / 2, y + sign * dy / 2) for sign in (-1, 1)]
        spans.append(float(np.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1])))
    return 1.0 / max(min(spans), 1e-12)


def is_finer(raster: Band, grid: Grid) -> bool:
    """True when about two or more of the raster's cells lie along a cell of the grid."""
    return cells_across(raster, grid) <= 0.6


def _divided(raster: Band, target: Grid, span: float) -> Floats:
    """Divides the mass of cells larger than fine ones evenly over the points of a lattice that they hold.

    The lattice has n x n points a fine cell and goes on beyond the window far enough to count the points of
    every source cell in full, so the shares of a cell add up to 1 whatever the windows.

    Args:
      span: fine cells along a source cell.
    """
    n = _points_along(span)
    margin = 2 * ceil(span) + 2
    wide = target.window(-margin, -margin, target.rows + 2 * margin, target.cols + 2 * margin).refine(n)
    out, there = np.zeros(target.shape), np.zeros(target.shape, bool)
    inner = (slice(margin * n, -margin * n),) * 2
    for cells, index in _held(raster, wide):
        held = index >= 0
        if not held[inner].any():
            continue
        points = np.bincount(index[held], minlength=cells.rows * cells.cols)
        values = raster.read(*cells).ravel() / np.maximum(points, 1)
        shares = np.where(held, values[np.maximum(index, 0)], np.nan)[inner].reshape(
            target.rows, n, target.cols, n
        )
        known = ~np.isnan(shares)
        out += np.where(known, shares, 0.0).sum(axis=(1, 3))
        there |= known.any(axis=(1, 3))
    return np.where(there, out, np.nan)


def _shared(raster: Band, target: Grid, span: float, code: Codes | None) -> Floats:
    """Means over the points of a lattice in each fine cell, where source cells are larger than fine ones."""
    n = _points_along(span)
    out, known = np.zeros(target.shape), np.zeros(target.shape)
    for cells, index in _held(raster, target.refine(n)):
        values = as_share(raster.read(*cells), code).ravel()
        points = np.where(index >= 0, values[np.maximum(index, 0)], np.nan).reshape(
            target.rows, n, target.cols, n
        )
        there = ~np.isnan(points)
        out += np.where(there, points, 0.0).sum(axis=(1, 3))
        known += there.sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, out / known, np.nan)


def _points_along(span: float) -> int:
    """Lattice points along a fine cell: fewer where source cells are so wide that their borders meet few fine cells."""
    return 4 if span < 8 else 2 if span < 32 else 1


def _held(raster: Band, lattice: Grid) -> Iterator[tuple[Region, NDArray[np.int64]]]:
    """Which source cell each lattice point lies in, once per turn of the globe.

    Returns: the source cells that hold points; (lattice rows, lattice cols) index into them, -1 where the point lies
    in none.
    """
    if raster.crs is None:
        return
    x, y = between(lattice.crs, raster.wkt).transform(*np.meshgrid(lattice.x, lattice.y))
    for shift in (0.0, 360.0, -360.0) if raster.crs.is_geographic else (0.0,):
        inverse = ~(Affine.translation(shift, 0) @ raster.transform)
        cols, rows = (np.floor(axis) for axis in _corner(inverse, np.asarray(x), np.asarray(y)))
        held = (rows >= 0) & (rows < raster.shape[0]) & (cols >= 0) & (cols < raster.shape[1])
        if held.any():
            top, left = int(rows[held].min()), int(cols[held].min())
            height, width = int(rows[held].max()) - top + 1, int(cols[held].max()) - left + 1
            index = np.where(held, (rows - top) * width + cols - left, -1.0).astype(np.int64)
            yield Region(top, left, height, width), index


def _corner(place: Affine, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """CRS coordinates of many cell corners at once."""
    return place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f
