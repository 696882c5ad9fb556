"""Fields of altered runs as maps to be judged, and the ground a fold leaves out."""

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Setting
from pydantic import NonNegativeInt, PositiveInt

from model.evaluation.perturbations import Fold, hidden
from model.ground.errors import UsageError
from stages.artifacts.cube import Cube
from stages.artifacts.field import FACTS, Field
from stages.artifacts.records import FieldRecord
from stages.contract.section import Section
from stages.evaluate.accumulate import Ground, Rows
from stages.report.figures import ground as extent


class Hide(Section):
    """Totals that are made unknown: one fold of several, and a rim around it."""

    kind: Literal["blocks", "random"] = "blocks"
    fold: NonNegativeInt = 0
    folds: Annotated[int, Setting(ge=2, le=20)] = 5
    side: PositiveInt = 10  # coarse cells along a spatial block; random folds deal out single cells
    buffer: NonNegativeInt = 1  # coarse cells around the fold that are hidden too; none for random folds
    seed: NonNegativeInt = 0


def grounds(hide: Hide, cube: Cube) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(h, w) the fold's own ground, and all that is hidden for it.

    Raises: UsageError (exit 2) when the map has fewer blocks than folds.
    """
    mass = np.abs(cube.totals()).sum(axis=(0, 1))
    try:
        return hidden(Fold(**hide.model_dump()), mass)
    except ValueError as error:
        rows, cols = cube.coarse.shape
        raise UsageError(
            "evaluate.folds",
            f"{error} on {rows} x {cols} coarse cells, blocks {hide.side} wide",
            "at least as many spatial blocks as folds",
            "lower `evaluate.folds` or `evaluate.block`",
        ) from error


def ground_of(cube: Cube, side: int) -> Ground:
    """The fine cells of a cube, in spatial blocks for the bootstrap; all of them count.

    Args:
      side: coarse cells along a spatial block.
    """
    width, height = extent(cube.fine)
    cell = height / cube.fine.rows, width / cube.fine.cols
    return Ground.of(cube.coarse.shape, cube.factor, cell, side)


def rows_of(field: Field, cube: Cube, sector: int, time: int) -> Rows:
    """Reads a field as maps are read.

    Args:
      sector, time: indices in the cube.
    Returns: (first row, number of rows) -> (rows, cols) mass per fine cell; NaN where there is no value.
    """

    def rows(first: int, count: int) -> NDArray:
        return field.mass(first, 0, count, cube.fine.cols)[sector, time]

    return rows


def fell_back(key: str, folder: Path) -> list[str]:
    """What a reader must know of a field whose method learned nothing.

    Args:
      key: how its run is named in words; folder: of the field.
    Returns: a sentence, or none where the method did what was asked.
    """
    training = FieldRecord.from_json(json.loads((folder / FACTS).read_text("utf-8"))).training
    if instead := training.fell_back:
        return [f"{key} learned nothing ({training.reason}): its field is that of {instead}."]
    return []
