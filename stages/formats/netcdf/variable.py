"""The one door to NetCDF and Zarr given by users: a slice of one variable, summed or averaged to a year, as a band."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.ground import time_steps as when
from model.ground.errors import HectareError
from stages.formats.netcdf import axes, cf
from stages.formats.netcdf.attributes import Attributes
from stages.formats.netcdf.coordinates import OWN_GRID, coordinates_of, own_grid
from stages.formats.netcdf.open import open_store
from stages.formats.netcdf.time_aggregation import Yearly, dated, yearly
from stages.formats.netcdf.untrusted import damaged_store
from stages.formats.raster.band import Band, equal, lies_between

READ_TOGETHER = 1 << 22  # cells of a file at once, over all the steps of a run: 32 MB of float64


class Variable(Band):
    """A year of one variable, read north-up in physical values like a band of a GeoTIFF.

    Args:
      variable: its name; None when the file holds one field alone.
      select: value (or index, where the axis has no coordinates) of every axis beside x, y and time.
      year: the year wanted, or a shorter step as model.ground.time_steps names it; None takes all steps together.
      cell_methods: how steps become a year, as "time: sum" or "time: mean"; without it the variable's own.
      nearest: True: another year may serve when the file lacks the one wanted.
      gaps_are_zero: True: where some of several steps have a value, the others count as 0; a cell has none
        where none of them has. Else it has none where any lacks one.
      index_grid: side of a cell [m] where the file's rows and columns are to be a plane grid of their own.
    Raises: InputError (exit 3) when the file does not hold that.
    """

    def __init__(
        self,
        path: str,
        variable: str | None = None,
        select: cf.Selection | None = None,
        year: int | None = None,
        *,
        nodata: float | str = "auto",
        crs: str | None = None,
        registration: tuple[float, float] = (0.0, 0.0),
        cell_methods: str | None = None,
        nearest: bool = False,
        index_grid: float | None = None,
        gaps_are_zero: bool = False,
    ) -> None:
        self.path, self.name = path, Path(path).name
        self._opened: xr.Dataset | None = None
        self._index_grid, self._gaps_are_zero = index_grid, gaps_are_zero
        self._registration, self._given_crs = registration, crs
        self._whole: NDArray[np.float64] | None = None
        try:
            self._read_head(variable, dict(select or {}), year, nodata, cell_methods, nearest)
        except HectareError:
            self.close()
            raise

    where: str = ""

    def _read_head(
        self,
        variable: str | None,
        select: dict[str, str | float],
        year: int | None,
        nodata: float | str,
        cell_methods: str | None,
        nearest: bool,
    ) -> None:
        """Everything about the variable but its values."""
        self._variable = cf.choose(self._file, variable, self.name)
        data = self._file[self._variable]
        self._attributes = Attributes(data.attrs)
        self.where = f"{self.name}, variable {self._variable}"
        self._dims = cf.dimensions(self._file, data, self.where)
        self._fixed = cf.fixed(self._file, data, self._dims, select, self.where)
        if self._dims[2] in self._fixed:
            self._dims = (*self._dims[:2], None)
        for dim, index in self._fixed.items():
            if data.sizes[dim] > 1:
                self.where += f"[{dim} {cf.label(self._file, dim, index)}]"
        self._yearly = self._choose(year, cell_methods, nearest)
        self.year = self._yearly.year
        fills = self._attributes.fill_values
        self.tag = fills[0] if fills else None
        self._believes = nodata == "auto"
        self._fills = fills if self._believes else ()
        self.nodata = self.tag if nodata == "auto" else None if nodata == "none" else float(nodata)
        dims = self._dims[:2]
        if self._index_grid:
            place = own_grid(self._file, dims, self._index_grid)
        else:
            mapping = self._attributes.grid_mapping
            place = coordinates_of(self._file, dims, mapping, self._given_crs, self.where)
        self._x, self._y, self._curvilinear = place.x, place.y, place.bent
        self.bent = self._curvilinear.reason if self._curvilinear else None
        self.notes = self._yearly.notes + place.notes
        if self._gaps_are_zero and self.steps > 1:
            self.notes += (f"of its {self.steps} steps, one without a value counts as 0",)

    def _choose(self, year: int | None, cell_methods: str | None, nearest: bool) -> Yearly:
        time = self._dims[2]
        if time is None:
            return Yearly(year)
        how = cell_methods or self._attributes.cell_methods
        facts = {"cell_methods": how, "name": self.name, "where": self.where}
        if year is not None and not when.is_year(year):
            return dated(self._file, time, year, **facts)
        return yearly(self._file, time, year, nearest=nearest, **facts)

    @property
    def _file(self) -> xr.Dataset:
        """The store; opened again when it was closed, so that thousands of files need not be open at once."""
        if self._opened is None:
            self._opened = open_store(self.path)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def unit(self) -> str | None:
        return self._attributes.units or None

    @property
    def steps(self) -> int:
        """How many steps of time make the band."""
        return len(self._yearly.steps)

    @property
    def method(self) -> str:
        """sum or mean: how they make it."""
        return self._yearly.method

    @property
    def shape(self) -> tuple[int, int]:
        if self._curvilinear:
            return self._curvilinear.shape
        return self._y.count, self._x.count

    @property
    def has_transform(self) -> bool:
        return True

    @cached_property
    def crs(self) -> CRS | None:
        if self._curvilinear:
            return CRS.from_epsg(4326)
        if self._index_grid:
            return CRS.from_wkt(OWN_GRID)
        if self._given_crs:
            return CRS.from_user_input(self._given_crs)
        found = cf.crs_of(self._file, self._attributes.grid_mapping, self.where)
        if found is not None:
            return found
        for dim in self._dims[:2]:
            if not axes.is_degrees(Attributes(self._file[dim].attrs), dim):
                return None
        return CRS.from_epsg(4326)

    @cached_property
    def degrees(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Longitudes and latitudes, north-up, (rows, cols) each; None when it has none for each cell."""
        found = cf.two_dimensional(self._file, self._dims[:2])
        if found is None or self._curvilinear:
            return None
        turn = (
            slice(None, None, -1 if self._y.step > 0 else 1),
            slice(None, None, -1 if self._x.step < 0 else 1),
        )
        return found[0][turn], found[1][turn]

    @cached_property
    def transform(self) -> Affine:
        if self._curvilinear:
            return self._curvilinear.transform
        dx, dy = self._registration
        left, top = self._x.low + dx, self._y.high + dy
        return Affine(abs(self._x.step), 0.0, left, 0.0, -abs(self._y.step), top)

    def physical(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        if self._curvilinear is None:
            return self._year_of(rows, cols)
        if self._whole is None:
            self._whole = self._year_of(slice(None), slice(None))
        return self._curvilinear.take(self._whole, rows, cols)

    def may_hold(self, stored: float, low: float, high: float) -> bool:
        """Of one step; several may hide it in their sum."""
        scale, offset = self._packing
        return self.steps > 1 or lies_between(stored * scale + offset, low, high)

    @cached_property
    def _packing(self) -> tuple[float, float]:
        """Scale and offset of the stored numbers."""
        return self._attributes.packing

    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        counts = dict.fromkeys(values, 0)
        for raw in self._every_step(slice(None), slice(None)):
            usable = ~self._missing(raw)
            for value in counts:
                counts[value] += int((equal(raw, value) & usable).sum())
        return {value: count for value, count in counts.items() if count}

    def count_nans(self) -> int:
        gone = 0
        for raw in self._every_step(slice(None), slice(None)):
            gone = max(gone, int(np.isnan(raw).sum()) if raw.dtype.kind == "f" else 0)
        return gone

    def _year_of(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """The year's sum or mean; where steps have no value as `gaps_are_zero` tells."""
        steps, method = self._yearly.steps, self._yearly.method
        total: NDArray[np.float64] | None = None
        weight = sum(length for _, length in steps)
        empty: NDArray[np.bool_] | None = None  # in all steps so far
        for raw, (_, length) in zip(self._every_step(rows, cols), steps, strict=True):
            values = self._physical(raw)
            if self._gaps_are_zero and len(steps) > 1:
                gone = np.isnan(values)
                empty = gone if empty is None else empty & gone
                values = np.where(gone, 0.0, values)
            if len(steps) > 1 and method == "mean":
                values = values * (length / weight)
            total = values if total is None else total + values
        assert total is not None
        return total if empty is None else np.where(empty, np.nan, total)

    def _every_step(self, rows: slice, cols: slice) -> Iterator[NDArray]:
        """(y, x) numbers as stored of each step of the year, in its order.

        Why together: a call into the library takes milliseconds however little it reads, and a year has 8784 hours.
        """
        steps = [step for step, _ in self._yearly.steps]
        cells = len(range(self.shape[0])[rows]) * len(range(self.shape[1])[cols])
        most = max(1, READ_TOGETHER // max(1, cells))
        for first, count in _runs(steps, most):
            if first is None:
                yield self._raw(None, rows, cols)
            else:
                yield from self._raw(slice(first, first + count), rows, cols)

    def _raw(self, steps: slice | None, rows: slice, cols: slice) -> NDArray:
        """(y, x), or (steps, y, x), numbers as stored, turned so that north is up and west left."""
        y, x, time = self._dims
        if not self._curvilinear:
            rows, flip_rows = cf.stored(rows, self._y.count, turned=self._y.step > 0)
            cols, flip_cols = cf.stored(cols, self._x.count, turned=self._x.step < 0)
        else:
            flip_rows = flip_cols = False
        place: dict[str, Any] = {**self._fixed, y: rows, x: cols}
        axes: tuple[str, ...] = (y, x)
        if time is not None and steps is not None:
            place[time], axes = steps, (time, y, x)
        try:
            found = self._file[self._variable].variable.isel(place).transpose(*axes)
            raw = np.asarray(found.values)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise damaged_store(self.where, str(error).splitlines()[0] if str(error) else "") from error
        if self._attributes.is_unsigned and raw.dtype.kind == "i":
            raw = raw.view(f"u{raw.dtype.itemsize}")
        return raw[..., :: -1 if flip_rows else 1, :: -1 if flip_cols else 1]

    def _missing(self, raw: NDArray) -> NDArray[np.bool_]:
        gone = equal(raw, self.nodata)
        for value in self._fills:
            gone = gone | equal(raw, value)
        low, high = self._attributes.valid_range if self._believes else (None, None)
        if low is not None:
            gone = gone | (raw < low)
        if high is not None:
            gone = gone | (raw > high)
        return gone

    def _physical(self, raw: NDArray) -> NDArray[np.float64]:
        values = raw.astype(np.float64)
        values[self._missing(raw)] = np.nan
        scale, offset = self._packing
        return values * scale + offset if (scale, offset) != (1.0, 0.0) else values


def _runs(steps: Sequence[int | None], most: int) -> Iterator[tuple[int | None, int]]:
    """First step and number of steps of each run of consecutive ones, none longer than `most`."""
    first, count = steps[0], 1
    for step in steps[1:]:
        if first is not None and step == first + count and count < most:
            count += 1
        else:
            yield first, count
            first, count = step, 1
    yield first, count
