"""The plan of tiles: written once by tile, cut out of the cube tile by tile for training."""

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.ground import time_steps as when
from model.ground.errors import ArtifactError, remake
from model.ground.grid import Grid, Region
from model.ground.scene import Tile
from model.ground.windows import Split
from stages.artifacts.cube import Cube
from stages.artifacts.records import PairDates, TilePlan, TileRecord

PLAN = "tiles.json"
WINDOWS = "windows.geojson"
SPLIT = "split.tif"
DATES = "dates.json"
CACHE_BYTES = 1_000_000_000  # tiles kept in memory once read


class Samples:
    """The tiles of one split of one fold, in the order of the plan."""

    def __init__(self, cube: Path, tiles: Path, split: str, years: int, fold: int = -1) -> None:
        """Reads the plan; tiles are cut out of the cube when they are asked for.

        Args:
          cube, tiles: artifact folders.
          split, fold: train or valid while this fold is held out; without a fold, all (what may be learned from)
            or test.
          years: length of the time window.
        Raises: ArtifactError (exit 4) when either folder is damaged.
        """
        self._cube = Cube.open(cube)
        plan = read_plan(tiles)
        code = Split.TRAIN if split == "all" else Split[split.upper()]
        self.side, self.halo = plan.side, plan.halo  # coarse cells
        self.folds, self.dropped = plan.folds, plan.dropped
        self.years = min(years, len(self._cube.years))
        self.statistics: dict[str, NDArray[np.float64]] = {}  # (layers,) each
        for name, values in plan.statistics.layers:
            self.statistics[name] = np.asarray(values, np.float64)
        with rasterio.open(tiles / SPLIT, driver="GTiff") as data:
            self.target_map: NDArray[np.bool_] = data.read(fold + 2) == code
        # A sink says nothing of where sources are: training sees its total as not known.
        totals = self._cube.remainder()
        self._totals, self._known = np.maximum(totals, 0.0), self._cube.known() & (totals >= 0)
        spans = range(len(self._cube.years) - self.years + 1)
        self._entries: list[tuple[TileRecord, int]] = []
        for entry in plan.windows:
            if entry.split == split and entry.fold == fold:
                self._entries.extend((entry, first) for first in spans)
        self.mass = np.array([entry.mass for entry, _ in self._entries], np.float64)
        self._cache: OrderedDict[int, Tile] = OrderedDict()
        self._cached = 0

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, index: int) -> str:
        """The tile's id in the plan."""
        return self._entries[index][0].id

    def __getitem__(self, index: int) -> Tile:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        entry, first = self._entries[index]
        tile = self._cut(entry, slice(first, first + self.years))
        self._cache[index] = tile
        self._cached += tile.covariates.nbytes
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.covariates.nbytes
        return tile

    def _cut(self, entry: TileRecord, span: slice) -> Tile:
        """The tile with its halo, years of a span; what reaches beyond the map is invalid and unknown."""
        factor, width = self._cube.factor, self.side + 2 * self.halo
        top, left = entry.row - self.halo, entry.col - self.halo
        inside = _on_map(Region(top, left, width, width), self._cube.coarse.shape)
        beyond = _beyond(top, width, inside.row, inside.rows), _beyond(left, width, inside.col, inside.cols)
        fine, coarse = inside.refined(factor), (slice(None), span, *inside.slices)
        wide = _times(beyond[0], factor), _times(beyond[1], factor)
        target = np.zeros((self.side, self.side), bool)
        target.flat[list(entry.target)] = True
        return Tile(
            _padded(self._cube.covariates(*fine)[:, span], wide),
            _padded(self._cube.valid(*fine), wide),
            _padded(self._totals[coarse], beyond),
            _padded(self._known[coarse], beyond),
            np.pad(target, self.halo),
            factor,
            self._cube.layers,
            self.halo,
        )


Ends = tuple[int, int]  # cells before the first and after the last


