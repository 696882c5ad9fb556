"""The cube: every layer and total of a run on one pair of grids, self-describing, read window by window."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from model.conservation.point_sources import remainder
from model.ground.blocks import merge
from model.ground.grid import Grid
from model.ground.quantity import QUANTITIES, cell_weights
from model.ground.scene import Layer
from stages.artifacts import point_table as points
from stages.artifacts.records import CubeRecord, LayerRecord
from stages.formats import zarr_groups as arrays

STORE = "cube.zarr"
PAIRS = "fine_fields"
DEGREES = ("longitude", "latitude")
ROWS = 24  # coarse rows read at a time


class Cube:
    """A cube opened for reading; every fact a later stage needs is read here and nowhere else."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group
        attributes = dict(group.attrs)
        self._opened: dict[str, zarr.Array] = {}
        self.factor = int(str(attributes["factor"]))  # fine cells along a coarse cell
        self.record = CubeRecord.from_json(attributes)
        self.name, self.long_name = self.record.variable, self.record.long_name
        self.unit, self.quantity = self.record.unit, QUANTITIES[self.record.quantity]
        self.attribution = self.record.attribution
        self.emission = self.record.emission
        self.standard_name, self.time_method = self.record.standard_name, self.record.time_method
        self.layers = tuple(Layer(layer.name, layer.kind, layer.blocky) for layer in self.record.layers)
        self.sectors = tuple(str(word) for word in np.asarray(arrays.array_of(group, "sector")[...]))
        self.years = arrays.read_years(group)

    @classmethod
    def open(cls, folder: Path) -> "Cube":
        """Opens the artifact folder.

        Raises: ArtifactError (exit 4).
        """
        return cls(arrays.open_group(folder / STORE, "ingest"))

    @cached_property
    def fine(self) -> Grid:
        return arrays.read_grid(self._group)

    @cached_property
    def coarse(self) -> Grid:
        return arrays.read_grid(self._group, suffix="_coarse")

    def totals(self) -> NDArray[np.float64]:
        """(sectors, time, h, w) mass per coarse cell; 0 where it is not known.

        Of an intensive quantity: its mean times what the block's valid cells count for, which is what they sum to.
        """
        return np.where(self.known(), np.nan_to_num(self._read(self.name, ...), nan=0.0) * self.room, 0.0)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(rows, 1) mass of a fine cell per unit of its value: 1 for amounts."""
        return cell_weights(self.fine, self.factor, self.quantity.weighting(self.record.weights))

    @property
    def room(self) -> NDArray[np.float64]:
        """(h, w) mass of a block per unit of its value: 1 for amounts, the weights of its valid cells for a mean."""
        return np.where(self._counted > 0, self._counted, 1.0)

    @cached_property
    def _counted(self) -> NDArray[np.float64]:
        if self.quantity.adds_up:
            return np.ones(self.coarse.shape)
        out = np.empty(self.coarse.shape)
        for row in range(0, self.coarse.rows, ROWS):
            rows = min(ROWS, self.coarse.rows - row)
            fine = slice(row * self.factor, (row + rows) * self.factor)
            valid = self.valid(fine.start, 0, rows * self.factor, self.fine.cols)
            out[row : row + rows] = merge(valid * self.weights[fine], self.factor)
        return out

    def paired(self) -> NDArray[np.bool_]:
        """(sectors, time) True = the fine field of that date is there to learn from."""
        out = np.zeros((len(self.sectors), len(self.years)), bool)
        for pair in self.record.pairs:
            out[self.sectors.index(pair.sector), self.years.index(pair.year)] = True
        return out

    def pair(self, sector: int, time: int, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """(rows, cols) mass per fine cell as it truly was; NaN where it is not known."""
        window = (sector, time, slice(row, row + rows), slice(col, col + cols))
        return self._read(PAIRS, window).astype(np.float64) * self.weights[row : row + rows]

    def degrees(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Longitudes and latitudes of fine cells, (rows, cols), where the grid itself does not say them."""
        if DEGREES[0] not in self._group:
            return None
        return self._read(DEGREES[0], ...), self._read(DEGREES[1], ...)

    @cached_property
    def points(self) -> points.PointTable | None:
        """Point sources, which have a place of their own; None without any."""
        return points.get(self._group, self.record.points)

    @cached_property
    def point_mass(self) -> NDArray[np.float64]:
        """(sectors, time, h, w) mass placed at points in each coarse cell."""
        leading = len(self.sectors), len(self.years)
        if self.points is None:
            return np.zeros((*leading, *self.coarse.shape))
        return self.points.on_blocks(leading, self.coarse, self.factor)

    def remainder(self) -> NDArray[np.float64]:
        """(sectors, time, h, w) mass per coarse cell that is left to be shared out when points have theirs."""
        return self.totals() if self.points is None else remainder(self.totals(), self.point_mass)

    def known(self) -> NDArray[np.bool_]:
        """(sectors, time, h, w) True = the total is known; the mean of a block without valid cells is of nothing."""
        return np.isfinite(self._read(self.name, ...)) & (self._counted > 0)

    def valid(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.bool_]:
        """(rows, cols) True = the fine cell may receive mass."""
        return self._read("valid", (slice(row, row + rows), slice(col, col + cols))).astype(bool)

    def covariates(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float32]:
        """(layers, time, rows, cols); 0 where a layer has no value, `valid` tells where. Static layers repeat."""
        window = (slice(row, row + rows), slice(col, col + cols))
        out = np.empty((len(self.layers), len(self.years), rows, cols), np.float32)
        for index, layer in enumerate(self.layers):
            stored = self._array(layer.name)
            region = window if stored.ndim == 2 else (slice(None), *window)
            out[index] = arrays.read_region(stored, region, "ingest")
        return np.nan_to_num(out, copy=False, nan=0.0)

    def _read(self, name: str, region: Any) -> NDArray:
        return arrays.read_region(self._array(name), region, "ingest")

    def _array(self, name: str) -> zarr.Array:
        """Opened once: its description lies in a file, and windows are many."""
        if name not in self._opened:
            self._opened[name] = arrays.array_of(self._group, name)
        return self._opened[name]


