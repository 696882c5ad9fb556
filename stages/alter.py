"""Cube -> the same world made harder in one stated way, so that a protocol can ask what is lost."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from model.fault import UsageFault
from model.grid import Grid
from model.harder import Fold, blurred, flattened, hidden, shifted
from model.sample import merge
from stages.progress import track
from stages.section import Section
from stages.store import arrays
from stages.store.cube import STORE, Cube, lay_out

VERSION = 1
FACTS = "altered.json"
BAND = 240  # fine rows at a time, rounded to whole blocks


class Hide(Section):
    """Totals that are made unknown: one fold of several, and a rim around it."""

    kind: Literal["blocks", "random"] = "blocks"
    fold: NonNegativeInt = 0
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    side: PositiveInt = 10  # coarse cells along a spatial block; random folds deal out single cells
    buffer: NonNegativeInt = 1  # coarse cells around the fold that are hidden too; none for random folds
    seed: NonNegativeInt = 0


class Config(Section):
    """What is done to the cube; without a setting it is copied."""

    group: PositiveInt = 1  # coarse cells merged along an axis: only their sums stay known
    layers: Annotated[tuple[str, ...], Field(strict=False)] = ()  # covariates that are spoilt
    change: Literal["drop", "shift", "blur"] = "drop"  # drop: each block sees its mean
    cells: NonNegativeInt = 0  # fine cells it is shifted by, east and south, or blurred over
    hide: Hide | None = None
    hide_years: Annotated[tuple[int, ...], Field(strict=False)] = ()  # years whose totals are made unknown


def run(config: Config, *, cube: Path, out: Path) -> None:
    """Writes the altered cube, band by band.

    Raises: UsageFault (exit 2) when the map cannot be altered in this way.
    """
    old = Cube.open(cube)
    coarse, factor = _merged(old, config.group)
    facts = {
        "variable": old.name, "long_name": old.long_name, "unit": old.unit, "quantity": old.quantity,
        "cell_methods": "area: sum", "attribution": old.attribution, "layers": old.facts,
        "totals": old.total_facts,
    }  # fmt: skip
    group = lay_out(out / STORE, coarse, factor, facts, old.sectors, old.years)
    totals = _totals(old, config, coarse)
    arrays.array_of(group, old.name)[...] = totals
    step = max(1, BAND // factor) * factor
    starts = range(0, coarse.rows * factor, step)
    for row in track(starts, "altering the cube", len(starts), "bands"):
        rows = min(step, coarse.rows * factor - row)
        _write_band(group, old, config, row, rows, coarse.cols * factor, factor)
    arrays.seal(out / STORE)
    told = config.model_dump(mode="json") | {"known_totals": int(np.isfinite(totals).sum())}
    (out / FACTS).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")


def _merged(cube: Cube, group: int) -> tuple[Grid, int]:
    """Grid of the merged totals, and fine cells along one; what is left over at the far edges is cut off."""
    rows, cols = cube.coarse.rows // group, cube.coarse.cols // group
    if rows < 2 or cols < 2:
        found = f"{cube.coarse.rows} x {cube.coarse.cols} coarse cells cannot be merged by {group}"
        raise UsageFault("evaluate.groups", found, "at least 2 x 2 merged totals", f"take {group} out")
    grid = cube.coarse
    return replace(grid, rows=rows, cols=cols, dx=grid.dx * group, dy=grid.dy * group), cube.factor * group


def _totals(cube: Cube, config: Config, coarse: Grid) -> NDArray[np.float64]:
    """(sectors, years, h, w); a merged total is known when all its members are."""
    totals = np.where(cube.known(), cube.totals(), np.nan)
    if config.hide is not None:
        gone = hidden(Fold(**config.hide.model_dump()), np.nansum(np.abs(totals), axis=(0, 1)))[1]
        totals = np.where(gone, np.nan, totals)
    for year in config.hide_years:
        totals[:, cube.years.index(year)] = np.nan
    rows, cols = coarse.rows * config.group, coarse.cols * config.group
    return merge(totals[..., :rows, :cols], config.group)


def _write_band(group: Any, old: Cube, config: Config, row: int, rows: int, cols: int, factor: int) -> None:
    valid = old.valid(row, 0, rows, cols)
    values = old.covariates(row, 0, rows, cols)
    names = [layer.name for layer in old.layers]
    if config.group > 1:
        coarse_layers = [index for index, layer in enumerate(old.layers) if layer.blocky]
        values[coarse_layers] = flattened(values[coarse_layers], valid, factor)
    for index in (names.index(name) for name in config.layers):
        values[index] = _spoilt(config, old, index, row, rows, cols, valid)
    for index, name in enumerate(names):
        stored = arrays.array_of(group, name)
        place = (slice(row, row + rows), slice(0, cols))
        stored[place if stored.ndim == 2 else (slice(None), *place)] = (
            values[index, 0] if stored.ndim == 2 else values[index]
        )
    arrays.array_of(group, "valid")[row : row + rows, :cols] = valid.astype(np.uint8)


def _spoilt(
    config: Config, old: Cube, index: int, row: int, rows: int, cols: int, valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(time, rows, cols) of the layer after the change."""
    if config.change == "drop":
        return flattened(old.covariates(row, 0, rows, cols)[index], valid, old.factor)
    reach = config.cells
    first, last = max(0, row - reach), min(old.fine.rows, row + rows + reach)
    wide = old.covariates(first, 0, last - first, cols)[index]
    change = shifted if config.change == "shift" else blurred
    return change(wide, reach)[..., row - first : row - first + rows, :]
