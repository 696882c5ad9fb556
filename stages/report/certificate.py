"""The certificate: opens finished maps again and measures, block by block, whether each total is there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.conservation.fallback import FallbackLevel
from model.ground.blocks import merge, nested
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec
from stages.formats.content_hash import sha256_of
from stages.report.certificate_record import (
    Certificate,
    EmissionCertificate,
    EmissionComparison,
    MapRecord,
    WorstBlock,
)
from stages.report.point_certificate import prove_points

CERTIFICATE = "certificate.json"
LIMIT = 1e-6  # relative residual a block may have
_PER_DECADE = 200
_DECADES = (-18, 18)


@dataclass(frozen=True)
class Reading:
    """What one finished map holds, as read from the file.

    Attributes:
      sums: (h, w) float64 mass of the stored cells of each block.
      lowest: (h, w) smallest stored cell; NaN where the block has none.
      cells: (h, w) number of cells with a value.
      holes: (h, w) number of cells that may receive mass and hold no value.
      histogram: number of positive cells per 1/200 of a decade, from 1e-18 to 1e18.
      scale_factor: mass of one unit where the map holds whole numbers; sums are then exact.
    """

    sums: NDArray[np.float64]
    lowest: NDArray[np.float64]
    cells: NDArray[np.int64]
    holes: NDArray[np.int64]
    histogram: NDArray[np.int64]
    scale_factor: float | None = None

    def quantile(self, share: float) -> float:
        """The value below which this share of the positive cells lies, to 1.2 %; 0 when none is positive.

        Why approximate: a histogram of 200 bins a decade is added up in one pass, however large the map.
        """
        count = self.histogram.cumsum()
        if count[-1] == 0:
            return 0.0
        bin_ = int(np.searchsorted(count, min(max(share * count[-1], 1), count[-1])))
        return float(10.0 ** ((bin_ + 0.5) / _PER_DECADE + _DECADES[0]))


def read_map(path: Path, cube: Cube) -> Reading:
    """Streams a finished map by bands of blocks; float64 sums of the float32 cells as stored.

    Raises: ArtifactError (exit 4) when the file is missing, damaged or lies on another grid.
    """
    factor, coarse, fine, weights = cube.factor, cube.coarse, cube.fine, cube.weights
    sums, lowest = np.zeros(coarse.shape), np.full(coarse.shape, np.nan)
    cells, holes = np.zeros(coarse.shape, np.int64), np.zeros(coarse.shape, np.int64)
    histogram = np.zeros((_DECADES[1] - _DECADES[0]) * _PER_DECADE, np.int64)
    scale_factor = store.read_scale_factor(path, fine)
    unit = scale_factor or 1
    for row, stored in store.read_bands(path, fine, factor, coarse, in_units=True):
        rows = slice(row, row + stored.shape[0] // factor)
        missing = np.isnan(stored)
        mass = np.where(missing, 0.0, stored.astype(np.float64))
        sums[rows] = merge(mass * weights[row * factor : row * factor + len(mass)], factor) * unit
        mass *= unit
        valid = cube.valid(row * factor, 0, *stored.shape)
        cells[rows] = merge((~missing).astype(np.int64), factor)
        holes[rows] = merge((missing & valid).astype(np.int64), factor)
        floor = nested(np.where(missing, np.inf, mass), factor).min(axis=(1, 3))
        lowest[rows] = np.where(cells[rows] > 0, floor, np.nan)
        positive = mass[(mass > 0) & np.isfinite(mass)]
        bins = np.floor((np.log10(positive) - _DECADES[0]) * _PER_DECADE).astype(np.int64)
        histogram += np.bincount(np.clip(bins, 0, histogram.size - 1), minlength=histogram.size)
    return Reading(sums, lowest, cells, holes, histogram, scale_factor)


@dataclass(frozen=True)
class Account:
    """What each block of one map was given and what of it was to be placed.

    Attributes:
      known: (h, w) True = some total of the block is known.
      given: (h, w) sum of the known totals.
      due: (h, w) the part of it that has a place on the map, in whole numbers where the map holds those.
      outside: (h, w) the part of it that has no place on the map.
      size: (h, w) sum of the absolute values of what is due: what a residual is measured against.
      placed: (h, w) True = at least one sector placed its total here.
    """

    known: NDArray[np.bool_]
    given: NDArray[np.float64]
    due: NDArray[np.float64]
    outside: NDArray[np.float64]
    size: NDArray[np.float64]
    placed: NDArray[np.bool_]

    def relative_residual(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(h, w) (placed - due) / size; infinite where mass stands in a block that was given none."""
        residual = sums - self.due
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = residual / self.size
        return np.where(
            (residual == 0) & (self.size == 0), 0.0, np.where(np.isnan(relative), np.inf, relative)
        )


