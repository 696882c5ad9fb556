"""Field to 100 m GeoTIFFs, with the certificate and the report that go with them."""

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from model.conservation.fallback import FallbackLevel
from model.ground.errors import Fix, HectareError, NumberError, ResourceError, UsageError, remake
from stages.artifacts import maps as store
from stages.artifacts import netcdf_maps
from stages.artifacts.applicability import write_applicability
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.artifacts.map_encoding import MapBand
from stages.artifacts.maps import ALL, MapSpec
from stages.artifacts.netcdf_maps import NetcdfRecord
from stages.artifacts.records import ZonalSumsRecord
from stages.contract import progress
from stages.contract.body import Preview, StageBody
from stages.contract.section import Renamed, Section
from stages.declare.zones import ZoneFile, check_zones, open_zones, zone_files
from stages.mosaic.zonal_statistics import as_csv, measure_zones
from stages.report.certificate import CERTIFICATE, LIMIT, book_of, certify, read_map
from stages.report.certificate_record import Certificate
from stages.report.diagnose import contradictions
from stages.report.page import FACTS, FALLBACK_LEVELS, PAGE, gather, render
from stages.report.point_certificate import TABLE as POINTS
from stages.report.preview import write_preview
from stages.report.qgis_style import Legend, block_style, legend, map_style
from stages.report.training_figures import carry_figures

__all__ = ["BODY", "VERSION", "Config", "certify", "contradictions", "render", "run", "sources"]

VERSION = 5

ZONES = "zones.csv"
_DRAFT_BYTES = 4 << 30  # drafts on the disk at once; more maps take another pass over the field


class Config(Section):
    """How maps are written and judged."""

    RENAMED: ClassVar[Mapping[str, Renamed]] = {"quantum": Renamed("scale_factor")}

    limit: PositiveFloat = LIMIT  # relative residual no block may exceed, on the files as written
    scale_factor: PositiveFloat | None = None  # mass of a unit: maps of whole numbers, exact; else float32
    overviews: bool = True  # averaged, so that colours stay true when zoomed out
    page_width: PositiveInt = 2000  # pixels of a picture in the report; larger maps are averaged down
    netcdf: bool = (
        False  # also a CF NetCDF file a sector: given (lr), found (sr), fine fields learned from (truth)
    )
    zones: ZoneFile | None = None  # polygons, or a raster of ids, that totals are told by


def sources(config: Config) -> list[str]:
    """Files whose content enters the fingerprint."""
    return zone_files(config.zones)


def check_place(config: Config, preview: Preview) -> None:
    """Judges the zones before maps are made for hours.

    Raises: HectareError or HectareErrors (exit 3).
    """
    check_zones(config.zones, preview.fine, "mosaic.zones")


def run(config: Config, *, cube: Path, field: Path, out: Path) -> None:
    """Writes every map, measures what was written, and tells it.

    Raises: NumberError (exit 7) naming the worst block when a map does not hold its totals; the map is
      removed, so that the next run makes it anew. ArtifactError (exit 4) when the field has holes.
    """
    opened, estimate = Cube.open(cube), Field.open(field)
    _refuse_sums_of_means(config, opened)
    working = out / ".progress"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    with store.small_gdal_cache():
        write_maps(config, opened, estimate, out, working)
        legends = write_companions(config, opened, estimate, out, working)
    if opened.points is not None:
        _write(out / POINTS, opened.points.as_csv(opened.sectors, opened.years, opened.unit))
    certificate = certify(cube, out, config.limit)
    _insist(certificate, out)
    if config.netcdf:
        certificate = certificate.with_(netcdf=_write_netcdf(config, opened, estimate, out))
    _draw_previews(opened, out, legends)
    zones = _write_zones(config, opened, out)
    _write_json(out / CERTIFICATE, certificate.to_json())
    facts = gather(opened, estimate, legends, config.page_width, zones)
    if (reference := estimate.record.reference) is not None:
        tags = _tags(opened, estimate, store.sheets(opened)[0])
        tags |= {"unit": "1", "sector": ALL, "cell_methods": ""}
        with store.small_gdal_cache():
            note = write_applicability(opened, reference, out, working, tags)
        facts = facts.with_(notes=(*facts.notes, note))
    carry_figures(field, out)
    _write_json(out / FACTS, facts.to_json())
    _write(out / PAGE, render(out))
    shutil.rmtree(working)


