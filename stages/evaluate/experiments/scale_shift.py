"""Fields made from merged totals + the totals they were merged from -> scores without any fine truth."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from model.evaluation.scores import Scores
from model.ground.blocks import merge, spread
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field as FineField
from stages.contract.body import StageBody
from stages.contract.progress import step
from stages.contract.run_key import RunKey
from stages.contract.section import Section
from stages.evaluate.accumulate import Ground, look_at, measure
from stages.evaluate.folds import fell_back
from stages.evaluate.page import PAGE, render
from stages.evaluate.table import Entry, LayerSpread, ReliabilityCurve, Setup, build, write
from stages.report.figures import ground as extent

VERSION = 1
BAND = 240  # fine rows at a time, rounded to whole blocks
PROTOCOL = (
    "scale shift: totals merged group x group cells, every method made anew from the merged totals alone, its estimate "
    "summed and scored on the coarse cells that are known; layers as coarse as a block are averaged over the merged "
    "blocks"
)


class Config(Section):
    """How the merged totals are scored; set from the section `evaluate`."""

    spatial_block: PositiveInt = 10
    bootstrap_draws: Annotated[int, Field(ge=100, le=100_000)] = 1000
    emd_blocks: NonNegativeInt = 500
    seed: NonNegativeInt = 0


def run(config: Config, *, cube: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Adds up what each field gives to the known coarse cells and scores it there.

    Args:
      cube: of the run itself, with the totals as given.
      fields: folder of a field by part and method, the judged method first; its totals were merged part x part.
      out: folder of the scores.
    """
    opened = Cube.open(cube)
    entries: list[Entry] = []
    reliable: list[ReliabilityCurve] = []
    words: list[str] = []
    for done, (key, folder) in enumerate(fields.items(), start=1):
        words += fell_back(str(key), folder)
        for entry, curve in _scored(opened, FineField.open(folder), key, config):
            entries.append(entry)
            reliable.append(curve)
        step("scoring", done, len(fields), "fields")
    keys = ("merged", "sector", "year")
    table = build(entries, keys, next(iter(fields)).method, config.bootstrap_draws, config.seed)
    groups = _groups(fields)
    statistics = layer_statistics(opened, groups)
    table.words.extend([*words, *map(_said, statistics)])
    setup = Setup(
        opened.unit,
        PROTOCOL,
        config.spatial_block,
        config.bootstrap_draws,
        tuple(reliable),
        tuple(statistics),
    )
    write(table, setup, out)
    title = f"{opened.long_name}: scale shift"
    (out / PAGE).write_text(render(title, table, setup, []), "utf-8")


def _groups(fields: Mapping[RunKey, Path]) -> list[int]:
    """The factors of merging, smallest first."""
    groups = set()
    for key in fields:
        groups.add(int(key.part))
    return sorted(groups)


def _scored(
    cube: Cube, field: FineField, key: RunKey, config: Config
) -> Iterator[tuple[Entry, ReliabilityCurve]]:
    """The scores of one field for every sector and year."""
    group = int(key.part)
    given = coarse_sums(field, cube, group)
    rows, cols = given.shape[-2:]
    totals = cube.totals()
    scorable = cube.known() & (totals >= 0)
    for sector, name in enumerate(cube.sectors):
        for time, year in enumerate(cube.years):
            truth = np.where(scorable[sector, time], totals[sector, time], np.nan)
            scores, points = _score(given[sector, time], truth[:rows, :cols], cube, group, config)
            place = (f"{group} x {group}", name, str(year))
            yield Entry(key.method, place, scores), ReliabilityCurve(key.method, place, points)


def layer_statistics(cube: Cube, groups: list[int]) -> list[LayerSpread]:
    """How much each layer varies inside a block: of the run itself, and of merged totals between coarse cells.

    Where the two differ, the question asked here is another one than the run's. Layers as coarse as a block tell
    nothing and are left out.

    Args:
      groups: coarse cells merged along an axis.
    Returns: standard deviations in the layer's unit, over valid cells, in the order of the cube's layers.
    """
    count, mean, inside = _block_moments(cube)
    told = []
    for index, layer in enumerate(cube.layers):
        if layer.blocky:
            continue
        merged: dict[int, float] = {}
        for group in groups:
            merged[group] = _between(mean[index], count, group)
        told.append(LayerSpread(layer.name, float(inside[index]), merged))
    return told


