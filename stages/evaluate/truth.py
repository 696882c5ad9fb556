"""The fine truth of a map, opened and refused when it does not fit; `evaluate` alone asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from model.ground.errors import HectareError, InputError, UsageError, raise_together
from model.ground.quantity import ACCEPTED_STATES, StateUnit, parse_state
from model.ground.units import Unit, parse_unit
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec, sheets
from stages.contract.section import SafeName, lacking
from stages.declare.dates import Dates, file_of
from stages.declare.inputs import File
from stages.formats.preflight import inspect
from stages.formats.raster.band import Band
from stages.formats.raster.statistics import scan
from stages.regrid.dispatch import nesting


class Truth(File):
    """The fine truth of a sector and year, on the fine grid; read by evaluate alone."""

    sector: SafeName = "all"
    year: int | None = None
    dates: Dates | None = (
        None  # instead of year: steps shorter than a year; in the path, %Y %m %d %H name the files
    )
    unit: str

    @model_validator(mode="after")
    def _when(self) -> "Truth":
        if (self.year is None) == (self.dates is None):
            raise lacking("a `year`, or `dates`", "year", "dates")
        return self

    @property
    def step(self) -> int | None:
        return self.year

    def singles(self) -> "Iterator[Truth]":
        """One declaration for each date, or the one that there is.

        Yields: declarations with a year, the label of a step of time, and the path of its own file.
        """
        for label in self.dates.labels if self.dates else (self.year,):
            path = self.path if label is None else file_of(self.path, label)
            yield self.model_copy(update={"year": label, "dates": None, "path": path})

    def unit_for(self, cube: Cube) -> StateUnit:
        """Its unit, where the cube holds means.

        Raises: InputError (exit 3) when it is not understood or of another kind.
        """
        name = Path(self.path).name
        try:
            unit = parse_state(self.unit, self.year or 0)
        except ValueError as error:
            raise InputError(name, str(error), ACCEPTED_STATES, "correct `unit:`") from error
        if unit.canonical != cube.unit:
            wanted = f"a unit of the same kind as the totals' {cube.unit}"
            raise InputError(name, f"the unit {self.unit!r}", wanted, "correct `unit:`, or the file")
        return unit


@dataclass(frozen=True)
class Opened:
    """A truth that fits: which map it judges, and how its cells are read in the cube's unit."""

    sheet: MapSpec
    raster: Band
    unit: Unit
    areas: NDArray[np.float64]  # (rows, 1) or (rows, cols) of the fine cells
    row: int  # of the cube's first cell within the truth
    col: int
    cols: int

    def rows(self, first: int, count: int) -> NDArray[np.float64]:
        """Reads a band of the truth.

        Args:
          first, count: fine rows of the cube.
        Returns: (count, cols) mass per cell in the cube's unit; NaN where the truth does not reach or has no value.
        """
        given = self.raster.read(first + self.row, self.col, count, self.cols)
        return self.unit.to_mass(given, self.areas[first : first + count])


def check(truth: tuple[Truth, ...]) -> None:
    """Refuses a truth that cannot be used, before maps are made for hours.

    Raises: UsageError (exit 2) without any truth, InputError (exit 3) for files that cannot be read.
    """
    if not truth:
        raise UsageError(
            "evaluate.truth",
            "no truth",
            "a fine truth of at least one sector and year",
            "set `evaluate.truth`, with path, sector, year and unit; "
            "without any truth `pipeline evaluate --protocol scale_shift` scores the totals themselves",
        )
    files = dict.fromkeys((single.path, single.band) for item in truth for single in item.singles())
    raise_together([fault for path, band in files for fault in inspect(path, band)])


def open_truth(truth: tuple[Truth, ...], cube: Cube) -> list[Opened]:
    """The truth of each map; all files are judged in one go.

    Raises: HectareErrors (exit 2, 3) naming each file that does not fit.
    """
    check(truth)
    faults: list[HectareError] = []
    by_place = {
        (sheet.sector, sheet.year): sheet for sheet in sheets(cube) if not (sheet.is_sum or sheet.is_emission)
    }
    found = []
    for item in (single for entry in truth for single in entry.singles()):
        try:
            found.append(_open(item, cube, by_place))
        except HectareError as fault:
            faults.append(fault)
    raise_together(faults)
    return found


def _open(item: Truth, cube: Cube, by_place: dict[tuple[str, int], MapSpec]) -> Opened:
    name = Path(item.path).name
    sheet = by_place.get((item.sector, item.year or 0))
    if sheet is None:
        found, wanted = f"sector {item.sector}, {item.year}", f"one of {sorted(by_place)}"
        raise InputError(name, found, wanted, "correct `sector:` or `year:`")
    raster = item.open()
    if nesting(raster.grid, cube.fine) != ("coarser", 1):
        raise InputError(name, "other cells than the fine grid's", "truth on the fine grid",
                         "resample it conservatively first")  # fmt: skip
    try:
        unit = parse_unit(item.unit)
    except ValueError as error:
        raise InputError(name, str(error), "a known unit", "correct `unit:`") from error
    if unit.canonical != cube.unit:
        wanted = f"a unit of the same kind as the totals' {cube.unit}"
        raise InputError(name, f"the unit {item.unit!r}", wanted, "correct `unit:`, or the file")
    if scan(raster, tag_is_real=True).negative:
        raise InputError(name, "negative values", "a truth of at least 0", "correct the file")
    grid = raster.grid
    assert grid is not None
    row = round((grid.top - cube.fine.top) / cube.fine.dy)
    col = round((cube.fine.left - grid.left) / cube.fine.dx)
    return Opened(sheet, raster, unit, cube.fine.cell_areas(), row, col, cube.fine.cols)
