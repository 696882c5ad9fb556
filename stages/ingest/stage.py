"""Source layers -> one aligned, self-describing cube."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.ground.errors import HectareError, HectareErrors, raise_together
from model.ground.grid import Grid, Region
from stages.artifacts import point_table as points
from stages.artifacts.cube import STORE, lay_out
from stages.artifacts.records import PointFileRecord
from stages.artifacts.resume_log import ResumeLog
from stages.contract.body import Preview, StageBody
from stages.declare import fine_fields
from stages.declare import point_sources as facilities
from stages.declare import vector_layers as drawn
from stages.declare.dates import is_pattern
from stages.declare.inputs import Config
from stages.formats import zarr_groups as arrays
from stages.formats.content_hash import files_of
from stages.ingest import coregistration as misplaced
from stages.ingest import coverage
from stages.ingest.align import Sources, align_sources, open_sources
from stages.ingest.fill import Filler, LayerReader, read_stored
from stages.ingest.fine_pairs import put_pairs
from stages.ingest.layer_plan import LayerPlan, cube_record, plan_layers
from stages.ingest.open_sources import amount_of, describe
from stages.ingest.totals import Floats, known_in_some, mass_of_totals, with_enough_cells, with_mass

__all__ = ["BODY", "VERSION", "Config", "check", "run", "sources"]

VERSION = 4
REPORT = "ingest.json"
MAP_BYTES = 3 * 4  # of a fine cell: the map, its overviews and its draft


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint, one for each entry: which layer reads which file matters.

    Files of sequences of dates and of pairs stand once each, however many dates they hold.
    Returns: paths; of a Zarr store or a Shapefile, each file of it.
    """
    entries: list[str] = []
    once: list[str] = []  # members of a sequence, which may name one file many times
    for item in (*config.totals, *config.covariates):
        if not is_pattern(item.path):
            entries.append(item.path)
    for total in config.totals:
        if is_pattern(total.path):
            once += [single.path for single in total.singles()]
    once += [pair.path for pair in config.every_pair]
    if config.valid:
        once.append(config.valid.path)
    files = []
    for path in (*entries, *dict.fromkeys(once)):
        files += files_of(path)
    outline = (config.area.outline,) if config.area and config.area.outline else ()
    return files + drawn.files((*config.vectors, *config.points, *outline))


def check(config: Config) -> Preview:
    """Judges every input, cell by cell, without making anything.

    Returns: sizes of what a run would make.
    Raises: HectareError or HectareErrors (exit 3), all that is wrong in one go.
    """
    found, faults = align_sources(config)
    if found is None:
        raise_together(faults)
    assert found is not None
    fine, plan = found.coarse.refine(found.factor), _possible_plan(config, found, faults)
    if all(source.unit for source in found.totals) and len(found.totals) == len(config.every_total):
        totals = mass_of_totals(config, found)
        faults += fine_fields.contradictions(config, found.fine, fine, found.factor, totals)
        faults += _point_faults(config, found, totals)
        counted = Filler(plan, fine, found.factor, known_in_some(totals)).count()
        faults += coverage.gaps(plan, counted, fine)
        coverage.say(plan, counted)
        reader = LayerReader(plan, fine)

        def last_year(layer: LayerPlan, region: Region) -> Floats:
            return reader.read(layer, region)[-1]

        misplaced.warn(plan, totals, found.coarse, found.factor, last_year)
    raise_together(faults)
    return _preview(config, found, fine, plan)


def _preview(config: Config, found: Sources, fine: Grid, plan: list[LayerPlan]) -> Preview:
    years, sectors, cells = len(config.years), len(config.sectors), fine.rows * fine.cols
    cube = cells * (4 * len(plan) * years + 1)
    field = cells * 8 * sectors * years
    return Preview(
        fine=fine,
        inputs=tuple(map(describe, (*found.totals, *found.covariates))),
        coarse_cells=found.coarse.rows * found.coarse.cols,
        fine_cells=cells,
        factor=found.factor,
        sectors=tuple(config.sectors),
        years=tuple(config.years),
        layers=tuple(layer.name for layer in plan),
        disk_bytes=cube + field + MAP_BYTES * cells * years * (sectors + 1),
    )


def _possible_plan(config: Config, found: Sources, faults: list[HectareError]) -> list[LayerPlan]:
    """The layers that can be made of files without a fault; those are told beside, not once more."""
    if faults:
        vectors = config.vectors if found.drawn else ()
        config = config.model_copy(update={"derived": (), "vectors": vectors})
        found = replace(found, covariates=[one for one in found.covariates if id(one) in found.resampling])
    try:
        return plan_layers(config, found)
    except HectareError as fault:
        faults.append(fault)
        return []