def _block_moments(cube: Cube) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Valid cells of each block (h, w), their mean (layers, h, w), and (layers,) the spread inside blocks."""
    count = np.zeros(cube.coarse.shape)
    sums = np.zeros((len(cube.layers), *cube.coarse.shape))
    squares = np.zeros_like(sums)
    step_rows = max(1, BAND // cube.factor)
    for row in range(0, cube.coarse.rows, step_rows):
        rows = min(step_rows, cube.coarse.rows - row)
        window = (row * cube.factor, 0, rows * cube.factor, cube.fine.cols)
        valid = cube.valid(*window)
        values = np.where(valid, cube.covariates(*window).mean(axis=1, dtype=np.float64), 0.0)
        count[row : row + rows] = merge(valid.astype(np.float64), cube.factor)
        sums[:, row : row + rows] = merge(values, cube.factor)
        squares[:, row : row + rows] = merge(values**2, cube.factor)
    mean = np.divide(sums, count, out=np.zeros_like(sums), where=count > 0)
    inside = np.zeros(len(sums))
    for index in range(len(sums)):
        off = (squares[index] - sums[index] * mean[index]).sum() / max(count.sum(), 1.0)
        inside[index] = np.sqrt(max(off, 0.0))
    return count, mean, inside


def _between(mean: NDArray[np.float64], count: NDArray[np.float64], group: int) -> float:
    """Standard deviation of coarse cells around the mean of group x group of them, weighted by valid cells."""
    rows, cols = mean.shape[0] // group * group, mean.shape[1] // group * group
    mean, count = mean[:rows, :cols], count[:rows, :cols]
    weight = merge(count, group)
    centre = np.divide(merge(mean * count, group), weight, out=np.zeros_like(weight), where=weight > 0)
    off = mean - spread(centre, group)
    return float(np.sqrt((count * off**2).sum() / max(count.sum(), 1.0)))


def _said(layer: LayerSpread) -> str:
    merged = []
    for group, deviation in layer.merged.items():
        merged.append(f"{deviation:.3g} at {group} x {group}")
    return f"Layer {layer.layer} varies by {layer.inside:.3g} inside a block of the run, here by {', '.join(merged)}."


def coarse_sums(field: FineField, cube: Cube, group: int) -> NDArray[np.float64]:
    """(sectors, time, h, w) mass a field gives to each coarse cell of the cube it was merged from.

    NaN where the merged total was not known.
    """
    factor = cube.factor
    rows, cols = cube.coarse.rows // group * group, cube.coarse.cols // group * group
    out = np.empty((len(cube.sectors), len(cube.years), rows, cols))
    step_rows = max(1, BAND // (factor * group)) * group
    for row in range(0, rows, step_rows):
        count = min(step_rows, rows - row)
        mass = field.mass(row * factor, 0, count * factor, cols * factor)
        some = merge(np.isfinite(mass).astype(np.float64), factor) > 0
        sums = merge(np.nan_to_num(mass, nan=0.0), factor)
        placed = spread(merge(some.astype(np.float64), group) > 0, group)
        out[..., row : row + count, :] = np.where(placed, sums, np.nan)
    return out


def _score(
    given: NDArray[np.float64], truth: NDArray[np.float64], cube: Cube, group: int, config: Config
) -> tuple[Scores, list[dict[str, float]]]:
    """Coarse cells are the cells now, and merged totals the blocks."""
    width, height = extent(cube.coarse)
    cell = (height / cube.coarse.rows, width / cube.coarse.cols)
    shape = (given.shape[0] // group, given.shape[1] // group)
    ground = Ground.of(shape, group, cell, max(1, -(-config.spatial_block // group)))
    both = np.where(np.isfinite(given), truth, np.nan)
    answer = look_at(
        lambda first, count: both[first : first + count],
        ground,
        config.emd_blocks,
        np.random.default_rng(config.seed),
    )
    scores, reliability, _ = measure(lambda first, count: given[first : first + count], answer, ground)
    return scores, reliability.points()


BODY = StageBody(Config, VERSION, run)
