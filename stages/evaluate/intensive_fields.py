"""Fields of held-out dates side by side: the truth, every method's, and what is only interpolated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import spatial_blocks
from model.evaluation.field_scores import mapped
from model.ground import time_steps as when
from model.ground.blocks import spread
from model.ground.errors import HectareError, InputError, raise_together
from model.priors.pycnophylactic import bilinear, fill_unknown
from stages.artifacts.cube import Cube
from stages.artifacts.maps import MapSpec, read_part, sheets
from stages.contract.progress import step
from stages.declare.fine_fields import FineField, open_field
from stages.evaluate.truth import Truth

PLAIN, MAPPED = "interpolated", "quantile_mapping"  # made here; neither keeps a mean
MAPPING_LEVELS = np.linspace(0.0, 1.0, 501)
Fields = NDArray[np.float64]  # (dates, rows, cols) in the cube's unit; NaN where a cell has no value


@dataclass(frozen=True)
class SectorFields:
    """One sector's fields of the dates that have a truth.

    Attributes:
      dates: labels of the steps of time.
      found: of every method by name, the judged one first; then what conserves nothing.
      units: (dates, rows, cols) the unit of the bootstrap a cell is in: a spatial block on a date.
    """

    sector: str
    dates: tuple[int, ...]
    truth: Fields
    found: dict[str, Fields]
    units: NDArray[np.int64]

    @property
    def every(self) -> dict[str, Fields]:
        """The truth, then what was found."""
        return {"truth": self.truth, **self.found}


def open_held_out(truth: tuple[Truth, ...], cube: Cube) -> dict[tuple[str, int], FineField]:
    """Opens the truth of every sector and date that is declared.

    Returns: fields by sector and label of the date, each knowing its unit.
    Raises: InputError or HectareErrors (exit 3) for what does not fit the cube, or was learned from.
    """
    faults: list[HectareError] = []
    found: dict[tuple[str, int], FineField] = {}
    learned = {(pair.sector, pair.year) for pair in cube.record.pairs}
    hashes: dict[str, str] = {}
    for entry in truth:
        for item in entry.singles():
            assert item.year is not None  # a truth without one has dates, and so does each of its singles
            place = item.sector, item.year
            if (wrong := _misplaced(item, place, cube, place in learned)) is not None:
                faults.append(wrong)
                continue
            try:
                field = open_field(item, cube.fine, hashes, faults)
                if field is not None:
                    field.unit = item.unit_for(cube)
                    found[place] = field
            except HectareError as fault:
                faults.append(fault)
    raise_together(faults)
    return found


def _misplaced(item: Truth, place: tuple[str, int], cube: Cube, is_learned: bool) -> HectareError | None:
    """What keeps a truth from judging anything; None when it may."""
    sector, label = place
    name, date = Path(item.path).name, when.spelled(label)
    if sector not in cube.sectors or label not in cube.years:
        found, wanted = f"a truth of {sector}, {date}", "a sector and date that has totals"
        return InputError(name, found, wanted, "correct `evaluate.truth`")
    if is_learned:
        found, wanted = f"{date}, which was learned from", "dates held out of `ingest.pairs`"
        return InputError(name, found, wanted, "name it under `without:` there")
    return None


def fields_of_sector(
    sector: int, truth: Mapping[int, FineField], cube: Cube, maps: Mapping[str, Path], side: int
) -> SectorFields:
    """Reads truth and maps of every date, and makes what is only interpolated.

    Args:
      sector: its index in the cube.
      truth: by label of the date.
      maps: folder of finished maps by method.
      side: coarse cells along a spatial block of the bootstrap.
    """
    dates = tuple(sorted(truth))
    shape = cube.fine.shape
    real = np.stack([truth[label].values(0, 0, *shape) for label in dates])
    chosen = _sheets_of(sector, dates, cube)
    found: dict[str, Fields] = {}
    for done, (method, folder) in enumerate(maps.items(), start=1):
        found[method] = np.stack([_map(folder, sheet, cube) for sheet in chosen])
        step("reading maps", done, len(maps), "methods")
    known = np.isfinite(next(iter(found.values())))
    plain = np.stack([_interpolated(cube, sector, sheet.time) for sheet in chosen])
    found[PLAIN] = np.where(known, plain, np.nan)
    if cube.paired()[sector].any():
        given, wanted = _training_quantiles(cube, sector)
        found[MAPPED] = np.where(known, mapped(found[PLAIN], given, wanted), np.nan)
    blocks, count = spatial_blocks(*cube.coarse.shape, side)
    units = spread(blocks, cube.factor)[None] + count * np.arange(len(dates))[:, None, None]
    return SectorFields(cube.sectors[sector], dates, real, found, units)


def _sheets_of(sector: int, dates: tuple[int, ...], cube: Cube) -> list[MapSpec]:
    """The map of each date."""
    by_year = {}
    for sheet in sheets(cube):
        if sheet.members == (sector,) and not sheet.is_emission:
            by_year[sheet.year] = sheet
    return [by_year[label] for label in dates]


def _map(folder: Path, sheet: MapSpec, cube: Cube) -> NDArray[np.float64]:
    return read_part(folder / sheet.map_file, cube.fine, 0, 0, *cube.fine.shape).astype(np.float64)


def _interpolated(cube: Cube, sector: int, time: int) -> NDArray[np.float64]:
    """The given means, read between block centres in proportion to distance; no mean is kept."""
    known = cube.known()[sector, time]
    means = np.where(known, (cube.totals() / cube.room)[sector, time], 0.0)
    return bilinear(fill_unknown(means[None], known[None])[0], 1, cube.factor)


def _training_quantiles(cube: Cube, sector: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles of interpolated and of true values over the dates learned from."""
    before, after = [], []
    for time in np.flatnonzero(cube.paired()[sector]):
        truth = cube.pair(sector, int(time), 0, 0, *cube.fine.shape) / cube.weights
        there = np.isfinite(truth)
        before.append(_interpolated(cube, sector, int(time))[there])
        after.append(truth[there])
    given, wanted = np.concatenate(before), np.concatenate(after)
    return np.quantile(given, MAPPING_LEVELS), np.quantile(wanted, MAPPING_LEVELS)