def lay_out(
    path: Path,
    coarse: Grid,
    factor: int,
    record: CubeRecord,
    sectors: tuple[str, ...],
    years: tuple[int, ...],
) -> zarr.Group:
    """Declares a cube from metadata: coordinates, totals, validity and one array per layer.

    Args:
      record: what Cube reads back; ingest completes it once the layers are filled.
    """
    fine = coarse.refine(factor)
    group = arrays.create_group(path, {"factor": factor, **record.to_json()})
    arrays.put_names(group, "sector", sectors)
    arrays.put_years(group, years)
    arrays.put_grid(group, fine)
    arrays.put_grid(group, coarse, suffix="_coarse")
    arrays.layout(
        group,
        record.variable,
        (len(sectors), len(years), *coarse.shape),
        ("sector", "time", "y_coarse", "x_coarse"),
        "float64",
        {
            "long_name": record.long_name,
            "units": record.unit,
            "grid_mapping": arrays.MAPPING,
            "cell_methods": f"{record.cell_methods} time: {record.time_method}",
        },
        fill=np.nan,
    )
    square = (min(arrays.CHUNK, fine.rows), min(arrays.CHUNK, fine.cols))
    arrays.layout(
        group,
        "valid",
        fine.shape,
        ("y", "x"),
        "uint8",
        {
            "long_name": "fine cell may receive mass",
            "flag_values": [0, 1],
            "flag_meanings": "no yes",
            "grid_mapping": arrays.MAPPING,
        },
        chunks=square,
    )
    for layer in record.layers:
        _lay_out_layer(group, layer, fine, len(years), square)
    return group


def _lay_out_layer(
    group: zarr.Group, layer: LayerRecord, fine: Grid, years: int, square: tuple[int, int]
) -> None:
    static = layer.static
    attributes = {
        "long_name": layer.long_name,
        "units": layer.unit,
        "grid_mapping": arrays.MAPPING,
        "cell_methods": "area: sum" if layer.kind == "total" else "area: mean",
    }
    arrays.layout(
        group,
        layer.name,
        fine.shape if static else (years, *fine.shape),
        ("y", "x") if static else ("time", "y", "x"),
        "float32",
        attributes,
        chunks=square if static else (years, *square),
        fill=np.nan,
    )
