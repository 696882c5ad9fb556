"""Source layers -> one aligned, self-describing cube."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground import time_steps as when
from model.ground.errors import Fault, Faults, InputFault, raise_all
from model.ground.grid import Grid
from model.ground.scene import merge
from stages.artifacts import point_table as points
from stages.artifacts.cube import DEGREES, PAIRS, STORE, lay_out
from stages.artifacts.records import PointFileRecord, TotalRecord
from stages.artifacts.resume_log import Journal
from stages.contract.body import Preview, StageBody
from stages.contract.execution import spread_runs, workers
from stages.contract.progress import step, tell, track
from stages.declare import derived_layers as derived
from stages.declare import fine_fields
from stages.declare import point_sources as facilities
from stages.declare import vector_layers as drawn
from stages.declare.dates import is_pattern
from stages.declare.extent import within
from stages.declare.inputs import Config, Total
from stages.formats import zarr_groups as arrays
from stages.formats.content_hash import files_of
from stages.ingest import coregistration as misplaced
from stages.ingest import coverage
from stages.ingest.align import Sources, judge, open_sources
from stages.ingest.coverage import Tally
from stages.ingest.layer_plan import LayerPlan, cube_record, plan_layers
from stages.ingest.open_sources import amount_of, describe
from stages.regrid.dispatch import bring

__all__ = ["BODY", "VERSION", "Config", "check", "run", "sources"]

VERSION = 4
REPORT = "ingest.json"
Region = tuple[int, int, int, int]  # row, col, rows, cols in fine cells


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint, one for each entry: which layer reads which file matters."""
    outline = (config.area.outline,) if config.area and config.area.outline else ()
    shapes = drawn.files((*config.vectors, *config.points, *outline))
    entries = [item.path for item in (*config.totals, *config.covariates) if not is_pattern(item.path)]
    sequences = [item.path for total in config.totals if is_pattern(total.path) for item in total.singles()]
    pairs = [item.path for item in config.every_pair]
    valid = [config.valid.path] if config.valid else []
    named = [*entries, *dict.fromkeys((*sequences, *pairs, *valid))]
    return [*(file for path in named for file in files_of(path)), *shapes]


def check(config: Config) -> Preview:
    """Judges every input, cell by cell, without making anything.

    Returns: sizes of what a run would make.
    Raises: Fault or Faults (exit 3), all that is wrong in one go.
    """
    found, faults = judge(config)
    if found is None:
        raise_all(faults)
    assert found is not None
    fine, plan = found.coarse.refine(found.factor), _possible_plan(config, found, faults)
    if all(source.unit for source in found.totals) and len(found.totals) == len(config.every_total):
        totals = _totals(config, found)
        faults += fine_fields.contradictions(config, found.fine, fine, found.factor, totals)
        faults += _point_faults(config, found, totals)
        counted = _count(plan, fine, _known(totals), found.factor)
        faults += coverage.gaps(plan, counted, fine)
        coverage.say(plan, counted)
        by_name = {layer.name: layer for layer in plan}
        misplaced.warn(
            plan,
            totals,
            found.coarse,
            found.factor,
            lambda layer, region: _layer_values(layer, fine, region, {}, by_name)[-1],
        )
    raise_all(faults)
    layers, cells = len(plan), fine.rows * fine.cols
    maps = cells * len(config.years) * (len(config.sectors) + 1)
    cube = cells * (4 * layers * len(config.years) + 1)
    field = cells * 8 * len(config.sectors) * len(config.years)
    return Preview(
        fine=fine,
        inputs=tuple(describe(source) for source in (*found.totals, *found.covariates)),
        coarse_cells=found.coarse.rows * found.coarse.cols,
        fine_cells=cells,
        factor=found.factor,
        sectors=tuple(config.sectors),
        years=tuple(config.years),
        layers=tuple(layer.name for layer in plan),
        disk_bytes=cube + field + 3 * 4 * maps,  # maps, their overviews and drafts
    )


def _possible_plan(config: Config, found: Sources, faults: list[Fault]) -> list[LayerPlan]:
    """The layers that can be made of files without a fault; those are told beside, not once more."""
    if faults:
        config = config.model_copy(
            update={"derived": (), "vectors": () if not found.drawn else config.vectors}
        )
        found = replace(found, covariates=[one for one in found.covariates if id(one) in found.resampling])
    try:
        return plan_layers(config, found)
    except Fault as fault:
        faults.append(fault)
        return []


