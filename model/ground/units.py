"""What a number means: its unit, read from text, and the mass per cell and year that it stands for."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Why stated here: 'year' is 365.25 days in pint and 365.2422 in cf-units; inventories count calendar years.
DAYS_PER_YEAR = 365.0
SECONDS_PER_YEAR = DAYS_PER_YEAR * 86400.0
_SQUARE_METRES = {"m": 1.0, "km": 1e6, "cm": 1e-4, "ha": 1e4, "hectare": 1e4, "hectares": 1e4}
_ALREADY_AREAS = {"ha", "hectare", "hectares"}
# Periods in a year; what is per second, hour, day or month becomes a year by the one stated length of it.
_PERIODS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECONDS_PER_YEAR),
    **dict.fromkeys(("h", "hr", "hour", "hours"), SECONDS_PER_YEAR / 3600.0),
    **dict.fromkeys(("d", "day", "days"), DAYS_PER_YEAR),
    **dict.fromkeys(("month", "months", "mon"), 12.0),
    **dict.fromkeys(("a", "y", "yr", "yrs", "year", "years", "annum"), 1.0),
}
_AMOUNTS: dict[str, tuple[str, float]] = {
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
    "Pg": ("t", 1e9),
    "Gt": ("t", 1e9),
    "kWh": ("MWh", 1e-3),
    "MWh": ("MWh", 1.0),
    "GWh": ("MWh", 1e3),
    "TWh": ("MWh", 1e6),
    "J": ("MWh", 1.0 / 3.6e9),
    "kJ": ("MWh", 1.0 / 3.6e6),
    "MJ": ("MWh", 1.0 / 3.6e3),
    "GJ": ("MWh", 1.0 / 3.6),
    "TJ": ("MWh", 1e3 / 3.6),
    "PJ": ("MWh", 1e6 / 3.6),
    "persons": ("persons", 1.0),
    "person": ("persons", 1.0),
    "people": ("persons", 1.0),
    "inhabitants": ("persons", 1.0),
}
# Moles in one of them; a molar mass turns them into tonnes.
_MOLES = {"mol": 1.0, "mole": 1.0, "moles": 1.0, "mmol": 1e-3, "umol": 1e-6, "µmol": 1e-6, "kmol": 1e3}
# Molar mass [g/mol] and atoms of carbon and nitrogen: IUPAC standard atomic weights 2021, abridged
# (C 12.011, H 1.008, O 15.999, N 14.007, S 32.06, F 18.998).
_SUBSTANCES: dict[str, tuple[float, int, int]] = {
    "CO2": (44.009, 1, 0),
    "CH4": (16.043, 1, 0),
    "CO": (28.010, 1, 0),
    "C": (12.011, 1, 0),
    "N": (14.007, 0, 1),
    "N2O": (44.013, 0, 2),
    "NO": (30.006, 0, 1),
    "NO2": (46.005, 0, 1),
    "NH3": (17.031, 0, 1),
    "SO2": (64.058, 0, 0),
    "S": (32.06, 0, 0),
    "SF6": (146.048, 0, 0),
}
# Mixtures and agreed sums: they have a name, but no molar mass and no share of carbon.
_NAMES_ONLY = ("CO2e", "CO2eq", "NOx", "NMVOC", "VOC", "BC", "OC", "PM", "PM10", "PM2.5", "PM2_5")
_SPELLINGS = {name.lower(): name for name in (*_SUBSTANCES, *_NAMES_ONLY)} | {
    "co2-eq": "CO2e",
    "co2eq": "CO2e",
    "co2e": "CO2e",
    "pm2_5": "PM2.5",
}

ACCEPTED_UNITS = (
    ", ".join(_AMOUNTS)
    + ", mol (with a substance or `molar_mass:`); then perhaps a substance (t CO2, kg C), "
    + "an area (per cell, m-2, km-2, ha-1) and a time (s-1, h-1, day-1, month-1, yr-1), "
    + "as in: t, kt CO2/yr, kg m-2 s-1, Tg km-2 yr-1, mol CH4/m2/s, persons per km2"
)


@dataclass(frozen=True)
class Unit(ABC):
    """What a number of any quantity is.

    Attributes:
      text: as the user wrote it.
      canonical: the unit that values are kept in.
      scale: canonical units in one of this unit, its area and time left aside.
      timed: True when it says a time, so that parts of a step average and do not add up.
      substance: what it is an amount of; None when it does not say, or is no amount.
    """

    text: str
    canonical: str
    scale: float
    timed: bool = False
    substance: str | None = None

    @property
    @abstractmethod
    def over_time(self) -> str:
        """What a step is of the parts of it: their `sum` or their `mean`.

        Of values as the cube keeps them; it ends as `time:` in the cell_methods of field and maps (CF).
        """

    @abstractmethod
    def to_mass(self, values: Array, cell_area: Array) -> Array:
        """Values as what the cube keeps; cell_area [m2] is the true one.

        Args:
          values: as the source has them; cell_area: broadcasts against them.
        Returns: float64 in the canonical unit, the shape of both together.
        """

    @abstractmethod
    def is_of_one_kind_with(self, other: "Unit") -> bool:
        """True when values in both may be told in one unit."""

    @abstractmethod
    def means_the_same(self, other: "Unit") -> bool:
        """True when equal numbers in both are equal values."""


@dataclass(frozen=True)
class AmountUnit(Unit):
    """What a number of an amount is: kept in t, MWh or persons.

    Attributes:
      area: square metres it is given per; None when it is per cell.
      periods: times it occurs in a year; 1 when it is per year or says no time.
    """

    area: float | None = None
    periods: float = 1.0

    @property
    def is_density(self) -> bool:
        """True when it is given per area, so that a cell's size matters."""
        return self.area is not None

    @property
    def over_time(self) -> str:
        """Amounts of the parts of a step add up."""
        return "sum"

    def to_mass(self, values: Array, cell_area: Array) -> Array:
        """Values as canonical units per cell and year; cell_area [m2] is the true one.

        Returns: t, MWh or persons. A year has 365 days here (DAYS_PER_YEAR), since inventories count calendar
          years.
        """
        per_cell = values if self.area is None else values * (cell_area / self.area)
        return per_cell * (self.scale * self.periods)

    def is_of_one_kind_with(self, other: Unit) -> bool:
        """True when amounts in both may be added up.

        Tonnes that name no substance go with any; two that name different ones do not, since a tonne of C is no
        tonne of CO2.
        """
        return self.canonical == other.canonical and (
            self.substance == other.substance or None in (self.substance, other.substance)
        )

    def means_the_same(self, other: Unit) -> bool:
        """True when equal numbers in both are equal amounts.

        Their products of scale, periods and area may differ by 1e-9; per cell and per area are never the same.
        """
        if not isinstance(other, AmountUnit):
            return False
        mine, theirs = self.scale * self.periods, other.scale * other.periods
        same_area = (self.area is None) == (other.area is None)
        factor = (other.area or 1.0) / (self.area or 1.0)
        return self.is_of_one_kind_with(other) and same_area and abs(mine * factor / theirs - 1.0) < 1e-9


