"""What a number means: its unit, and how it relates to the area it stands for."""

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Why stated here: 'year' is 365.25 days in pint and 365.2422 in cf-units; inventories count calendar years.
DAYS_PER_YEAR = 365.0


class Quantity(Protocol):
    """How values turn into mass per cell, the only currency laws act on, and back."""

    name: str
    cell_methods: str

    def to_mass(self, values: Array, area: Array) -> Array:
        """Values of cells of the given area [m2] as mass per cell."""

    def from_mass(self, mass: Array, area: Array) -> Array:
        """The inverse of to_mass."""


class Extensive:
    """An amount per cell; members of a block add up."""

    name = "extensive"
    cell_methods = "area: sum"

    def to_mass(self, values: Array, area: Array) -> Array:
        return values

    def from_mass(self, mass: Array, area: Array) -> Array:
        return mass


class Intensive:
    """A mean over the cell; members of a block average, weighted by area."""

    name = "intensive"
    cell_methods = "area: mean"

    def to_mass(self, values: Array, area: Array) -> Array:
        return values * area

    def from_mass(self, mass: Array, area: Array) -> Array:
        return mass / area


class Flux:
    """An amount per area and second [... m-2 s-1]; mass is what falls on the cell in a year."""

    name = "flux"
    cell_methods = "area: mean"
    seconds = DAYS_PER_YEAR * 86400.0

    def to_mass(self, values: Array, area: Array) -> Array:
        return values * area * self.seconds

    def from_mass(self, mass: Array, area: Array) -> Array:
        return mass / (area * self.seconds)


QUANTITIES: dict[str, Quantity] = {kind.name: kind for kind in (Extensive(), Intensive(), Flux())}


@dataclass(frozen=True)
class Unit:
    """A unit an amount per cell may be given in.

    Attributes:
      text: as the user wrote it.
      canonical: what amounts are kept in.
      scale: canonical units in one of this unit.
    """

    text: str
    canonical: str
    scale: float


_SCALES: dict[str, tuple[str, float]] = {
    "g": ("t", 1e-6),
    "kg": ("t", 1e-3),
    "t": ("t", 1.0),
    "Mg": ("t", 1.0),
    "tonne": ("t", 1.0),
    "tonnes": ("t", 1.0),
    "Gg": ("t", 1e3),
    "kt": ("t", 1e3),
    "Tg": ("t", 1e6),
    "Mt": ("t", 1e6),
    "kWh": ("MWh", 1e-3),
    "MWh": ("MWh", 1.0),
    "GWh": ("MWh", 1e3),
    "TWh": ("MWh", 1e6),
    "GJ": ("MWh", 1.0 / 3.6),
    "TJ": ("MWh", 1e3 / 3.6),
    "PJ": ("MWh", 1e6 / 3.6),
    "persons": ("persons", 1.0),
    "person": ("persons", 1.0),
    "people": ("persons", 1.0),
}
_PER_YEAR = re.compile(r"\s*(?:/\s*(?:yr|year|a)|\s(?:yr|year|a)(?:-1|\^-1))$")
_PER_CELL = re.compile(r"\s*(?:per cell|/\s*cell|\scell-1)$")

ACCEPTED_UNITS = ", ".join(_SCALES) + " (each may be followed by /yr, yr-1, a-1 or /year, then by 'per cell')"


def parse_unit(text: str) -> Unit:
    """Reads the unit of an amount per cell, or per cell and year.

    A total that belongs to one year is the same number with or without 'per year'.

    Raises: ValueError when the text is none of ACCEPTED_UNITS.
    """
    stem = _PER_YEAR.sub("", _PER_CELL.sub("", text.strip()))
    if stem not in _SCALES:
        raise ValueError(f"unknown unit {text!r}")
    canonical, scale = _SCALES[stem]
    return Unit(text, canonical, scale)