def run(config: Config, *, out: Path) -> None:
    """Makes the cube; goes on with the regions that an earlier attempt left.

    Raises: HectareError or HectareErrors (exit 3) for inputs that do not fit together, all that is wrong in one go.
    """
    found = open_sources(config, folder=out)
    plan = plan_layers(config, found)
    fine = found.coarse.refine(found.factor)
    journal = ResumeLog(out, "ingest")
    store = out / STORE
    if "laid out" not in journal.done:
        shutil.rmtree(store, ignore_errors=True)
        record = cube_record(config, found, plan)
        lay_out(store, found.coarse, found.factor, record, config.sectors, config.years)
        journal.add("laid out")
    arrays.sweep(store)
    group = arrays.open_group(store, "ingest", mode="r+")
    given = mass_of_totals(config, found)
    raise_together(fine_fields.contradictions(config, found.fine, fine, found.factor, given))
    totals = with_enough_cells(config, found, given)
    arrays.array_of(group, config.variable)[...] = totals
    put_pairs(group, config, found)
    settled = _put_points(group, config, found, totals)
    filler = Filler(plan, fine, found.factor, known_in_some(totals), found.fine.valid)
    filler.fill(group, journal)
    counted = _describe_layers(filler, plan, journal, fine)

    def written(layer: LayerPlan, region: Region) -> Floats:
        return read_stored(group, layer, region)

    misplaced.warn(plan, totals, found.coarse, found.factor, written)
    record = cube_record(config, found, plan)
    record = record.with_(
        totals=with_mass(record.totals, config, totals),
        scarce_blocks=int((np.isnan(totals) & np.isfinite(given)).sum()),
        points=settled,
    )
    group.attrs.update(record.to_json())
    arrays.seal(store)
    (out / REPORT).write_text(json.dumps(record.to_json(), indent=1, sort_keys=True) + "\n", "utf-8")
    journal.close()
    coverage.say(plan, counted)


def _describe_layers(
    filler: Filler, plan: list[LayerPlan], journal: ResumeLog, fine: Grid
) -> list[coverage.Tally]:
    """Puts what was counted of every layer into its record.

    Raises: HectareError or HectareErrors (exit 3) for gaps that nobody allowed.
    """
    tallies = filler.tallies(journal)
    counted = [coverage.sum_up(regions.values()) for regions in tallies]
    raise_together(coverage.gaps(plan, counted, fine))
    for layer, regions, tally in zip(plan, tallies, counted, strict=True):
        layer.record = tally.described(layer.record).with_(thumbnail=coverage.thumbnail(regions))
    return counted


def _settled(config: Config, found: Sources, totals: Floats) -> points.PointTable | None:
    """Point sources and what their totals have room for; None when none are declared."""
    unit = amount_of(found.totals[0])
    if not config.points or unit is None:
        return None
    place = (found.coarse, found.factor)
    return facilities.settle_all(config.points, unit, *place, totals, config.sectors, config.years)


def _point_faults(config: Config, found: Sources, totals: Floats) -> list[HectareError]:
    try:
        _settled(config, found, totals)
    except HectareError as fault:
        return [fault]
    except HectareErrors as several:
        return several.faults
    return []


def _put_points(
    group: arrays.Group, config: Config, found: Sources, totals: Floats
) -> tuple[PointFileRecord, ...]:
    """Keeps the point sources in the cube; returns what is told of each file."""
    unit, table = found.totals[0].unit, _settled(config, found, totals)
    if table is None or unit is None:
        return ()
    points.put(group, table, unit.canonical)
    return tuple(table.files)


class IngestBody(StageBody[Config]):
    """First link of the chain: knows the inputs, so it alone begins a preview."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check(self, config: Config, preview: Preview) -> Preview:
        return check(config)

    def layers(self, config: Config) -> tuple[str, ...]:
        return config.layer_names

    def with_every_layer(self) -> tuple[str, ...]:
        return ("exclude=[]",)

    def without(self, config: Config, names: Sequence[str]) -> tuple[str, ...]:
        return () if set(names) == set(config.exclude) else (f"exclude={json.dumps(list(names))}",)

    def years(self, config: Config) -> tuple[int, ...]:
        return config.years


BODY = IngestBody(Config, VERSION, run)