def book_of(
    sheet: MapSpec,
    totals: NDArray,
    known: NDArray,
    fallback_levels: NDArray,
    scale_factor: float | None = None,
) -> Account:
    """The account of one map, from arrays of everything a run knows.

    Args:
      totals, known, fallback_levels: (sectors, years, h, w) totals in the cube's unit, whether
        they are known, and which level placed them.
      scale_factor: mass of a unit where the map holds whole numbers.
    """
    members = list(sheet.members)
    weighed = sheet.weigh(totals[members, sheet.time])
    return account(weighed, known[members, sheet.time], fallback_levels[members, sheet.time], scale_factor)


def account(
    totals: NDArray[np.float64],
    known: NDArray[np.bool_],
    fallback_levels: NDArray[np.uint8],
    scale_factor: float | None = None,
) -> Account:
    """Adds up the members of a map; arrays are (members, h, w).

    Args:
      scale_factor: with it every member owes the whole number of units nearest to its total.
    """
    given = np.where(known, totals, 0.0)
    placed = np.asarray(fallback_levels != FallbackLevel.OUTSIDE)
    kept = np.where(placed, given, 0.0)
    due = kept if scale_factor is None else np.rint(kept / scale_factor)
    unit = 1.0 if scale_factor is None else scale_factor
    return Account(
        np.asarray(known.any(axis=0)),
        given.sum(axis=0),
        due.sum(axis=0) * unit,
        np.where(placed, 0.0, given).sum(axis=0),
        np.abs(due).sum(axis=0) * unit,
        np.asarray(placed.any(axis=0)),
    )


def certify(cube: Path, maps: Path, limit: float | None = None) -> Certificate:
    """Measures every map of a folder against the totals in the cube.

    Only the finished files are trusted: the sums are theirs, and so are the fallback_levels that say which blocks lie
    outside.

    Args:
      cube, maps: artifact folders.
      limit: relative residual no block may exceed; without it, the one of the certificate that is there.
    Returns: what was measured; a block that holds mass it was not given has an infinite relative residual.
    Raises: ArtifactError (exit 4) when a map is missing, damaged or lies on another grid.
    """
    opened = Cube.open(cube)
    limit = _stated_limit(maps) if limit is None else limit
    with store.small_gdal_cache():
        measured = tuple(measure(opened, sheet, maps, limit) for sheet in store.sheets(opened))
        points = prove_points(opened, maps)
    emission = _emission(opened, measured, limit)
    passed = [single.passed for single in measured]
    passed += [single.passed for single in emission.compared] if emission else []
    passed += [points.passed] if points else []
    return Certificate(
        variable=opened.name,
        unit=opened.unit,
        limit=limit,
        scale_factor=measured[0].scale_factor,
        rounded=sum(
            abs(single.rounded)
            for single in measured
            if single.scale_factor is not None and not single.is_sum
        ),
        passed=all(passed),
        blocks=sum(single.blocks for single in measured),
        worst=_heaviest(measured),
        maps=measured,
        mean=None if opened.quantity.adds_up else True,
        weights=None if opened.quantity.adds_up else opened.record.weights,
        points=points,
        emission=emission,
    )


def _emission(cube: Cube, measured: Sequence[MapRecord], limit: float) -> EmissionCertificate | None:
    """Holds what was stored of each sector's emission against its factor times what was stored of its activity."""
    if cube.emission is None:
        return None
    stored: dict[tuple[str, int], float] = {}
    for single in measured:
        if not single.factors:
            stored[single.sector, single.year] = single.placed + single.rounded
    compared = [
        _compare(single, stored[single.sector, single.year], limit)
        for single in measured
        if len(single.factors) == 1
    ]
    return EmissionCertificate(**cube.emission.model_dump(), compared=tuple(compared))


def _compare(emitted: MapRecord, activity: float, limit: float) -> EmissionComparison:
    expected = activity * emitted.factors[0]
    differs = (emitted.placed - expected) / expected if expected else float(emitted.placed != 0)
    return EmissionComparison(
        file=emitted.file,
        sector=emitted.sector,
        year=emitted.year,
        factor=emitted.factors[0],
        activity=activity,
        emission=emitted.placed,
        relative_difference=differs,
        passed=abs(differs) <= limit,
    )


