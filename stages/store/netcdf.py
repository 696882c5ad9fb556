"""The one door to NetCDF and Zarr given by users: a slice of one variable, summed or averaged to a year, as a band."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model import when
from model.fault import Fault, Faults, InputFault, UsageFault
from stages.store import axes, cf
from stages.store.axes import Axis
from stages.store.band import Band, equal
from stages.store.cftime_axis import COVERED, Steps, read_instants, read_steps, unreadable
from stages.store.curvilinear import Lattice, lattice
from stages.store.foreign import damaged_store, engine_of

Selection = Mapping[str, str | float]
# A plane of its own: cells of a curvilinear grid that names no reference system keep their rows and columns.
OWN_GRID = (
    'ENGCRS["own grid",EDATUM["rows and columns of the file"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
    'LENGTHUNIT["metre",1]]'
)
TIME_METHOD = re.compile(r"\btime:\s*(\w+)")


class Variable(Band):
    """A year of one variable, read north-up in physical values like a band of a GeoTIFF.

    Args:
      variable: its name; None when the file holds one field alone.
      select: value (or index, where the axis has no coordinates) of every axis beside x, y and time.
      year: the year wanted, or a shorter step as model.when names it; None takes all steps together.
      cell_methods: how steps become a year, as "time: sum" or "time: mean"; without it the variable's own.
      nearest: True: another year may serve when the file lacks the one wanted.
      index_grid: side of a cell [m] where the file's rows and columns are to be a plane grid of their own.
    Raises: InputFault (exit 3) when the file does not hold that.
    """

    def __init__(
        self,
        path: str,
        variable: str | None = None,
        select: Selection | None = None,
        year: int | None = None,
        *,
        nodata: float | str = "auto",
        crs: str | None = None,
        registration: tuple[float, float] = (0.0, 0.0),
        cell_methods: str | None = None,
        nearest: bool = False,
        index_grid: float | None = None,
    ) -> None:
        self.path, self.name = path, Path(path).name
        self._opened: xr.Dataset | None = None
        self._index_grid = index_grid
        self._registration, self._given_crs = registration, crs
        self._whole: NDArray[np.float64] | None = None
        try:
            self._read_head(variable, dict(select or {}), year, nodata, cell_methods, nearest)
        except Fault:
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
        self._attributes = {**data.attrs, **{k: v for k, v in data.encoding.items() if k == "coordinates"}}
        self.where = f"{self.name}, variable {self._variable}"
        notes: list[str] = []
        self._dims = cf.dimensions(self._file, data, self.where)
        self._fixed = cf.fixed(self._file, data, self._dims, select, self.where)
        if self._dims[2] in self._fixed:
            self._dims = (*self._dims[:2], None)
        for dim, index in self._fixed.items():
            if data.sizes[dim] > 1:
                self.where += f"[{dim} {cf.label(self._file, dim, index)}]"
        self.year, self._steps = self._years(year, cell_methods, nearest, notes)
        self.tag = cf.fill_value(self._attributes)
        self._believes = nodata == "auto"
        self._fills = cf.fill_values(self._attributes) if self._believes else ()
        self.nodata = self.tag if nodata == "auto" else None if nodata == "none" else float(nodata)
        self._x, self._y, self._bent = self._place(notes)
        self.bent = self._bent.reason if self._bent else None
        self.notes = tuple(notes)

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
        return str(self._attributes["units"]) if self._attributes.get("units") else None

    @property
    def steps(self) -> int:
        """How many steps of time make the band."""
        return len(self._steps[0])

    @property
    def method(self) -> str:
        """sum or mean: how they make it."""
        return self._steps[1]

    @property
    def shape(self) -> tuple[int, int]:
        if self._bent:
            return self._bent.shape
        return self._y.count, self._x.count

    @property
    def has_transform(self) -> bool:
        return True

    @cached_property
    def crs(self) -> CRS | None:
        if self._bent:
            return CRS.from_epsg(4326)
        if self._index_grid:
            return CRS.from_wkt(OWN_GRID)
        if self._given_crs:
            return CRS.from_user_input(self._given_crs)
        found = cf.crs_of(self._file, self._attributes, self.where)
        degrees = all(axes.is_degrees(self._file[dim].attrs, dim) for dim in self._dims[:2])
        return found or (CRS.from_epsg(4326) if degrees else None)

    @cached_property
    def transform(self) -> Affine:
        if self._bent:
            return self._bent.transform
        dx, dy = self._registration
        left, top = self._x.low + dx, self._y.high + dy
        return Affine(abs(self._x.step), 0.0, left, 0.0, -abs(self._y.step), top)

    def read(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        out = np.full((rows, cols), np.nan)
        height, width = self.shape
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + rows, height), min(col + cols, width)
        if top >= bottom or left >= right:
            return out
        if self._bent is None:
            values = self._year_of(slice(top, bottom), slice(left, right))
        else:
            if self._whole is None:
                self._whole = self._year_of(slice(None), slice(None))
            values = self._bent.take(self._whole, top, left, bottom, right)
        out[top - row : bottom - row, left - col : right - col] = values
        return out

    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        counts = dict.fromkeys(values, 0)
        for step, _ in self._steps[0]:
            raw = self._raw(step, slice(None), slice(None))
            usable = ~self._missing(raw)
            for value in counts:
                counts[value] += int((equal(raw, value) & usable).sum())
        return {value: count for value, count in counts.items() if count}

    def count_nans(self) -> int:
        gone = 0
        for step, _ in self._steps[0]:
            raw = self._raw(step, slice(None), slice(None))
            gone = max(gone, int(np.isnan(raw).sum()) if raw.dtype.kind == "f" else 0)
        return gone

    def _year_of(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """The year's sum or mean; NaN where any of its steps has no value."""
        steps, method = self._steps
        total: NDArray[np.float64] | None = None
        weight = sum(length for _, length in steps)
        for step, length in steps:
            values = self._physical(self._raw(step, rows, cols))
            if len(steps) > 1 and method == "mean":
                values = values * (length / weight)
            total = values if total is None else total + values
        assert total is not None
        return total

    def _raw(self, step: int | None, rows: slice, cols: slice) -> NDArray:
        """Numbers as stored, turned to (y, x) with north up and west left."""
        y, x, time = self._dims
        if not self._bent:
            rows, flip_rows = cf.stored(rows, self._y.count, turned=self._y.step > 0)
            cols, flip_cols = cf.stored(cols, self._x.count, turned=self._x.step < 0)
        else:
            flip_rows = flip_cols = False
        place: dict[str, Any] = {**self._fixed, y: rows, x: cols}
        if time is not None and step is not None:
            place[time] = step
        try:
            found = self._file[self._variable].variable.isel(place).transpose(y, x)
            raw = np.asarray(found.values)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise damaged_store(self.where, str(error).splitlines()[0] if str(error) else "") from error
        if str(self._attributes.get("_Unsigned", "")).lower() == "true" and raw.dtype.kind == "i":
            raw = raw.view(f"u{raw.dtype.itemsize}")
        return raw[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1]

    def _missing(self, raw: NDArray) -> NDArray[np.bool_]:
        gone = equal(raw, self.nodata)
        for value in self._fills:
            gone = gone | equal(raw, value)
        low, high = cf.valid_range(self._attributes) if self._believes else (None, None)
        if low is not None:
            gone = gone | (raw < low)
        if high is not None:
            gone = gone | (raw > high)
        return gone

    def _physical(self, raw: NDArray) -> NDArray[np.float64]:
        values = raw.astype(np.float64)
        values[self._missing(raw)] = np.nan
        scale, offset = self._attributes.get("scale_factor"), self._attributes.get("add_offset")
        if scale is not None:
            values = values * float(np.ravel(scale)[0])
        return values if offset is None else values + float(np.ravel(offset)[0])

    def _years(
        self, year: int | None, method: str | None, nearest: bool, notes: list[str]
    ) -> tuple[int | None, tuple[list[tuple[int | None, float]], str]]:
        """The year read, its steps with their lengths, and how they become one."""
        time = self._dims[2]
        if time is None:
            return year, ([(None, 1.0)], "mean")
        if year is not None and not when.is_year(year):
            return year, self._dated(time, year, method, notes)
        steps = self._read_time(time)
        chosen = list(range(len(steps.years))) if year is None else steps.of_year(year)
        if year is not None and not chosen:
            years = sorted(set(steps.years))
            if not nearest:
                raise InputFault(
                    self.where, f"years {cf.spans(years)}", f"the year {year}",
                    "correct `year:`, or set `ingest.year_policy: nearest` for layers",
                )  # fmt: skip
            wanted = year
            other = min(years, key=lambda own: (abs(own - wanted), own))
            notes.append(f"no step of {year}; the nearest year, {other}, is used")
            year, chosen = other, steps.of_year(other)
        if len(chosen) > 1 and year is not None and steps.covered(year) < COVERED:
            raise InputFault(
                self.where,
                f"{len(chosen)} steps that fill {steps.covered(year):.1%} of {year}",
                "steps that fill the year",
                "complete the file; for a layer, `year: static` takes all steps together",
            )
        how = self._method(len(chosen), method)
        if len(chosen) > 1:
            notes.append(f"{how} of {len(chosen)} steps")
        return year, ([(step, steps.lengths[step]) for step in chosen], how)

    def _dated(
        self, time: str, label: int, method: str | None, notes: list[str]
    ) -> tuple[list[tuple[int | None, float]], str]:
        """The steps of the file that lie within a month, day or hour, and how they become one."""
        axis = self._time_axis(time)
        if axis.size == 1 and " since " not in str(axis.attrs.get("units", "")):
            notes.append(f"its one step says no date; {when.spelled(label)}, from its name, is believed")
            return [(0, 1.0)], "mean"
        facts = [str(axis.attrs.get(key, "")) for key in ("units", "calendar")]
        instants = read_instants(axis.values, facts[0], facts[1], f"{self.name}, axis {time}")
        first, end = when.span(label)
        chosen = np.flatnonzero((instants >= first) & (instants < end)).tolist()
        if not chosen:
            raise InputFault(
                self.where, f"dates from {instants.min()} to {instants.max()}", f"one in {when.spelled(label)}",
                "correct `dates:`, or name the date under `without:`",
            )  # fmt: skip
        if len(chosen) > 1:
            span = np.diff(instants[chosen]).max() * len(chosen)
            if span < COVERED * (end - first):
                raise InputFault(
                    self.where, f"{len(chosen)} steps that fill {span / (end - first):.1%} of {when.spelled(label)}",
                    "steps that fill it", "complete the file, or name the date under `without:`",
                )  # fmt: skip
        how = self._method(len(chosen), method)
        if len(chosen) > 1:
            notes.append(f"{how} of {len(chosen)} steps")
        return [(step, 1.0) for step in chosen], how

    def _time_axis(self, time: str) -> xr.DataArray:
        if time not in self._file.variables:
            raise unreadable(f"{self.where}, axis {time}", "no times")
        return self._file[time]

    def _read_time(self, time: str) -> Steps:
        axis = self._time_axis(time)
        edges = self._file.get(str(axis.attrs.get("bounds", "")))
        steps, twice = read_steps(
            axis.values,
            str(axis.attrs.get("units", "")),
            str(axis.attrs.get("calendar", "")),
            None if edges is None else edges.values,
            f"{self.name}, axis {time}",
        )
        if twice:
            raise InputFault(
                f"{self.name}, axis {time}",
                f"a time that stands twice, in {cf.spans(twice)}",
                "each time once",
                "remove the double step; which of the two is right only you can tell",
            )
        return steps

    def _method(self, count: int, declared: str | None) -> str:
        if count == 1:
            return "mean"
        text = declared or str(self._attributes.get("cell_methods", ""))
        match = TIME_METHOD.search(text)
        how = {"sum": "sum", "mean": "mean", "average": "mean"}.get(match[1].lower()) if match else None
        if how is None:
            raise InputFault(
                self.where,
                f"{count} steps of time and " + (f"cell_methods {text!r}" if text else "no cell_methods"),
                "how they become one year",
                'set `cell_methods: "time: sum"` for amounts of each step, "time: mean" for rates and states',
            )
        return how

    def _place(self, notes: list[str]) -> tuple[Axis, Axis, Lattice | None]:
        """Regular axes, or a lattice over cells that have none."""
        y, x, _ = self._dims
        nowhere = Axis(0.0, 1.0, 1)
        if self._index_grid:
            return self._own_grid(self._index_grid, notes)
        flat = cf.two_dimensional(self._file, self._attributes, (y, x))
        if flat is not None and not (x in self._file.variables and y in self._file.variables):
            bent = lattice(*flat, "its cells have longitudes and latitudes of their own (a curvilinear grid)")
            notes.append(bent.note)
            return nowhere, nowhere, bent
        for dim in (y, x):
            if dim not in self._file.variables:
                raise InputFault(
                    self.where, f"no coordinates along {dim!r}", "coordinates of its cells",
                    "write them into the file, or give longitudes and latitudes of all cells",
                )  # fmt: skip
        crs = None if self._given_crs else cf.crs_of(self._file, self._attributes, self.where)
        if crs is not None and crs.is_geographic and crs.is_derived:
            degrees = cf.unrotate(crs, axes.exact(self._file[x].values), axes.exact(self._file[y].values))
            bent = lattice(*degrees, "its grid has a rotated pole, which GeoTIFFs cannot say")
            notes.append(bent.note)
            return nowhere, nowhere, bent
        found = [
            self._axis(dim, turns=dim == x and axes.is_degrees(self._file[x].attrs, x)) for dim in (x, y)
        ]
        if found[0] is None or found[1] is None:
            return self._irregular(y, x, found, notes)
        scale = cf.metres(self._file[x].attrs, crs)
        across, down = (
            Axis(a.start * scale, a.step * scale, a.count, a.note) for a in found if a is not None
        )
        for dim, axis in ((x, across), (y, down)):
            if axis.note:
                notes.append(f"{dim}: {axis.note}")
        degrees_only = axes.is_degrees(self._file[x].attrs, x) and axes.is_degrees(self._file[y].attrs, y)
        if crs is None and not self._given_crs and degrees_only:
            notes.append("longitudes and latitudes without a datum were taken as WGS 84")
        return across, down, None

    def _own_grid(self, side: float, notes: list[str]) -> tuple[Axis, Axis, None]:
        """Rows and columns of the file as plane cells; the first row is the southern one where latitudes rise.

        Why the first cell has its corner at 0, 0: fields of other cell sizes that start with the same cell nest.
        """
        y, x, _ = self._dims
        degrees = cf.two_dimensional(self._file, self._attributes, (y, x))
        rises = degrees is not None and float(degrees[1][-1].mean()) > float(degrees[1][0].mean())
        notes.append(f"its rows and columns were taken as a plane grid of {side:g} m cells")
        across, down = (
            Axis(0.0, step, self._file.sizes[dim]) for step, dim in ((side, x), (side if rises else -side, y))
        )
        return across, down, None

    @cached_property
    def degrees(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Longitudes and latitudes, north-up, (rows, cols) each; None when it has none for each cell."""
        y, x, _ = self._dims
        found = cf.two_dimensional(self._file, self._attributes, (y, x))
        if found is None or self._bent:
            return None
        turn = (
            slice(None, None, -1 if self._y.step > 0 else 1),
            slice(None, None, -1 if self._x.step < 0 else 1),
        )
        return found[0][turn], found[1][turn]

    def _irregular(
        self, y: str, x: str, found: list[Axis | None], notes: list[str]
    ) -> tuple[Axis, Axis, Lattice]:
        """Longitudes or latitudes at uneven steps are read like a curvilinear grid; anything else is refused."""
        odd = ", ".join(dim for dim, axis in zip((x, y), found, strict=True) if axis is None)
        if not all(axes.is_degrees(self._file[dim].attrs, dim) for dim in (x, y)):
            raise InputFault(
                self.where, f"coordinates at uneven steps along {odd}", "a regular grid",
                "regrid the file, or check its coordinates for a gap or a wrong number",
            )  # fmt: skip
        if min(self._file.sizes[x], self._file.sizes[y]) < 2:
            raise InputFault(
                self.where, f"one cell alone along {odd}, and no bounds", "cells of a known size",
                "write the bounds of its cells into the file",
            )  # fmt: skip
        lon, lat = np.meshgrid(axes.exact(self._file[x].values), axes.exact(self._file[y].values))
        bent = lattice(lon, lat, f"its coordinates lie at uneven steps along {odd}")
        notes.append(bent.note)
        return Axis(0.0, 1.0, 1), Axis(0.0, 1.0, 1), bent

    def _axis(self, dim: str, *, turns: bool) -> Axis | None:
        axis = self._file[dim]
        edges = self._file.get(str(axis.attrs.get("bounds", "")))
        return axes.regular(axis.values, None if edges is None else edges.values, turns=turns)


def open_store(path: str) -> xr.Dataset:
    """Opens a file or store by a named engine, nothing decoded, nothing loaded.

    Raises: InputFault (exit 3) when it is damaged, UsageFault (exit 2) when the extra is not installed.
    """
    engine = engine_of(path)
    try:
        if engine == "zarr":
            return xr.open_dataset(
                path, engine="zarr", decode_cf=False, chunks=None, cache=False, consolidated=False
            )
        return xr.open_dataset(path, engine=engine, decode_cf=False, cache=False)
    except (ImportError, ModuleNotFoundError) as error:
        raise UsageFault(
            Path(path).name, f"{engine} is not installed", "the extra `netcdf`", "pip install -e '.[netcdf]'"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged_store(Path(path).name, text) from error


@dataclass(frozen=True)
class Field:
    """One field of a file, as far as it can be told without being asked for a part of it.

    Attributes:
      along, members: an axis beside x, y and time, and the values on it; None and () when there is none.
      years: in the file, () without a time axis that can be read; steps: the most that one of them has.
    """

    path: str
    variable: str
    along: str | None
    members: tuple[str, ...]
    years: tuple[int, ...]
    steps: int

    def open(self) -> Variable:
        """Its last year, at the first value of its other axis, averaged: only to be looked at."""
        select: Selection = {self.along: self.members[0]} if self.along else {}
        year = self.years[-1] if self.years and self.steps == 1 else None
        return Variable(self.path, self.variable, select, year, cell_methods="time: mean")


def survey(path: str) -> list[Field]:
    """Every field of a file or store.

    Raises: Faults (exit 3) when none can be read.
    """
    faults: list[Fault] = []
    fields = []
    with open_store(path) as file:
        for name in cf.fields_of(file):
            data = file[name]
            try:
                y, x, time = cf.dimensions(file, data, f"{Path(path).name}, variable {name}")
            except Fault as fault:
                faults.append(fault)
                continue
            others = [dim for dim in map(str, data.dims) if dim not in (y, x, time) and data.sizes[dim] > 1]
            along = others[0] if others else None
            members = tuple(cf.label(file, along, k) for k in range(data.sizes[along])) if along else ()
            years, steps = _years_in(file, time, Path(path).name)
            fields.append(Field(path, name, along, members, years, steps))
    if not fields:
        raise Faults(
            faults or [InputFault(Path(path).name, "no field", "numbers on two axes", "leave it out")]
        )
    return fields


def _years_in(file: xr.Dataset, time: str | None, name: str) -> tuple[tuple[int, ...], int]:
    """The years on a time axis, and the most steps that one has; none when it cannot be read."""
    if time is None or time not in file.variables:
        return (), 1
    axis = file[time]
    facts = [str(axis.attrs.get(key, "")) for key in ("units", "calendar")]
    try:
        steps, _ = read_steps(axis.values, facts[0], facts[1], None, name)
    except InputFault:
        return (), int(axis.size)
    years = tuple(sorted(set(steps.years)))
    return years, max(steps.years.count(year) for year in years)