def parse_unit(text: str, *, substance: str | None = None, molar_mass: float | None = None) -> AmountUnit:
    """What a text means.

    Args:
      substance: what the amounts are to be kept as, when that was declared: carbon becomes CO2, and the other
        way round, only then. It also says what moles are of, when the text does not.
      molar_mass: [g/mol] of what moles are of, for substances we do not know.
    Raises: ValueError saying which part is not understood, or why it cannot be turned into mass.
    """
    words = words_of(text)
    if not words:
        raise ValueError(f"unknown unit {text!r}: it is empty")
    (head, power), *rest = words
    amount, own = _amount(head) if power == 1 else (None, None)
    if amount is None:
        raise ValueError(f"unknown unit {text!r}: {head!r} is no amount")
    area, periods, timed = None, 1.0, False
    for word, exponent in rest:
        name = spelled(word)
        if name is not None and exponent == 1 and own is None:
            own = name
        elif word in _SQUARE_METRES and exponent == (-1 if word in _ALREADY_AREAS else -2) and area is None:
            area = _SQUARE_METRES[word]
        elif word in _PERIODS and exponent == -1 and not timed:
            periods, timed = _PERIODS[word], True
        elif not (word in ("cell", "pixel") and exponent == -1):
            raise ValueError(f"unknown unit {text!r}: {word!r} is not understood there")
    canonical, scale, kept = _as_declared(text, amount, own, substance, molar_mass)
    return AmountUnit(text, canonical, scale, timed, kept, area, periods)


