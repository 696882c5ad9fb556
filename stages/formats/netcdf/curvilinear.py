"""Cells with longitudes and latitudes of their own, looked up on a regular lattice of half their spacing."""

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from stages.formats.netcdf.time_axis import missing_extra

PER_CELL = 2  # lattice points along a cell
REACH = 0.75  # cells; half a diagonal is 0.71: a point further from every centre lies outside the grid
MAX_POINTS = 16_000_000


@dataclass(frozen=True)
class Lattice:
    """A regular grid of longitudes and latitudes that knows which cell each point lies in.

    Attributes:
      index: (rows, cols) flat index of the nearest cell; -1 where none is near.
      reason: why the cells are not taken as they are; note: what was done instead.
    """

    index: NDArray[np.int64]
    transform: Affine
    reason: str
    note: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.index.shape[0], self.index.shape[1]

    def take(self, cells: NDArray[np.float64], rows: slice, cols: slice) -> NDArray[np.float64]:
        """Values of the cells on a window; NaN outside the grid."""
        index = self.index[rows, cols]
        return np.where(index < 0, np.nan, cells.ravel()[np.maximum(index, 0)])


def lattice(lon: NDArray[np.float64], lat: NDArray[np.float64], reason: str) -> Lattice:
    """The lattice over a grid of cell centres, (y, x) degrees.

    Why the nearest centre on the sphere: it is the cell a point lies in, as far as centres alone can tell, and
    it invents no value. Distances are chords of the unit sphere, so neither the poles nor 180 degrees matter.
    """
    try:
        from scipy.spatial import cKDTree
    except ImportError as error:
        raise missing_extra("scipy") from error
    lon = np.unwrap(np.unwrap(lon, period=360.0, axis=1), period=360.0, axis=0)
    centres = _on_sphere(lon, lat)
    spacing = _spacing(centres)
    step_y = np.degrees(spacing) / PER_CELL
    step_x = step_y / max(float(np.cos(np.radians(np.nanmean(lat)))), 0.05)
    west, east, south, north = lon.min(), lon.max(), lat.min(), lat.max()
    rows = int(np.ceil((north - south) / step_y)) + 2 * PER_CELL
    cols = int(np.ceil((east - west) / step_x)) + 2 * PER_CELL
    if rows * cols > MAX_POINTS:
        thin = np.sqrt(rows * cols / MAX_POINTS)
        step_y, step_x = step_y * thin, step_x * thin
        rows, cols = int(rows / thin) + 1, int(cols / thin) + 1
    place = Affine(step_x, 0.0, west - PER_CELL * step_x, 0.0, -step_y, north + PER_CELL * step_y)
    tree = cKDTree(centres.reshape(-1, 3))
    x = place.c + (np.arange(cols) + 0.5) * step_x
    index = np.empty((rows, cols), np.int64)
    for row in range(rows):
        y = np.full(cols, place.f - (row + 0.5) * step_y)
        distance, nearest = tree.query(_on_sphere(x, y))
        index[row] = np.where(distance <= REACH * spacing, nearest, -1)
    note = f"{reason}: read on a lattice of {step_x:.4g} x {step_y:.4g} degrees, each point from the nearest cell"
    return Lattice(index, place, reason, note)


def _on_sphere(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) points of the unit sphere."""
    across, up = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)], axis=-1)


def _spacing(centres: NDArray[np.float64]) -> float:
    """Distance between neighbouring centres along the axis where they lie farther apart [radians]."""
    along = [np.linalg.norm(np.diff(centres, axis=axis), axis=-1) for axis in (0, 1)]
    return float(max(np.median(distance) for distance in along if distance.size))
