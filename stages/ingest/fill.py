"""Fills the layers of a cube region by region: one chunk, one writer, any order, again after a crash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import spread
from model.ground.grid import Grid, Region, regions_of
from stages.artifacts.resume_log import ResumeLog
from stages.contract.execution import spread_runs, workers
from stages.contract.progress import step, track
from stages.declare import derived_layers as derived
from stages.declare.fine_fields import FineField
from stages.formats import zarr_groups as arrays
from stages.ingest import coverage
from stages.ingest.coverage import Tally
from stages.ingest.layer_plan import LayerPlan
from stages.regrid.dispatch import bring

Floats = NDArray[np.float64]
RUNS = 4  # for each thread; a thread that is done takes the next


class LayerReader:
    """Reads the layers of a plan on any region of the fine grid, beyond the map too."""

    def __init__(self, plan: Sequence[LayerPlan], fine: Grid) -> None:
        self._fine = fine
        self._by_name = {layer.name: layer for layer in plan}

    def read(self, layer: LayerPlan, region: Region, made: Mapping[str, Floats] | None = None) -> Floats:
        """Values of one layer, before its gaps are filled.

        Args: made: layers of this very region by name, with their gaps filled; others are read where needed.
        Returns: (years or 1, rows, cols); NaN where the layer has no value.
        """

        def part(name: str, there: Region) -> Floats:
            if made is not None and there == region and name in made:
                return made[name]
            return with_fill(self._by_name[name], self.read(self._by_name[name], there))

        if layer.derived is not None:
            return derived.compute(layer.derived, self._fine, region, part)
        if layer.drawn is not None:
            return layer.drawn.read(self._fine, region)[None]
        kind = "class" if layer.code is not None else layer.record.kind
        years = [bring(source.raster, self._fine, region, kind, layer.code) for source in layer.by_year]
        return years[0][None] if len(years) == 1 else np.stack(years)


def with_fill(layer: LayerPlan, values: Floats) -> Floats:
    """With the declared number where a layer has none; unchanged when none was declared."""
    fill = layer.record.fill
    return values if fill is None else np.where(np.isnan(values), fill, values)


@dataclass(frozen=True)
class RegionValues:
    """What was read of all layers on one region.

    Attributes:
      layers: (years or 1, rows, cols) by name.
      valid: (rows, cols) True = every layer has a value.
      tallies: what each layer covers, in the order of the plan.
    """

    layers: dict[str, Floats]
    valid: NDArray[np.bool_]
    tallies: list[Tally]


class Filler:
    """Brings the layers of a plan onto the fine grid, one chunk of the cube at a time.

    Why threads change no byte: a region is one chunk of each layer, and depends on nothing another thread writes.
    """

    def __init__(
        self,
        plan: Sequence[LayerPlan],
        fine: Grid,
        factor: int,
        known: NDArray[np.bool_],
        usable: FineField | None = None,
    ) -> None:
        """
        Args:
          known: (h, w) True = the coarse cell has a total in some sector and year.
          usable: finite in the fine cells that may have a result; None: all may.
        """
        self._plan, self._fine, self._factor = plan, fine, factor
        self._known, self._usable = known, usable
        self._reader = LayerReader(plan, fine)

    @property
    def regions(self) -> list[Region]:
        """One chunk of the cube each: one chunk, one writer."""
        return regions_of(self._fine.shape, arrays.CHUNK)

    def count(self) -> list[Tally]:
        """What each layer covers, read once without being kept.

        Returns: a tally over the whole map for each layer, in the order of the plan.
        Raises: InputError (exit 3) when a file is damaged.
        """
        regions = self.regions if self._plan else []
        counted = [Tally() for _ in self._plan]
        for region in track(regions, "looking for gaps", len(regions), "regions"):
            for index, tally in enumerate(self._read(region).tallies):
                counted[index] += tally
        return counted

    def fill(self, group: arrays.Group, journal: ResumeLog) -> None:
        """Writes every region that the journal does not name, and notes there what was counted of it.

        Args: group: the cube, laid out; journal: of an attempt that may have been cut off.
        Raises: InputError (exit 3) when a file is damaged; what was written before stays.
        """
        regions = self.regions
        todo = [region for region in regions if _key(region) not in journal.done]
        before = len(regions) - len(todo)
        names = ("valid", *(layer.name for layer in self._plan))
        stored = {name: arrays.array_of(group, name) for name in names}
        threads = workers()
        filled = spread_runs(lambda region: self._write(stored, region), _runs(todo, threads), threads)
        for done, (region, counted) in enumerate(filled, start=before + 1):
            journal.add(_key(region), [tally.to_json() for tally in counted])
            step("filling the cube", done, len(regions), "regions", before=before)

    def tallies(self, journal: ResumeLog) -> list[dict[tuple[int, int], Tally]]:
        """For each layer, what the journal says was counted of it, by (row, col) of the region.

        Regions stand in their order on the map, whichever was finished first: sums of floats depend on it.
        """
        found: list[dict[tuple[int, int], Tally]] = [{} for _ in self._plan]
        for region in self.regions:
            for tallies, plain in zip(found, journal.done[_key(region)], strict=True):
                tallies[region.row, region.col] = Tally.from_json(plain)
        return found

    def _write(self, stored: Mapping[str, arrays.Array], region: Region) -> list[Tally]:
        found = self._read(region)
        valid = found.valid
        if self._usable is not None:
            valid = valid & np.isfinite(self._usable.read(*region))
        for layer in self._plan:
            array, own = stored[layer.name], found.layers[layer.name]
            if array.ndim == 2:
                arrays.write_region(array, region.slices, own[0])
            else:
                arrays.write_region(array, (slice(None), *region.slices), own)
        arrays.write_region(stored["valid"], region.slices, valid.astype(np.uint8))
        return found.tallies

    def _read(self, region: Region) -> RegionValues:
        wanted = _under_totals(self._known, self._factor, region)
        found = RegionValues({}, np.ones(region.shape, bool), [])
        pixel = coverage.thumb_step(self._fine, arrays.CHUNK)
        for layer in self._plan:
            own = self._reader.read(layer, region, found.layers)
            lacking = np.asarray(np.isnan(own).any(axis=0))
            is_filled = layer.record.fill is not None
            own = with_fill(layer, own)
            found.layers[layer.name] = own
            there = ~lacking | is_filled
            np.logical_and(found.valid, there, out=found.valid)
            found.tallies.append(coverage.tally(own, wanted, there, lacking & is_filled, region, pixel))
        return found


def read_stored(group: arrays.Group, layer: LayerPlan, region: Region) -> Floats:
    """(rows, cols) of a layer of the cube as written, of its last year.

    Raises: ArtifactError (exit 4) when the cube is damaged.
    """
    stored = arrays.array_of(group, layer.name)
    place = region.slices if stored.ndim == 2 else (-1, *region.slices)
    return arrays.read_region(stored, place, "ingest").astype(np.float64)


def _runs(regions: list[Region], threads: int) -> list[list[Region]]:
    """Regions by bands of rows, a few bands for each thread: what a band reads of a source it reads once."""
    rows = sorted({region.row for region in regions})
    height = -(-len(rows) // (RUNS * threads))
    runs: dict[int, list[Region]] = {}
    for region in regions:
        runs.setdefault(rows.index(region.row) // height, []).append(region)
    return list(runs.values())


def _key(region: Region) -> str:
    return f"{region.row},{region.col}"


def _under_totals(known: NDArray[np.bool_], factor: int, region: Region) -> NDArray[np.bool_]:
    """Fine cells of a region whose coarse cell has a known total in some sector and year."""
    row, col, rows, cols = region
    top, left = row // factor, col // factor
    part = known[top : (row + rows - 1) // factor + 1, left : (col + cols - 1) // factor + 1]
    cells = spread(part, factor)
    return cells[row - top * factor :, col - left * factor :][:rows, :cols]
