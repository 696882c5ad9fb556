"""How much of each finished map lies in each zone, by the exact share of every cell's area."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio.transform import Affine

from model.ground.errors import InputFault, NumberFault
from model.ground.grid import Grid
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import Sheet
from stages.formats.raster.geotiff import Raster
from stages.formats.vector import read as vectors
from stages.regrid.polygons import BIN, Shapes

OVERLAP = 1e-6  # of a cell: neighbours drawn apart may share so much by rounding
AGREE = 1e-9  # relative: zones and what lies outside them against the whole map
STRIP = 2048  # rows of a zone raster outlined at once
MAX_ZONES = 20_000


class Zones:
    """Zones on the fine grid of a cube: one set of outlines each, in the order they are first met."""

    def __init__(self, fine: Grid, where: str = "mosaic.zones") -> None:
        self._fine, self._where = fine, where
        self.shapes: dict[str, Shapes] = {}
        self.names: dict[str, str] = {}

    def add_table(self, table: vectors.Table, where: vectors.Where, key: str, name: str | None) -> None:
        """Takes the polygons of a vector layer; those with the same value of `key` are one zone."""
        assert table.crs is not None
        probe = Shapes(self._fine, table.crs, "area")
        for batch in vectors.read(table, where, [key, *([name] if name else [])], box=probe.box):
            ids = [str(value) for value in batch.columns[key]]
            words = batch.columns[name] if name else ids
            for zone in dict.fromkeys(ids):
                mine = np.array([other == zone for other in ids])
                self.names.setdefault(zone, str(words[int(np.argmax(mine))]))
                self._of(zone, table.crs).add(batch.geometry[mine])

    def add_raster(self, raster: Raster) -> None:
        """Takes the outlines of equal values of a raster; values without data are no zone."""
        assert raster.crs is not None
        library = vectors.shapely()
        for row, values in _strips(raster):
            there = ~np.isnan(values)
            ids = np.where(there, values, 0).astype(np.int32)
            place = raster.transform @ Affine.translation(0, row)
            found: dict[str, list[Any]] = {}
            for outline, code in rasterio.features.shapes(ids, mask=there, transform=place):
                shape = library.Polygon(outline["coordinates"][0], outline["coordinates"][1:])
                found.setdefault(str(int(code)), []).append(shape)
            for zone, shapes in sorted(found.items()):
                self.names.setdefault(zone, zone)
                self._of(zone, raster.crs).add(np.array(shapes, object))

    def _of(self, zone: str, crs: Any) -> Shapes:
        if zone not in self.shapes:
            if len(self.shapes) >= MAX_ZONES:
                raise InputFault(
                    self._where, f"over {MAX_ZONES:,} zones", "fewer", "merge them, or use another key"
                )
            self.shapes[zone] = Shapes(self._fine, crs, "area")
        return self.shapes[zone]

    def shares(self, row: int, col: int) -> dict[str, NDArray[np.float64]]:
        """(BIN, BIN) share of each cell of a bin by zone; zones that do not reach it are left out.

        Raises: InputFault (exit 3) where zones overlap: their sums would count ground twice.
        """
        found, summed = {}, np.zeros((BIN, BIN))
        for zone, shapes in self.shapes.items():
            if (share := shapes.in_bin(row, col)) is not None:
                found[zone] = share
                summed += share
        if (twice := summed > 1 + OVERLAP).any():
            down, across = (int(index) for index in np.argwhere(twice)[0])
            there = [zone for zone, share in found.items() if share[down, across] > 0]
            window = self._fine.window(row * BIN + down, col * BIN + across, 1, 1)
            raise InputFault(
                f"{self._where}, {' and '.join(there[:3])}",
                f"zones that overlap at x {window.left:.10g}, y {window.top:.10g}",
                "ground in one zone at most", "correct the outlines, or choose zones of one level by `where:`",
            )  # fmt: skip
        return found


def _strips(raster: Raster) -> Iterator[tuple[int, NDArray[np.float64]]]:
    height, width = raster.shape
    for row in range(0, height, STRIP):
        yield row, raster.read(row, 0, min(STRIP, height - row), width)


def measure_zones(cube: Cube, zones: Zones, maps: Any) -> dict[str, Any]:
    """Sums of every finished map by zone, and what lies outside all of them.

    A cell that a border cuts gives each side its share of the cell's area.
    Args: maps: folder of finished maps.
    Raises: NumberFault (exit 7) when the parts of a map do not add up to it.
    """
    sheets, fine = store.sheets(cube), cube.fine
    sums = {zone: np.zeros(len(sheets)) for zone in zones.shapes}
    cells = dict.fromkeys(zones.shapes, 0.0)
    outside, whole = np.zeros(len(sheets)), np.zeros(len(sheets))
    for row in range(0, -(-fine.rows // BIN)):
        for col in range(0, -(-fine.cols // BIN)):
            shares = zones.shares(row, col)
            rows, cols = min(BIN, fine.rows - row * BIN), min(BIN, fine.cols - col * BIN)
            parts = {zone: share[:rows, :cols] for zone, share in shares.items()}
            rest = 1.0 - sum(parts.values(), np.zeros((rows, cols)))
            for zone, part in parts.items():
                cells[zone] += float(part.sum())
            for index, sheet in enumerate(sheets):
                stored = store.read_part(maps / sheet.map_file, fine, row * BIN, col * BIN, rows, cols)
                mass = np.nan_to_num(stored.astype(np.float64), nan=0.0)
                whole[index] += mass.sum()
                outside[index] += (mass * rest).sum()
                for zone, part in parts.items():
                    sums[zone][index] += (mass * part).sum()
    _insist(sheets, sums, outside, whole)
    return {
        "rule": "by the share of each cell's area that lies in a zone",
        "zones": [
            {"zone": zone, "name": zones.names[zone], "fine_cells": cells[zone], "mass": sums[zone].tolist()}
            for zone in sums
        ],
        "outside": outside.tolist(), "whole": whole.tolist(),
        "sheets": [
            {
                "variable": sheet.name, "unit": sheet.unit, "sector": sheet.sector, "year": sheet.year,
                "file": sheet.map_file,
            }
            for sheet in sheets
        ],
    }  # fmt: skip


def _insist(
    sheets: list[Sheet],
    sums: dict[str, NDArray[np.float64]],
    outside: NDArray[np.float64],
    whole: NDArray[np.float64],
) -> None:
    found = sum(sums.values(), outside.copy())
    for sheet, parts, total in zip(sheets, found, whole, strict=True):
        if abs(parts - total) > AGREE * max(abs(total), np.finfo(float).tiny):
            raise NumberFault(
                f"zones of {sheet.map_file}", f"parts that add up to {parts!r}", f"the map's {total!r}",
                "report it with the zones: their shares do not add up",
            )  # fmt: skip


def as_csv(told: dict[str, Any]) -> str:
    """One row per zone, sector and year; the last rows are what no zone holds, and the whole map."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["zone", "name", "variable", "sector", "year", "mass", "unit", "share of the map", "file"]
    )
    rows = [*((entry["zone"], entry["name"], entry["mass"]) for entry in told["zones"])]
    rows += [("", "outside any zone", told["outside"]), ("", "whole map", told["whole"])]
    for zone, name, masses in rows:
        for sheet, mass, total in zip(told["sheets"], masses, told["whole"], strict=True):
            share = mass / total if total else 0.0
            words = [zone, name, sheet["variable"], sheet["sector"], sheet["year"]]
            writer.writerow([*words, repr(float(mass)), sheet["unit"], repr(float(share)), sheet["file"]])
    return text.getvalue()
