"""A finished GeoTIFF as an xarray array that reads the window asked for and no more."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from xarray.backends import BackendArray
from xarray.core import indexing

from model.ground.grid import Grid
from stages.artifacts.maps import read_part


class _File(BackendArray):
    def __init__(self, path: Path, grid: Grid) -> None:
        self.path, self.grid, self.shape, self.dtype = path, grid, grid.shape, np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[np.float64]:
        rows, cols = (np.arange(size)[part] for part, size in zip(key, self.shape, strict=True))
        if rows.size == 0 or cols.size == 0:
            return np.empty(rows.shape + cols.shape)
        (top, down), (left, right) = ((int(part.min()), int(part.max()) + 1) for part in (rows, cols))
        window = read_part(self.path, self.grid, top, left, down - top, right - left).astype(np.float64)
        return window[rows - top][..., cols - left]


def open_map(path: Path, grid: Grid, unit: str) -> xr.DataArray:
    """(y, x) mass per cell in `unit`, NaN where there is none; the CRS is in the coordinate spatial_ref."""
    values = xr.Variable(("y", "x"), indexing.LazilyIndexedArray(_File(path, grid)), {"units": unit})
    values.encoding["grid_mapping"] = "spatial_ref"
    place = xr.Variable((), 0, CRS.from_wkt(grid.crs).to_cf())
    return xr.DataArray(values, {"y": grid.y, "x": grid.x, "spatial_ref": place}, name=path.stem)
