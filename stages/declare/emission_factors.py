"""Emission factors: what a unit of each sector's activity emits, with unit and source, and the table the cube keeps."""

import re
from itertools import product
from typing import Annotated

from pydantic import Field, NonNegativeFloat, model_validator

from model.ground.errors import HectareError, InputError, raise_together
from model.ground.units import ACCEPTED_UNITS, Unit, parse_unit
from stages.artifacts.records import EmissionRecord, FactorRecord, FuelRecord
from stages.contract.section import SafeName, Section

WORDS = re.compile(
    r"(?P<mass>[A-Za-z]+)(?:\s+(?P<substance>[A-Za-z][A-Za-z0-9.]*))?\s*(?:/|\s+per\s+)\s*(?P<activity>[A-Za-z]+)"
)
WHOLE = 1e-6  # fuel shares may miss 1 by rounding


class Fuel(Section):
    """One of the fuels behind an activity."""

    share: Annotated[float, Field(ge=0, le=1)]  # of the activity
    factor: NonNegativeFloat  # in the unit of the sector's factor


class Factor(Section):
    """What a unit of a sector's activity emits: one number, or fuels by share."""

    sector: SafeName = "all"
    year: int | None = None  # without it, every year
    factor: NonNegativeFloat | None = None
    fuels: dict[str, Fuel] = {}  # noqa: RUF012 - shares add up to 1
    unit: str  # mass, substance, per unit of the activity: t CO2/MWh
    source: Annotated[str, Field(min_length=1)]  # where the numbers come from

    @model_validator(mode="after")
    def _one_way(self) -> "Factor":
        if (self.factor is None) == (not self.fuels):
            raise ValueError("give `factor`, or `fuels` by share")
        if self.fuels and abs((whole := sum(fuel.share for fuel in self.fuels.values())) - 1) > WHOLE:
            raise ValueError(f"the shares of the fuels add up to {whole:g}, not to 1")
        return self

    @property
    def value(self) -> float:
        """The factor, as its own unit says it.

        Of several fuels the mean, weighted by their shares; shares that miss 1 by rounding count in proportion.
        """
        if self.factor is not None:
            return self.factor
        whole = sum(fuel.share for fuel in self.fuels.values())
        return sum(fuel.share * fuel.factor for fuel in self.fuels.values()) / whole


class Emission(Section):
    """What the activity emits: a second set of maps, in a unit of mass."""

    variable: SafeName  # names the output files
    long_name: str = ""
    factors: Annotated[tuple[Factor, ...], Field(strict=False, min_length=1)]


def resolve(
    declared: Emission | None,
    unit: Unit | None,
    variable: str,
    sectors: tuple[str, ...],
    years: tuple[int, ...],
) -> EmissionRecord | None:
    """The table of factors by sector and year, in canonical units; None when none are asked for.

    Raises: HectareError or HectareErrors (exit 3), all that is wrong in one go.
    """
    if declared is None or unit is None:
        return None
    faults: list[HectareError] = []
    if declared.variable == variable:
        faults.append(
            _fault("ingest.emission", f"the name {variable!r}, which the activity has", "another name")
        )
    table: dict[tuple[str, int], float] = {}
    units: dict[tuple[str, str], str] = {}
    for item in declared.factors:
        where = f"ingest.emission, sector {item.sector}" + (f", {item.year}" if item.year else "")
        read = _read_unit(item.unit, unit)
        if read is None:
            wanted = f"mass per unit of the activity, e.g. t CO2/{unit.canonical}; units: {ACCEPTED_UNITS}"
            faults.append(_fault(where, f"the unit {item.unit!r}", wanted))
            continue
        canonical, substance, scale = read
        units.setdefault((canonical, substance), where)
        for year in years if item.year is None else (item.year,):
            if (item.sector, year) in table:
                faults.append(_fault(where, f"a second factor for {year}", "one for each sector and year"))
            table[item.sector, year] = item.value * scale
    lacking = []
    for sector, year in product(sectors, years):
        if (sector, year) not in table:
            lacking.append(f"{sector} {year}")
    unknown = sorted({sector for sector, year in table if sector not in sectors or year not in years})
    if lacking and not faults:
        faults.append(_fault("ingest.emission", f"no factor for {', '.join(lacking)}", "one for every total"))
    if unknown:
        faults.append(
            _fault("ingest.emission", f"factors for {', '.join(unknown)}", "sectors and years with totals")
        )
    if len(units) > 1:
        told = " and ".join(map(_spelled, units))
        faults.append(
            _fault("ingest.emission", f"factors for {told}", "one unit and substance: maps add them up")
        )
    raise_together(faults)
    canonical, substance = next(iter(units))
    return EmissionRecord(
        variable=declared.variable,
        long_name=declared.long_name or declared.variable,
        unit=canonical,
        substance=substance,
        factors=tuple(tuple(table[sector, year] for year in years) for sector in sectors),
        told=tuple(map(_told, declared.factors)),
    )


def _spelled(pair: tuple[str, str]) -> str:
    """A unit and its substance, which may be ""."""
    return " ".join(filter(None, pair))


def _told(item: Factor) -> FactorRecord:
    fuels = {}
    for name, fuel in item.fuels.items():
        fuels[name] = FuelRecord(share=fuel.share, factor=fuel.factor)
    return FactorRecord(
        sector=item.sector, year=item.year, factor=item.value, unit=item.unit, source=item.source, fuels=fuels
    )


def _read_unit(text: str, activity: Unit) -> tuple[str, str, float] | None:
    """(canonical unit of mass, substance, canonical factor in one of this unit); None when it does not fit."""
    match = WORDS.fullmatch(text.strip())
    if match is None:
        return None
    try:
        mass, per = parse_unit(match["mass"]), parse_unit(match["activity"])
    except ValueError:
        return None
    if mass.canonical != "t" or per.canonical != activity.canonical:
        return None
    return mass.canonical, match["substance"] or "", mass.scale / per.scale


def _fault(where: str, found: str, wanted: str) -> InputError:
    return InputError(where, found, wanted, "correct `ingest.emission`")
