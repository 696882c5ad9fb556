"""How much of each finished map lies in each zone, by the exact share of every cell's area."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.errors import NumberError
from model.ground.grid import Grid, Region
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec
from stages.artifacts.records import SheetRecord, ZonalSumsRecord, ZoneSumRecord
from stages.regrid.polygons import BIN
from stages.regrid.zones import Zones

AGREE = 1e-9  # relative: zones and what lies outside them against the whole map
RULE = "by the share of each cell's area that lies in a zone"
COLUMNS = ("zone", "name", "variable", "sector", "year", "mass", "unit", "share of the map", "file")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Sums:
    """Mass of each map, added up bin by bin.

    Attributes:
      inside: by zone, (maps,).
      cells: by zone, fine cells in it; a cell that a border cuts counts by its share.
      outside, whole: (maps,) beyond every zone; everywhere.
    """

    inside: dict[str, Floats]
    cells: dict[str, float]
    outside: Floats
    whole: Floats

    @classmethod
    def zero(cls, zones: Sequence[str], maps: int) -> "_Sums":
        inside = {zone: np.zeros(maps) for zone in zones}
        return cls(inside, dict.fromkeys(zones, 0.0), np.zeros(maps), np.zeros(maps))

    def add_cells(self, shares: Mapping[str, Floats]) -> None:
        for zone, share in shares.items():
            self.cells[zone] += float(share.sum())

    def add_mass(self, index: int, mass: Floats, shares: Mapping[str, Floats], rest: Floats) -> None:
        """Takes the cells of one map in a bin; rest: (rows, cols) share of each cell outside every zone."""
        self.whole[index] += mass.sum()
        self.outside[index] += (mass * rest).sum()
        for zone, share in shares.items():
            self.inside[zone][index] += (mass * share).sum()


def measure_zones(cube: Cube, zones: Zones, maps: Path) -> ZonalSumsRecord:
    """Sums of every finished map by zone, and what lies outside all of them.

    A cell that a border cuts gives each side its share of the cell's area (areal weighting).

    Args:
      maps: folder of finished maps.
    Returns: mass in the unit of each map, zones in the order they were first met.
    Raises: InputError (exit 3) where zones overlap; NumberError (exit 7) when the parts of a map do not add up to it.
    """
    sheets, fine = store.sheets(cube), cube.fine
    sums = _Sums.zero(list(zones.shapes), len(sheets))
    for down, across, region in _bins(fine):
        shares: dict[str, Floats] = {}
        for zone, share in zones.shares(down, across).items():
            shares[zone] = share[: region.rows, : region.cols]
        rest = 1.0 - sum(shares.values(), np.zeros(region.shape))
        sums.add_cells(shares)
        for index, sheet in enumerate(sheets):
            stored = store.read_part(maps / sheet.map_file, fine, *region)
            sums.add_mass(index, np.nan_to_num(stored.astype(np.float64), nan=0.0), shares, rest)
    _check_parts(sheets, sums)
    return _record(sheets, zones, sums)


def _bins(fine: Grid) -> Iterator[tuple[int, int, Region]]:
    """Row and column of each bin of the outlines, and the cells of the grid in it."""
    for down in range(-(-fine.rows // BIN)):
        for across in range(-(-fine.cols // BIN)):
            row, col = down * BIN, across * BIN
            yield down, across, Region(row, col, min(BIN, fine.rows - row), min(BIN, fine.cols - col))


def _check_parts(sheets: Sequence[MapSpec], sums: _Sums) -> None:
    """Raises NumberError (exit 7) for a map that its parts do not add up to."""
    found = sum(sums.inside.values(), sums.outside.copy())
    for sheet, parts, total in zip(sheets, found, sums.whole, strict=True):
        if abs(parts - total) > AGREE * max(abs(total), np.finfo(float).tiny):
            raise NumberError(
                f"zones of {sheet.map_file}", f"parts that add up to {parts!r}", f"the map's {total!r}",
                "report it with the zones: their shares do not add up",
            )  # fmt: skip


def _record(sheets: Sequence[MapSpec], zones: Zones, sums: _Sums) -> ZonalSumsRecord:
    told = []
    for zone, mass in sums.inside.items():
        name, cells = zones.names[zone], sums.cells[zone]
        told.append(ZoneSumRecord(zone=zone, name=name, fine_cells=cells, mass=tuple(mass.tolist())))
    return ZonalSumsRecord(
        rule=RULE,
        zones=tuple(told),
        outside=tuple(sums.outside.tolist()),
        whole=tuple(sums.whole.tolist()),
        sheets=tuple(map(_sheet_record, sheets)),
    )


def _sheet_record(sheet: MapSpec) -> SheetRecord:
    return SheetRecord(
        variable=sheet.name, unit=sheet.unit, sector=sheet.sector, year=sheet.year, file=sheet.map_file
    )


def as_csv(sums: ZonalSumsRecord) -> str:
    """The table for a spreadsheet.

    Returns: one row per zone and map, the share being of the map's whole mass (0 to 1); the last rows are what
      no zone holds, and the whole map.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for zone in sums.zones:
        writer.writerows(_rows(sums, zone.zone, zone.name, zone.mass))
    writer.writerows(_rows(sums, "", "outside any zone", sums.outside))
    writer.writerows(_rows(sums, "", "whole map", sums.whole))
    return text.getvalue()


def _rows(
    sums: ZonalSumsRecord, zone: str, name: str, masses: Sequence[float]
) -> Iterator[tuple[str | int, ...]]:
    for sheet, mass, whole in zip(sums.sheets, masses, sums.whole, strict=True):
        share = mass / whole if whole else 0.0
        where = (zone, name, sheet.variable, sheet.sector, sheet.year)
        yield (*where, repr(mass), sheet.unit, repr(share), sheet.file)