def spelled(word: str) -> str | None:
    """A substance as we spell it; None when we know none of that name.

    Letter case is forgiven in words of two letters or more; a single letter must be exact: c is not C.
    """
    return word if word in _SUBSTANCES else _SPELLINGS.get(word.lower()) if len(word) > 1 else None


def words_of(text: str) -> list[tuple[str, int]]:
    """(word, exponent) in order; a slash or 'per' before a word turns its exponent around.

    Understood: superscripts, `^` and `**`, dots between words, `square km`, `/(a b)`. A number behind a known
    substance is part of its name (CO2, PM10), else an exponent.
    Returns: exponent 1 where none was written, negative behind a slash.
    """
    plain = text.strip().translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻·×−", "0123456789-  -")).replace("µ", "u")
    plain = re.sub(r"\*\*|\^", "", plain)
    plain = re.sub(r"(?<=\w)[.*](?=[A-Za-z])", " ", plain)
    plain = re.sub(r"\bper\b\s*", "/", plain)
    plain = re.sub(r"\b(?:square|sq\.?)\s+(k?m)(?:et(?:re|er)s?)?\b", r"\g<1>2", plain)
    plain = re.sub(r"/\s*\(([^()/]*)\)", lambda inside: "/" + "/".join(inside[1].split()), plain)
    found = []
    for slash, word in re.findall(r"(/?)\s*([^\s/]+)", plain):
        if not slash and (spelled(word) is not None or _amount(word)[1] is not None):
            found.append((word, 1))
            continue
        parts = re.fullmatch(r"([A-Za-z_?]+?)([+-]?\d+)?", word)
        name, exponent = (parts[1], int(parts[2] or 1)) if parts else (word, 1)
        found.append((name, -exponent if slash else exponent))
    return found


def _amount(word: str) -> tuple[tuple[str, float] | None, str | None]:
    """An amount, and the substance when both were written as one word: tCO2, GgC."""
    if word in _AMOUNTS:
        return _AMOUNTS[word], None
    if word in _MOLES:
        return ("mol", _MOLES[word]), None
    for length in range(len(word) - 1, 0, -1):
        known = _AMOUNTS.get(word[:length])
        if known is not None and known[0] == "t" and (name := spelled(word[length:])) is not None:
            return known, name
    return None, None


def _as_declared(
    text: str, amount: tuple[str, float], own: str | None, declared: str | None, molar_mass: float | None
) -> tuple[str, float, str | None]:
    """Canonical unit, scale and substance, after moles and carbon became what was declared."""
    canonical, scale = amount
    if canonical == "mol":
        canonical, scale = "t", scale * 1e-6 * _molar(text, own or declared, molar_mass)
        own = own or declared
    if canonical != "t":
        if own is not None:
            raise ValueError(f"{text!r}: {canonical} of {own} means nothing")
        return canonical, scale, None
    if declared is None or own is None or own == declared:
        return canonical, scale, own or declared
    return canonical, scale * _exchange(text, own, declared), declared


def _molar(text: str, substance: str | None, molar_mass: float | None) -> float:
    if molar_mass is not None:
        return molar_mass
    if substance in _SUBSTANCES:
        return _SUBSTANCES[substance][0]
    raise ValueError(
        f"{text!r}: moles of what? write the substance (mol CH4 m-2 s-1), or set `ingest.substance` "
        "or `ingest.molar_mass` in g/mol"
    )


def _exchange(text: str, own: str, declared: str) -> float:
    """Tonnes of one substance that hold the carbon, or the nitrogen, of one tonne of the other."""
    if own in _SUBSTANCES and declared in _SUBSTANCES and {own, declared} & {"C", "N"}:
        mine, theirs = _SUBSTANCES[own], _SUBSTANCES[declared]
        for atoms in (1, 2):
            if mine[atoms] and theirs[atoms]:
                return theirs[0] / theirs[atoms] / (mine[0] / mine[atoms])
    raise ValueError(
        f"{text!r} cannot become {declared}: only carbon and nitrogen change into their compounds"
    )
