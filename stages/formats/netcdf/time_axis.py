"""Times of a CF axis as years and lengths, in any calendar; what cannot be read is told, never guessed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import InputError, UsageError

if TYPE_CHECKING:
    import cftime

SINCE = re.compile(r"\s*(\w+)\s+since\s+(.+)", re.IGNORECASE)
EPOCH = re.compile(r"(-?\d{1,4})-(\d{1,2})")
WHOLE_YEARS = ("year", "years", "yr", "yrs", "common_year", "common_years")
WHOLE_MONTHS = ("month", "months", "mon")
COVERED = 0.95  # of a year that steps must fill to stand for it; a month short is 0.92
GAP = 1.5  # a step so many times as far from the next as is usual has others missing behind it
_MONTH = 1.0 / 12.0


@dataclass(frozen=True)
class Steps:
    """The steps of a time axis.

    Attributes:
      years: the year each step lies in.
      lengths: its length as a share of that year; 1 where only the year is known.
    """

    years: tuple[int, ...]
    lengths: tuple[float, ...]

    def of_year(self, year: int) -> list[int]:
        """Indices of the steps in a year, in order."""
        return np.flatnonzero(np.asarray(self.years) == year).tolist()

    def covered(self, year: int) -> float:
        """Share of a year that its steps fill; 1 when it has one step alone, which then stands for the year."""
        own = self.of_year(year)
        return 1.0 if len(own) == 1 else sum(self.lengths[index] for index in own)


def read_steps(
    values: NDArray, units: str, calendar: str, bounds: NDArray | None, where: str
) -> tuple[Steps, list[int]]:
    """Years of a time axis.

    Args:
      values: (steps,) as stored; bounds: (steps, 2) or None.
      units, calendar: the axis's attributes, empty when it has none.
    Returns: the steps, and the years in which a time occurs twice.
    Raises: InputError (exit 3) when the times cannot be read.
    """
    numbers = _numbers(values, where)
    match = SINCE.match(units)
    if match is None:
        years = _plain_years(numbers, units, where)
        return Steps(years, (1.0,) * len(years)), _twice(years, years)
    word, since = match[1].lower(), match[2]
    if word in WHOLE_YEARS:
        starts = _counted(numbers, 1.0, since, where)
        years = tuple(np.floor(np.asarray(starts) + 1e-6).astype(int).tolist())
        return Steps(years, (1.0,) * len(years)), _twice(years, years)
    if word in WHOLE_MONTHS:
        starts = _counted(numbers, _MONTH, since, where)
        shares = [_MONTH] * len(starts)
        return _steps(np.asarray(starts), np.asarray(shares), None), _twice(starts, starts)
    starts, shares = _decimal_years(numbers, units, calendar, where)
    edges = None
    if bounds is not None and bounds.shape == (len(numbers), 2):
        pairs, _ = _decimal_years(_numbers(bounds, where).ravel(), units, calendar, where)
        edges = np.asarray(pairs).reshape(-1, 2)
    return _steps(np.asarray(starts), np.asarray(shares), edges), _twice(starts, starts)


def read_instants(values: NDArray, units: str, calendar: str, where: str) -> NDArray[np.datetime64]:
    """Instants of a time axis whose steps are shorter than a year, to the minute.

    Raises: InputError (exit 3) when the times cannot be read, stand twice, or are no dates of the Gregorian calendar.
    """
    numbers = _numbers(values, where)
    match = SINCE.match(units)
    if match is None:
        raise unreadable(where, f"times with the units {units!r}")
    if match[1].lower() in WHOLE_MONTHS and (epoch := EPOCH.match(match[2].strip())) is not None:
        months = np.datetime64(f"{int(epoch[1]):04d}-{int(epoch[2]):02d}", "M") + np.floor(numbers).astype(
            int
        )
        instants = months.astype("datetime64[m]")
    else:
        try:
            words = [date.isoformat()[:16] for date in _dates(numbers, units, calendar, where)]
            instants = np.array(words, "datetime64[m]")
        except ValueError as error:
            found = f"a date of the calendar {calendar!r} that others do not have"
            raise unreadable(where, found) from error
    if np.unique(instants).size < instants.size:
        twice = next(instant for instant in instants if (instants == instant).sum() > 1)
        raise InputError(where, f"{twice} stands twice", "each time once", "remove the double step")
    return instants


def _numbers(values: NDArray, where: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise unreadable(where, "times that are no numbers") from error
    if not np.isfinite(numbers).all():
        raise unreadable(where, "times without a value")
    return numbers


def _plain_years(numbers: NDArray[np.float64], units: str, where: str) -> tuple[int, ...]:
    if ((numbers < 1000) | (numbers > 3000)).any():
        shown = ", ".join(f"{number:g}" for number in numbers[:3])
        raise unreadable(where, f"times {shown} with the units {units!r}")
    return tuple(np.floor(numbers).astype(int).tolist())


def _counted(numbers: NDArray[np.float64], length: float, since: str, where: str) -> list[float]:
    """Decimal years of 'years since' and 'months since', which no two libraries read the same way."""
    epoch = EPOCH.match(since.strip())
    if epoch is None:
        raise unreadable(where, f"times since {since!r}")
    first = int(epoch[1]) + (int(epoch[2]) - 1) * _MONTH
    return (first + numbers * length).tolist()


def _decimal_years(
    numbers: NDArray[np.float64], units: str, calendar: str, where: str
) -> tuple[list[float], list[float]]:
    """Instants (2012.5 is the middle of 2012, in the axis's own calendar) and what share of a year their month is."""
    dates = _dates(numbers, units, calendar, where)
    return list(map(_decimal, dates)), list(map(_share_of_month, dates))


def _dates(numbers: NDArray[np.float64], units: str, calendar: str, where: str) -> "NDArray[np.object_]":
    """(steps,) dates in the axis's own calendar."""
    try:
        import cftime
    except ImportError as error:
        raise missing_extra("cftime") from error
    try:
        dates = cftime.num2date(numbers, units, calendar or "standard", only_use_cftime_datetimes=True)
    except (ValueError, OverflowError, TypeError) as error:
        text = f"times in {units!r}, calendar {calendar!r} ({str(error).splitlines()[0]})"
        raise unreadable(where, text) from error
    return np.ravel(dates)


def _decimal(date: "cftime.datetime") -> float:
    seconds = date.hour * 3600 + date.minute * 60 + date.second + date.microsecond * 1e-6
    return float(date.year + (date.dayofyr - 1 + seconds / 86400.0) / _days(date))


def _share_of_month(date: "cftime.datetime") -> float:
    """What part of its year the month of a date is."""
    return float(date.daysinmonth) / _days(date)


def _days(date: "cftime.datetime") -> int:
    """Days of the date's year, in its own calendar."""
    return int(date.replace(month=12, day=30).dayofyr) + (0 if date.calendar == "360_day" else 1)


def _steps(
    starts: NDArray[np.float64], months: NDArray[np.float64], edges: NDArray[np.float64] | None
) -> Steps:
    """Years and lengths of instants, or of the spans around them."""
    is_bounded = edges is not None and bool((np.diff(edges) > 0).all())
    middles = edges.mean(axis=1) if edges is not None and is_bounded else starts
    # Why a tolerance: a whole year may come back as 2012.9999999 from counts in single precision.
    years = np.floor(middles + 1e-7).astype(int)
    lengths = np.diff(edges)[:, 0] if edges is not None and is_bounded else _spacing(starts, months, years)
    return Steps(tuple(years.tolist()), tuple(lengths.tolist()))


def _spacing(
    starts: NDArray[np.float64], months: NDArray[np.float64], years: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Lengths of monthly steps by the calendar; else from one step to the next, the last like the one before it.

    Why no step is much longer than is usual in its year: what comes after it is missing.
    """
    if len(starts) == 1:
        return np.ones(1)
    ahead = np.abs(np.diff(starts))
    if np.all(np.abs(ahead - _MONTH) < 0.2 * _MONTH):
        return months
    lengths = np.append(ahead, ahead[-1])
    for year in np.unique(years):
        own = lengths[years == year]
        lengths[years == year] = np.where(own > GAP * np.median(own), np.median(own), own)
    return lengths


def _twice(instants: Sequence[float], years: Sequence[float]) -> list[int]:
    """Years in which the same time stands more than once."""
    seen: set[float] = set()
    found = set()
    for instant, year in zip(instants, years, strict=True):
        key = round(float(instant), 9)
        if key in seen:
            found.add(int(np.floor(year + 1e-7)))
        seen.add(key)
    return sorted(found)


def unreadable(where: str, found: str) -> InputError:
    """A time axis that we cannot turn into years."""
    return InputError(
        where,
        found,
        "years as numbers, or CF times (days since 2000-01-01, and the like)",
        "correct the units of the time axis, or name one step with `select: {<axis>: <value>}`",
    )


def missing_extra(name: str) -> UsageError:
    """A library of the extra that reads NetCDF and Zarr is not installed."""
    return UsageError(
        "NetCDF and Zarr", f"{name} is not installed", "the extra `netcdf`", "pip install -e '.[netcdf]'"
    )
