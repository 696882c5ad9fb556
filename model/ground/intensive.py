"""Quantities that are a mean over the cell, not an amount of it: depths of rain, temperatures, and their units.

Cells of a block average, weighted by area. The laws act on sums, so a cell enters them as value x weight, its
weight being its area over the mean area of its block's cells: near 1, so that numbers stay those of the field.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from model.ground.grid import Grid
from model.ground.units import Array, words_of

# Millimetres of water in one of them; 1 kg of water on 1 m2 stands 1 mm deep (density 1000 kg m-3).
_DEPTHS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "inches": 25.4, "in": 25.4}
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_MONTHS = ("month", "months", "mon")
# Kelvin in one of them, and the zero of its scale in kelvin.
_TEMPERATURES = {
    **dict.fromkeys(("K", "kelvin", "Kelvin"), (1.0, 0.0)),
    **dict.fromkeys(("C", "degC", "°C", "celsius", "Celsius", "deg_C", "degrees_C"), (1.0, 273.15)),
}

ACCEPTED_STATES = (
    "a depth (mm, cm, m, kg m-2), alone for what fell in the step or per s, h, day or month, "
    "as in: mm, mm/month, mm day-1, kg m-2 s-1; or a temperature: K, C, degC"
)


@dataclass(frozen=True)
class State:
    """What a number of an intensive quantity is; it answers like model.ground.units.Unit.

    Attributes:
      text: as the user wrote it.
      canonical: what it is kept in: mm of the step, or K.
      scale, offset: canonical = value x scale + offset.
      timed: True when it says a time, so that parts of a step average and do not add up.
    """

    text: str
    canonical: str
    scale: float
    offset: float = 0.0
    timed: bool = False
    substance: None = None
    is_density: bool = False
    periods: float = 1.0

    @property
    def over_time(self) -> str:
        """What a step is of the instants in it: depths add up, temperatures average."""
        return "sum" if self.canonical == "mm" else "mean"

    def to_mass(self, values: Array, cell_area: Array) -> Array:
        """Values in the canonical unit; what they weigh in their block, the cube knows."""
        return values * self.scale + self.offset

    def is_of_one_kind_with(self, other: Any) -> bool:
        """True when both can be told in one unit."""
        return self.canonical == other.canonical

    def means_the_same(self, other: Any) -> bool:
        """True when equal numbers in both are equal states."""
        same = abs(self.scale / other.scale - 1.0) < 1e-9 and abs(self.offset - other.offset) < 1e-9
        return self.is_of_one_kind_with(other) and same


def parse_state(text: str, label: int) -> State:
    """What a text means for a step of time.

    Args: label: of the step, as model.ground.time_steps names it: a rate becomes the depth that fell in it.
    Raises: ValueError saying which part is not understood.
    """
    found = words_of(text)
    if not found:
        raise ValueError(f"unknown unit {text!r}: it is empty")
    (head, power), *rest = found
    if head in _TEMPERATURES and power == 1 and not rest:
        scale, zero = _TEMPERATURES[head]
        return State(text, "K", scale, zero)
    if head == "kg" and power == 1 and ("m", -2) in rest:
        scale, rest = 1.0, [part for part in rest if part != ("m", -2)]
    elif head in _DEPTHS and power == 1:
        scale = _DEPTHS[head]
    else:
        raise ValueError(f"unknown unit {text!r}: {head!r} is neither a depth nor a temperature")
    if not rest:
        return State(text, "mm", scale)
    (word, power), *more = rest
    period = when.month_seconds(label) if word in _MONTHS else _SECONDS.get(word)
    if more or power != -1 or period is None:
        raise ValueError(f"unknown unit {text!r}: {word!r} is no time")
    return State(text, "mm", scale * when.seconds(label) / period, timed=True)


def cell_weights(fine: Grid, factor: int, by: str) -> NDArray[np.float64]:
    """(rows, 1) what the value of a fine cell counts for in its block.

    Args: by: `area`: its true area over the mean of its block's rows; `cells`: every cell counts for 1.
    """
    if by == "cells":
        return np.ones((fine.rows, 1))
    areas = fine.cell_areas().reshape(-1, factor)
    return (areas / areas.mean(axis=1, keepdims=True)).reshape(-1, 1)
