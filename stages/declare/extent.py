"""The part of the totals that a run is about: a box or an outline, in whole coarse cells."""

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from pyproj import CRS, Transformer

from model.ground.errors import InputError
from model.ground.grid import Grid, Region
from stages.artifacts.records import ExtentRecord
from stages.contract.section import Section
from stages.declare.types import Bounds, CrsText
from stages.declare.vector_layers import VectorFile, open_declared
from stages.formats.vector import read as vectors
from stages.formats.zarr_groups import same_crs
from stages.regrid.polygons import Shapes

EDGE = 1e-6  # of a coarse cell: a box drawn along the lines of the cells must not reach the next ones


class Area(Section):
    """What to keep: every coarse cell that the box or the outline reaches into."""

    bounds: Bounds | None = None  # left, bottom, right, top
    crs: CrsText | None = None  # of the bounds; that of the totals by default
    outline: VectorFile | None = None  # polygons; coarse cells they do not reach have no total

    @model_validator(mode="after")
    def _one(self) -> "Area":
        if (self.bounds is None) == (self.outline is None):
            raise ValueError("give `bounds` or `outline`")
        return self


class Clipped:
    """A window of the totals' grid.

    Attributes:
      window: where it lies in the files of the totals.
      grid: the cells kept.
      inside: (h, w) False = a cell of the window that the outline does not reach; None when all are kept.
      record: what is told of it.
    """

    def __init__(self, whole: Grid, window: Region, inside: NDArray[np.bool_] | None) -> None:
        self.window = window
        self.grid = whole if window == (0, 0, *whole.shape) else whole.window(*window)
        self.inside = inside
        kept = window.rows * window.cols if inside is None else int(inside.sum())
        self.record = ExtentRecord(coarse_cells=kept, of=whole.rows * whole.cols, bounds=self.grid.bounds)


def clip(whole: Grid, area: Area | None) -> Clipped:
    """The part of a grid that an area reaches into; all of it without one.

    Raises: InputError (exit 3) when it lies beside the totals.
    """
    if area is None:
        return Clipped(whole, Region(0, 0, *whole.shape), None)
    if area.bounds is not None:
        return Clipped(whole, _window(_in_crs_of(whole, area.bounds, area.crs), whole), None)
    assert area.outline is not None
    reached = _reached(whole, area.outline)
    rows, cols = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    row, col = int(rows[0]), int(cols[0])
    window = Region(row, col, int(rows[-1]) - row + 1, int(cols[-1]) - col + 1)
    inside = reached[window.slices]
    return Clipped(whole, window, None if inside.all() else inside)


def _in_crs_of(grid: Grid, bounds: tuple[float, ...], crs: str | None) -> tuple[float, ...]:
    if crs is None or same_crs(CRS.from_user_input(crs).to_wkt(), grid.crs):
        return bounds
    there = Transformer.from_crs(crs, grid.crs, always_xy=True)
    left, bottom, right, top = bounds
    return tuple(there.transform_bounds(left, bottom, right, top, densify_pts=101))


def _window(bounds: tuple[float, ...], grid: Grid) -> Region:
    left, bottom, right, top = bounds
    first_row = max(int(np.floor((grid.top - top) / grid.dy + EDGE)), 0)
    first_col = max(int(np.floor((left - grid.left) / grid.dx + EDGE)), 0)
    last_row = min(int(np.ceil((grid.top - bottom) / grid.dy - EDGE)), grid.rows)
    last_col = min(int(np.ceil((right - grid.left) / grid.dx - EDGE)), grid.cols)
    if first_row >= last_row or first_col >= last_col:
        raise _beside(_box(bounds), grid)
    return Region(first_row, first_col, last_row - first_row, last_col - first_col)


def _reached(grid: Grid, outline: VectorFile) -> NDArray[np.bool_]:
    """(h, w) True = the cell shares ground with the polygons."""
    table = open_declared(outline)
    assert table.crs is not None
    shapes = Shapes(grid, table.crs, "area")
    for batch in vectors.read(table, outline.where, box=shapes.box):
        shapes.add(batch.geometry)
    reached = shapes.read(0, 0, *grid.shape) > EDGE
    if not reached.any():
        what = "no polygon there" if not shapes.other else "shapes that are no polygons"
        raise _beside(f"{table.name}, layer {table.layer}: {what}", grid)
    return reached


def _beside(found: str, grid: Grid) -> InputError:
    return InputError(
        "ingest.area", found, f"an overlap with the totals, there {_box(grid.bounds)}",
        "correct the area, its CRS or its axis order (x, y)",
    )  # fmt: skip


def _box(bounds: tuple[float, ...]) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def within(clipped: Clipped, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Totals of the cells kept; NaN, not known, where the outline does not reach.

    Args: values: (h, w) of the window, in any unit.
    Returns: the same array where all cells are kept.
    """
    return values if clipped.inside is None else np.where(clipped.inside, values, np.nan)
