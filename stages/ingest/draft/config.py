"""A starting configuration from a folder of the user's files: what they tell, and what they do not."""

import json
import os
from pathlib import Path

import numpy as np

from model.ground.errors import HectareError, InputError
from model.ground.grid import Region
from stages.artifacts.maps import ALL
from stages.formats.zarr_groups import same_crs
from stages.ingest.draft.duplicates import MOST_CELLS, drop_duplicates, follows
from stages.ingest.draft.inventory import InventoryItem, look
from stages.regrid.dispatch import bring, nesting

CLASSES = 40  # more distinct integers are rather percents or counts
COARSE = 1.5  # a file whose cells are this many times those of the finest may hold totals


def draft(folder: Path, beside: Path) -> tuple[str, list[HectareError]]:
    """Writes the text of a configuration.

    Args:
      folder: searched with all its subfolders for GeoTIFFs, NetCDF files and Zarr stores.
      beside: folder of the configuration file; paths are told relative to it.
    Returns: the text, and the faults of files that were left out.
    Raises: InputError (exit 3) when the folder holds none that is readable.
    """
    found, faults = look(folder)
    if not found:
        raise InputError(
            str(folder),
            "no readable GeoTIFF, NetCDF file or Zarr store",
            "totals and layers as .tif, .nc or .zarr",
            "name the folder that holds them",
        )
    every = _totals(found)
    totals, twice = drop_duplicates(every)
    finer = [item for item in found if item not in every]
    adding_up = {item.path for item in finer if any(_is_truth_of(item, total) for total in every)}
    # Why whole files: a band too small to show the pattern of its totals is no less the answer than those beside it.
    truth, again = drop_duplicates([item for item in finer if item.path in adding_up])
    layers = [item for item in finer if item.path not in adding_up]
    lines = [
        f"# Drafted by `pipeline init` from {len(found)} files. A question mark is what the files do not tell:",
        "# answer it, then run `pipeline check`. Every option is explained in configs/default.yaml.",
        "",
        "ingest:",
        "  variable: null                     # ? what the totals are, e.g. co2; it names the output files",
        f"  factor: {_factor(totals, truth or found)}",
        "  totals:                            # the coarsest files, those with a known unit first; correct the choice",
        *_asked_once([_total(item, beside) for item in totals]),
        *_left_out(twice, beside),
        "  covariates:",
        *_asked_once([_covariate(item, beside) for item in layers]),
    ]
    if not layers:
        lines[-1] = "  covariates: []                     # ? no finer file was found"
    if truth:
        lines += [
            "",
            "evaluate:                            # their sums over the coarse cells follow the totals: the truth,",
            "  truth:                             # ? which no method may see; make them covariates if they are not",
            *_asked_once([_truth(item, totals, beside) for item in truth]),
            *_left_out(again, beside),
        ]
    return "\n".join(lines) + "\n", faults


def _totals(found: list[InventoryItem]) -> list[InventoryItem]:
    """The coarsest files with a known unit; without any such, all of the coarsest."""
    widest = np.nanmax([item.width for item in found])
    coarsest = [item for item in found if item.width >= widest / COARSE]
    chosen = [item for item in coarsest if item.has_known_unit] or coarsest
    return [item for item in chosen if _same_cells(item, max(chosen, key=lambda one: one.width))]


def _left_out(twice: list[tuple[InventoryItem, str]], beside: Path) -> list[str]:
    return [f"    # left out: {_path(item, beside)}, {item.name}, follows {what}" for item, what in twice]


def _asked_once(entries: list[list[str]]) -> list[str]:
    """The lines of all entries; what was asked of one band of a file is not asked of the next."""
    asked: set[tuple[str, str]] = set()
    lines = []
    for entry in entries:
        path = next(line for line in entry if "path:" in line).strip("- ")
        for line in entry:
            said, mark, _ = line.partition("# ?")
            if mark and (path, said) in asked and not said.lstrip().startswith("select:"):
                line = f"{said}# as above"
            asked.add((path, said))
            lines.append(line)
    return lines


def _same_cells(one: InventoryItem, other: InventoryItem) -> bool:
    """Totals share one grid; a file on another one is a layer."""
    mine, theirs = one.raster.grid, other.raster.grid
    if mine is None or theirs is None:
        return mine is theirs
    near = np.allclose(mine.bounds, theirs.bounds, rtol=0, atol=1e-3 * theirs.dx)
    return mine.shape == theirs.shape and bool(near) and same_crs(mine.crs, theirs.crs)


def _is_truth_of(item: InventoryItem, total: InventoryItem) -> bool:
    """True when a finer file that nests in the totals adds up to them, or to the same pattern in another unit."""
    fine, coarse = item.raster.grid, total.raster.grid
    if fine is None or coarse is None or coarse.rows * coarse.cols > MOST_CELLS:
        return False
    if (nest := nesting(fine, coarse)) is None or nest[0] != "finer" or nest[1] < 2:
        return False
    sums = bring(item.raster, coarse, Region(0, 0, *coarse.shape), "total")
    given = total.raster.read(0, 0, *coarse.shape)
    return follows(sums, given)


def _factor(totals: list[InventoryItem], found: list[InventoryItem]) -> str:
    finer = [item.width for item in found if item not in totals and item.width < totals[0].width / COARSE]
    if not finer:
        return "10                         # ? fine cells along a coarse cell"
    factor = max(2, round(totals[0].width / min(finer)))
    return f"{factor:<26} # fine cells along a coarse cell: that of the finest layer, or of the truth"


