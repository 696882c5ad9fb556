"""The field: mass per fine cell in float64 as inference left it, and which fallback level placed each block."""

import json
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from model.ground.errors import ArtifactError, remake
from stages.artifacts.cube import Cube
from stages.artifacts.records import FieldRecord
from stages.formats import zarr_groups as arrays

STORE = "field.zarr"
FACTS = "field.json"


class Field:
    """A field opened for reading."""

    def __init__(self, group: zarr.Group, record: FieldRecord) -> None:
        self._group = group
        self.record = record

    @classmethod
    def open(cls, folder: Path) -> "Field":
        """Opens the artifact folder.

        Raises: ArtifactError (exit 4).
        """
        group = arrays.open_group(folder / STORE, "infer")
        try:
            record = FieldRecord.from_json(json.loads((folder / FACTS).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"field/{FACTS}",
                f"not readable ({error})",
                "the facts of the field",
                remake("infer"),
            ) from error
        return cls(group, record)

    def mass(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """(sectors, time, rows, cols) mass per fine cell; NaN where the cell may not receive any."""
        region = (slice(None), slice(None), slice(row, row + rows), slice(col, col + cols))
        return arrays.read_region(arrays.array_of(self._group, "mass"), region, "infer")

    def fallback_levels(self) -> NDArray[np.uint8]:
        """(sectors, time, h, w) the level that placed each block's total, as model.conservation.fallback names them."""
        return arrays.read_region(arrays.array_of(self._group, "fallback_level"), (...,), "infer")


def lay_out(path: Path, cube: Cube, chunk: int) -> zarr.Group:
    """Declares an empty field on the cube's grids, in square chunks of whole blocks."""
    group = arrays.create_group(path, {"factor": cube.factor})
    arrays.put_names(group, "sector", cube.sectors)
    arrays.put_years(group, cube.years)
    arrays.put_grid(group, cube.fine)
    arrays.put_grid(group, cube.coarse, suffix="_coarse")
    leading = (len(cube.sectors), len(cube.years))
    arrays.layout(
        group,
        "mass",
        (*leading, *cube.fine.shape),
        ("sector", "time", "y", "x"),
        "float64",
        {
            "long_name": cube.long_name,
            "units": cube.unit,
            "grid_mapping": arrays.MAPPING,
            "cell_methods": f"area: sum time: {cube.time_method}",
        },
        chunks=(*leading, min(chunk, cube.fine.rows), min(chunk, cube.fine.cols)),
        fill=np.nan,
    )
    arrays.layout(
        group,
        "fallback_level",
        (*leading, *cube.coarse.shape),
        ("sector", "time", "y_coarse", "x_coarse"),
        "uint8",
        {"long_name": "rung of the fallback that placed the block", "grid_mapping": arrays.MAPPING},
        chunks=(*leading, *_blocks(chunk, cube)),
        fill=255,
    )
    return group


def _blocks(chunk: int, cube: Cube) -> tuple[int, int]:
    """One chunk of fallback_levels per chunk of mass, so that one writer owns both."""
    side = chunk // cube.factor
    return min(side, cube.coarse.rows), min(side, cube.coarse.cols)
