"""Sequences of dates: which steps of time are wanted, and the file of each where a pattern names many."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from model.ground import time_steps as when
from stages.contract.section import Section


def _date(text: str) -> str:
    when.parse(text)
    return text


DateText = Annotated[str, AfterValidator(_date)]
Month = Annotated[int, Field(ge=1, le=12)]


class Dates(Section):
    """Every step from the first to the last; how they are written says how long a step is.

    '1999-01' is a month, '1999-01-31' a day, '1999-01-31T06' an hour.
    """

    first: DateText
    last: DateText
    months: Annotated[tuple[Month, ...], Field(strict=False)] = ()  # of the year that are wanted; none: all
    without: Annotated[tuple[DateText, ...], Field(strict=False)] = ()  # steps, or longer spans, to leave out

    @model_validator(mode="after")
    def _agree(self) -> "Dates":
        if not self.labels:
            raise ValueError("no date is left")
        return self

    @property
    def labels(self) -> tuple[int, ...]:
        """As model.ground.time_steps names them, in order.

        Returns: every step from the first to the last, those of other months and those under `without` left out.
        """
        gone = [when.span(when.parse(text)) for text in self.without]
        found = []
        for label in when.steps(when.parse(self.first), when.parse(self.last)):
            start, end = when.span(label)
            out = any(first <= start and end <= last for first, last in gone)
            if not out and (not self.months or _month(start) in self.months):
                found.append(label)
        return tuple(found)


def _month(instant: np.datetime64) -> int:
    return int(instant.astype("datetime64[M]").astype(int)) % 12 + 1


def is_pattern(path: str) -> bool:
    """True for a path that holds the parts of a date, as strftime writes them: rain_%Y%m%d.nc.

    What counts: year, month, day, hour and minute, and the day of the year (%j).
    """
    return any(f"%{part}" in path for part in "YmdHMjy")


def file_of(path: str, label: int) -> str:
    """The file that a pattern names for a step; any other path is itself.

    Args: path: as declared, with % where parts of a date stand; label: the step, as model.ground.time_steps names it.
    Returns: the path in which the start of the step stands, in UTC.
    """
    if not is_pattern(path):
        return path
    start = when.span(label)[0].astype("datetime64[s]").astype(int)
    return str(Path(datetime.fromtimestamp(int(start), UTC).strftime(path)))
