"""Finds fields that say what other files say already: in another unit, another format, or added up."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid
from stages.ingest.draft.inventory import InventoryItem
from stages.regrid.dispatch import nesting

Floats = NDArray[np.float64]
SAME = 0.9999  # correlation of one pattern with itself in another unit; no honest proxy comes near
MOST_CELLS = 4_000_000  # of fields that are compared


@dataclass(frozen=True)
class _Field:
    """One field of a file, in memory."""

    name: str
    path: Path
    year: int | None
    grid: Grid | None
    values: Floats


def drop_duplicates(
    items: list[InventoryItem],
) -> tuple[list[InventoryItem], list[tuple[InventoryItem, str]]]:
    """Fields that are not what other files tell already, and those that are, each with what it repeats.

    Why: a sum over sectors beside its sectors, or a sector in two units, would be counted twice. Of a file with
    several members all must be told elsewhere. Fields of the same cells on grids of different extents are the same
    where they meet.
    """
    kept: list[InventoryItem] = []
    known: list[_Field] = []
    twice: list[tuple[InventoryItem, str]] = []
    for item in items:
        own = list(_fields(item))
        told = [next(_repeats(field, known), None) for field in own]
        if own and (first := told[0]) is not None and None not in told:
            twice.append((item, first))
        else:
            kept.append(item)
            known += own
    return kept, twice


def follows(one: Floats, other: Floats) -> bool:
    """True when two fields have one pattern, perhaps in other units.

    Judged by the correlation over cells with both values, of which at least four are needed; a constant field has
    no pattern.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 4 or np.ptp(one[both]) == 0 or np.ptp(other[both]) == 0:
        return False
    return bool(np.corrcoef(one[both], other[both])[0, 1] > SAME)


def _fields(item: InventoryItem) -> Iterator[_Field]:
    """What of a file is compared: nothing where that would take too much."""
    rows, cols = item.raster.shape
    if len(item.years) > 1 or rows * cols > MOST_CELLS:
        return
    for name, band in item.fields():
        yield _Field(name, item.path, item.year, band.grid, band.read(0, 0, rows, cols))
        if band is not item.raster:
            band.close()


def _repeats(field: _Field, known: list[_Field]) -> Iterator[str]:
    """Names of fields of other files that say the same, then those files whose fields add up to it."""
    alike = [
        (one, there)
        for one in known
        if one.path != field.path and one.year == field.year and (there := _on(one, field)) is not None
    ]
    for one, values in alike:
        if follows(field.values, values) or (one.name == field.name and _is_equal(field.values, values)):
            yield one.name
    for path in dict.fromkeys(one.path for one, _ in alike):
        if follows(field.values, np.sum([values for one, values in alike if one.path == path], axis=0)):
            yield f"the sum of {path.name}"


def _is_equal(one: Floats, other: Floats) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    return bool(both.any() and np.array_equal(one[both], other[both]))


def _on(one: _Field, other: _Field) -> Floats | None:
    """The values of one field on the cells of the other, NaN beyond its own; None where the cells differ."""
    if one.grid is None or other.grid is None:
        return one.values if one.values.shape == other.values.shape else None
    if nesting(one.grid, other.grid) != ("coarser", 1):
        return None
    down = round((one.grid.top - other.grid.top) / other.grid.dy)
    right = round((other.grid.left - one.grid.left) / other.grid.dx)
    (height, width), (own_height, own_width) = other.values.shape, one.values.shape
    out = np.full((height, width), np.nan)
    rows = slice(max(-down, 0), min(height, own_height - down))
    cols = slice(max(-right, 0), min(width, own_width - right))
    if rows.start < rows.stop and cols.start < cols.stop:
        out[rows, cols] = one.values[
            rows.start + down : rows.stop + down, cols.start + right : cols.stop + right
        ]
    return out
