"""Steps of time, each named by the digits of its date: 1999, 199901, 19990131, 1999013106 (ISO 8601, basic form).

Why a whole number: it sorts as time does, names files and rows of tables, and how long it is says how long the
step is: a year, a month, a day, an hour or a minute.
"""

import re

import numpy as np

_TEXT = re.compile(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d)(?:[T ]?(\d\d)(?::?(\d\d))?)?)?)?Z?")
_UNITS = {4: "Y", 6: "M", 8: "D", 10: "h", 12: "m"}
WORDS = {"Y": "year", "M": "month", "D": "day", "h": "hour", "m": "minute"}
Instant = np.datetime64


def parse(text: str) -> int:
    """The step a date means: '1999-01' is January, '1999-01-31T06' an hour.

    Raises: ValueError when it is no date of the Gregorian calendar.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no date; write 1999, 1999-01, 1999-01-31 or 1999-01-31T06")
    label = int("".join(filter(None, match.groups())))
    span(label)
    return label


def unit_of(label: int) -> str:
    """How long the step is, as numpy spells it: Y, M, D, h or m.

    Read off the number of digits (4, 6, 8, 10, 12), so a label needs no unit beside it. Raises KeyError for any
    other number of digits.
    """
    return _UNITS[len(str(label))]


def is_year(label: int) -> bool:
    """True for a whole year."""
    return label < 10_000


def span(label: int) -> tuple[Instant, Instant]:
    """Its first minute, and the first one after it.

    Raises: ValueError when there is no such date.
    """
    digits = str(label)
    if len(digits) not in _UNITS:
        raise ValueError(f"{label} is no date")
    first = np.datetime64(spelled(label)).astype(f"datetime64[{_UNITS[len(digits)]}]")
    return first.astype("datetime64[m]"), (first + 1).astype("datetime64[m]")


def spelled(label: int) -> str:
    """As ISO 8601 writes it: 1999-01-31T06.

    Year alone, year and month, or a whole date stay as short as the label is; no time zone is written.
    """
    digits = str(label)
    day = "-".join(filter(None, (digits[:4], digits[4:6], digits[6:8])))
    clock = ":".join(filter(None, (digits[8:10], digits[10:12])))
    return f"{day}T{clock}" if clock else day


def label_of(instant: Instant, unit: str) -> int:
    """The step of that length which an instant lies in.

    Args: unit: as numpy spells it: Y, M, D, h or m. Finer parts of the instant are cut off, not rounded.
    """
    return int(re.sub(r"\D", "", str(instant.astype(f"datetime64[{unit}]"))))


def steps(first: int, last: int) -> tuple[int, ...]:
    """Every step from one to the other, both included.

    Raises: ValueError when they differ in length, or the last lies before the first.
    """
    unit = unit_of(first)
    if unit != unit_of(last) or last < first:
        raise ValueError(f"{spelled(first)} to {spelled(last)} is no span of equal steps")
    start, end = np.array([spelled(first), spelled(last)], f"datetime64[{unit}]")
    return tuple(label_of(instant, unit) for instant in np.arange(start, end + 1))


def seconds(label: int) -> float:
    """Length of the step.

    By the Gregorian calendar: February has 28 or 29 days. Leap seconds are not counted.
    Raises: ValueError when there is no such date.
    """
    start, end = span(label)
    return float((end - start) / np.timedelta64(1, "s"))


def month_seconds(label: int) -> float:
    """Length of the month that the step starts in.

    For depths given per month: 28 to 31 days, as the calendar has it, not a twelfth of a year.
    Raises: ValueError when there is no such date.
    """
    month = span(label)[0].astype("datetime64[M]")
    return float(((month + 1).astype("datetime64[s]") - month.astype("datetime64[s]")).astype(int))
