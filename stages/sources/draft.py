"""A starting configuration from a folder of the user's files: what they tell, and what they do not."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.fault import Fault, InputFault
from model.grid import Grid
from model.variable import parse_unit
from stages.sources.opened import YEAR
from stages.store.arrays import make_grid
from stages.store.band import Band, Scan, scan
from stages.store.rasters import Raster
from stages.store.resample import cells_across
from stages.store.suspicion import inspect

SUFFIXES = (".tif", ".tiff")
CLASSES = 40  # more distinct integers are rather percents or counts
COARSE = 1.5  # a file whose cells are this many times those of the finest may hold totals


@dataclass(frozen=True)
class Found:
    """One raster and what it tells of itself.

    Attributes:
      width: of its cells on the ground of the finest file, in cells of that file; NaN when it has no place.
    """

    path: Path
    raster: Band
    scan: Scan
    width: float = np.nan

    @property
    def name(self) -> str:
        """A name a layer may have."""
        return re.sub(r"[^\w.-]+", "_", self.path.stem).strip("_-. ") or "layer"

    @property
    def year(self) -> int | None:
        """The first year in the file's name."""
        match = YEAR.search(self.path.stem)
        return int(match[1]) if match else None

    @property
    def has_known_unit(self) -> bool:
        """True when the file's own tag is the unit of an amount per cell."""
        try:
            return bool(self.raster.unit) and parse_unit(str(self.raster.unit)) is not None
        except ValueError:
            return False


def draft(folder: Path, beside: Path) -> tuple[str, list[Fault]]:
    """Writes the text of a configuration.

    Args:
      folder: searched with all its subfolders for GeoTIFFs.
      beside: folder of the configuration file; paths are told relative to it.
    Returns: the text, and the faults of files that were left out.
    Raises: InputFault (exit 3) when the folder holds no readable GeoTIFF.
    """
    found, faults = _look(folder)
    if not found:
        raise InputFault(
            str(folder),
            "no readable GeoTIFF",
            "totals and layers as .tif files",
            "name the folder that holds them",
        )
    totals = _totals(found)
    layers = [item for item in found if item not in totals]
    lines = [
        f"# Drafted by `pipeline init` from {len(found)} files. A question mark is what the files do not tell:",
        "# answer it, then run `pipeline check`. Every option is explained in configs/default.yaml.",
        "",
        "ingest:",
        "  variable: null                     # ? what the totals are, e.g. co2; it names the output files",
        f"  factor: {_factor(totals, found)}",
        "  totals:                            # the coarsest files, those with a known unit first; correct the choice",
        *(line for item in totals for line in _total(item, beside)),
        "  covariates:",
        *(line for item in layers for line in _covariate(item, beside)),
    ]
    if not layers:
        lines[-1] = "  covariates: []                     # ? no finer file was found"
    return "\n".join(lines) + "\n", faults


def _look(folder: Path) -> tuple[list[Found], list[Fault]]:
    found: list[Found] = []
    faults: list[Fault] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if wrong := inspect(str(path), 1):
            faults += wrong
            continue
        raster = Raster(str(path))
        try:
            found.append(Found(path, raster, scan(raster, tag_is_real=False)))
        except InputFault as fault:
            faults.append(fault)
    if not found:
        return found, faults
    placed = [item for item in found if item.raster.crs is not None and item.raster.has_transform]
    if not placed:
        raise InputFault(
            str(folder),
            f"{len(found)} rasters, none with a coordinate system and a place",
            "at least one georeferenced GeoTIFF",
            "export them with their georeferencing",
        )
    widths = {id(item): 1.0 / cells_across(item.raster, _ground(placed[0].raster)) for item in placed}
    widest = max(widths.values())
    return [
        Found(i.path, i.raster, i.scan, widest / widths[id(i)] if id(i) in widths else np.nan) for i in found
    ], faults


def _ground(reference: Band) -> Grid:
    """The middle cell of a raster, as ground on which cells of all are compared."""
    row, col = reference.shape[0] // 2, reference.shape[1] // 2
    left, top = reference.transform @ (col, row)
    right, bottom = reference.transform @ (col + 1, row + 1)
    crs = reference.crs
    assert crs is not None
    return make_grid(1, 1, min(left, right), max(top, bottom), abs(right - left), abs(top - bottom), crs)


def _totals(found: list[Found]) -> list[Found]:
    """The coarsest files with a known unit; without any such, all of the coarsest."""
    widest = np.nanmax([item.width for item in found])
    coarsest = [item for item in found if item.width >= widest / COARSE]
    return [item for item in coarsest if item.has_known_unit] or coarsest


def _factor(totals: list[Found], found: list[Found]) -> str:
    finer = [item.width for item in found if item not in totals and item.width < totals[0].width / COARSE]
    if not finer:
        return "10                         # ? fine cells along a coarse cell"
    factor = max(2, round(totals[0].width / min(finer)))
    return f"{factor:<26} # fine cells along a coarse cell: that of the finest layer"


def _total(item: Found, beside: Path) -> list[str]:
    unit = json.dumps(item.raster.unit) if item.has_known_unit else "null"
    note = "from the file's tag" if item.has_known_unit else _asked(item)
    year = item.year if item.year is not None else "null"
    return [
        f"    - path: {_path(item, beside)}",
        f"      sector: {json.dumps(item.name, ensure_ascii=False)}",
        f"      year: {year!s:<28} # {'from the name' if item.year else '?'}",
        f"      unit: {unit:<28} # {note}",
        *_common(item),
    ]


def _asked(item: Found) -> str:
    tag = f"; the file says {item.raster.unit!r}" if item.raster.unit else ""
    return f"? of an amount per cell; it is never guessed{tag}"


def _covariate(item: Found, beside: Path) -> list[str]:
    kind, why = _kind(item.scan)
    unit = json.dumps(item.raster.unit) if item.raster.unit else "null"
    told = (
        "from the file's tag" if item.raster.unit else '? told in the report, never converted; "1" for shares'
    )
    named = f"? the name says {item.year}" if item.year else "or the year it stands for"
    return [
        f"    - name: {json.dumps(item.name, ensure_ascii=False)}",
        f"      path: {_path(item, beside)}",
        f"      kind: {kind:<28} # {why}",
        f"      unit: {unit:<28} # {told}",
        f"      year: {'static':<28} # {named}",
        *_common(item),
    ]


def _kind(counted: Scan) -> tuple[str, str]:
    if counted.codes is not None and 2 < len(counted.codes) <= CLASSES:
        return (
            "class",
            f"? {len(counted.codes)} distinct integers; use total for counts, continuous for amounts",
        )
    if counted.low >= 0 and counted.high <= 1:
        return "share", "? all values lie in 0..1"
    return (
        "continuous",
        f"? values from {counted.low:g} to {counted.high:g}; use total for counts that must be conserved",
    )


def _common(item: Found) -> list[str]:
    """What is worth asking of any file."""
    lines = []
    if item.raster.crs is None:
        lines.append("      crs: null                          # ? the file names none, e.g. EPSG:3035")
    if gaps := item.scan.nodata + item.scan.nans:
        tag = "NaN" if item.raster.nodata is None else f"{item.raster.nodata:g}"
        gone = f"{gaps} of {item.scan.cells} cells have no value ({tag})"
        lines.append(f"      nodata: {'auto':<26} # ? {gone}; none if that value is a true number")
    return lines


def _path(item: Found, beside: Path) -> str:
    return json.dumps(os.path.relpath(item.path.absolute(), beside.absolute()), ensure_ascii=False)