def _total(item: InventoryItem, beside: Path) -> list[str]:
    unit = json.dumps(item.raster.unit, ensure_ascii=False) if item.has_known_unit else "null"
    note = "from the file's tag" if item.has_known_unit else _asked(item)
    lines = [f"    - path: {_path(item, beside)}", *_part(item)]
    if item.members:
        lines.append(f"      sectors: {json.dumps(list(item.members), ensure_ascii=False)}")
        lines.append(f"      along: {item.along:<27} # the axis they lie on")
    else:
        lines.append(f"      sector: {json.dumps(item.name, ensure_ascii=False)}")
    if len(item.years) > 1:
        lines.append(f"      years: {list(item.years)}   # those in the file; name the ones wanted")
    else:
        told = "from the file" if item.years else "from the name" if item.year else "?"
        lines.append(f"      year: {item.year if item.year is not None else 'null'!s:<28} # {told}")
    return [*lines, f"      unit: {unit:<28} # {note}", *_common(item)]


def _part(item: InventoryItem) -> list[str]:
    """Which band or variable of its file, and how its steps become years."""
    lines = []
    if item.band > 1 or (item.label and item.variable is None):
        lines.append(f"      band: {item.band}")
    if item.variable is not None:
        lines.append(f"      variable: {json.dumps(item.variable, ensure_ascii=False)}")
    if item.steps > 1:
        asked = f'? {item.steps} steps a year: "time: sum" for amounts, "time: mean" for rates and states'
        lines.append(f"      cell_methods: {'null':<20} # {asked}")
    return lines


def _truth(item: InventoryItem, totals: list[InventoryItem], beside: Path) -> list[str]:
    """One entry for each of its sectors, named like the totals where the names agree."""
    known = {name for total in totals for name in (total.members or (total.name,))}
    unit = json.dumps(item.raster.unit, ensure_ascii=False) if item.has_known_unit else "null"
    note = "from the file's tag" if item.has_known_unit else _asked(item)
    year, asked = (item.year, "") if item.year is not None else ("null", "?")
    lines = []
    for member in item.members or ("",):
        name = member or _sector_of(item, totals, known)
        sector = json.dumps(name, ensure_ascii=False) if name in known | {ALL} else "null"
        told = (
            "" if name in known else "? the sum of all sectors, as it seems; else " if name == ALL else "? "
        )
        told += "as the totals call it"
        lines += [f"    - path: {_path(item, beside)}", *_part(item)]
        if member:
            lines.append(f"      select: {json.dumps({item.along: member}, ensure_ascii=False)}")
        lines.append(f"      sector: {sector:<26} # {told}")
        lines.append(f"      year: {year!s:<28} # {asked or 'as the file says'}")
        lines += [f"      unit: {unit:<28} # {note}", *_common(item)]
    return lines


def _sector_of(item: InventoryItem, totals: list[InventoryItem], known: set[str]) -> str:
    """The sector of its own name, else of the one total that it adds up to, else `all` for what adds up to none."""
    if item.name in known:
        return item.name
    followed = {total.name for total in totals if not total.members and _is_truth_of(item, total)}
    return followed.pop() if len(followed) == 1 else ALL if len(totals) > 1 and not followed else ""


def _asked(item: InventoryItem) -> str:
    tag = f"; the file says {item.raster.unit!r}" if item.raster.unit else ""
    return f"? of an amount per cell or per area; it is never guessed{tag}"


def _covariate(item: InventoryItem, beside: Path) -> list[str]:
    kind, why = _kind(item)
    unit = json.dumps(item.raster.unit) if item.raster.unit else "null"
    told = (
        "from the file's tag" if item.raster.unit else '? told in the report, never converted; "1" for shares'
    )
    if len(item.years) > 1:
        year, named = str(item.years[-1]), f"? one of {item.years[0]} to {item.years[-1]}, or static for all"
    else:
        where = "file" if item.years else "name"
        year = "static"
        named = f"? the {where} says {item.year}" if item.year else "or the year it stands for"
    return [
        f"    - name: {json.dumps(item.name, ensure_ascii=False)}",
        f"      path: {_path(item, beside)}",
        *_part(item),
        *_select(item),
        f"      kind: {kind:<28} # {why}",
        f"      unit: {unit:<28} # {told}",
        f"      year: {year:<28} # {named}",
        *_common(item),
    ]


def _select(item: InventoryItem) -> list[str]:
    if not item.members:
        return []
    known = ", ".join(item.members[:12])
    return [f"      select: {{{item.along}: null}}          # ? one of {known}"]


def _kind(item: InventoryItem) -> tuple[str, str]:
    counted = item.scan
    if item.is_amount:
        return "total", "? its unit is an amount per cell, which is conserved"
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


def _common(item: InventoryItem) -> list[str]:
    """What is worth asking of any file."""
    lines = []
    if item.raster.crs is None:
        lines.append("      crs: null                          # ? the file names none, e.g. EPSG:3035")
    if gaps := item.scan.nodata + item.scan.nans:
        tag = "NaN" if item.raster.nodata is None else f"{item.raster.nodata:g}"
        gone = f"{gaps} of {item.scan.cells} cells have no value ({tag})"
        lines.append(f"      nodata: {'auto':<26} # ? {gone}; none if that value is a true number")
    return lines


def _path(item: InventoryItem, beside: Path) -> str:
    return json.dumps(os.path.relpath(item.path.absolute(), beside.absolute()), ensure_ascii=False)
