"""Fields given on the fine grid: where a result may have a value, and what some dates truly looked like."""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from model.ground.blocks import merge
from model.ground.errors import HectareError, InputError
from model.ground.grid import Grid, Region
from model.ground.quantity import cell_weights
from stages.contract.progress import track
from stages.declare.inputs import Config, File, Fine
from stages.declare.units import unit_of
from stages.formats.content_hash import sha256_of
from stages.formats.preflight import inspect
from stages.formats.raster.band import Band
from stages.regrid.bilinear import interpolated
from stages.regrid.dispatch import MAX_SOURCE, nesting

CONTRADICTS = 0.05  # of the mean by which the block means of a pair may miss its totals


@dataclass
class FineField:
    """A field whose cells are those of the fine grid, or more of them.

    Attributes:
      row, col: of the fine grid's first cell in the file.
      onto: the fine grid, where the file is coarse and is interpolated.
    """

    declared: File
    raster: Band
    row: int
    col: int
    sha256: str
    unit: Any = None
    onto: Grid | None = None
    _one_reader: Any = field(default_factory=Lock)  # a NetCDF file is read by one thread at a time

    def read(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """(rows, cols) of a window of the fine grid, in the file's unit."""
        with self._one_reader:
            if self.onto is not None:
                return interpolated(self.raster, self.onto, Region(row, col, rows, cols), MAX_SOURCE)
            return self.raster.read(self.row + row, self.col + col, rows, cols)

    def values(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """The same in the canonical unit."""
        values: NDArray[np.float64] = self.unit.to_mass(self.read(row, col, rows, cols), 1.0)
        return values

    @property
    def where(self) -> str:
        return self.raster.where


@dataclass
class FineFields:
    """The field of validity, None when every cell may hold a value; and fine fields by sector and date."""

    valid: FineField | None
    pairs: dict[tuple[str, int], FineField]


def open_fine_fields(config: Config, fine: Grid) -> tuple[FineFields, list[HectareError]]:
    """Opens what is declared on the fine grid, and tells everything that is wrong with it.

    Args: fine: the whole fine grid, whose cells the fields must share.
    Returns: the fields without a fault, and all faults (exit 3); files of dates are closed and open themselves again.
    """
    faults: list[HectareError] = []
    hashes: dict[str, str] = {}
    valid = None
    if config.valid is not None:
        valid = open_field(config.valid, fine, hashes, faults)
    pairs: dict[tuple[str, int], FineField] = {}
    for item in track(config.every_pair, "reading pairs", len(config.every_pair), "files"):
        found = open_field(item, fine, hashes, faults)
        if found is None or item.year is None:
            continue
        unit, wrong = unit_of(item, found.raster, config)
        found.unit = unit
        problems = [wrong] if wrong else _values(found, fine)
        faults += problems
        found.raster.close()  # thousands of them must not be open at once
        if not problems:
            pairs[item.sector, item.year] = found
    return FineFields(valid, pairs), faults


def open_field(
    item: File, fine: Grid, hashes: dict[str, str], faults: list[HectareError]
) -> FineField | None:
    """A field whose cells are those of the fine grid; None, and a fault among the others, when they are not.

    Args:
      hashes: SHA-256 by path of the files seen so far; a new one is added.
      faults: all found so far; those of this file are added.
    """
    if item.path not in hashes:
        if wrong := inspect(item.path, item.band):
            faults += wrong
            return None
        hashes[item.path] = sha256_of(item.path)
    try:
        raster = item.open()
    except HectareError as fault:
        faults.append(fault)
        return None
    grid = raster.grid
    if isinstance(item, Fine) and item.interpolated:
        return _interpolated(item, raster, fine, hashes[item.path], faults)
    if grid is None or nesting(grid, fine) != ("coarser", 1):
        size = "no regular cells" if grid is None else f"cells of {grid.dx:g} x {grid.dy:g}"
        faults.append(InputError(
            raster.where, f"{size} that are not those of the fine grid",
            f"cells of {fine.dx:g} x {fine.dy:g} on its lines",
            "correct `ingest.factor`, `index_grid:` or `registration:`, or regrid it conservatively first",
        ))  # fmt: skip
        return None
    row, col = round((grid.top - fine.top) / fine.dy), round((fine.left - grid.left) / fine.dx)
    return FineField(item, raster, row, col, hashes[item.path])


def _interpolated(
    item: Fine, raster: Band, fine: Grid, sha256: str, faults: list[HectareError]
) -> FineField | None:
    """A coarse field in the place of a fine one; None, and a fault among the others, when it is none."""
    nest = nesting(raster.grid, fine)
    if nest is None or nest[0] != "coarser" or nest[1] < 2:
        faults.append(InputError(
            raster.where, "cells that are not whole blocks of the fine grid", "a coarse field to interpolate",
            "leave out `interpolated:`, or name the file of the totals",
        ))  # fmt: skip
        return None
    raster.notes = (*raster.notes, "interpolated: no observation of the fine grid, a smoke test")
    return FineField(item, raster, 0, 0, sha256, onto=fine)


def _values(found: FineField, fine: Grid) -> list[HectareError]:
    """What is wrong with the numbers of a fine field."""
    values = found.values(0, 0, *fine.shape)
    if not np.isfinite(values).any():
        return [InputError(found.where, "no value in any cell", "values", "leave the date out of `pairs`")]
    if np.isinf(values).any():
        return [InputError(found.where, "infinite values", "finite numbers", "correct the file")]
    low = float(np.nanmin(values))
    if low < 0:
        count = int((values < 0).sum())
        return [InputError(
            found.where, f"{count} negative value(s), the lowest {low:g} {found.unit.canonical}",
            "values of at least 0",
            "correct the file, or declare what stands for no value with `nodata:`",
        )]  # fmt: skip
    return []


def contradictions(
    config: Config, found: FineFields, fine: Grid, factor: int, means: NDArray[np.float64]
) -> list[HectareError]:
    """Pairs whose block means are not the totals they stand beside: a wrong unit, a wrong date or another region.

    Args: means: (sectors, dates, h, w) in the canonical unit; NaN where not known.
    """
    faults: list[HectareError] = []
    weights = cell_weights(fine, factor, config.weights)
    for (sector, label), pair in found.pairs.items():
        given = means[config.sectors.index(sector), config.years.index(label)]
        values = pair.values(0, 0, *fine.shape)
        inside = np.isfinite(values)
        room = merge(np.where(inside, weights, 0.0), factor)
        with np.errstate(invalid="ignore", divide="ignore"):
            own = merge(np.where(inside, values * weights, 0.0), factor) / room
        both = np.isfinite(own) & np.isfinite(given)
        level = float(given[both].mean()) if both.any() else 0.0
        if not both.any() or level <= 0:
            continue
        ratio = float(own[both].mean()) / level
        if abs(ratio - 1.0) > CONTRADICTS:
            faults.append(InputError(
                f"{pair.where}, {when.spelled(label)}",
                f"block means that are {ratio:.4g} times the totals of that date",
                f"the same mean, within {CONTRADICTS:.0%}",
                "check `unit:` of both (mm/day against mm/month?) and the dates; or set `coarsen: true` and let the "
                "fine field be the total",
            ))  # fmt: skip
        pair.raster.close()
    return faults
