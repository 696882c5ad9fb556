"""Brings a raster onto a window of the fine grid: exact where the cells nest, warped by kind where they do not."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from model.grid import Grid
from stages.store.arrays import same_crs
from stages.store.rasters import Raster

MAX_SOURCE = 16_000_000  # source cells held at once; a larger need is met in quarters
NEST_TOLERANCE = 1e-6  # cells; coordinates that differ by less are the same (7.24999999 is 7.25)
MARGIN = 3  # source cells read around a window
SPLAT = 8  # a source cell about as large as a fine one is cut into 8 x 8 parts

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
    """What bring() does to a layer, in the words of the report."""
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
        return "mass of each source cell placed by overlap"
    if kind == "class":
        return "area share per class" if finer else "nearest class"
    return "area mean" if finer or kind == "share" else "bilinear"


def bring(raster: Raster, target: Grid, kind: str, code: int | None = None) -> Floats:
    """Values of a layer on a window of the fine grid.

    Args:
      target: the window.
      kind: continuous, share, class or total.
      code: the class whose area share is wanted (kind class).
    Returns: (rows, cols); NaN where the layer has no value.
    """
    nest = nesting(raster.grid, target)
    if nest is not None and raster.grid is not None:
        out = np.full(target.shape, np.nan)
        for turned in _turns(raster.grid, target):
            piece = _nested(raster, turned, target, kind, code, *nest)
            out = np.where(np.isnan(out), piece, out)
        return out
    return _splat(raster, target) if kind == "total" else _warped(raster, target, kind, code)


def _turns(source: Grid, target: Grid) -> list[Grid]:
    """The source where it meets the target; on the globe also one turn east or west, so 359 E is 1 W."""
    shifts = (0.0,) if source.ellipsoid is None else (0.0, 360.0, -360.0)
    turned = [replace(source, left=source.left + shift) for shift in shifts]
    return [grid for grid in turned if grid.left < target.right and grid.right > target.left]


def _as_share(values: Floats, code: int | None) -> Floats:
    """1 where the class is the wanted one, 0 where another, NaN where none."""
    return values if code is None else np.where(np.isnan(values), np.nan, (values == code).astype(np.float64))


def _nested(
    raster: Raster, source: Grid, target: Grid, kind: str, code: int | None, way: str, k: int
) -> Floats:
    across = (target.left - source.left) / source.dx
    down = (source.top - target.top) / source.dy
    if way == "finer":
        row, col = round(down), round(across)
        values = _as_share(raster.read(row, col, target.rows * k, target.cols * k), code)
        cells = values.reshape(target.rows, k, target.cols, k)
        return _fold(cells, total=kind == "total")
    row, col = int(np.floor(down + NEST_TOLERANCE)), int(np.floor(across + NEST_TOLERANCE))
    skip_row, skip_col = round((down - row) * k), round((across - col) * k)
    rows, cols = -(-(skip_row + target.rows) // k), -(-(skip_col + target.cols) // k)
    values = _as_share(raster.read(row, col, rows, cols), code)
    if kind == "total":
        values = values / (k * k)
    spread = np.repeat(np.repeat(values, k, axis=0), k, axis=1)
    return spread[skip_row : skip_row + target.rows, skip_col : skip_col + target.cols]


def _fold(cells: Floats, *, total: bool) -> Floats:
    """Sum or mean over axes 1 and 3 of what is there; NaN where nothing is."""
    there = ~np.isnan(cells)
    count = there.sum(axis=(1, 3))
    summed = np.where(there, cells, 0.0).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count == 0, np.nan, summed if total else summed / count)


def _source_windows(raster: Raster, target: Grid) -> Iterator[tuple[int, int, int, int, float]]:
    """(row, col, rows, cols, shift): source cells around the target, once per turn of the globe that meets it."""
    height, width = raster.shape
    crs = raster.crs
    bounds = transform_bounds(target.crs, crs.to_wkt(), *target.bounds, densify_pts=21) if crs else None
    if crs is None or bounds is None or not np.all(np.isfinite(bounds)):
        return
    for shift in (0.0, 360.0, -360.0) if crs.is_geographic else (0.0,):
        inverse = ~(Affine.translation(shift, 0) @ raster.transform)
        corners = [inverse @ (x, y) for x in (bounds[0], bounds[2]) for y in (bounds[1], bounds[3])]
        cols, rows = zip(*corners, strict=True)
        top, bottom = max(int(np.floor(min(rows))) - MARGIN, 0), min(int(np.ceil(max(rows))) + MARGIN, height)
        left, right = max(int(np.floor(min(cols))) - MARGIN, 0), min(int(np.ceil(max(cols))) + MARGIN, width)
        if top < bottom and left < right:
            yield top, left, bottom - top, right - left, shift


def bounds_on(crs: str, raster: Raster, row: int, col: int, rows: int, cols: int) -> tuple[float, ...]:
    """(left, bottom, right, top) of a window of the raster in another CRS; not finite where it has no image there."""
    corners = [raster.transform @ (x, y) for x in (col, col + cols) for y in (row, row + rows)]
    xs, ys = zip(*corners, strict=True)
    given = raster.crs.to_wkt() if raster.crs else crs
    return tuple(transform_bounds(given, crs, min(xs), min(ys), max(xs), max(ys), densify_pts=21))


def is_finer(raster: Raster, target: Grid) -> bool:
    """True when about two or more source cells lie in a target cell."""
    middle = target.window(target.rows // 2, target.cols // 2, 1, 1)
    return any(
        (rows - 2 * MARGIN) * (cols - 2 * MARGIN) >= 4
        for _, _, rows, cols, _ in _source_windows(raster, middle)
    )


def _quarters(target: Grid) -> list[tuple[slice, slice, Grid]]:
    rows, cols = (target.rows + 1) // 2, (target.cols + 1) // 2
    parts = []
    for row in range(0, target.rows, rows):
        for col in range(0, target.cols, cols):
            height, width = min(rows, target.rows - row), min(cols, target.cols - col)
            parts.append(
                (slice(row, row + height), slice(col, col + width), target.window(row, col, height, width))
            )
    return parts


def _warped(raster: Raster, target: Grid, kind: str, code: int | None) -> Floats:
    """GDAL's warp of arrays we read ourselves, exact transform, one call per window."""
    windows = list(_source_windows(raster, target))
    if sum(rows * cols for _, _, rows, cols, _ in windows) > MAX_SOURCE and target.rows * target.cols > 1:
        out = np.full(target.shape, np.nan)
        for down, across, part in _quarters(target):
            out[down, across] = _warped(raster, part, kind, code)
        return out
    averaged = kind == "share" or is_finer(raster, target)
    resampling = (
        Resampling.average if averaged else Resampling.nearest if kind == "class" else Resampling.bilinear
    )
    out = np.full(target.shape, np.nan)
    for row, col, rows, cols, shift in windows:
        piece = np.full(target.shape, np.nan)
        place = Affine.translation(shift, 0) @ raster.transform @ Affine.translation(col, row)
        reproject(
            _as_share(raster.read(row, col, rows, cols), code),
            piece,
            src_transform=place,
            src_crs=raster.crs.to_wkt() if raster.crs else None,
            src_nodata=np.nan,
            dst_transform=Affine(*target.transform),
            dst_crs=target.crs,
            dst_nodata=np.nan,
            resampling=resampling,
            tolerance=0,
        )
        out = np.where(np.isnan(out), piece, out)
    return out