def _count(plan: list[LayerPlan], fine: Grid, known: NDArray[np.bool_], factor: int) -> list[Tally]:
    """What each layer covers, read once without being kept."""
    regions = _regions(fine) if plan else []
    told = [
        _read_region(plan, fine, known, factor, region)[2]
        for region in track(regions, "looking for gaps", len(regions), "regions")
    ]
    return [coverage.sum_up([tallies[index] for tallies in told]) for index in range(len(plan))]


def run(config: Config, *, out: Path) -> None:
    """Makes the cube; goes on with the regions that an earlier attempt left."""
    found = open_sources(config, folder=out)
    plan = plan_layers(config, found)
    fine = found.coarse.refine(found.factor)
    journal = Journal(out, "ingest")
    store = out / STORE
    if "laid out" not in journal.done:
        shutil.rmtree(store, ignore_errors=True)
        lay_out(
            store, found.coarse, found.factor, cube_record(config, found, plan), config.sectors, config.years
        )
        journal.add("laid out")
    arrays.sweep(store)
    group = arrays.open_group(store, "ingest", mode="r+")
    totals = _totals(config, found)
    raise_all(fine_fields.contradictions(config, found.fine, fine, found.factor, totals))
    totals = _with_enough_cells(config, found, totals)
    arrays.array_of(group, config.variable)[...] = totals
    _put_pairs(group, config, found, fine)
    settled = _put_points(group, config, found, totals)
    _fill(group, plan, fine, _known(totals), found, journal)
    tallies = _tallies(journal, fine, len(plan))
    counted = [coverage.sum_up(regions.values()) for regions in tallies]
    raise_all(coverage.gaps(plan, counted, fine))
    for layer, regions, tally in zip(plan, tallies, counted, strict=True):
        layer.record = tally.described(layer.record).with_(thumbnail=coverage.thumbnail(regions))
    misplaced.warn(
        plan, totals, found.coarse, found.factor, lambda layer, region: _stored(group, layer, region)
    )
    record = cube_record(config, found, plan).with_(
        totals=_with_mass(config, found, plan, totals),
        scarce_blocks=int((np.isnan(totals) & np.isfinite(_totals(config, found))).sum()),
        points=settled,
    )
    group.attrs.update(record.to_json())
    arrays.seal(store)
    (out / REPORT).write_text(json.dumps(record.to_json(), indent=1, sort_keys=True) + "\n", "utf-8")
    journal.close()
    coverage.say(plan, counted)


def _tallies(journal: Journal, fine: Grid, layers: int) -> list[dict[tuple[int, int], Tally]]:
    """For each layer, what was counted of it by (row, col) of the region."""
    out: list[dict[tuple[int, int], Tally]] = [{} for _ in range(layers)]
    for region in _regions(fine):
        for regions, plain in zip(out, journal.done[_key(region)], strict=True):
            regions[region[:2]] = Tally.from_json(plain)
    return out


def _with_mass(
    config: Config, found: Sources, plan: list[LayerPlan], totals: NDArray[np.float64]
) -> tuple[TotalRecord, ...]:
    """The records of the totals with the mass that stands on the map."""
    records = []
    for total in cube_record(config, found, plan).totals:
        place = config.sectors.index(total.sector), config.years.index(total.year)
        records.append(total.with_(mass=float(np.nansum(totals[place]))))
    return tuple(records)


def _totals(config: Config, found: Sources) -> NDArray[np.float64]:
    """(sectors, years, h, w) mass in the canonical unit; NaN where not known."""
    area = found.coarse.cell_areas()
    out = np.empty((len(config.sectors), len(config.years), *found.coarse.shape))
    dates = {label: place for place, label in enumerate(config.years)}
    for source in found.totals:
        item, unit = source.declared, source.unit
        assert isinstance(item, Total) and unit is not None and item.year is not None
        values = source.raster.read(found.clipped.row, found.clipped.col, *found.coarse.shape)
        if not when.is_year(item.year):
            source.raster.close()
        if item.missing == "zero":
            values = np.where(np.isnan(values), 0.0, values)
        values = within(found.clipped, values)
        mass = unit.to_mass(values, area)
        out[config.sectors.index(item.sector), dates[item.year]] = mass
    return out


