"""Looks at every raster in a folder, band by band and variable by variable, and keeps what each tells of itself."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.ground.errors import HectareError, HectareErrors, InputError
from model.ground.grid import Grid
from model.ground.units import AmountUnit, parse_unit
from stages.formats.netcdf.untrusted import SUFFIXES as GRIDDED
from stages.formats.netcdf.untrusted import is_gridded
from stages.formats.preflight import inspect
from stages.formats.raster.band import Band
from stages.formats.raster.geotiff import Raster, names_of_bands
from stages.formats.raster.statistics import Scan, scan
from stages.formats.zarr_groups import make_grid
from stages.ingest.open_sources import YEAR
from stages.regrid.dispatch import cells_across

SUFFIXES = (".tif", ".tiff", *GRIDDED)
MOST_BANDS = 40  # more are rather an image or a time series


@dataclass(frozen=True)
class InventoryItem:
    """One band or variable and what it tells of itself.

    Attributes:
      label: of the band, or the variable's name; "" when the file holds one field alone.
      width: of its cells on the ground of the finest file, in cells of that file; NaN when it has no place.
      band: of a GeoTIFF; variable, along, members, years, steps: of a NetCDF file or Zarr store: its name, an axis
        beside x, y and time with the values on it, the years in it, and how many steps one has.
    """

    path: Path
    raster: Band
    scan: Scan
    label: str = ""
    width: float = np.nan
    band: int = 1
    variable: str | None = None
    along: str | None = None
    members: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    steps: int = 1

    @property
    def name(self) -> str:
        """A name a layer may have."""
        stem = self.label or self.path.stem
        return re.sub(r"[^\w.-]+", "_", stem).strip("_-. ") or "layer"

    @property
    def year(self) -> int | None:
        """The last year in the file, else the first in its name."""
        match = YEAR.search(self.path.stem)
        return self.years[-1] if self.years else int(match[1]) if match else None

    def fields(self) -> list[tuple[str, Band]]:
        """Its members by name; itself alone where it has none.

        Returns: a band for each value along the axis beside x, y and time; the caller closes all but its own.
        """
        from stages.formats.netcdf.variable import Variable

        if self.along is None or not self.members:
            return [(self.name, self.raster)]
        year = self.year if self.steps == 1 and self.years else None
        return [
            (
                name,
                Variable(str(self.path), self.variable, {self.along: name}, year, cell_methods="time: mean"),
            )
            for name in self.members
        ]

    @property
    def has_known_unit(self) -> bool:
        """True when the file's own tag is the unit of an amount, per cell or per area."""
        return self._unit is not None

    @property
    def is_amount(self) -> bool:
        """True when that unit is of an amount per cell."""
        return self._unit is not None and not self._unit.is_density

    @property
    def _unit(self) -> AmountUnit | None:
        try:
            return parse_unit(self.raster.unit or "")
        except ValueError:
            return None


def look(folder: Path) -> tuple[list[InventoryItem], list[HectareError]]:
    """Everything readable in a folder and its subfolders, and the faults of what is not.

    Raises: InputError (exit 3) when nothing has a place on the ground.
    """
    found: list[InventoryItem] = []
    faults: list[HectareError] = []
    stores: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or any(store in path.parents for store in stores):
            continue
        if path.is_dir():
            stores.append(path)
        if wrong := inspect(str(path), 1):
            faults += wrong
            continue
        try:
            found += _variables(path) if is_gridded(str(path)) else _bands(path)
        except HectareError as fault:
            faults.append(fault)
        except HectareErrors as several:
            faults += several.faults
    placed = [item for item in found if item.raster.crs is not None and item.raster.has_transform]
    if found and not placed:
        raise InputError(
            str(folder),
            f"{len(found)} rasters, none with a coordinate system and a place",
            "at least one georeferenced GeoTIFF",
            "export them with their georeferencing",
        )
    widths = {id(item): 1.0 / cells_across(item.raster, _ground(placed[0].raster)) for item in placed}
    widest = max(widths.values(), default=1.0)
    return [replace(i, width=widest / widths[id(i)]) if id(i) in widths else i for i in found], faults


def _bands(path: Path) -> list[InventoryItem]:
    """One for each band of a GeoTIFF; of an image with very many, the first alone."""
    names = names_of_bands(str(path))
    many = 1 < len(names) <= MOST_BANDS
    found = []
    for band, name in enumerate(names if many else names[:1], 1):
        raster = Raster(str(path), band)
        label = (name or f"{path.stem}_{band}") if many else ""
        found.append(InventoryItem(path, raster, scan(raster, tag_is_real=False), label, band=band))
    return found


def _variables(path: Path) -> list[InventoryItem]:
    """One for each field of a NetCDF file or Zarr store, seen at its last year and at the first value elsewhere."""
    from stages.formats.netcdf.inventory import survey

    found = []
    fields = survey(str(path))
    for field in fields:
        raster = field.open()
        label = field.variable if len(fields) > 1 else ""
        found.append(
            InventoryItem(
                path, raster, scan(raster, tag_is_real=False), label, variable=field.variable, along=field.along,
                members=field.members, years=field.years, steps=field.steps,
            )
        )  # fmt: skip
    return found


def _ground(reference: Band) -> Grid:
    """The middle cell of a raster, as ground on which cells of all are compared."""
    row, col = reference.shape[0] // 2, reference.shape[1] // 2
    left, top = reference.transform @ (col, row)
    right, bottom = reference.transform @ (col + 1, row + 1)
    crs = reference.crs
    assert crs is not None
    return make_grid(1, 1, min(left, right), max(top, bottom), abs(right - left), abs(top - bottom), crs)
