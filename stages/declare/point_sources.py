"""Point sources: how they are declared, read, and settled with the totals of their coarse cells."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pyproj import CRS, Transformer

from model.conservation.point_sources import settle
from model.ground.errors import HectareError, InputError, raise_together
from model.ground.grid import Grid
from model.ground.units import ACCEPTED_UNITS, Unit, parse_unit
from stages.artifacts.point_table import PointTable
from stages.artifacts.records import PointFileRecord
from stages.contract.progress import tell
from stages.contract.section import SafeName
from stages.declare.vector_layers import VectorFile, open_declared
from stages.formats.content_hash import sha256_of
from stages.formats.vector import read as vectors

Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]  # by name, one value a point


class Facilities(VectorFile):
    """Points with an amount each: taken out of their coarse cell's total and placed where they are."""

    sector: SafeName = "all"
    year: int
    value: Annotated[str, Field(min_length=1)]  # the attribute that holds the amount
    unit: str  # of the amount, of the same kind as that of the totals


def settle_all(
    items: tuple[Facilities, ...],
    unit: Unit,
    coarse: Grid,
    factor: int,
    totals: Floats,
    sectors: tuple[str, ...],
    years: tuple[int, ...],
) -> PointTable:
    """Reads every point source and settles it with the total of its coarse cell.

    Args:
      totals: (sectors, years, h, w), NaN where not known.
    Raises: HectareError or HectareErrors (exit 3), all that is wrong in one go.
    """
    faults: list[HectareError] = []
    parts: list[Columns] = []
    for index, item in enumerate(items):
        try:
            part = _read(item, unit, coarse, factor, sectors, years)
        except InputError as fault:
            faults.append(fault)
            continue
        parts.append(part | {"file": np.full(part["given"].size, index)})
    raise_together(faults)
    every = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    blocks = _blocks(every, coarse, factor, len(years))
    settled = settle(every["given"], blocks, np.nan_to_num(totals).ravel(), np.isfinite(totals).ravel())
    every |= {"placed": settled.placed, "excess": settled.excess, "outside": settled.outside}
    _say(every, unit)
    files = [_record(item, every["file"] == index, every) for index, item in enumerate(items)]
    return PointTable(every, files)


def _blocks(every: Columns, coarse: Grid, factor: int, years: int) -> NDArray[np.int64]:
    """Index of each point's sector, year and coarse cell in the flat totals; -1 off the map."""
    down, across = every["row"] // factor, every["col"] // factor
    sheet = every["sector"] * years + every["year"]
    index = (sheet * coarse.rows + down) * coarse.cols + across
    return np.where(every["row"] >= 0, index, -1).astype(np.int64)


def _read(
    item: Facilities, unit: Unit, coarse: Grid, factor: int, sectors: tuple[str, ...], years: tuple[int, ...]
) -> Columns:
    table = open_declared(item)
    where = f"{table.name}, layer {table.layer}"
    scale = _scale(item, unit, where)
    if item.sector not in sectors or item.year not in years:
        raise InputError(
            where, f"points of sector {item.sector}, {item.year}", "a sector and year that has totals",
            f"one of {', '.join(sectors)} and {', '.join(map(str, years))}",
        )  # fmt: skip
    shapes, amounts = [], []
    for batch in vectors.read(table, item.where, [item.value]):
        shapes.append(batch.geometry)
        amounts.append(_numbers(batch.columns[item.value], item, where))
    geometry, given = np.concatenate(shapes), np.concatenate(amounts) * scale
    if not given.size:
        raise InputError(
            where, "no point", "points with an amount", "correct `where:`, or leave the file out"
        )
    library = vectors.shapely()
    placeless = library.is_missing(geometry) | library.is_empty(geometry)
    if (other := ~placeless & (library.get_type_id(geometry) != 0)).any():
        raise InputError(
            where, f"{int(other.sum())} features that are no single points", "points",
            "export their centres (ogr2ogr -dialect sqlite -sql 'SELECT ST_Centroid(...)')",
        )  # fmt: skip
    assert table.crs is not None
    x, y = _on(coarse, table.crs, library.get_x(geometry), library.get_y(geometry))
    fine = coarse.refine(factor)
    row, col = (fine.top - y) / fine.dy, (x - fine.left) / fine.dx
    inside = ~placeless & (row >= 0) & (row < fine.rows) & (col >= 0) & (col < fine.cols)
    count = given.size
    return {
        "sector": np.full(count, sectors.index(item.sector)), "year": np.full(count, years.index(item.year)),
        "row": _index(row, inside), "col": _index(col, inside), "x": x, "y": y, "given": given,
    }  # fmt: skip


def _index(place: Floats, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.where(inside, np.floor(np.where(inside, place, 0.0)), -1).astype(np.int64)


def _on(grid: Grid, crs: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    across, down = Transformer.from_crs(crs, grid.crs, always_xy=True).transform(x, y)
    return np.asarray(across, np.float64), np.asarray(down, np.float64)


def _scale(item: Facilities, unit: Unit, where: str) -> float:
    try:
        found = parse_unit(item.unit)
    except ValueError:
        found = None
    if found is None or found.canonical != unit.canonical:
        raise InputError(
            where, f"the unit {item.unit!r}", f"a unit of the same kind as {unit.text!r}: {ACCEPTED_UNITS}",
            "correct `unit:` of these points",
        )  # fmt: skip
    return found.scale


def _numbers(values: NDArray[Any], item: Facilities, where: str) -> Floats:
    """The amounts; a point without one would be mass that vanishes, so it stops."""
    out = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        try:
            out[index] = float(value)
        except (TypeError, ValueError):
            continue
    if (wrong := ~np.isfinite(out) | (out < 0)).any():
        first = int(np.argmax(wrong))
        raise InputError(
            where, f"{int(wrong.sum())} points whose {item.value!r} is no amount, the first is {values[first]!r}",
            "a number of at least 0 for every point", f"correct {item.value!r}, or leave such points out by `where:`",
        )  # fmt: skip
    return out


def _record(item: Facilities, mine: NDArray[np.bool_], every: Columns) -> PointFileRecord:
    return PointFileRecord(
        source=Path(item.path).name,
        sha256=sha256_of(item.path),
        sector=item.sector,
        year=item.year,
        unit=item.unit,
        points=int(mine.sum()),
        licence=item.licence,
        attribution=item.attribution,
        given=float(every["given"][mine].sum()),
        placed=float(every["placed"][mine].sum()),
        excess=float(every["excess"][mine].sum()),
        outside=float(every["outside"][mine].sum()),
    )


def _say(every: Columns, unit: Unit) -> None:
    for name, words in (
        ("excess", "more than the totals of their coarse cells have room for; the totals rule"),
        ("outside", "off the map or in cells without a total; they are not placed"),
    ):
        if (there := every[name] > 0).any():
            amount = f"{float(every[name].sum()):.10g} {unit.canonical}"
            tell(f"point sources: {amount} of {int(there.sum())} points are {words}", warning=True)
