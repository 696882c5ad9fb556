"""Tells which fields a NetCDF file or Zarr store holds: their axes, members and years."""

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from model.ground.errors import HectareError, HectareErrors, InputError
from stages.formats.netcdf import cf
from stages.formats.netcdf.attributes import Attributes
from stages.formats.netcdf.open import open_store
from stages.formats.netcdf.time_axis import read_steps
from stages.formats.netcdf.variable import Variable


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
        select: cf.Selection = {self.along: self.members[0]} if self.along else {}
        year = self.years[-1] if self.years and self.steps == 1 else None
        return Variable(self.path, self.variable, select, year, cell_methods="time: mean")


def survey(path: str) -> list[Field]:
    """Every field of a file or store.

    Raises: HectareErrors (exit 3) when none can be read.
    """
    faults: list[HectareError] = []
    fields = []
    with open_store(path) as file:
        for name in cf.fields_of(file):
            data = file[name]
            try:
                y, x, time = cf.dimensions(file, data, f"{Path(path).name}, variable {name}")
            except HectareError as fault:
                faults.append(fault)
                continue
            others = [dim for dim in map(str, data.dims) if dim not in (y, x, time) and data.sizes[dim] > 1]
            along = others[0] if others else None
            members = tuple(cf.label(file, along, k) for k in range(data.sizes[along])) if along else ()
            years, steps = _years_in(file, time, Path(path).name)
            fields.append(Field(path, name, along, members, years, steps))
    if not fields:
        raise HectareErrors(
            faults or [InputError(Path(path).name, "no field", "numbers on two axes", "leave it out")]
        )
    return fields


def _years_in(file: xr.Dataset, time: str | None, name: str) -> tuple[tuple[int, ...], int]:
    """The years on a time axis, and the most steps that one has; none when it cannot be read."""
    if time is None or time not in file.variables:
        return (), 1
    axis = file[time]
    attributes = Attributes(axis.attrs)
    try:
        steps, _ = read_steps(axis.values, attributes.units, attributes.calendar, None, name)
    except InputError:
        return (), int(axis.size)
    years = tuple(sorted(set(steps.years)))
    return years, max(steps.years.count(year) for year in years)
