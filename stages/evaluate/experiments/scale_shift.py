"""Fields made from merged totals + the totals they were merged from -> scores without any fine truth."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from model.ground.scene import merge
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field as FineField
from stages.contract.body import StageBody
from stages.contract.progress import step
from stages.contract.run_key import RunKey
from stages.contract.section import Section
from stages.evaluate.accumulate import Ground, look_at, measure
from stages.evaluate.folds import fell_back
from stages.evaluate.page import PAGE, render
from stages.evaluate.table import Entry, build, write
from stages.report.figures import ground as extent

VERSION = 1
BAND = 240  # fine rows at a time, rounded to whole blocks


class Config(Section):
    """How the merged totals are scored; set from the section `evaluate`."""

    block: PositiveInt = 10
    draws: Annotated[int, Field(ge=100, le=100_000)] = 1000
    moves: NonNegativeInt = 500
    seed: NonNegativeInt = 0


def run(config: Config, *, cube: Path, fields: Mapping[RunKey, Path], out: Path) -> None:
    """Adds up what each field gives to the known coarse cells and scores it there.

    Args:
      fields: folder of a field by part and method, the judged method first; its totals were merged part x part.
    """
    opened = Cube.open(cube)
    totals, known = opened.totals(), opened.known()
    entries: list[Entry] = []
    reliable: list[dict[str, Any]] = []
    words: list[str] = []
    for done, (key, folder) in enumerate(fields.items(), start=1):
        method, group = key.method, int(key.part)
        field = FineField.open(folder)
        words += fell_back(str(key), folder)
        given = coarse_sums(field, opened, group)
        for sector, name in enumerate(opened.sectors):
            for time, year in enumerate(opened.years):
                truth = np.where(
                    known[sector, time] & (totals[sector, time] >= 0), totals[sector, time], np.nan
                )
                rows, cols = given.shape[-2:]
                place = (f"{group} x {group}", name, str(year))
                scores, points = _score(given[sector, time], truth[:rows, :cols], opened, group, config)
                entries.append(Entry(method, place, scores))
                reliable.append({"method": method, "place": place, "points": points})
        step("scoring", done, len(fields), "fields")
    keys = ("merged", "sector", "year")
    table = build(entries, keys, next(iter(fields)).method, config.draws, config.seed)
    groups = sorted({int(key.part) for key in fields})
    statistics = layer_statistics(opened, groups)
    table.words.extend(words + [_said(fact, groups) for fact in statistics])
    facts = {
        "unit": opened.unit,
        "protocol": "scale shift: totals merged group x group cells, every method made anew from the merged totals "
        "alone, its estimate summed and scored on the coarse cells that are known; layers as coarse as a block are "
        "averaged over the merged blocks",
        "block": config.block,
        "draws": config.draws,
        "reliability": reliable,
        "statistics": statistics,
    }
    write(table, facts, out)
    title = f"{opened.long_name}: scale shift"
    (out / PAGE).write_text(render(title, table, facts, []), "utf-8")


def layer_statistics(cube: Cube, groups: list[int]) -> list[dict[str, Any]]:
    """How much each layer varies inside a block: of the run itself, and of merged totals between coarse cells.

    Standard deviations in the layer's unit, over valid cells; layers as coarse as a block tell nothing and are left
    out. Where the two differ, the question asked here is another one than the run's.
    """
    count = np.zeros(cube.coarse.shape)
    sums, squares = (np.zeros((len(cube.layers), *cube.coarse.shape)) for _ in range(2))
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
    told = []
    for index, layer in enumerate(cube.layers):
        if layer.blocky:
            continue
        inside = (squares[index] - sums[index] * mean[index]).sum() / max(count.sum(), 1.0)
        merged = {str(group): _between(mean[index], count, group) for group in groups}
        told.append({"layer": layer.name, "inside": float(np.sqrt(max(inside, 0.0))), "merged": merged})
    return told


def _between(mean: NDArray[np.float64], count: NDArray[np.float64], group: int) -> float:
    """Standard deviation of coarse cells around the mean of group x group of them, weighted by valid cells."""
    rows, cols = (size // group * group for size in mean.shape)
    mean, count = mean[:rows, :cols], count[:rows, :cols]
    weight = merge(count, group)
    centre = np.divide(merge(mean * count, group), weight, out=np.zeros_like(weight), where=weight > 0)
    off = mean - np.repeat(np.repeat(centre, group, 0), group, 1)
    return float(np.sqrt((count * off**2).sum() / max(count.sum(), 1.0)))


def _said(fact: dict[str, Any], groups: list[int]) -> str:
    merged = ", ".join(f"{fact['merged'][str(group)]:.3g} at {group} x {group}" for group in groups)
    return (
        f"Layer {fact['layer']} varies by {fact['inside']:.3g} inside a block of the run, here by {merged}."
    )


def coarse_sums(field: FineField, cube: Cube, group: int) -> NDArray[np.float64]:
    """(sectors, time, h, w) mass a field gives to each coarse cell of the cube it was merged from.

    NaN where the merged total was not known.
    """
    factor = cube.factor
    rows, cols = (size // group * group for size in cube.coarse.shape)
    out = np.empty((len(cube.sectors), len(cube.years), rows, cols))
    step_rows = max(1, BAND // (factor * group)) * group
    for row in range(0, rows, step_rows):
        count = min(step_rows, rows - row)
        mass = field.mass(row * factor, 0, count * factor, cols * factor)
        some = merge(np.isfinite(mass).astype(np.float64), factor) > 0
        sums = merge(np.nan_to_num(mass, nan=0.0), factor)
        placed = np.repeat(np.repeat(merge(some.astype(np.float64), group) > 0, group, -2), group, -1)
        out[..., row : row + count, :] = np.where(placed, sums, np.nan)
    return out


def _score(
    given: NDArray[np.float64], truth: NDArray[np.float64], cube: Cube, group: int, config: Config
) -> tuple[Any, list[dict[str, float]]]:
    """Coarse cells are the cells now, and merged totals the blocks."""
    width, height = extent(cube.coarse)
    cell = (height / cube.coarse.rows, width / cube.coarse.cols)
    shape = (given.shape[0] // group, given.shape[1] // group)
    ground = Ground.of(shape, group, cell, max(1, -(-config.block // group)))
    both = np.where(np.isfinite(given), truth, np.nan)
    answer = look_at(
        lambda first, count: both[first : first + count],
        ground,
        config.moves,
        np.random.default_rng(config.seed),
    )
    scores, reliability, _ = measure(lambda first, count: given[first : first + count], answer, ground)
    return scores, reliability.points()


BODY = StageBody(Config, VERSION, run)