def _refuse_sums_of_means(config: Config, cube: Cube) -> None:
    """Raises UsageError (exit 2) for what has no meaning where cells average and do not add up."""
    for key, given in (("scale_factor", config.scale_factor), ("zones", config.zones)):
        if not cube.quantity.adds_up and given is not None:
            raise UsageError(
                f"mosaic.{key}", f"set, but {cube.name} is a mean over the cell", "an amount per cell",
                f"leave `mosaic.{key}` out",
            )  # fmt: skip


def write_maps(config: Config, cube: Cube, field: Field, out: Path, working: Path) -> None:
    """Writes the maps that are not there yet; a finished one from an earlier attempt is kept."""
    every = store.sheets(cube)
    pending = [sheet for sheet in every if not (out / sheet.map_file).exists()]
    size = cube.fine.rows * cube.fine.cols * 4
    _ensure_room(out, min(len(pending) * size, _DRAFT_BYTES) + size)
    group = max(1, _DRAFT_BYTES // size)
    done = len(every) - len(pending)
    for start in range(0, len(pending), group):
        chosen = pending[start : start + group]
        with store.writing(working / "drafts"):
            _fill_drafts(config, cube, field, chosen, working)
        for sheet in progress.track(chosen, "writing maps", len(every), "maps", before=done):
            with store.writing(out / sheet.map_file):
                draft = working / sheet.map_file
                store.publish(draft, out / sheet.map_file, overviews=config.overviews, resampling="AVERAGE")
        done += len(chosen)


def _fill_drafts(config: Config, cube: Cube, field: Field, chosen: list[MapSpec], working: Path) -> None:
    """One pass over the field fills a draft for each map, band by band of whole blocks."""
    totals, known, fallback_levels = cube.totals(), cube.known(), field.fallback_levels()
    books = [book_of(sheet, totals, known, fallback_levels, _scale_factor(config, sheet)) for sheet in chosen]
    factor, cols = cube.factor, cube.fine.cols
    with ExitStack() as stack:
        drafts = []
        for sheet in chosen:
            words = _tags(cube, field, sheet), _title(sheet), sheet.unit
            draft = store.start_draft(
                working / sheet.map_file, cube.fine, *words, _scale_factor(config, sheet)
            )
            drafts.append(stack.enter_context(draft))
        windows = store.bands(cube.coarse, factor)
        for row, count in progress.track(windows, "filling maps", len(windows), "bands"):
            mass = field.mass(row * factor, 0, count * factor, cols)
            valid = cube.valid(row * factor, 0, count * factor, cols)
            for sheet, book, draft in zip(chosen, books, drafts, strict=True):
                rows, members = slice(row, row + count), list(sheet.members)
                outside = fallback_levels[members, sheet.time, rows] == FallbackLevel.OUTSIDE
                counted = slice(row * factor, (row + count) * factor)
                weights = None if cube.quantity.adds_up else cube.weights[counted]
                here, strip = (
                    sheet.weigh(mass[members, sheet.time]),
                    MapBand(sheet, row, valid, book.placed[rows], weights),
                )
                due = np.where(outside, 0.0, sheet.weigh(totals[members, sheet.time, rows]))
                stored = strip.stored(here, due, outside, _scale_factor(config, sheet))
                store.write_band(draft, row * factor, stored)


def _scale_factor(config: Config, sheet: MapSpec) -> float | None:
    """Maps of emission have another unit, so they hold float32."""
    return None if sheet.is_emission else config.scale_factor


def write_companions(config: Config, cube: Cube, field: Field, out: Path, working: Path) -> dict[str, Legend]:
    """Writes the block file and the styles beside each map, from what the map holds; returns the legends."""
    legends = {}
    meaning = ", ".join(f"{int(level)} {words}" for level, (words, _) in FALLBACK_LEVELS.items())
    totals, known, fallback_levels = cube.totals(), cube.known(), field.fallback_levels()
    every = store.sheets(cube)
    for sheet in progress.track(every, "measuring maps", len(every), "maps"):
        book = book_of(sheet, totals, known, fallback_levels, _scale_factor(config, sheet))
        reading = read_map(out / sheet.map_file, cube)
        relative = np.where(book.placed, book.relative_residual(reading.sums), np.nan)
        words = cube.quantity.block_labels
        columns = [
            (words[0], sheet.unit, np.where(book.known, book.given / cube.room, np.nan)),
            (words[1], sheet.unit, np.where(book.known, reading.sums / cube.room, np.nan)),
            ("relative residual", "1", relative),
        ]
        if not sheet.is_sum:
            columns.append(
                ("fallback level", "1", fallback_levels[sheet.members[0], sheet.time].astype(np.float64))
            )
        if cube.points is not None:
            at_points = sheet.weigh(cube.point_mass[list(sheet.members), sheet.time]).sum(axis=0)
            columns.append(("of it at points", sheet.unit, np.where(book.known, at_points, np.nan)))
        draft = working / sheet.blocks_file
        with store.writing(out / sheet.blocks_file):
            store.write_blocks(
                draft, cube.coarse, _tags(cube, field, sheet) | {"fallback_levels": meaning}, columns
            )
            store.publish(draft, out / sheet.blocks_file, overviews=config.overviews, resampling="NEAREST")
        legends[sheet.stem] = legend(reading, sheet.unit)
        _write(out / f"{sheet.stem}.qml", map_style(legends[sheet.stem]))
        _write(out / f"{sheet.stem}_blocks.qml", block_style(config.limit))
    return legends


def _draw_previews(cube: Cube, out: Path, legends: dict[str, Legend]) -> None:
    """One picture beside each map, given and found, for those who have no GIS at hand."""
    for sheet in store.sheets(cube):
        with store.writing(out / f"{sheet.stem}.png"):
            write_preview(out / f"{sheet.stem}.png", _title(sheet), cube, sheet, out, legends[sheet.stem])


def _title(sheet: MapSpec) -> str:
    sector = "all sectors" if sheet.is_sum else sheet.sector
    return f"{sheet.long_name}, {sector}, {sheet.year} [{sheet.unit}]"


def _tags(cube: Cube, field: Field, sheet: MapSpec) -> dict[str, str]:
    """What a map says of itself, wherever it is carried."""
    record = cube.record
    licences = [given.licence for given in record.totals]
    licences += [given.licence for given in record.layers]
    licences += [given.licence for given in record.points]
    names = [given.source for given in record.totals] + [given.source for given in record.points]
    names += [file.source for layer in record.layers for file in layer.files]
    return {
        "variable": sheet.name, "long_name": sheet.long_name, "sector": sheet.sector, "year": str(sheet.year),
        "unit": sheet.unit, "cell_methods": f"area: {cube.quantity.cell_method}",
        "method": field.record.method,
        "law": field.record.law, "source": _joined(names),
        "licence": _joined(licences),
        "attribution": cube.attribution,
        **({"factors": _joined(map(repr, sheet.factors)), "factors_of": cube.name} if sheet.factors else {}),
    }  # fmt: skip


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _write_zones(config: Config, cube: Cube, out: Path) -> ZonalSumsRecord | None:
    """Writes the table of totals by zone, from the files as written; None when none are asked for."""
    if config.zones is None:
        return None
    with store.small_gdal_cache():
        sums = measure_zones(cube, open_zones(config.zones, cube.fine), out)
    _write(out / ZONES, as_csv(sums))
    return sums


def _write_netcdf(config: Config, cube: Cube, field: Field, out: Path) -> tuple[NetcdfRecord, ...]:
    """One file a sector, measured again as it was written.

    Raises: NumberError (exit 7) when a file does not hold what was given; it is removed.
    """
    _ensure_room(out, netcdf_maps.bytes_needed(cube))
    told = []
    every = [sheet for sheet in store.sheets(cube) if not (sheet.is_sum or sheet.is_emission)]
    for sector in range(len(cube.sectors)):
        sheets = [sheet for sheet in every if sheet.members == (sector,)]
        tags = _tags(cube, field, sheets[0])
        kept = {
            key: tags[key]
            for key in ("method", "law", "source", "licence", "attribution", "sector")
            if tags[key]
        }
        words = {"title": f"{cube.long_name}, downscaled by {cube.factor}", **kept}
        path = netcdf_maps.write_netcdf(cube, sector, sheets, out, words)
        record = netcdf_maps.measure_netcdf(cube, sector, out, config.limit)
        if not record.passed:
            path.unlink()
            raise NumberError(
                f"{path.name}, {record.date}",
                f"a block {record.worst_relative_residual:.3g} off what was given",
                f"at most {config.limit:g}",
                "run again: the file was removed and will be made anew",
            )
        told.append(record)
    return tuple(told)


def _insist(certificate: Certificate, out: Path) -> None:
    """Raises what the certificate found, worst first, and removes the maps that failed.

    Raises: NumberError (exit 7).
    """
    failed = [single for single in certificate.maps if not single.passed]
    if not failed:
        _insist_on_points(certificate, out)
        _insist_on_emission(certificate, out)
        return
    for single in failed:
        (out / single.file).unlink()
    single = max(failed, key=lambda one: abs(one.worst.relative_residual))
    worst = single.worst
    raise NumberError(
        f"{single.file}, block row {worst.row}, column {worst.col} (x {worst.x:.10g}, y {worst.y:.10g})",
        f"{worst.placed!r} {single.unit} stored of {worst.given!r}, relative residual "
        f"{worst.relative_residual:.3g}; {single.holes} holes, {single.negative_blocks} blocks below zero",
        f"at most {certificate.limit:g} in every block, no hole, nothing below zero",
        Fix(("run infer --force",), "run again: the map was removed and will be made anew; if it stays, {}"),
    )


def _insist_on_points(certificate: Certificate, out: Path) -> None:
    """Raises NumberError (exit 7) where a map holds less in a cell than the points that stand in it."""
    for single in certificate.points.maps if certificate.points else ():
        if single.short:
            (out / single.file).unlink()
            raise NumberError(
                single.file,
                f"{single.short} cells hold less than the point sources in them",
                "every point source at its place",
                remake("infer"),
            )


def _insist_on_emission(certificate: Certificate, out: Path) -> None:
    """Raises NumberError (exit 7) where a map of an emission is not its factor times the activity."""
    for single in certificate.emission.compared if certificate.emission else ():
        if not single.passed:
            (out / single.file).unlink()
            differs = f"the activity times the factor differs by {single.relative_difference:.3g}"
            raise NumberError(
                single.file,
                f"{single.emission!r} stored, {differs}",
                "the activity times its factor",
                "run again",
            )


def _ensure_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ResourceError(
            str(out.name), f"{free} bytes free", f"about {needed} bytes for maps and their drafts",
            "free some space, or move the workspace with --workspace DIR",
        )  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    _write(path, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class MosaicBody(StageBody[Config]):
    """Last link of the chain: its maps carry a certificate and a page."""

    def sources(self, config: Config) -> list[str]:
        return sources(config)

    def check_place(self, config: Config, preview: Preview) -> None:
        check_place(config, preview)

    def certify(self, cube: Path, artifact: Path) -> bool:
        return bool(certify(cube, artifact).passed)

    def contradictions(self, cube: Path, artifact: Path) -> list[HectareError]:
        return contradictions(cube, artifact)

    def render(self, artifact: Path) -> str:
        return render(artifact)


BODY = MosaicBody(Config, VERSION, run)