def _splat(raster: Raster, target: Grid) -> Floats:
    """Places the mass of every source cell by cutting it into k x k parts; each part lands in exactly one fine cell.

    Why not GDAL's `sum`: it loses mass when the warp is chunked (OSGeo/gdal 13539). Here the total is exact
    whatever the windows, because a part's place does not depend on the window it is asked from.
    """
    mass, touched = np.zeros(target.shape), np.zeros(target.shape, bool)
    if raster.crs is None:
        return np.full(target.shape, np.nan)
    to_target = Transformer.from_crs(raster.crs, target.crs, always_xy=True)
    parts = _parts(raster, target, to_target)
    for row, col, rows, cols, shift in _source_windows(raster, target):
        if rows * cols > MAX_SOURCE and target.rows * target.cols > 1:
            out = np.full(target.shape, np.nan)
            for down, across, part in _quarters(target):
                out[down, across] = _splat(raster, part)
            return out
        place = Affine.translation(shift, 0) @ raster.transform @ Affine.translation(col, row)
        edge_cols, edge_rows = np.meshgrid(np.arange(cols + 1.0), np.arange(rows + 1.0))
        x, y = _corner(place, edge_cols, edge_rows)
        across, down = to_target.transform(x, y)
        across, down = (across - target.left) / target.dx, (target.top - down) / target.dy
        _scatter(raster.read(row, col, rows, cols), across, down, parts, mass, touched)
    return np.where(touched, mass, np.nan)


def _corner(place: Affine, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """CRS coordinates of many cell corners at once."""
    return place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f


def _parts(raster: Raster, target: Grid, to_target: Transformer) -> int:
    """Into how many parts a source cell is cut along a side; the same for every window of one raster."""
    height, width = raster.shape
    rows, cols = (
        np.unique(np.linspace(0, height - 1, 9).round()),
        np.unique(np.linspace(0, width - 1, 9).round()),
    )
    edge_cols, edge_rows = np.meshgrid(cols, rows)
    ends = [
        to_target.transform(*_corner(raster.transform, edge_cols + step, edge_rows + step))
        for step in (0.0, 1.0)
    ]
    spans = np.abs([(ends[1][0] - ends[0][0]) / target.dx, (ends[1][1] - ends[0][1]) / target.dy])
    spans = spans[np.isfinite(spans)]
    return int(np.clip(np.ceil(SPLAT * spans.max()), SPLAT, 256)) if spans.size else SPLAT


def _scatter(
    values: Floats, across: Floats, down: Floats, k: int, mass: Floats, touched: NDArray[np.bool_]
) -> None:
    """Adds values, given the fine-grid coordinates of their cells' corners, into mass; each cell cut k x k."""
    rows, cols = mass.shape
    there = ~np.isnan(values)
    for i in range(k):
        for j in range(k):
            v, u = (i + 0.5) / k, (j + 0.5) / k
            x, y = (_inside(corner, v, u) for corner in (across, down))
            to_row, to_col = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
            lands = there & (to_row >= 0) & (to_row < rows) & (to_col >= 0) & (to_col < cols)
            index = to_row[lands] * cols + to_col[lands]
            mass += np.bincount(index, values[lands] / (k * k), rows * cols).reshape(rows, cols)
            touched.reshape(-1)[index] = True


def _inside(corner: Floats, v: float, u: float) -> Floats:
    """Bilinear place of the point (v, u) of each cell between its four corners."""
    return (
        (1 - v) * (1 - u) * corner[:-1, :-1]
        + (1 - v) * u * corner[:-1, 1:]
        + v * (1 - u) * corner[1:, :-1]
        + v * u * corner[1:, 1:]
    )
