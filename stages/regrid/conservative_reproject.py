"""Small cells onto a grid of another reference system: those that cross a line are cut, so no amount is lost."""

from math import ceil
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from model.ground.grid import Grid, Region
from stages.formats.raster.band import Band
from stages.regrid.transform_mesh import between

Floats = NDArray[np.float64]
Codes = tuple[int, ...]  # of classes

MOST = 250_000  # source cells worked on at once: what a processor keeps close by
LOWEST = 32  # rows of such a band at least
PARTS = 8  # along a fine cell that a source cell about as large is cut into
FEWEST = 4  # the same for source cells however small
SLICES = 4  # of a cell that one line crosses
MESH = 32  # source cells between corners that are projected exactly; fewer where that is not exact enough
EXACT = 1e-3  # fine cells that an interpolated corner may lie off


class SourceWindow(NamedTuple):
    """Source cells that may reach a window of the fine grid, and degrees to turn the globe by before they do."""

    cells: Region
    turn: float


def conservative_reproject(
    raster: Band,
    fine: Grid,
    region: Region,
    windows: list[SourceWindow],
    span: float,
    total: bool = True,
    code: Codes | None = None,
) -> Floats:
    """Mass, or area means, on a window of the fine grid.

    Why not GDAL's `sum`: it loses mass when the warp is chunked (OSGeo/gdal 13539). Here a part's place depends on
    its own cell alone and never on the window it is asked from, so totals are exact and windows do not matter.

    Args:
      region: the window, in fine cells.
      windows: source cells that may reach it.
      span: fine cells along a source cell.
      total: True: values are amounts and add up; False: they are averaged, weighed by what of each cell lies there.
      code: the classes whose share together is wanted.
    Returns: (rows, cols); NaN where no source cell with a value lies.
    """
    mass, touched = np.zeros((1 if total else 2, *region.shape)), np.zeros(region.shape, bool)
    if raster.crs is None:
        return np.full(touched.shape, np.nan)
    project, back = between(raster.wkt, fine.crs), between(fine.crs, raster.wkt)
    parts = max(FEWEST, ceil(PARTS * span))
    for (row, col, rows, cols), turn in windows:
        place = Affine.translation(turn, 0) @ raster.transform
        step = _mesh_step(place, project, back, fine)
        # Why bands at fixed rows of the file: sums then come about in one order, whatever the window.
        height = max(LOWEST, MOST // raster.shape[1])
        for band in range(row // height * height, row + rows, height):
            first = max(band, row)
            cells = Region(first, col, min(band + height, row + rows) - first, cols)
            across, down = _corners(place, project, fine, cells, step)
            values = as_share(raster.read(*cells), code)
            layers = values[None] if total else np.stack([values, np.ones(values.shape)])
            _scatter(layers, ~np.isnan(values), across, down, parts, region, mass, touched)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(touched, mass[0] if total else mass[0] / mass[1], np.nan)


def as_share(values: Floats, code: Codes | None) -> Floats:
    """1 where the class is a wanted one, 0 where another, NaN where none; unchanged without a code.

    The share of a class on a coarser cell is the mean of this.
    """
    if code is None:
        return values
    return np.where(np.isnan(values), np.nan, is_one_of(values, code).astype(np.float64))


def is_one_of(values: Floats, code: Codes) -> NDArray[np.bool_]:
    """True where the class is a wanted one."""
    return values == code[0] if len(code) == 1 else np.isin(values, code)


def _mesh_step(place: Affine, project: Transformer, back: Transformer, fine: Grid) -> int:
    """The widest mesh on which corners between its points, taken on straight lines, lie within EXACT.

    Why asked at fixed spots of the grids: the mesh must not depend on the window.
    """
    x, y = np.meshgrid(np.linspace(fine.left, fine.right, 5), np.linspace(fine.bottom, fine.top, 5))
    cols, rows = ~place @ tuple(map(np.asarray, back.transform(x, y)))
    good = np.isfinite(rows) & np.isfinite(cols)
    rows, cols = np.round(rows[good]), np.round(cols[good])
    step = MESH
    while step > 1:
        worst = 0.0
        for down, across in ((step, 0), (0, step), (step, step)):
            ends = [
                _on_fine(place, project, fine, rows + s * down, cols + s * across) for s in (0.0, 0.5, 1.0)
            ]
            for first, middle, last in zip(*ends, strict=True):
                worst = max(worst, float(np.abs((first + last) / 2 - middle).max(initial=0.0)))
        if worst <= EXACT:
            break
        step //= 2
    return step


def _on_fine(
    place: Affine, project: Transformer, fine: Grid, rows: Floats, cols: Floats
) -> tuple[Floats, Floats]:
    """(across, down) of source corners, counted in fine cells from the corner of the whole fine grid."""
    x, y = place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f
    east, north = project.transform(x, y)
    return (np.asarray(east) - fine.left) / fine.dx, (fine.top - np.asarray(north)) / fine.dy


def _corners(
    place: Affine, project: Transformer, fine: Grid, cells: Region, step: int
) -> tuple[Floats, Floats]:
    """(rows + 1, cols + 1) places of the corners of source cells, exact on a mesh of whole multiples of step."""
    row, col, rows, cols = cells
    nodes = [
        np.arange(start // step, -(-(start + count) // step) + 1) * step
        for start, count in ((row, rows), (col, cols))
    ]
    mesh = _on_fine(
        place, project, fine, *np.meshgrid(nodes[0].astype(float), nodes[1].astype(float), indexing="ij")
    )
    wanted = np.arange(row, row + rows + 1), np.arange(col, col + cols + 1)
    return _between(mesh[0], nodes, wanted, step), _between(mesh[1], nodes, wanted, step)


def _between(
    mesh: Floats, nodes: list[NDArray[np.int64]], wanted: tuple[NDArray[np.int64], ...], step: int
) -> Floats:
    """Values between mesh points, on straight lines along rows, then along columns."""
    for axis in (0, 1):
        index = np.minimum((wanted[axis] - nodes[axis][0]) // step, max(len(nodes[axis]) - 2, 0))
        share = ((wanted[axis] - nodes[axis][0] - index * step) / step).reshape(
            (-1, 1) if axis == 0 else (1, -1)
        )
        low, high = (
            np.take(mesh, index, axis),
            np.take(mesh, np.minimum(index + 1, len(nodes[axis]) - 1), axis),
        )
        mesh = low * (1.0 - share) + high * share
    return mesh


def _scatter(
    values: Floats, known: NDArray[np.bool_], across: Floats, down: Floats, parts: int,
    region: Region, mass: Floats, touched: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Adds values into mass, given their cells' corners: whole where all four lie in one fine cell, else cut.

    Args:
      values: (k, rows, cols) quantities of each cell; known: (rows, cols) it has them.
      mass: (k, rows, cols) of the region.
    """
    there = known & np.isfinite(across[:-1, :-1]) & np.isfinite(down[:-1, :-1])
    with np.errstate(invalid="ignore"):
        to_row, to_col = np.floor(down), np.floor(across)
    whole = there & _all_equal(to_row) & _all_equal(to_col)
    _add(values[:, whole], to_row[:-1, :-1][whole], to_col[:-1, :-1][whole], region, mass, touched)
    cut = there & ~whole
    if not cut.any():
        return
    x, y, shares = _four(across, cut), _four(down, cut), values[:, cut]
    first_col, last_col = np.floor(x.min(axis=0)), np.floor(x.max(axis=0))
    first_row, last_row = np.floor(y.min(axis=0)), np.floor(y.max(axis=0))
    by_col = (first_row == last_row) & (last_col == first_col + 1)
    by_row = (first_col == last_col) & (last_row == first_row + 1)
    beyond = shares[:, by_col] * _beyond(x[:, by_col], last_col[by_col])
    _add(beyond, first_row[by_col], last_col[by_col], region, mass, touched)
    _add(shares[:, by_col] - beyond, first_row[by_col], first_col[by_col], region, mass, touched)
    beyond = shares[:, by_row] * _beyond(y[:, by_row][[0, 2, 1, 3]], last_row[by_row])
    _add(beyond, last_row[by_row], first_col[by_row], region, mass, touched)
    _add(shares[:, by_row] - beyond, first_row[by_row], first_col[by_row], region, mass, touched)
    rest = ~(by_col | by_row)
    _add_parts(shares[:, rest], x[:, rest], y[:, rest], parts, region, mass, touched)


def _beyond(corners: Floats, line: Floats) -> Floats:
    """(n,) share of each cell beyond the one line that crosses it: exact along SLICES slices, which are averaged.

    Args:
      corners: (4, n) places across the line, ends of the first edge along it at 0 and 2, of the last at 1 and 3.
    """
    share = np.zeros(line.shape)
    for v in (np.arange(SLICES) + 0.5) / SLICES:
        ends = (1 - v) * corners[0] + v * corners[2], (1 - v) * corners[1] + v * corners[3]
        low, high = np.minimum(*ends), np.maximum(*ends)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(high > low, (high - line) / (high - low), high >= line)
        share += np.clip(part, 0.0, 1.0)
    return share / SLICES


def _add_parts(
    values: Floats, x: Floats, y: Floats, parts: int, region: Region,
    mass: Floats, touched: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Adds values cut into parts x parts, each where its middle falls; values: (k, n), x, y: (4, n) corners."""
    shares = values / (parts * parts)
    inside = (np.arange(parts) + 0.5) / parts
    for v in inside:
        x0, y0 = (_middle(four[0], four[2], v) for four in (x, y))
        wide, high = _middle(x[1], x[3], v) - x0, _middle(y[1], y[3], v) - y0
        for u in inside:
            _add(shares, np.floor(y0 + high * u), np.floor(x0 + wide * u), region, mass, touched)


def _middle(first: Floats, last: Floats, share: float) -> Floats:
    return first + (last - first) * share


def _all_equal(corner: Floats) -> NDArray[np.bool_]:
    first = corner[:-1, :-1]
    return np.asarray((first == corner[:-1, 1:]) & (first == corner[1:, :-1]) & (first == corner[1:, 1:]))


def _four(corner: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """(4, n) places of the corners of chosen cells: north-west, north-east, south-west, south-east."""
    around = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    return np.stack([part[chosen] for part in around])


def _add(
    values: Floats, row: Floats, col: Floats, region: Region,
    mass: Floats, touched: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Adds (k, n) values into the fine cells of the region that they fall in."""
    rows, cols = touched.shape
    row, col = row - region.row, col - region.col
    if not row.size:
        return
    if row.min() < 0 or row.max() >= rows or col.min() < 0 or col.max() >= cols:
        lands = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        values, row, col = values[:, lands], row[lands], col[lands]
    index = (row * cols + col).astype(np.int64)
    for own, part in zip(mass, values, strict=True):
        own += np.bincount(index, part, rows * cols).reshape(rows, cols)
    touched.reshape(-1)[index] = True
