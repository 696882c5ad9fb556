"""What the numbers of a field are: amounts, which add up over cells, or a mean over the cell, which averages.

Cells of a block of means average, weighted by area. The laws act on sums, so such a cell enters them as value x
weight, its weight being its area over the mean area of its block's cells: near 1, so that numbers stay those of the
field. An amount's weight is 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from model.ground.grid import Grid
from model.ground.units import ACCEPTED_UNITS, AmountUnit, Array, Unit, parse_unit, words_of

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
class StateUnit(Unit):
    """What a number of a mean over the cell is.

    Attributes:
      canonical: what it is kept in: mm of the step, or K.
      offset: canonical = value x scale + offset.
    """

    offset: float = 0.0

    @property
    def over_time(self) -> str:
        """What a step is of the instants in it: depths add up, temperatures average.

        In time alone: over the cells of a block depths average too.
        """
        return "sum" if self.canonical == "mm" else "mean"

    def to_mass(self, values: Array, cell_area: Array) -> Array:
        """Values in the canonical unit; what they weigh in their block, the cube knows.

        Args: cell_area: not looked at: a mean over the cell does not grow with it.
        Returns: mm of the step, or K; the shape of values.
        """
        return values * self.scale + self.offset

    def is_of_one_kind_with(self, other: Unit) -> bool:
        """True when both can be told in one unit."""
        return self.canonical == other.canonical

    def means_the_same(self, other: Unit) -> bool:
        """True when equal numbers in both are equal states.

        Scales may differ by 1e-9 of themselves and offsets by 1e-9, for the rounding of conversions.
        """
        if not isinstance(other, StateUnit) or not self.is_of_one_kind_with(other):
            return False
        return abs(self.scale / other.scale - 1.0) < 1e-9 and abs(self.offset - other.offset) < 1e-9


def parse_state(text: str, label: int) -> StateUnit:
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
        return StateUnit(text, "K", scale, offset=zero)
    if head == "kg" and power == 1 and ("m", -2) in rest:
        scale, rest = 1.0, [part for part in rest if part != ("m", -2)]
    elif head in _DEPTHS and power == 1:
        scale = _DEPTHS[head]
    else:
        raise ValueError(f"unknown unit {text!r}: {head!r} is neither a depth nor a temperature")
    if not rest:
        return StateUnit(text, "mm", scale)
    (word, power), *more = rest
    period = when.month_seconds(label) if word in _MONTHS else _SECONDS.get(word)
    if more or power != -1 or period is None:
        raise ValueError(f"unknown unit {text!r}: {word!r} is no time")
    return StateUnit(text, "mm", scale * when.seconds(label) / period, timed=True)


def cell_weights(fine: Grid, factor: int, by: str) -> NDArray[np.float64]:
    """(rows, 1) what the value of a fine cell counts for in its block.

    Args: by: `area`: its true area over the mean of its block's rows; `cells`: every cell counts for 1.
    """
    if by == "cells":
        return np.ones((fine.rows, 1))
    areas = fine.cell_areas().reshape(-1, factor)
    return (areas / areas.mean(axis=1, keepdims=True)).reshape(-1, 1)


@dataclass(frozen=True)
class Quantity(ABC):
    """One kind of quantity; what differs between kinds is asked of it, nowhere decided by its name.

    Attributes:
      name: as `ingest.quantity` and the cube spell it.
      adds_up: True when values of cells, sectors and zones may be summed.
      cell_method: of CF, over area.
      block_value: what a coarse cell states and every stage keeps.
      block_labels: of what was given and what was found, in the maps of blocks.
      accepted_units: for messages.
    """

    name: str
    adds_up: ClassVar[bool]
    cell_method: ClassVar[str]
    block_value: ClassVar[str]
    block_labels: ClassVar[tuple[str, str]]
    accepted_units: ClassVar[str]

    @abstractmethod
    def parse(self, text: str, label: int, substance: str | None, molar_mass: float | None) -> Unit:
        """The unit that a text means in a step of time.

        Args:
          label: of the step, as model.ground.time_steps names it.
          substance, molar_mass [g/mol]: as declared, for amounts.
        Raises: ValueError saying which part is not understood.
        """

    @abstractmethod
    def shown_by(self, unit: Unit | None) -> "Quantity":
        """The kind that values in the unit are, where this one was declared or taken for granted.

        Args: unit: as parsed; None where nobody told it, which leaves an amount extensive.
        """

    @abstractmethod
    def weighting(self, declared: str) -> str:
        """What cells count by in their block, as `cell_weights` takes it, given `ingest.weights`.

        Args: declared: `area` or `cells`; an amount's cells count by number whatever was declared.
        """

    @abstractmethod
    def fine_part(self, factor: int) -> int:
        """What a block's value is divided by to be that of one of its factor x factor fine cells, all alike.

        Amounts are shared out over factor^2 cells; a mean is the same number in each cell.
        """

    @abstractmethod
    def fine_unit(self, unit: str, cell: str) -> str:
        """The unit of a fine cell in words. Args: cell: its size, as in `100 m`."""

    @abstractmethod
    def whole(self, weights: NDArray[np.float64]) -> float:
        """What the sum over blocks is divided by to speak for the whole map.

        Args: weights: of the blocks, what their valid cells count for.
        """


class Amount(Quantity):
    """What adds up: tonnes, persons, MWh per cell; each block's cells sum to its total."""

    adds_up = True
    cell_method = "sum"
    block_value = "total"
    block_labels = ("total given", "mass placed")
    accepted_units = ACCEPTED_UNITS

    def parse(self, text: str, label: int, substance: str | None, molar_mass: float | None) -> Unit:
        return parse_unit(text, substance=substance, molar_mass=molar_mass)

    def shown_by(self, unit: Unit | None) -> Quantity:
        """An amount per area is a flux."""
        return FLUX if isinstance(unit, AmountUnit) and unit.is_density else EXTENSIVE

    def weighting(self, declared: str) -> str:
        return "cells"

    def fine_part(self, factor: int) -> int:
        return factor**2

    def fine_unit(self, unit: str, cell: str) -> str:
        return f"{unit} per {cell} cell"

    def whole(self, weights: NDArray[np.float64]) -> float:
        return 1.0


class Mean(Quantity):
    """What averages: depths, temperatures; each block's cells average to its mean."""

    adds_up = False
    cell_method = "mean"
    block_value = "mean"
    block_labels = ("mean given", "mean found")
    accepted_units = ACCEPTED_STATES

    def parse(self, text: str, label: int, substance: str | None, molar_mass: float | None) -> Unit:
        return parse_state(text, label)

    def shown_by(self, unit: Unit | None) -> Quantity:
        return self

    def weighting(self, declared: str) -> str:
        return declared

    def fine_part(self, factor: int) -> int:
        return 1

    def fine_unit(self, unit: str, cell: str) -> str:
        return unit

    def whole(self, weights: NDArray[np.float64]) -> float:
        """The weights' sum; 1 where no block has any.

        Sums of value x weight over the map become their weighted mean by it.
        """
        return float(weights.sum()) or 1.0


EXTENSIVE, FLUX, INTENSIVE = Amount("extensive"), Amount("flux"), Mean("intensive")
QUANTITIES = {quantity.name: quantity for quantity in (EXTENSIVE, FLUX, INTENSIVE)}