def _with_enough_cells(config: Config, found: Sources, totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the means of blocks in which too few fine cells are valid: those are not known.

    Raises: InputFault (exit 3) when no block has enough.
    """
    if found.fine.valid is None:
        return totals
    fine = found.coarse.refine(found.factor)
    inside = np.isfinite(found.fine.valid.read(0, 0, *fine.shape))
    share = merge(inside.astype(np.float64), found.factor) / found.factor**2
    scarce = share < config.least_valid
    lost = int((scarce & _known(totals)).sum())
    if lost and not (~scarce & _known(totals)).any():
        raise InputFault(
            found.fine.valid.where, f"at most {share.max():.1%} of the cells of a block are valid",
            f"at least {config.least_valid:.1%} in some block", "lower `ingest.least_valid`, or correct the field",
        )  # fmt: skip
    if lost:
        rule = f"fewer than {config.least_valid:.1%} of their cells are valid"
        tell(
            f"{lost} blocks have a mean that stands for nothing, as {rule}; they are left without one",
            warning=True,
        )
    return np.where(scarce, np.nan, totals)


def _put_pairs(group: arrays.Group, config: Config, found: Sources, fine: Grid) -> None:
    """Keeps the fine fields in the cube, NaN on dates that have none, and the place of cells where it is their own."""
    pairs = found.fine.pairs
    for name in (PAIRS, *DEGREES):
        if name in group:  # an attempt was cut off; these are quick to make again
            del group[name]
    if pairs:
        shape = (len(config.sectors), len(config.years), *fine.shape)
        chunks = (1, 1, min(arrays.CHUNK, fine.rows), min(arrays.CHUNK, fine.cols))
        words = {
            "long_name": "fine field to learn from",
            "grid_mapping": arrays.MAPPING,
            "cell_methods": "area: mean",
        }
        stored = arrays.layout(
            group, PAIRS, shape, ("sector", "time", "y", "x"), "float32", words, chunks=chunks, fill=np.nan
        )
        sectors, dates = config.sectors, {label: place for place, label in enumerate(config.years)}
        for (sector, label), pair in track(pairs.items(), "keeping pairs", len(pairs), "fields"):
            stored[sectors.index(sector), dates[label]] = pair.values(0, 0, *fine.shape).astype(np.float32)
            pair.raster.close()
    for field in (*([found.fine.valid] if found.fine.valid else []), *pairs.values()):
        if (degrees := getattr(field.raster, "degrees", None)) is not None:
            part = (slice(field.row, field.row + fine.rows), slice(field.col, field.col + fine.cols))
            for name, values, unit in zip(DEGREES, degrees, ("degrees_east", "degrees_north"), strict=True):
                words = {"standard_name": name, "units": unit}
                arrays.put(group, name, values[part].astype(np.float64), ("y", "x"), words)
            break


def _settled(config: Config, found: Sources, totals: NDArray[np.float64]) -> points.PointTable | None:
    """Point sources and what their totals have room for; None when none are declared."""
    unit = amount_of(found.totals[0])
    if not config.points or unit is None:
        return None
    place = (found.coarse, found.factor)
    return facilities.settle_all(config.points, unit, *place, totals, config.sectors, config.years)


def _point_faults(config: Config, found: Sources, totals: NDArray[np.float64]) -> list[Fault]:
    try:
        _settled(config, found, totals)
    except Fault as fault:
        return [fault]
    except Faults as several:
        return several.faults
    return []


def _put_points(
    group: arrays.Group, config: Config, found: Sources, totals: NDArray[np.float64]
) -> tuple[PointFileRecord, ...]:
    """Keeps the point sources in the cube; returns what is told of each file."""
    unit, table = found.totals[0].unit, _settled(config, found, totals)
    if table is None or unit is None:
        return ()
    points.put(group, table, unit.canonical)
    return tuple(table.files)


def _known(totals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(h, w) True = the total is known in some sector and year."""
    return np.asarray(np.isfinite(totals).any(axis=(0, 1)))


def _regions(fine: Grid) -> list[Region]:
    """One chunk of the cube each: one chunk, one writer."""
    return [
        (row, col, min(arrays.CHUNK, fine.rows - row), min(arrays.CHUNK, fine.cols - col))
        for row in range(0, fine.rows, arrays.CHUNK)
        for col in range(0, fine.cols, arrays.CHUNK)
    ]


def _runs(regions: list[Region], threads: int) -> list[list[Region]]:
    """Regions by bands of rows, a few bands for each thread: what a band reads of a source it reads once."""
    rows = sorted({row for row, *_ in regions})
    height = -(-len(rows) // (4 * threads))
    band = {row: index // height for index, row in enumerate(rows)}
    runs: dict[int, list[Region]] = {}
    for region in regions:
        runs.setdefault(band[region[0]], []).append(region)
    return list(runs.values())


def _key(region: Region) -> str:
    return f"{region[0]},{region[1]}"


def _fill(
    group: arrays.Group,
    plan: list[LayerPlan],
    fine: Grid,
    known: NDArray[np.bool_],
    found: Sources,
    journal: Journal,
) -> None:
    regions = _regions(fine)
    before = sum(_key(region) in journal.done for region in regions)
    todo = [region for region in regions if _key(region) not in journal.done]
    stored = {name: arrays.array_of(group, name) for name in ("valid", *(layer.name for layer in plan))}
    # Why it changes no byte: a region is one chunk of each layer, and depends on nothing another thread writes.
    threads = workers()
    filled = spread_runs(
        lambda region: _fill_region(stored, plan, fine, known, found, region), _runs(todo, threads), threads
    )
    for done, (region, counted) in enumerate(filled, start=before + 1):
        journal.add(_key(region), [tally.to_json() for tally in counted])
        step("filling the cube", done, len(regions), "regions", before=before)


def _stored(group: arrays.Group, layer: LayerPlan, region: Region) -> NDArray[np.float64]:
    """(rows, cols) of a layer as written, of its last year."""
    row, col, rows, cols = region
    place = (slice(row, row + rows), slice(col, col + cols))
    stored = arrays.array_of(group, layer.name)
    values = arrays.read_region(stored, place if stored.ndim == 2 else (-1, *place), "ingest")
    return values.astype(np.float64)


def _fill_region(
    stored: dict[str, arrays.Array],
    plan: list[LayerPlan],
    fine: Grid,
    known: NDArray[np.bool_],
    found: Sources,
    region: Region,
) -> list[Tally]:
    row, col, rows, cols = region
    place = (slice(row, row + rows), slice(col, col + cols))
    values, valid, tallies = _read_region(plan, fine, known, found.factor, region)
    if found.fine.valid is not None:
        valid &= np.isfinite(found.fine.valid.read(*region))
    for layer in plan:
        array, own = stored[layer.name], values[layer.name]
        static = array.ndim == 2
        arrays.write_region(array, place if static else (slice(None), *place), own[0] if static else own)
    arrays.write_region(stored["valid"], place, valid.astype(np.uint8))
    return tallies


def _read_region(
    plan: list[LayerPlan], fine: Grid, known: NDArray[np.bool_], factor: int, region: Region
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_], list[Tally]]:
    """Every layer on one region: values by name, where all have one, and what each covers."""
    row, col, rows, cols = region
    wanted = _fine_cells(known, factor, region)
    valid = np.ones((rows, cols), bool)
    values: dict[str, NDArray[np.float64]] = {}
    tallies, step = [], coverage.thumb_step(fine, arrays.CHUNK)
    by_name = {layer.name: layer for layer in plan}
    for layer in plan:
        own = _layer_values(layer, fine, region, values, by_name)
        lacking = np.asarray(np.isnan(own).any(axis=0))
        is_filled = layer.record.fill is not None
        values[layer.name] = _filled(layer, own)
        there = ~lacking | is_filled
        valid &= there
        tallies.append(coverage.tally(values[layer.name], wanted, there, lacking & is_filled, row, col, step))
    return values, valid, tallies


def _layer_values(
    layer: LayerPlan,
    fine: Grid,
    region: Region,
    made: dict[str, NDArray[np.float64]],
    by_name: dict[str, LayerPlan],
) -> NDArray[np.float64]:
    """(years or 1, rows, cols) of one layer on one region; made: layers of this very region by name."""

    def part(name: str, there: Region) -> NDArray[np.float64]:
        if there == region and name in made:
            return made[name]
        return _filled(by_name[name], _layer_values(by_name[name], fine, there, {}, by_name))

    if layer.derived is not None:
        return derived.compute(layer.derived, fine, region, part)
    if layer.drawn is not None:
        return layer.drawn.read(fine, region)[None]
    kind = "class" if layer.code is not None else layer.record.kind
    years = [bring(source.raster, fine, region, kind, layer.code) for source in layer.by_year]
    return years[0][None] if len(years) == 1 else np.stack(years)


def _filled(layer: LayerPlan, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """With the declared number where a layer has none; unchanged when none was declared."""
    fill = layer.record.fill
    return values if fill is None else np.where(np.isnan(values), fill, values)


def _fine_cells(known: NDArray[np.bool_], factor: int, region: Region) -> NDArray[np.bool_]:
    """Fine cells of a region whose coarse cell has a known total in some sector and year."""
    row, col, rows, cols = region
    top, left = row // factor, col // factor
    part = known[top : (row + rows - 1) // factor + 1, left : (col + cols - 1) // factor + 1]
    cells = np.repeat(np.repeat(part, factor, axis=1), factor, axis=0)
    return cells[row - top * factor :, col - left * factor :][:rows, :cols]


class IngestBody(StageBody[Config]):
    """First link of the chain: knows the inputs, so it alone begins a preview."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check(self, config: Config, preview: Preview) -> Preview:
        return check(config)


BODY = IngestBody(Config, VERSION, run)