def measure(cube: Cube, sheet: MapSpec, maps: Path, limit: float) -> MapRecord:
    """The certificate of one map: its file read again, its block file compared, both hashed.

    Args:
      sheet: which map; maps: folder of the finished ones.
      limit: relative residual that no block, and not the whole map, may exceed.
    Raises: ArtifactError (exit 4) when a file is missing, damaged or lies on another grid.
    """
    fallback_levels = np.stack([_fallback_levels(cube, index, sheet, maps) for index in sheet.members])
    members = list(sheet.members)
    reading = read_map(maps / sheet.map_file, cube)
    totals, known = sheet.weigh(cube.totals()[members, sheet.time]), cube.known()[members, sheet.time]
    book = account(totals, known, fallback_levels, reading.scale_factor)
    relative = book.relative_residual(reading.sums)
    # Of a mean, the whole map's: what is summed over what the cells count for.
    whole = cube.quantity.whole(cube.room[book.known])
    given, due, outside, placed = (
        float(values.sum()) / whole for values in (book.given, book.due, book.outside, reading.sums)
    )
    size = float(book.size.sum()) / whole
    # A hole is a cell that may receive mass, in a block that placed some, without a value.
    holes = int(reading.holes[book.placed].sum())
    negative = int((reading.lowest[book.size == book.due] < 0).sum())
    worst = _worst(cube, relative, book, reading)
    total = (placed - due) / size if size else (0.0 if placed == 0 else float("inf"))
    kept = bool(abs(worst.relative_residual) <= limit and abs(total) <= limit)
    exact = bool(np.array_equal(reading.sums, book.due))
    kept &= exact or reading.scale_factor is None
    told = store.read_blocks(maps / sheet.blocks_file, cube.coarse)[:2]
    agrees = bool(np.array_equal(told[0][book.known], (book.given / cube.room)[book.known]))
    agrees &= bool(np.array_equal(told[1][book.known], (reading.sums / cube.room)[book.known]))
    return MapRecord(
        file=sheet.map_file,
        sector=sheet.sector,
        year=sheet.year,
        is_sum=sheet.is_sum,
        variable=sheet.name,
        unit=sheet.unit,
        factors=sheet.factors,
        given=given,
        placed=placed,
        outside=outside,
        residual=placed - due,
        scale_factor=reading.scale_factor,
        rounded=given - outside - due,
        exact=exact,
        fallback_levels={} if sheet.is_sum else _counted(fallback_levels),
        relative_residual=total,
        blocks=int(book.known.sum()),
        blocks_outside=int((book.known & ~book.placed).sum()),
        worst=worst,
        smallest_cell=float(np.nanmin(reading.lowest)) if reading.cells.any() else 0.0,
        cells=int(reading.cells.sum()),
        holes=holes,
        negative_blocks=negative,
        block_file_agrees=agrees,
        passed=agrees and kept and not holes and not negative,
        sha256=sha256_of(maps / sheet.map_file),
        blocks_file=sheet.blocks_file,
        blocks_sha256=sha256_of(maps / sheet.blocks_file),
    )


def _counted(fallback_levels: NDArray[np.uint8]) -> dict[str, int]:
    """How many blocks each fallback level placed."""
    return {
        FallbackLevel(code).name.lower(): int((fallback_levels == code).sum())
        for code in np.unique(fallback_levels)
    }


def _stated_limit(maps: Path) -> float:
    try:
        return float(json.loads((maps / CERTIFICATE).read_text("utf-8"))["limit"])
    except (OSError, ValueError, KeyError, TypeError):
        return LIMIT


def _fallback_levels(cube: Cube, index: int, sheet: MapSpec, maps: Path) -> NDArray[np.uint8]:
    single = MapSpec(sheet.name, cube.sectors[index], sheet.year, (index,), sheet.time)
    return store.read_blocks(maps / single.blocks_file, cube.coarse)[3].astype(np.uint8)


def _worst(cube: Cube, relative: NDArray[np.float64], book: Account, reading: Reading) -> WorstBlock:
    coarse, room = cube.coarse, cube.room
    row, col = (int(index) for index in np.unravel_index(np.argmax(np.abs(relative)), relative.shape))
    return WorstBlock(
        relative_residual=float(relative[row, col]),
        row=row,
        col=col,
        x=float(coarse.x[col]),
        y=float(coarse.y[row]),
        given=float(book.due[row, col] / room[row, col]),
        placed=float(reading.sums[row, col] / room[row, col]),
    )


def _heaviest(measured: Sequence[MapRecord]) -> WorstBlock:
    """The worst block of all maps, with the name of its map."""
    farthest = max(measured, key=lambda single: abs(single.worst.relative_residual))
    return farthest.worst.with_(file=farthest.file, unit=farthest.unit)
