"""Where a number is: a regular north-up grid of cells, its refinement, its windows and its true cell areas."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Region(NamedTuple):
    """A rectangle of cells of a grid: its first row and column, and how many it has of each."""

    row: int
    col: int
    rows: int
    cols: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where it lies in an array over the whole grid."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    def refined(self, factor: int) -> "Region":
        """The same ground in cells of which `factor` lie along one of ours.

        Args:
          factor: fine cells along a coarse cell; 1 gives the region itself.
        Returns: row, col, rows and cols, each times the factor.
        """
        return Region(factor * self.row, factor * self.col, factor * self.rows, factor * self.cols)

    def grown(self, halo: int, shape: tuple[int, int]) -> "Region":
        """With `halo` cells around it, as far as a grid of that shape (rows, cols) goes.

        Cut at the edge of the grid, never padded: the result may be narrower there than rows + 2 halo. `within`
        finds the core in it again.
        """
        top, left = max(0, self.row - halo), max(0, self.col - halo)
        bottom = min(shape[0], self.row + self.rows + halo)
        right = min(shape[1], self.col + self.cols + halo)
        return Region(top, left, bottom - top, right - left)

    def within(self, outer: "Region") -> "Region":
        """The same cells, counted from the first row and column of a region that holds them.

        The inverse of cutting: an array over `outer`, indexed by the slices of the result, gives these cells. It
        does not check that they lie inside.
        """
        return self._replace(row=self.row - outer.row, col=self.col - outer.col)


def regions_of(shape: tuple[int, int], side: int) -> list[Region]:
    """Cuts a grid into squares, those along its lower and right edge as large as is left.

    Args:
      shape: (rows, cols) of the grid.
      side: cells along a square.
    Returns: the squares row by row.
    """
    height, width = shape
    found = []
    for row in range(0, height, side):
        for col in range(0, width, side):
            found.append(Region(row, col, min(side, height - row), min(side, width - col)))
    return found


@dataclass(frozen=True)
class Grid:
    """Cells in rows from north to south, columns from west to east.

    Attributes:
      rows, cols: number of cells.
      left, top: CRS coordinates of the outer corner of the first cell.
      dx, dy: cell width and height, both positive, in CRS units.
      crs: coordinate reference system as WKT.
      ellipsoid: (semi-major axis [m], flattening) when the CRS is geographic in degrees, else None.
      metre: metres per CRS unit when the CRS is projected.
    Raises: ValueError at birth when the numbers describe no grid.
    """

    rows: int
    cols: int
    left: float
    top: float
    dx: float
    dy: float
    crs: str
    ellipsoid: tuple[float, float] | None = None
    metre: float = 1.0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(f"a grid needs at least one cell, not {self.rows} x {self.cols}")
        if not all(map(isfinite, (self.left, self.top, self.dx, self.dy))):
            raise ValueError("grid coordinates must be finite")
        if self.dx <= 0 or self.dy <= 0:
            raise ValueError(f"cells need a positive size, not {self.dx} x {self.dy}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    @property
    def right(self) -> float:
        return self.left + self.cols * self.dx

    @property
    def bottom(self) -> float:
        return self.top - self.rows * self.dy

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in CRS units."""
        return self.left, self.bottom, self.right, self.top

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """rasterio's order: (dx, 0, left, 0, -dy, top).

        The coefficients (a, b, c, d, e, f) of x = a col + b row + c, y = d col + e row + f, from cells to CRS
        units; north up, so b and d are 0.
        """
        return self.dx, 0.0, self.left, 0.0, -self.dy, self.top

    @property
    def x(self) -> NDArray[np.floating]:
        """Column centres, west to east."""
        return self.left + (np.arange(self.cols) + 0.5) * self.dx

    @property
    def y(self) -> NDArray[np.floating]:
        """Row centres, north to south."""
        return self.top - (np.arange(self.rows) + 0.5) * self.dy

    def refine(self, factor: int) -> "Grid":
        """The same ground in factor x factor smaller cells; blocks nest by construction.

        Args: factor: fine cells along a cell of this grid, 1 or more.
        Raises: ValueError for a factor below 1.
        """
        if factor < 1:
            raise ValueError(f"factor must be at least 1, not {factor}")
        return replace(
            self, rows=self.rows * factor, cols=self.cols * factor, dx=self.dx / factor, dy=self.dy / factor
        )

    def window(self, row: int, col: int, rows: int, cols: int) -> "Grid":
        """The part that starts at (row, col); may reach beyond the grid.

        Args: row, col: of the first cell, also negative; rows, cols: its size, at least 1.
        Raises: ValueError from the new grid when it would hold no cell.
        """
        return replace(
            self, rows=rows, cols=cols, left=self.left + col * self.dx, top=self.top - row * self.dy
        )

    def offset(self, other: "Grid") -> tuple[float, float]:
        """How far other's corner lies from this grid's lines, as a share of this grid's cells in (-0.5, 0.5].

        Returns: across and down, positive when other's corner lies east or south of the nearest line. Cells of
          other's own size are not compared.
        """
        across = (other.left - self.left) / self.dx
        down = (self.top - other.top) / self.dy
        return across - np.ceil(across - 0.5), down - np.ceil(down - 0.5)

    def rows_by_area(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows, and how far down each by area, of CRS ordinates: a cell's middle by area is its row plus 0.5.

        In lat/lon half of a cell's area does not end half way down; equal steps of this number enclose equal
        areas of a cell, so outlines drawn in it have true shares. Projected grids count plainly.
        """
        plain = (self.top - y) / self.dy
        if self.ellipsoid is None:
            return plain
        row = np.floor(plain)
        flattening = self.ellipsoid[1]
        north, here, south = (
            _authalic_q(np.sin(np.radians(np.clip(edge, -90.0, 90.0))), flattening)
            for edge in (self.top - row * self.dy, y, self.top - (row + 1) * self.dy)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            return row + np.where(north > south, (north - here) / (north - south), plain - row)

    def cell_areas(self) -> NDArray[np.float64]:
        """True cell area of each row [m2], shape (rows, 1).

        On an ellipsoid a cell between two parallels covers R^2 dlon (sin b_north - sin b_south) with
        b the authalic latitude and R the authalic radius (Snyder 1987, eqs. 3-11 to 3-13). Projected
        grids return their plane area; for equal-area projections that is the true one.
        """
        if self.ellipsoid is None:
            return np.full((self.rows, 1), self.dx * self.dy * self.metre**2)
        semi_major, flattening = self.ellipsoid
        edges = np.clip(self.top - np.arange(self.rows + 1) * self.dy, -90.0, 90.0)
        bands = _authalic_q(np.sin(np.radians(edges)), flattening)
        area = semi_major**2 / 2.0 * np.radians(self.dx) * (bands[:-1] - bands[1:])
        return area[:, None]


def _authalic_q(sine: NDArray[np.float64], flattening: float) -> NDArray[np.float64]:
    """Snyder (3-12): q of a latitude given by its sine; a^2 q / 2 is the area per radian from the equator."""
    squared = flattening * (2.0 - flattening)
    if squared == 0.0:
        return 2.0 * sine
    e = np.sqrt(squared)
    return (1.0 - squared) * (sine / (1.0 - squared * sine**2) + np.arctanh(e * sine) / e)
