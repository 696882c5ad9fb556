"""Block means of a fine field over its valid cells, read as if they were a band of their own."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.ground.blocks import merge
from model.ground.quantity import cell_weights
from stages.formats.raster.band import Band


class Coarsened(Band):
    """Means of factor x factor cells.

    Args:
      weights: `area` or `cells`, as model.ground.quantity.cell_weights takes it.
      least: share of a block's cells that must have a value; blocks with fewer have none.
    """

    def __init__(self, fine: Band, factor: int, weights: str, least: float) -> None:
        self._fine, self._factor, self._weights, self._least = fine, factor, weights, least
        self.name, self.nodata, self.tag, self.bent = fine.name, fine.nodata, fine.tag, fine.bent
        rest = [size % factor for size in fine.shape]
        cut = f"; {rest[0]} rows and {rest[1]} columns beyond whole blocks were left out" if any(rest) else ""
        self.notes = (
            *fine.notes,
            f"its totals are means of {factor} x {factor} cells over the valid ones{cut}",
        )

    @property
    def where(self) -> str:
        return f"{self._fine.where}, coarsened"

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self._fine.shape
        return rows // self._factor, cols // self._factor

    @property
    def unit(self) -> str | None:
        return self._fine.unit

    @property
    def has_transform(self) -> bool:
        return self._fine.has_transform

    @cached_property
    def crs(self) -> CRS | None:
        return self._fine.crs

    @cached_property
    def transform(self) -> Affine:
        return self._fine.transform @ Affine.scale(self._factor)

    def physical(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        size = (rows.stop - rows.start, cols.stop - cols.start)
        part = [length * self._factor for length in (rows.start, cols.start, *size)]
        values = self._fine.read(*part)
        grid = self._fine.grid
        assert grid is not None
        weights = cell_weights(grid.window(*part), self._factor, self._weights)
        inside = np.isfinite(values)
        room = merge(np.where(inside, weights, 0.0), self._factor)
        enough = merge(inside, self._factor) >= self._least * self._factor**2
        total = merge(np.where(inside, values * weights, 0.0), self._factor)
        return np.where(enough & (room > 0), total / np.where(room > 0, room, 1.0), np.nan)

    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        return self._fine.count_raw(values)

    def count_nans(self) -> int:
        whole = self.read(0, 0, *self.shape)
        return int(np.isnan(whole).sum())

    def close(self) -> None:
        self._fine.close()
