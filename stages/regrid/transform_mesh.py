"""Carries the middles of fine cells into another reference system: exact on a mesh, straight between its points.

Why: exact places of all cells cost more than all else of a warp. How wide the mesh may be is measured, and where
it is not fine enough (near a pole, where longitudes jump) places are exact one by one. Nothing depends on the window.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from model.ground.blocks import spread
from model.ground.grid import Grid, Region

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # top, left, bottom, right in cells of a raster

WIDEST = 32  # fine cells between mesh points
EXACT = 5e-3  # source cells that a place between mesh points may lie off; GDAL allows 0.125


@lru_cache(maxsize=256)
def between(source: str, target: str) -> Transformer:
    """From one reference system (WKT) to another, x before y; made once, as that takes long."""
    return Transformer.from_crs(source, target, always_xy=True)


@dataclass(frozen=True)
class Places:
    """Where the middles of fine cells lie, in cells of a raster: 0 is the middle of its first row or column.

    Attributes:
      down, across: (rows, cols) each; not finite where the ground has no place in that system.
      box: around all of them that are finite, perhaps a little wider.
    """

    down: Floats
    across: Floats
    box: Box


@dataclass(frozen=True)
class Lines:
    """Places of the middles of a window's cells at some rows around it; between those they lie on straight lines.

    Attributes:
      down, across: (lines, cols) in cells of a raster, as in Places.
      step: rows between two lines; skip: rows of the window's first behind the first line.
      rows: of the window; box: as in Places.
    """

    down: Floats
    across: Floats
    step: int
    skip: int
    rows: int
    box: Box

    def places(self) -> Places:
        """Of every cell."""
        return Places(self._spread(self.down), self._spread(self.across), self.box)

    def _spread(self, lines: Floats) -> Floats:
        cells = np.diff(lines, axis=0)[:, None, :] * (np.arange(self.step) / self.step)[:, None]
        cells += lines[:-1, None, :]
        return cells.reshape(-1, lines.shape[1])[self.skip : self.skip + self.rows]


def lines(place: Affine, crs: str, fine: Grid, region: Region) -> Lines | None:
    """Places of the middles of the cells of a window, as straight lines; None where one is not near enough.

    Args:
      place, crs: transform and reference system of the raster.
    """
    step = _step(place, crs, fine)
    if step == 1:
        return None
    mesh = _mesh(place, crs, fine, region, step)
    if (_off(mesh[0]) | _off(mesh[1])).any():
        return None
    return _lined(mesh, region, step)


def middles(place: Affine, crs: str, fine: Grid, region: Region) -> Places:
    """Places of the middles of the cells of a window, whether or not they lie on straight lines; as in lines()."""
    row, col, rows, cols = region
    step = _step(place, crs, fine)
    if step == 1:
        return _boxed(*_exact(place, crs, fine, np.arange(row, row + rows), np.arange(col, col + cols)))
    mesh = _mesh(place, crs, fine, region, step)
    found = _lined(mesh, region, step)
    bad = _off(mesh[0]) | _off(mesh[1])
    places = found.places()
    if not bad.any():
        return places
    skip_row, skip_col = row % step, col % step
    squares = spread(bad, step)
    i, j = np.nonzero(squares[skip_row : skip_row + rows, skip_col : skip_col + cols])
    places.down[i, j], places.across[i, j] = _at(place, crs, fine, i + row, j + col)
    return _boxed(places.down, places.across)


def _mesh(place: Affine, crs: str, fine: Grid, region: Region, step: int) -> tuple[Floats, Floats]:
    """(down, across) of the mesh points around a window, with those half-way between."""
    row, col, rows, cols = region
    return _exact(place, crs, fine, _nodes(row, rows, step), _nodes(col, cols, step))


def _lined(mesh: tuple[Floats, Floats], region: Region, step: int) -> Lines:
    row, col, rows, cols = region
    skip = col % step
    down, across = (_along(axis[::2, ::2], step)[:, skip : skip + cols] for axis in mesh)
    return Lines(down, across, step, row % step, rows, _box(*mesh))


def _along(nodes: Floats, step: int) -> Floats:
    """(lines, columns) of all columns of the mesh from those of every step-th."""
    between = np.diff(nodes, axis=1)[:, :, None] * (np.arange(step) / step) + nodes[:, :-1, None]
    return np.ascontiguousarray(between.reshape(len(nodes), -1))


def _boxed(down: Floats, across: Floats) -> Places:
    good = np.isfinite(down) & np.isfinite(across)
    nowhere = (0.0, 0.0, -1.0, -1.0)
    return Places(down, across, _box(down[good], across[good]) if good.any() else nowhere)


def _box(down: Floats, across: Floats) -> Box:
    return float(down.min()), float(across.min()), float(down.max()), float(across.max())


def _nodes(start: int, count: int, step: int) -> NDArray[np.int64]:
    """Mesh points, with those half-way between, around a stretch of cells; at whole multiples of the step."""
    first, last = start // step, (start + count - 1) // step + 1
    return np.arange(first * step, last * step + 1, step // 2)


def _off(mesh: Floats) -> NDArray[np.bool_]:
    """Squares of the mesh in which a straight line misses a place half-way, or that have none."""
    corner, right, below, far = mesh[:-2:2, :-2:2], mesh[:-2:2, 2::2], mesh[2::2, :-2:2], mesh[2::2, 2::2]
    with np.errstate(invalid="ignore"):
        worst = np.abs((corner + right + below + far) / 4 - mesh[1::2, 1::2])
        for one, other, middle in (
            (corner, right, mesh[:-2:2, 1::2]), (below, far, mesh[2::2, 1::2]),
            (corner, below, mesh[1::2, :-2:2]), (right, far, mesh[1::2, 2::2]),
        ):  # fmt: skip
            worst = np.maximum(worst, np.abs((one + other) / 2 - middle))
        return ~(worst <= EXACT)


@lru_cache(maxsize=256)
def _step(place: Affine, crs: str, fine: Grid) -> int:
    """The widest mesh that is near enough at 25 spots of the fine grid; 1 where none is."""
    rows, cols = (np.unique(np.linspace(0, size - 1, 5).astype(int)) for size in fine.shape)
    step = WIDEST
    while step > 1:
        ends, missed = np.array((0, step // 2, step)), 0
        for row, col in product(rows, cols):
            down, across = _exact(place, crs, fine, row + ends, col + ends)
            missed += bool(_off(down).any() or _off(across).any())
        # Why a quarter may miss: a jump of longitudes is no bend, and such squares are exact one by one anyway.
        if 4 * missed <= len(rows) * len(cols):
            return step
        step //= 2
    return 1


def _exact(
    place: Affine, crs: str, fine: Grid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """(down, across) of all cells of some rows and columns."""
    i, j = np.meshgrid(rows, cols, indexing="ij")
    return _at(place, crs, fine, i, j)


def _at(
    place: Affine, crs: str, fine: Grid, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    x, y = fine.left + (cols + 0.5) * fine.dx, fine.top - (rows + 0.5) * fine.dy
    if crs != fine.crs:
        x, y = (np.asarray(axis) for axis in between(fine.crs, crs).transform(x, y))
    back = ~place
    with np.errstate(invalid="ignore"):
        return back.d * x + back.e * y + (back.f - 0.5), back.a * x + back.b * y + (back.c - 0.5)
