"""The report: every fact a reader of the maps needs, kept as JSON, and the page that tells it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from pyproj import CRS

from model.conservation.fallback import FallbackLevel
from model.ground import time_steps as when
from model.ground.errors import ArtifactError, remake
from model.ground.grid import Grid
from model.ground.quantity import QUANTITIES
from stages.artifacts import maps as store
from stages.artifacts.cube import Cube
from stages.artifacts.field import Field
from stages.artifacts.records import Record, ZonalSumsRecord
from stages.report.certificate import CERTIFICATE
from stages.report.certificate_record import Certificate, MapRecord
from stages.report.figures import MapFigures, draw, ground
from stages.report.notes import notes_of
from stages.report.qgis_style import Legend, amount, number
from stages.report.report_record import (
    DrawnMapRecord,
    FallbackShare,
    FallbackSharesRecord,
    PlaceRecord,
    ReportRecord,
)
from stages.report.training_figures import environment, read_figures

FACTS, PAGE = "report.json", "report.html"
FALLBACK_LEVELS = {
    FallbackLevel.NOTHING: ("nothing to place", "the total is zero"),
    FallbackLevel.MODEL: ("method", "where the method saw sources"),
    FallbackLevel.PROXY: ("proxy", "by a plain proxy, because the method saw nothing in the block"),
    FallbackLevel.LAND: (
        "valid land",
        "evenly over valid cells, because neither method nor proxy saw anything",
    ),
    FallbackLevel.UNIFORM: ("whole block", "evenly over the whole block, because no cell of it is valid"),
    FallbackLevel.SINK: ("sink", "a negative total, spread evenly"),
    FallbackLevel.POINT: ("point sources", "by point sources alone, which took the whole total"),
    FallbackLevel.OUTSIDE: ("outside", "the total is unknown: left without a value, not set to zero"),
}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ZONES_SHOWN = 40  # the table beside the maps has every zone
_SHOWN = 8  # maps drawn on the page; more would make it too heavy to open


@dataclass(frozen=True)
class MapSection:
    """One map as the page draws it.

    Attributes:
      map: what the certificate says of it.
    """

    title: str
    year: int
    map: MapRecord
    figures: MapFigures


@dataclass(frozen=True)
class ZoneRow:
    """What lies in one zone: mass by sector, in the order of the columns."""

    name: str
    mass: tuple[float, ...]


@dataclass(frozen=True)
class ZoneTable:
    """The heaviest zones of one year and variable, the rest of the map, and all of it.

    Attributes:
      rule: how cells that a border cuts are shared out, in words.
      sectors: the columns.
      left_out: lighter zones that are not shown.
    """

    variable: str
    unit: str
    year: int
    rule: str
    sectors: tuple[str, ...]
    rows: tuple[ZoneRow, ...]
    left_out: int


def gather(
    cube: Cube,
    field: Field,
    legends: Mapping[str, Legend],
    page_width: int,
    zones: ZonalSumsRecord | None = None,
) -> ReportRecord:
    """Every fact of the page that is not in the certificate, without times.

    Args:
      legends: of each map, by its stem.
      page_width: pixels along a picture, at most.
      zones: sums of the finished maps by zone, where zones are asked for.
    """
    fallback_levels, made = field.fallback_levels(), field.record
    return ReportRecord(
        variable=cube.name,
        long_name=cube.long_name,
        unit=cube.unit,
        quantity=cube.quantity.name,
        sectors=tuple(cube.sectors),
        years=tuple(cube.years),
        factor=cube.factor,
        coarse=cube.coarse,
        place=_place(cube.coarse, cube.factor),
        method=made.method,
        law=made.law,
        laws=made.laws,
        describe=made.describe,
        training=made.training,
        proxy=made.proxy,
        not_finite=made.not_finite,
        maps=tuple(DrawnMapRecord.of(sheet, legends[sheet.stem]) for sheet in store.sheets(cube)),
        fallback_levels=tuple(_fallback_shares(cube, fallback_levels)),
        emission=cube.emission,
        points=cube.record.points,
        layers=cube.record.layers,
        totals=cube.record.totals,
        attribution=cube.attribution,
        notes=tuple(notes_of(cube.record, made, fallback_levels)),
        page_width=page_width,
        zones=zones,
    )


def _fallback_shares(cube: Cube, fallback_levels: NDArray[np.uint8]) -> Iterator[FallbackSharesRecord]:
    """Who placed what, sector by sector and year by year."""
    given = cube.totals() / cube.room
    for index, sector in enumerate(cube.sectors):
        for time, year in enumerate(cube.years):
            counts = _count_rungs(given[index, time], fallback_levels[index, time])
            yield FallbackSharesRecord(sector=sector, year=year, counts=counts)


def render(maps: Path) -> str:
    """The page of a folder of maps, made from its certificate, its facts and its GeoTIFFs alone.

    Nothing is fetched and no script runs: pictures are inside, every text is escaped.

    Raises: ArtifactError (exit 4) when a part of the folder is missing or damaged.
    """
    certificate, report = _load(maps / CERTIFICATE, Certificate), _load(maps / FACTS, ReportRecord)
    page = environment()
    page.filters.update(
        number=number,
        amount=amount,
        tiny=_tiny,
        words=_words,
        label=_label,
        share=_share,
        value=_value,
        date=when.spelled,
    )
    template = page.from_string(files("stages.report").joinpath("page.html.j2").read_text("utf-8"))
    with store.small_gdal_cache():
        sections = _sections(maps, certificate, report)
    level_words = {str(int(level)): words for level, words in FALLBACK_LEVELS.items()}
    return template.render(
        facts=report.to_json(),
        quantity=QUANTITIES[report.quantity],
        certificate=certificate.to_json(),
        sections=sections,
        left_out=len(report.maps) - len(sections),
        zone_tables=_zone_tables(report.zones, report.years[-1]),
        trained=read_figures(maps),
        level_words=level_words,
        years=_years(report.years),
    )


def _zone_tables(zones: ZonalSumsRecord | None, year: int) -> list[ZoneTable]:
    """The heaviest zones of one year, a table for each variable and a column for each sector."""
    if zones is None:
        return []
    columns: dict[str, list[int]] = {}
    for index, sheet in enumerate(zones.sheets):
        here = columns.setdefault(sheet.variable, [])
        if sheet.year == year:
            here.append(index)
    return [_zone_table(zones, variable, chosen) for variable, chosen in columns.items()]


def _zone_table(zones: ZonalSumsRecord, variable: str, chosen: list[int]) -> ZoneTable:
    """Args: chosen: places of the maps of this variable and year, the sum over sectors last."""

    def pick(masses: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(map(masses.__getitem__, chosen))

    order = sorted(zones.zones, key=lambda zone: -zone.mass[chosen[-1]])
    rows = [ZoneRow(zone.name, pick(zone.mass)) for zone in order[:_ZONES_SHOWN]]
    rows += [ZoneRow("outside any zone", pick(zones.outside)), ZoneRow("whole map", pick(zones.whole))]
    first, left_out = zones.sheets[chosen[0]], max(len(order) - _ZONES_SHOWN, 0)
    sectors = tuple(zones.sheets[index].sector for index in chosen)
    return ZoneTable(variable, first.unit, first.year, zones.rule, sectors, tuple(rows), left_out)


def _sections(maps: Path, certificate: Certificate, report: ReportRecord) -> list[MapSection]:
    """One section per map drawn: the last year first, the sum of sectors before its parts."""
    measured = {single.file: single for single in certificate.maps}
    shared = QUANTITIES[report.quantity].fine_part(report.factor)
    order = sorted(report.maps, key=lambda entry: (-entry.year, len(entry.members) == 1))
    sections = []
    for entry in order[:_SHOWN]:
        sheet = entry.sheet
        figures = draw(
            sheet,
            maps,
            report.coarse,
            report.factor,
            entry.legend,
            certificate.limit,
            report.page_width,
            shared,
        )
        title = "All sectors together" if sheet.is_sum else _label(sheet.sector)
        title += f", {sheet.long_name}" if sheet.is_emission else ""
        sections.append(MapSection(title, sheet.year, measured[sheet.map_file], figures))
    return sections


def _place(coarse: Grid, factor: int) -> PlaceRecord:
    """The grids in words: what the coordinates are and how large cells are."""
    crs = CRS.from_wkt(coarse.crs)
    authority = crs.to_authority()
    width, height = ground(coarse)
    return PlaceRecord(
        crs=crs.name,
        code=":".join(authority) if authority else "",
        axis_unit=crs.axis_info[0].unit_name if crs.axis_info else "",
        coarse_cell=_length(width / coarse.cols),
        fine_cell=_length(width / coarse.cols / factor),
        extent=f"{_length(width)} by {_length(height)}",
        bounds=coarse.bounds,
        coarse_shape=coarse.shape,
        fine_shape=coarse.refine(factor).shape,
    )


def _count_rungs(totals: NDArray[np.float64], fallback_levels: NDArray[np.uint8]) -> dict[str, FallbackShare]:
    """Blocks and mass per fallback level; fallback_levels that placed nothing are left out."""
    counts = {}
    for level in FallbackLevel:
        here = fallback_levels == level
        if here.any():
            counts[str(int(level))] = FallbackShare(blocks=int(here.sum()), mass=float(totals[here].sum()))
    return counts


RecordType = TypeVar("RecordType", bound=Record)


def _load(path: Path, kind: type[RecordType]) -> RecordType:
    try:
        return kind.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"maps/{path.name}",
            f"not readable ({error})",
            "the facts beside the maps",
            remake("mosaic"),
        ) from error


def _length(metres: float) -> str:
    return f"{metres / 1000:.4g} km" if metres >= 1000 else f"{metres:.4g} m"


def _label(name: str) -> str:
    """A short name as words: other_buildings becomes Other buildings."""
    text = str(name).replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _years(years: Sequence[int]) -> str:
    first, last = when.spelled(years[0]), when.spelled(years[-1])
    return first if len(years) == 1 else f"{first} to {last}"


def _tiny(value: float) -> str:
    """A relative residual, as 2.4 x 10^-8 is printed."""
    if value == 0 or not isfinite(value):
        return "0" if value == 0 else "without bound"
    mantissa, exponent = f"{value:.1e}".replace("-", "\N{MINUS SIGN}", value < 0).split("e")
    power = "10" + str(int(exponent)).translate(_RAISED)
    return power if mantissa == "1.0" else f"{mantissa.removesuffix('.0')} \N{MULTIPLICATION SIGN} {power}"


def _value(value: float | None) -> str:
    """Any number of a layer; nothing where there is none."""
    return "" if value is None else number(value)


def _share(part: float, whole: float) -> str:
    return "0 %" if not whole else f"{100.0 * part / whole:.3g} %"


def _words(value: JsonValue) -> str:
    """A plain JSON value as a reader expects it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, dict):
        return "; ".join(f"{_label(key).lower()}: {_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return "not told" if value is None or value == "" else str(value)
