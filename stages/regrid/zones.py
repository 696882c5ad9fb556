"""Zones on a grid: outlines of polygons or of equal values of a raster, and the share of every cell in each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio.transform import Affine

from model.ground.errors import InputError
from model.ground.grid import Grid
from stages.formats.raster.geotiff import Raster
from stages.formats.vector import read as vectors
from stages.regrid.polygons import BIN, Shapes

OVERLAP = 1e-6  # of a cell: neighbours drawn apart may share so much by rounding
STRIP = 2048  # rows of a zone raster outlined at once
MAX_ZONES = 20_000


class Zones:
    """Zones on the fine grid of a cube: one set of outlines each, in the order they are first met."""

    def __init__(self, fine: Grid, where: str = "mosaic.zones") -> None:
        self._fine, self._where = fine, where
        self.shapes: dict[str, Shapes] = {}
        self.names: dict[str, str] = {}

    def add_table(self, table: vectors.Table, where: vectors.Where, key: str, name: str | None) -> None:
        """Takes the polygons of a vector layer; those with the same value of `key` are one zone."""
        assert table.crs is not None
        probe = Shapes(self._fine, table.crs, "area")
        for batch in vectors.read(table, where, [key, *([name] if name else [])], box=probe.box):
            ids = [str(value) for value in batch.columns[key]]
            words = batch.columns[name] if name else ids
            for zone in dict.fromkeys(ids):
                mine = np.array([other == zone for other in ids])
                self.names.setdefault(zone, str(words[int(np.argmax(mine))]))
                self._of(zone, table.crs).add(batch.geometry[mine])

    def add_raster(self, raster: Raster) -> None:
        """Takes the outlines of equal values of a raster; values without data are no zone."""
        assert raster.crs is not None
        library = vectors.shapely()
        for row, values in _strips(raster):
            there = ~np.isnan(values)
            ids = np.where(there, values, 0).astype(np.int32)
            place = raster.transform @ Affine.translation(0, row)
            found: dict[str, list[Any]] = {}
            for outline, code in rasterio.features.shapes(ids, mask=there, transform=place):
                shape = library.Polygon(outline["coordinates"][0], outline["coordinates"][1:])
                found.setdefault(str(int(code)), []).append(shape)
            for zone, shapes in sorted(found.items()):
                self.names.setdefault(zone, zone)
                self._of(zone, raster.crs).add(np.array(shapes, object))

    def _of(self, zone: str, crs: Any) -> Shapes:
        if zone not in self.shapes:
            if len(self.shapes) >= MAX_ZONES:
                raise InputError(
                    self._where, f"over {MAX_ZONES:,} zones", "fewer", "merge them, or use another key"
                )
            self.shapes[zone] = Shapes(self._fine, crs, "area")
        return self.shapes[zone]

    def shares(self, row: int, col: int) -> dict[str, NDArray[np.float64]]:
        """(BIN, BIN) share of each cell of a bin by zone; zones that do not reach it are left out.

        Raises: InputError (exit 3) where zones overlap: their sums would count ground twice.
        """
        found, summed = {}, np.zeros((BIN, BIN))
        for zone, shapes in self.shapes.items():
            if (share := shapes.in_bin(row, col)) is not None:
                found[zone] = share
                summed += share
        if (twice := summed > 1 + OVERLAP).any():
            down, across = (int(index) for index in np.argwhere(twice)[0])
            there = [zone for zone, share in found.items() if share[down, across] > 0]
            window = self._fine.window(row * BIN + down, col * BIN + across, 1, 1)
            raise InputError(
                f"{self._where}, {' and '.join(there[:3])}",
                f"zones that overlap at x {window.left:.10g}, y {window.top:.10g}",
                "ground in one zone at most", "correct the outlines, or choose zones of one level by `where:`",
            )  # fmt: skip
        return found


def _strips(raster: Raster) -> Iterator[tuple[int, NDArray[np.float64]]]:
    height, width = raster.shape
    for row in range(0, height, STRIP):
        yield row, raster.read(row, 0, min(STRIP, height - row), width)
