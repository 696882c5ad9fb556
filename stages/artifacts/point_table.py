"""Point sources as a cube keeps them: one row each, and their mass on windows and blocks."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid
from stages.artifacts.records import PointFileRecord
from stages.formats import zarr_groups as arrays

WHOLE = ("file", "sector", "year", "row", "col")  # indices; row and col are -1 off the map
AMOUNTS = ("x", "y", "given", "placed", "excess", "outside")
UNITLESS = (*WHOLE, "x", "y")


@dataclass(frozen=True)
class PointTable:
    """Point sources in the order of their files.

    Attributes:
      columns: by name, (n,) each: index of file, sector and year; fine row and column; CRS coordinates; mass given,
        placed at the point, beyond what the total has room for, and off the map or without a total.
      files: what each file is, and its sums.
    """

    columns: Mapping[str, NDArray[Any]]
    files: Sequence[PointFileRecord]

    def __len__(self) -> int:
        return int(self.columns["given"].size)

    def on_window(
        self, leading: tuple[int, int], row: int, col: int, rows: int, cols: int
    ) -> NDArray[np.float64]:
        """(sectors, years, rows, cols) mass placed in each fine cell of a window."""
        return self._added(leading, self.columns["row"] - row, self.columns["col"] - col, rows, cols)

    def on_blocks(self, leading: tuple[int, int], coarse: Grid, factor: int) -> NDArray[np.float64]:
        """(sectors, years, h, w) mass placed in each coarse cell."""
        return self._added(
            leading, self.columns["row"] // factor, self.columns["col"] // factor, *coarse.shape
        )

    def _added(
        self, leading: tuple[int, int], row: NDArray[Any], col: NDArray[Any], rows: int, cols: int
    ) -> NDArray[np.float64]:
        out = np.zeros((*leading, rows, cols))
        here = (self.columns["placed"] > 0) & (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        place = tuple(self.columns[name][here] for name in ("sector", "year"))
        np.add.at(out, (*place, row[here], col[here]), self.columns["placed"][here])
        return out

    def as_csv(self, sectors: Sequence[str], years: Sequence[int], unit: str) -> str:
        """Every point with what became of it, for a spreadsheet."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        amounts = [f"{name} [{unit}]" for name in ("given", "placed", "excess", "outside")]
        writer.writerow(["file", "sector", "year", "fine_row", "fine_col", "x", "y", *amounts])
        columns = self.columns
        for index in range(len(self)):
            names = (
                self.files[int(columns["file"][index])].source,
                sectors[int(columns["sector"][index])],
                years[int(columns["year"][index])],
            )
            cell = [int(columns[name][index]) if columns[name][index] >= 0 else "" for name in ("row", "col")]
            writer.writerow([*names, *cell, *(repr(float(columns[name][index])) for name in AMOUNTS)])
        return text.getvalue()


def put(group: arrays.Group, table: PointTable, unit: str) -> None:
    """Writes the points into a cube, again if they are there."""
    for name in (*WHOLE, *AMOUNTS):
        kind = "int64" if name in WHOLE else "float64"
        key = f"point_{name}"
        if key not in group:
            facts = {"units": "1" if name in UNITLESS else unit, "long_name": f"point sources: {name}"}
            arrays.layout(group, key, (len(table),), ("point",), kind, facts)
        arrays.array_of(group, key)[...] = table.columns[name].astype(kind)


def get(group: arrays.Group, files: Sequence[PointFileRecord]) -> PointTable | None:
    """The points of a cube; None when it was made without any."""
    if not files:
        return None
    columns = {
        name: arrays.read_region(arrays.array_of(group, f"point_{name}"), (...,), "ingest")
        for name in (*WHOLE, *AMOUNTS)
    }
    return PointTable(columns, files)
