"""Lines and outlines brought onto a fine grid: cut to bins of cells as they are read, measured cell by cell later."""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from model.ground.errors import InputError
from model.ground.grid import Grid, Region
from model.ground.overlay import Pieces, cover, cut, sum_lengths
from stages.formats.vector.read import Bounds, shapely
from stages.formats.zarr_groups import CHUNK, same_crs
from stages.regrid.spill import Bin, Bins

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Floats = NDArray[np.float64]
Kind = Literal["length", "area"]

BIN = CHUNK  # fine cells along a bin: the region ingest fills at once
KEPT = 64  # bins whose cells are remembered
MAX_BIN = 400 << 20  # bytes of shapes in one bin; they are held at once
TYPES = {
    "length": (1, 5),
    "area": (3, 6),
}  # shapely's numbers for line strings and polygons, single and multi


class Shapes:
    """Shapes of one kind on one grid.

    What a bin holds does not depend on the windows asked for, so neither do the values.

    Attributes:
      used, other, empty, mended: features that count, those of another type, without geometry, made valid.
    """

    def __init__(self, grid: Grid, crs: CRS, kind: Kind, margin: int = 0, folder: Path | None = None) -> None:
        """
        Args:
          crs: of the shapes that will come.
          margin: fine cells beyond the grid that may be asked for.
          folder: where shapes go that do not fit in memory; a temporary one by default.
        """
        self._grid, self._kind, self._crs, self._margin = grid, kind, crs, margin
        self._to_grid = _transformer(crs, grid.crs)
        self._store = Bins(folder)
        self._cells: OrderedDict[Bin, Floats] = OrderedDict()
        self._turn = Lock()  # one thread measures a bin, others wait for it rather than measure it too
        self.box = self._box()
        self.used = self.other = self.empty = self.mended = 0
        self.left, self.bottom, self.right, self.top = np.inf, np.inf, -np.inf, -np.inf

    def _box(self) -> Bounds:
        """(left, bottom, right, top) of the grid and its margin in the CRS of the shapes, a cell wider."""
        wide = self._margin + 1
        grid = self._grid
        around = grid.window(-wide, -wide, grid.rows + 2 * wide, grid.cols + 2 * wide)
        if self._to_grid is None:
            return around.bounds
        back = _transformer(CRS.from_wkt(grid.crs), self._crs.to_wkt())
        assert back is not None
        left, bottom, right, top = back.transform_bounds(*around.bounds, densify_pts=101)
        if not np.isfinite([left, bottom, right, top]).all():
            raise InputError(
                "vector layer", f"a CRS ({self._crs.name}) that does not know the ground of the totals",
                "a CRS that covers it", "check `crs:`, or reproject the layer",
            )  # fmt: skip
        slack = 1e-6 * max(right - left, top - bottom)
        return left - slack, bottom - slack, right + slack, top + slack

    def add(self, geometry: NDArray[Any]) -> None:
        """Takes features in the CRS of the shapes, in the order of their file.

        Args: geometry: (n,) shapely geometries; None or empty where a feature has none.
        Raises: InputError (exit 3) for shapes without a place in the CRS of the grid.
        """
        library = shapely()
        missing = library.is_missing(geometry) | library.is_empty(geometry)
        fits = np.isin(library.get_type_id(geometry), TYPES[self._kind])
        self.empty += int(missing.sum())
        self.other += int((~missing & ~fits).sum())
        shapes = geometry[~missing & fits]
        if not shapes.size:
            return
        self.used += shapes.size
        bounds = library.total_bounds(shapes)
        self.left, self.bottom = min(self.left, float(bounds[0])), min(self.bottom, float(bounds[1]))
        self.right, self.top = max(self.right, float(bounds[2])), max(self.top, float(bounds[3]))
        if self._kind == "area":
            wrong = ~library.is_valid(shapes)
            self.mended += int(wrong.sum())
            shapes[wrong] = library.make_valid(shapes[wrong])
        left, bottom, right, top = library.bounds(shapes).T
        beyond = (left < self.box[0]) | (bottom < self.box[1]) | (right > self.box[2]) | (top > self.box[3])
        shapes[beyond] = [_clip(shape, self.box) for shape in shapes[beyond]]
        self._put(self._onto_grid(shapes))

    def _onto_grid(self, shapes: NDArray[Any]) -> NDArray[Any]:
        """The same shapes in columns and rows; edges are divided first, since a straight line does not stay one."""
        library, grid = shapely(), self._grid
        shapes = shapes[~library.is_empty(shapes)]
        if self._to_grid is not None and shapes.size:
            shapes = library.segmentize(shapes, self._step())

        def place(points: Floats) -> Floats:
            x, y = points[:, 0], points[:, 1]
            if self._to_grid is not None:
                x, y = self._to_grid.transform(x, y)
            rows = grid.rows_by_area(np.asarray(y)) if self._kind == "area" else (grid.top - y) / grid.dy
            return np.column_stack([(np.asarray(x) - grid.left) / grid.dx, rows])

        return library.transform(shapes, place) if shapes.size else shapes

    def _step(self) -> float:
        """A fine cell, in units of the shapes' CRS."""
        left, bottom, right, top = self.box
        wide = 2 * (self._margin + 1)
        return min((right - left) / (self._grid.cols + wide), (top - bottom) / (self._grid.rows + wide))

    def _put(self, shapes: NDArray[Any]) -> None:
        library = shapely()
        if not shapes.size:
            return
        edges = library.bounds(shapes)
        if not np.isfinite(edges).all():
            raise InputError(
                "vector layer", "shapes that have no place in the CRS of the totals",
                "coordinates the projection knows", "check the CRS and the axis order (x, y)",
            )  # fmt: skip
        low, high = np.floor(edges[:, :2] / BIN).astype(int), np.floor(edges[:, 2:] / BIN).astype(int)
        single = (low == high).all(axis=1)
        by_bin: dict[Bin, list[Any]] = {}
        for index, shape in enumerate(shapes):
            if single[index]:
                place = int(low[index, 1]), int(low[index, 0])
                if self._is_wanted(*place):
                    by_bin.setdefault(place, []).append(shape)
                continue
            for row in range(low[index, 1], high[index, 1] + 1):
                # Why strips first: a coast over many bins is then cut in time with its length, not its square.
                strip = _clip(
                    shape,
                    (
                        low[index, 0] * BIN - 2,
                        row * BIN - 1,
                        high[index, 0] * BIN + BIN + 2,
                        row * BIN + BIN + 1,
                    ),
                )
                for col in range(low[index, 0], high[index, 0] + 1):
                    part = self._part(strip, row, col) if self._is_wanted(row, col) else None
                    if part is not None:
                        by_bin.setdefault((row, col), []).append(part)
        for place, parts in by_bin.items():
            self._store.add(place, library.to_wkb(np.array(parts, object)))
        self._cells.clear()

    def _is_wanted(self, row: int, col: int) -> bool:
        grid, margin = self._grid, self._margin
        return (
            (row + 1) * BIN > -margin and row * BIN < grid.rows + margin
            and (col + 1) * BIN > -margin and col * BIN < grid.cols + margin
        )  # fmt: skip

    def _part(self, shape: "BaseGeometry", row: int, col: int) -> "BaseGeometry | None":
        """What of a shape a bin needs; lines a cell more, because one along its border must not be lost."""
        more = 1 if self._kind == "length" else 0
        left, top = col * BIN - more, row * BIN - more
        part = _clip(shape, (left, top, left + BIN + 2 * more, top + BIN + 2 * more))
        return None if part.is_empty else part

    @property
    def bins(self) -> int:
        """Bins that hold something."""
        return len(self._store.sizes)

    def in_bin(self, row: int, col: int) -> Floats | None:
        """(BIN, BIN) lengths or shares of one bin, not remembered; None where it holds nothing."""
        return self._measured((row, col)) if (row, col) in self._store.sizes else None

    def read(self, row: int, col: int, rows: int, cols: int) -> Floats:
        """(rows, cols) length [m] or share of the cell, 0 to 1, in a window that may reach into the margin.

        Raises: InputError (exit 3) when a bin holds more shapes than memory should.
        """
        out, window = np.zeros((rows, cols)), Region(row, col, rows, cols)
        for down in range(row // BIN, (row + rows - 1) // BIN + 1):
            for across in range(col // BIN, (col + cols - 1) // BIN + 1):
                cells = self._bin(down, across)
                if cells is None:
                    continue
                top, left = max(row, down * BIN), max(col, across * BIN)
                bottom, right = min(row + rows, (down + 1) * BIN), min(col + cols, (across + 1) * BIN)
                shared = Region(top, left, bottom - top, right - left)
                whole = Region(down * BIN, across * BIN, BIN, BIN)
                out[shared.within(window).slices] = cells[shared.within(whole).slices]
        return out

    def _bin(self, row: int, col: int) -> Floats | None:
        place = (row, col)
        if place not in self._store.sizes:
            return None
        with self._turn:
            if place not in self._cells:
                self._cells[place] = self._measured(place)
                while len(self._cells) > KEPT:
                    self._cells.popitem(last=False)
            self._cells.move_to_end(place)
            return self._cells[place]

    def _measured(self, place: Bin) -> Floats:
        if (size := self._store.sizes[place]) > MAX_BIN:
            raise InputError(
                "vector layer", f"{size:,} bytes of shapes within {BIN} x {BIN} fine cells", f"at most {MAX_BIN:,}",
                "simplify the layer, or choose a coarser fine grid",
            )  # fmt: skip
        shapes = shapely().from_wkb(self._store.get(place))
        corner = np.array([place[1] * BIN, place[0] * BIN], float)
        if self._kind == "area":
            return area_shares(shapes, corner)
        pieces = cut(*_edges(shapes, corner))
        return sum_lengths(pieces, self._lengths(pieces, place), (BIN, BIN))

    def _lengths(self, pieces: Pieces, place: Bin) -> Floats:
        """Metres of each piece: in the plane of a projected grid, along the ellipsoid in lat/lon."""
        grid = self._grid
        if grid.ellipsoid is None:
            across, down = (pieces.x1 - pieces.x0) * grid.dx, (pieces.y1 - pieces.y0) * grid.dy
            return np.hypot(across, down) * grid.metre
        left, top = grid.left + place[1] * BIN * grid.dx, grid.top - place[0] * BIN * grid.dy
        ends = [
            part
            for x, y in ((pieces.x0, pieces.y0), (pieces.x1, pieces.y1))
            for part in (left + x * grid.dx, top - y * grid.dy)
        ]
        globe = Geod(a=grid.ellipsoid[0], f=grid.ellipsoid[1])
        return np.asarray(globe.inv(ends[0], ends[1], ends[2], ends[3])[2])


def area_shares(shapes: NDArray[Any], corner: Floats) -> Floats:
    """(BIN, BIN) share of each cell that lies in at least one polygon; corner: (x, y) of the bin in cells.

    Why merged first: a share counts ground once, however many outlines lie on it.
    """
    library = shapely()
    moved = library.transform(shapes, lambda points: points - corner)
    try:
        merged = library.union_all(moved)
    except library.GEOSException:
        merged = library.union_all(library.make_valid(moved))
    parts = library.get_parts(np.array([merged], object))
    polygons = library.orient_polygons(parts[library.get_type_id(parts) == 3])
    return cover(cut(*_edges(library.get_rings(polygons), np.zeros(2))), (BIN, BIN))


def _edges(shapes: Iterable[Any], corner: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Ends of every edge of lines or rings, counted from a corner."""
    library = shapely()
    points, owner = library.get_coordinates(library.get_parts(np.asarray(shapes, object)), return_index=True)
    points = points - corner
    joined = owner[1:] == owner[:-1]
    start, end = points[:-1][joined], points[1:][joined]
    return start[:, 0], start[:, 1], end[:, 0], end[:, 1]


def _clip(shape: "BaseGeometry", box: Bounds) -> "BaseGeometry":
    """A shape within (least x, least y, largest x, largest y)."""
    library = shapely()
    rectangle = library.box(*box)
    try:
        return library.intersection(shape, rectangle)
    except library.GEOSException:
        return library.intersection(library.make_valid(shape), rectangle)


def _transformer(source: CRS, target: str) -> Transformer | None:
    return None if same_crs(source.to_wkt(), target) else Transformer.from_crs(source, target, always_xy=True)


def covered(grid: Grid, region: Region, box: Bounds, crs: CRS) -> NDArray[np.bool_]:
    """(rows, cols) True = the middle of the cell lies in a box (left, bottom, right, top) of another CRS.

    Args: grid: the whole fine grid; region: the window of it; crs: of the box.
    """
    window = grid.window(*region)
    x, y = np.meshgrid(window.x, window.y)
    if (back := _transformer(CRS.from_wkt(grid.crs), crs.to_wkt())) is not None:
        x, y = back.transform(x, y)
    left, bottom, right, top = box
    return np.asarray((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