def _on_map(region: Region, shape: tuple[int, int]) -> Region:
    """The part of a region that lies on a map of that shape."""
    return Region(max(region.row, 0), max(region.col, 0), 0, 0)._replace(
        rows=min(region.row + region.rows, shape[0]) - max(region.row, 0),
        cols=min(region.col + region.cols, shape[1]) - max(region.col, 0),
    )


def _beyond(start: int, length: int, first: int, count: int) -> Ends:
    """How many cells of a span lie before and after those that are on the map."""
    return first - start, start + length - first - count


def _times(ends: Ends, factor: int) -> Ends:
    return ends[0] * factor, ends[1] * factor


def _padded(values: NDArray, beyond: tuple[Ends, Ends]) -> NDArray:
    """With zeros where it reaches beyond the map, over the last two axes."""
    if beyond == ((0, 0), (0, 0)):
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + list(beyond))


def read_plan(tiles: Path) -> TilePlan:
    """The plan of an artifact folder.

    Returns: windows with their split and fold, statistics of the ground learned from, dates of pairs.
    Raises: ArtifactError (exit 4) when the file is missing or is no plan.
    """
    try:
        return TilePlan.from_json(json.loads((tiles / PLAN).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"tiles/{PLAN}", f"not readable ({error})", "the plan of tiles", remake("tile")
        ) from error


def write_plan(out: Path, plan: TilePlan) -> None:
    """Writes tiles.json, one window a line, so that two plans can be compared by eye."""
    left_out = {"windows"} if plan.pairs else {"windows", "pairs"}
    head = json.dumps(plan.model_dump(mode="json", exclude=left_out), indent=1)
    windows = ",\n".join(map(_line, plan.windows))
    (out / PLAN).write_text(head[:-2] + ',\n "windows": [\n' + windows + "\n ]\n}\n", "utf-8")


def _line(window: TileRecord) -> str:
    return "  " + json.dumps(window.to_json())


def write_dates(path: Path, dates: PairDates, cube: Cube) -> None:
    """Writes which date of which file serves which split; dates without a fine field are told with their total."""
    told = {}
    for split, labels in dates:
        told[split] = list(_sources_of(labels, cube))
    path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def _sources_of(labels: Sequence[int], cube: Cube) -> Iterator[dict[str, str]]:
    """One entry a date and sector: its total, and its fine field where there is one."""
    pairs, totals = {}, {}
    for pair in cube.record.pairs:
        pairs[pair.year, pair.sector] = pair
    for total in cube.record.totals:
        totals[total.year, total.sector] = total
    for label, sector in product(labels, cube.sectors):
        entry = {"date": when.spelled(label), "sector": sector, "total": totals[label, sector].source}
        if (label, sector) in pairs:
            pair = pairs[label, sector]
            entry |= {"fine": pair.source, "sha256": pair.sha256}
        yield entry


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


def write_windows(path: Path, plan: TilePlan, coarse: Grid) -> None:
    """Writes the outlines of tiles as GeoJSON in the map's own CRS.

    Why the `crs` member: RFC 7946 knows only longitude and latitude, but GDAL and QGIS still read it, and
    outlines in the map's CRS stay exact rectangles. A CRS without an authority code is written as WKT text.
    """
    crs = CRS.from_wkt(coarse.crs)
    code = crs.to_authority()
    name = f"urn:ogc:def:crs:{code[0]}::{code[1]}" if code else crs.to_wkt()
    system = {"type": "name", "properties": {"name": name}}
    head = json.dumps({"type": "FeatureCollection", "name": "windows", "crs": system})
    lines = []
    for window in plan.windows:
        lines.append(_outline(window, coarse.window(window.row, window.col, plan.side, plan.side)))
    path.write_text(head[:-1] + ', "features": [\n' + ",\n".join(lines) + "\n]}\n", "utf-8")


def _outline(window: TileRecord, ground: Grid) -> str:
    """A tile as a GeoJSON feature."""
    left, bottom, right, top = ground.bounds
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    properties = {
        "id": window.id, "split": window.split, "row": window.row, "col": window.col, "mass": window.mass,
        "target_cells": len(window.target),
    }  # fmt: skip
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return json.dumps({"type": "Feature", "properties": properties, "geometry": geometry})
