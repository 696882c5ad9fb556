"""Chooses the steps of a time axis that make a year or a shorter date; tells whether they are summed or averaged."""

import re
from dataclasses import dataclass

import numpy as np
import xarray as xr

from model.ground import time_steps as when
from model.ground.errors import InputError
from stages.formats.netcdf import cf
from stages.formats.netcdf.attributes import Attributes
from stages.formats.netcdf.time_axis import COVERED, Steps, read_instants, read_steps, unreadable

TIME_METHOD = re.compile(r"\btime:\s*(\w+)")


@dataclass(frozen=True)
class Yearly:
    """A year of a variable.

    Attributes:
      year: the one read, None for all steps together.
      steps: (index along the time axis, length as a share of the year); the index is None without such an axis.
      method: sum or mean, how the steps become one.
      notes: what was assumed, in sentences.
    """

    year: int | None
    steps: tuple[tuple[int | None, float], ...] = ((None, 1.0),)
    method: str = "mean"
    notes: tuple[str, ...] = ()


def yearly(
    file: xr.Dataset, time: str, year: int | None, *, nearest: bool, cell_methods: str, name: str, where: str
) -> Yearly:
    """The steps of the year wanted.

    Args:
      time: the axis; year: None takes all steps together.
      nearest: True: another year may serve when the file lacks the one wanted.
      cell_methods: how steps become a year, as "time: sum"; "" when nothing says it.
      name, where: of the file, and of the variable in it, as faults name them.
    Raises: InputError (exit 3) when the file does not hold that year, in whole and in known steps.
    """
    steps, notes = _read_time(file, time, name, where), []
    chosen = list(range(len(steps.years))) if year is None else steps.of_year(year)
    if year is not None and not chosen:
        years = sorted(set(steps.years))
        if not nearest:
            raise InputError(
                where, f"years {cf.spans(years)}", f"the year {year}",
                "correct `year:`, or set `ingest.year_policy: nearest` for layers",
            )  # fmt: skip
        wanted = year
        year = min(years, key=lambda own: (abs(own - wanted), own))
        notes.append(f"no step of {wanted}; the nearest year, {year}, is used")
        chosen = steps.of_year(year)
    method = _method(len(chosen), cell_methods, where)
    if len(chosen) > 1 and year is not None:
        share = steps.covered(year)
        if _is_short(share, len(chosen), method):
            raise InputError(
                where,
                f"{len(chosen)} steps that fill {share:.2%} of {year}",
                "steps that fill the year",
                "complete the file; for a layer, `year: static` takes all steps together",
            )
        if share < 1.0 - 0.5 / len(chosen):
            notes.append(f"its steps fill {share:.1%} of {year}; what is missing is taken to be like them")
    if len(chosen) > 1:
        notes.append(f"{method} of {len(chosen)} steps")
    return Yearly(year, tuple((step, steps.lengths[step]) for step in chosen), method, tuple(notes))


def dated(file: xr.Dataset, time: str, label: int, *, cell_methods: str, name: str, where: str) -> Yearly:
    """The steps that lie within a month, day or hour, and how they become one.

    Args:
      label: the date as model.ground.time_steps names it; the others as of `yearly`.
    Raises: InputError (exit 3) when the file does not hold that date, in whole.
    """
    axis = _time_axis(file, time, where)
    attributes = Attributes(axis.attrs)
    if axis.size == 1 and " since " not in attributes.units:
        note = f"its one step says no date; {when.spelled(label)}, from its name, is believed"
        return Yearly(label, ((0, 1.0),), "mean", (note,))
    instants = read_instants(axis.values, attributes.units, attributes.calendar, f"{name}, axis {time}")
    first, end = when.span(label)
    chosen = np.flatnonzero((instants >= first) & (instants < end)).tolist()
    if not chosen:
        raise InputError(
            where, f"dates from {instants.min()} to {instants.max()}", f"one in {when.spelled(label)}",
            "correct `dates:`, or name the date under `without:`",
        )  # fmt: skip
    how = _method(len(chosen), cell_methods, where)
    if len(chosen) > 1:
        share = float(np.median(np.diff(np.sort(instants[chosen]))) * len(chosen) / (end - first))
        if _is_short(share, len(chosen), how):
            raise InputError(
                where, f"{len(chosen)} steps that fill {share:.2%} of {when.spelled(label)}",
                "steps that fill it", "complete the file, or name the date under `without:`",
            )  # fmt: skip
    notes = (f"{how} of {len(chosen)} steps",) if len(chosen) > 1 else ()
    return Yearly(label, tuple((step, 1.0) for step in chosen), how, notes)


def _is_short(share: float, count: int, method: str) -> bool:
    """True when steps fill too little of a date to stand for it.

    Why a sum is asked for more: a mean of most steps is near that of all; what a sum lacks is mass lost.
    """
    return share < (1.0 - 0.5 / count if method == "sum" else COVERED)


def _time_axis(file: xr.Dataset, time: str, where: str) -> xr.DataArray:
    if time not in file.variables:
        raise unreadable(f"{where}, axis {time}", "no times")
    if not file[time].size:
        raise InputError(
            f"{where}, axis {time}", "no steps", "at least one", "fetch or export the file again"
        )
    return file[time]


def _read_time(file: xr.Dataset, time: str, name: str, where: str) -> Steps:
    axis = _time_axis(file, time, where)
    attributes = Attributes(axis.attrs)
    edges = file.get(attributes.bounds)
    steps, twice = read_steps(
        axis.values,
        attributes.units,
        attributes.calendar,
        None if edges is None else edges.values,
        f"{name}, axis {time}",
    )
    if twice:
        raise InputError(
            f"{name}, axis {time}",
            f"a time that stands twice, in {cf.spans(twice)}",
            "each time once",
            "remove the double step; which of the two is right only you can tell",
        )
    return steps


def _method(count: int, text: str, where: str) -> str:
    if count == 1:
        return "mean"
    match = TIME_METHOD.search(text)
    how = {"sum": "sum", "mean": "mean", "average": "mean"}.get(match[1].lower()) if match else None
    if how is None:
        raise InputError(
            where,
            f"{count} steps of time and " + (f"cell_methods {text!r}" if text else "no cell_methods"),
            "how they become one year",
            'set `cell_methods: "time: sum"` for amounts of each step, "time: mean" for rates and states',
        )
    return how
