"""The plan of tiles: written once by tile, cut out of the cube tile by tile for training."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.ground import time_steps as when
from model.ground.errors import ArtifactFault, remake
from model.ground.grid import Grid
from model.ground.scene import Tile
from model.ground.windows import Split, Window
from stages.artifacts.cube import Cube

PLAN = "tiles.json"
WINDOWS = "windows.geojson"
SPLIT = "split.tif"
DATES = "dates.json"
CACHE_BYTES = 1_000_000_000  # tiles kept in memory once read


class Samples:
    """The tiles of one split of one fold, in the order of the plan."""

    def __init__(self, cube: Path, tiles: Path, split: str, years: int, fold: int = -1) -> None:
        """Args: cube, tiles: artifact folders; years: length of the time window.

        split, fold: train or valid while this fold is held out; without a fold, all (what may be learned from)
          or test.
        """
        self._cube = Cube.open(cube)
        plan = read_plan(tiles)
        code = Split.TRAIN if split == "all" else Split[split.upper()]
        self.side, self.halo = int(plan["side"]), int(plan["halo"])  # coarse cells
        self.folds = int(plan["folds"])
        self.dropped: dict[str, int] = dict(plan["dropped"])
        self.years = min(years, len(self._cube.years))
        self.statistics = {
            key: np.asarray(values, np.float64) for key, values in plan["statistics"]["layers"].items()
        }
        with rasterio.open(tiles / SPLIT, driver="GTiff") as data:
            self.target_map: NDArray[np.bool_] = data.read(fold + 2) == code
        # A sink says nothing of where sources are: training sees its total as not known.
        totals = self._cube.remainder()
        self._totals, self._known = np.maximum(totals, 0.0), self._cube.known() & (totals >= 0)
        entries = [entry for entry in plan["windows"] if entry["split"] == split and entry["fold"] == fold]
        spans = range(len(self._cube.years) - self.years + 1)
        self._entries = [(entry, first) for entry in entries for first in spans]
        self.mass = np.array([entry["mass"] for entry, _ in self._entries], np.float64)
        self._cache: OrderedDict[int, Tile] = OrderedDict()
        self._cached = 0

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        """The tile's id in the plan."""
        return str(self._entries[index][0]["id"])

    def __getitem__(self, index: int) -> Tile:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        entry, first = self._entries[index]
        target = np.zeros((self.side, self.side), bool)
        target.flat[entry["target"]] = True
        tile = cut(
            self._cube,
            self._totals,
            self._known,
            Window(entry["row"], entry["col"]),
            self.side,
            target,
            first,
            self.years,
            self.halo,
        )
        self._cache[index] = tile
        self._cached += tile.covariates.nbytes
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.covariates.nbytes
        return tile


def cut(
    cube: Cube,
    totals: NDArray[np.float64],
    known: NDArray[np.bool_],
    window: Window,
    side: int,
    target: NDArray[np.bool_],
    first: int,
    years: int,
    halo: int = 0,
) -> Tile:
    """One tile of the cube with its halo; what reaches beyond the map is invalid and unknown."""
    factor, span = cube.factor, slice(first, first + years)
    down = _inside(window.row - halo, side + 2 * halo, cube.coarse.rows)
    across = _inside(window.col - halo, side + 2 * halo, cube.coarse.cols)
    rows, cols = down.stop - down.start, across.stop - across.start
    fine = (down.start * factor, across.start * factor, rows * factor, cols * factor)
    before = (down.start - (window.row - halo), across.start - (window.col - halo))
    rim = [
        (first, side + 2 * halo - first - length) for first, length in zip(before, (rows, cols), strict=True)
    ]
    wide = [(first * factor, last * factor) for first, last in rim]
    return Tile(
        _pad(cube.covariates(*fine)[:, span], wide),
        _pad(cube.valid(*fine), wide),
        _pad(totals[:, span, down, across], rim),
        _pad(known[:, span, down, across], rim),
        np.pad(target, halo),
        factor,
        cube.layers,
        halo,
    )


