"""Totals known for zones beside those of the coarse cells: how they are declared and read."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from model.ground.errors import HectareError, InputError, raise_together
from model.ground.units import parse_unit
from model.options import SourcePath
from stages.artifacts.maps import ALL
from stages.declare.zones import ZoneFile

COLUMNS = ("zone", "sector", "year", "total")
FIX = "correct the row, or leave it out"


class ZoneTotals(ZoneFile):
    """Zones, and a CSV with columns zone, sector (or `all`), year and total."""

    totals: SourcePath
    unit: str


@dataclass(frozen=True)
class ZoneTotal:
    """One row: what a zone holds of a sector, or of all, in a year.

    Attributes:
      sector: index, or None for the sum over all.
      mass: in the cube's unit.
    """

    zone: str
    sector: int | None
    time: int
    mass: float


def read_totals(
    declared: ZoneTotals, zones: list[str], sectors: tuple[str, ...], years: tuple[int, ...], unit: str
) -> list[ZoneTotal]:
    """Every row, in the cube's unit.

    Raises: HectareError or HectareErrors (exit 3), every row that is wrong in one go.
    """
    name = Path(declared.totals).name
    scale = _scale(declared.unit, unit)
    try:
        with Path(declared.totals).open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(name, f"not readable ({error})", "a CSV in UTF-8", "give the file again") from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise InputError(name, found, f"columns {', '.join(COLUMNS)}", "name the columns in the first line")
    faults: list[HectareError] = []
    found_rows: dict[tuple[str, int | None, int], ZoneTotal] = {}
    for line, row in enumerate(rows, start=2):
        try:
            entry = _entry(row, zones, sectors, years, scale)
            if (entry.zone, entry.sector, entry.time) in found_rows:
                raise ValueError("the same zone, sector and year twice")
        except ValueError as error:
            faults.append(InputError(f"{name}, line {line}", str(error), "a total that fits the run", FIX))
        else:
            found_rows[entry.zone, entry.sector, entry.time] = entry
    raise_together(faults)
    return list(found_rows.values())


def _scale(text: str, wanted: str) -> float:
    try:
        unit = parse_unit(text)
    except ValueError as error:
        raise InputError("infer.zone_totals.unit", str(error), "a known unit", "correct `unit:`") from error
    if unit.canonical != wanted or unit.is_density:
        kind = f"an amount of the same kind as the totals' {wanted}"
        raise InputError("infer.zone_totals.unit", f"the unit {text!r}", kind, "correct `unit:`")
    return unit.scale * unit.periods


def _entry(
    row: dict[str, str | None],
    zones: list[str],
    sectors: tuple[str, ...],
    years: tuple[int, ...],
    scale: float,
) -> ZoneTotal:
    """Raises: ValueError saying what does not fit."""
    zone, sector, year, total = ((row[column] or "").strip() for column in COLUMNS)
    if zone not in zones:
        raise ValueError(f"zone {zone!r}, which is not among the {len(zones)} zones in the map")
    if sector not in (*sectors, ALL):
        raise ValueError(f"sector {sector!r}, not one of {', '.join((*sectors, ALL))}")
    if year not in map(str, years):
        raise ValueError(f"year {year!r}, not one of {', '.join(map(str, years))}")
    try:
        mass = float(total) * scale
    except ValueError:
        raise ValueError(f"the total {total!r}, not a number") from None
    if not (math.isfinite(mass) and mass >= 0):
        raise ValueError(f"the total {total!r}, negative or not finite")
    return ZoneTotal(zone, None if sector == ALL else sectors.index(sector), years.index(int(year)), mass)
