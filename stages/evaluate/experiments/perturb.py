"""Cube -> the same world made harder in one stated way, so that a protocol can ask what is lost."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from model.evaluation.perturbations import blurred, flattened, shifted
from model.ground.blocks import merge
from model.ground.errors import UsageError
from model.ground.grid import Grid, Region
from stages.artifacts.cube import STORE, Cube, lay_out
from stages.artifacts.records import CubeRecord
from stages.contract.body import StageBody
from stages.contract.progress import track
from stages.contract.section import Section
from stages.evaluate.folds import Hide, grounds
from stages.formats import zarr_groups as arrays

VERSION = 1
FACTS = "altered.json"
BAND = 240  # fine rows at a time, rounded to whole blocks


class Config(Section):
    """What is done to the cube; without a setting it is copied."""

    group: PositiveInt = 1  # coarse cells merged along an axis: only their sums stay known
    match: bool = (
        False  # average the other layers too, so that none is finer against a merged total than before
    )
    layers: Annotated[tuple[str, ...], Field(strict=False)] = ()  # covariates that are spoilt
    change: Literal["drop", "shift", "blur"] = "drop"  # drop: each block sees its mean
    cells: NonNegativeInt = 0  # fine cells it is shifted by, east and south, or blurred over
    hide: Hide | None = None
    hide_years: Annotated[tuple[int, ...], Field(strict=False)] = ()  # years whose totals are made unknown


def run(config: Config, *, cube: Path, out: Path) -> None:
    """Writes the altered cube, band by band.

    Raises: UsageError (exit 2) when the map cannot be altered in this way.
    """
    old = Cube.open(cube)
    if not old.quantity.adds_up:
        raise UsageError(
            "evaluate --protocol", f"{old.name}, a mean over the cell", "amounts, which add up when cells are merged",
            "score held-out dates with `pipeline evaluate` and `evaluate.truth`",
        )  # fmt: skip
    coarse, factor = _merged(old, config.group)
    record = CubeRecord(
        variable=old.name,
        long_name=old.long_name,
        unit=old.unit,
        quantity=old.quantity.name,
        cell_methods="area: sum",
        attribution=old.attribution,
        layers=old.record.layers,
        totals=old.record.totals,
    )
    shutil.rmtree(out / STORE, ignore_errors=True)  # quick to make: an attempt cut off is begun again
    group = lay_out(out / STORE, coarse, factor, record, old.sectors, old.years)
    totals = _totals(old, config, coarse)
    arrays.array_of(group, old.name)[...] = totals
    step = max(1, BAND // factor) * factor
    starts = range(0, coarse.rows * factor, step)
    for row in track(starts, "altering the cube", len(starts), "bands"):
        rows = min(step, coarse.rows * factor - row)
        _write_band(group, old, config, Region(row, 0, rows, coarse.cols * factor), factor)
    arrays.seal(out / STORE)
    told = config.model_dump(mode="json") | {"known_totals": int(np.isfinite(totals).sum())}
    (out / FACTS).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")


def _merged(cube: Cube, group: int) -> tuple[Grid, int]:
    """Grid of the merged totals, and fine cells along one; what is left over at the far edges is cut off."""
    rows, cols = cube.coarse.rows // group, cube.coarse.cols // group
    if rows < 2 or cols < 2:
        found = f"{cube.coarse.rows} x {cube.coarse.cols} coarse cells cannot be merged by {group}"
        raise UsageError("evaluate.coarsenings", found, "at least 2 x 2 merged totals", f"take {group} out")
    grid = cube.coarse
    return replace(grid, rows=rows, cols=cols, dx=grid.dx * group, dy=grid.dy * group), cube.factor * group


def _totals(cube: Cube, config: Config, coarse: Grid) -> NDArray[np.float64]:
    """(sectors, years, h, w); a merged total is known when all its members are."""
    totals = np.where(cube.known(), cube.totals(), np.nan)
    if config.hide is not None:
        totals = np.where(grounds(config.hide, cube)[1], np.nan, totals)
    for year in config.hide_years:
        totals[:, cube.years.index(year)] = np.nan
    rows, cols = coarse.rows * config.group, coarse.cols * config.group
    return merge(totals[..., :rows, :cols], config.group)


def _write_band(group: arrays.Group, old: Cube, config: Config, band: Region, factor: int) -> None:
    """Writes the layers and the validity of a band of whole blocks.

    Args:
      band: fine cells; factor: of the altered cube, `group` times that of the old one.
    """
    valid = old.valid(*band)
    values = old.covariates(*band)
    if config.group > 1:
        _flatten_merged(values, valid, old, config, factor)
    names = [layer.name for layer in old.layers]
    for index in _indices(names, config.layers):
        values[index] = _spoilt(config, old, index, band, valid)
    for index, name in enumerate(names):
        stored = arrays.array_of(group, name)
        if stored.ndim == 2:
            stored[band.slices] = values[index, 0]
        else:
            stored[(slice(None), *band.slices)] = values[index]
    arrays.array_of(group, "valid")[band.slices] = valid.astype(np.uint8)


def _flatten_merged(
    values: NDArray[np.float32], valid: NDArray[np.bool_], old: Cube, config: Config, factor: int
) -> None:
    """Where totals are merged, averages layers as coarse as a block over merged blocks, and others as is asked."""
    coarse_layers: list[int] = []
    fine_layers: list[int] = []
    for index, layer in enumerate(old.layers):
        (coarse_layers if layer.blocky else fine_layers).append(index)
    values[coarse_layers] = flattened(values[coarse_layers], valid, factor)
    if config.match:
        values[fine_layers] = flattened(values[fine_layers], valid, config.group)


def _indices(names: list[str], wanted: tuple[str, ...]) -> list[int]:
    """Places of the layers; a layer of classes goes by the name before its codes.

    Raises: UsageError (exit 2) for a layer that is not there.
    """
    found: list[int] = []
    for layer in wanted:
        fitting, code = [], re.compile(re.escape(layer) + r"_-?\d+")
        for index, name in enumerate(names):
            if name == layer or code.fullmatch(name):
                fitting.append(index)
        if not fitting:
            known = ", ".join(names)
            raise UsageError(
                "evaluate", f"no layer {layer!r}", f"a layer of the cube: {known}", "correct the name"
            )
        found += fitting
    return found


def _spoilt(
    config: Config, old: Cube, index: int, band: Region, valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(time, rows, cols) of the layer after the change."""
    if config.change == "drop":
        return flattened(old.covariates(*band)[index], valid, old.factor)
    reach = config.cells
    first, last = max(0, band.row - reach), min(old.fine.rows, band.row + band.rows + reach)
    wide = old.covariates(first, 0, last - first, band.cols)[index]
    change = shifted if config.change == "shift" else blurred
    return change(wide, reach)[..., band.row - first : band.row - first + band.rows, :]


BODY = StageBody(Config, VERSION, run)