def _inside(start: int, length: int, size: int) -> slice:
    """The part of a span that lies on the map."""
    return slice(max(start, 0), min(start + length, size))


def _pad(values: NDArray, rim: list[tuple[int, int]]) -> NDArray:
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + rim) if any(map(any, rim)) else values


def read_plan(tiles: Path) -> dict[str, Any]:
    """The plan and its statistics.

    Raises: ArtifactFault (exit 4).
    """
    try:
        return dict(json.loads((tiles / PLAN).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactFault(
            f"tiles/{PLAN}", f"not readable ({error})", "the plan of tiles", remake("tile")
        ) from error


def write_plan(out: Path, plan: Mapping[str, Any]) -> None:
    """Writes tiles.json, one window a line."""
    windows = ",\n".join("  " + json.dumps(entry) for entry in plan["windows"])
    head = {key: value for key, value in plan.items() if key != "windows"}
    text = json.dumps(head, indent=1)[:-2] + ',\n "windows": [\n' + windows + "\n ]\n}\n"
    (out / PLAN).write_text(text, "utf-8")


def write_dates(path: Path, splits: Mapping[str, Sequence[int]], cube: Cube) -> None:
    """Writes which date of which file serves which split; dates without a fine field are told with their total."""
    pairs = {(pair.year, pair.sector): pair for pair in cube.record.pairs}
    totals = {(total.year, total.sector): total for total in cube.record.totals}
    told: dict[str, list[dict[str, Any]]] = {}
    for split, labels in splits.items():
        told[split] = []
        for label in labels:
            for sector in cube.sectors:
                entry = {
                    "date": when.spelled(label),
                    "sector": sector,
                    "total": totals[label, sector].source,
                }
                pair = pairs.get((label, sector))
                told[split].append(entry | ({"fine": pair.source, "sha256": pair.sha256} if pair else {}))
    path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def write_splits(path: Path, splits: Sequence[NDArray[np.uint8]], coarse: Grid) -> None:
    """Writes which coarse cell serves which split, for QGIS and for training: first with no fold held out."""
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": len(splits),
        "height": coarse.rows,
        "width": coarse.cols,
        "crs": coarse.crs,
        "transform": Affine(*coarse.transform),
        "nodata": 255,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as data:
        for band, split in enumerate(splits, start=1):
            data.write(split, band)
            held_out = "no fold" if band == 1 else f"fold {band - 2}"
            data.set_band_description(band, f"split, {held_out} held out: 0 train, 1 valid, 2 test, 3 buffer")


def write_windows(path: Path, entries: Iterable[Mapping[str, Any]], side: int, coarse: Grid) -> None:
    """Writes the outlines of tiles as GeoJSON in the map's own CRS.

    Why the `crs` member: RFC 7946 knows only longitude and latitude, but GDAL and QGIS still read it, and
    outlines in the map's CRS stay exact rectangles. A CRS without an authority code is written as WKT text.
    """
    crs = CRS.from_wkt(coarse.crs)
    code = crs.to_authority()
    name = f"urn:ogc:def:crs:{code[0]}::{code[1]}" if code else crs.to_wkt()
    lines = []
    for entry in entries:
        left, bottom, right, top = coarse.window(entry["row"], entry["col"], side, side).bounds
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        facts = {key: entry[key] for key in ("id", "split", "row", "col", "mass")} | {
            "target_cells": len(entry["target"])
        }
        lines.append(
            json.dumps(
                {
                    "type": "Feature",
                    "properties": facts,
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                }
            )
        )
    head = json.dumps(
        {
            "type": "FeatureCollection",
            "name": "windows",
            "crs": {"type": "name", "properties": {"name": name}},
        }
    )
    path.write_text(head[:-1] + ', "features": [\n' + ",\n".join(lines) + "\n]}\n", "utf-8")
