"""What the user gave: how totals and layers are declared, and everything that is wrong with them, told in one pass."""

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from rasterio.warp import transform_bounds

from model.fault import Fault, InputFault, raise_all
from model.grid import Grid
from model.variable import ACCEPTED_UNITS, Unit, parse_unit
from stages.progress import tell, track
from stages.section import SafeName, Section, SourcePath
from stages.store.rasters import Raster, Scan, inspect
from stages.store.resample import NEST_TOLERANCE, is_finer, method_name, nesting

Nodata = float | Literal["auto", "none"]
Pair = Annotated[tuple[float, float], Field(strict=False)]
BLOCKY = 0.5  # a layer whose own pixels span half a coarse cell tells nothing inside a block
FLUX_SUFFIX = "m-2 s-1"


class File(Section):
    """One band of one GeoTIFF, and how to read it."""

    path: SourcePath
    band: PositiveInt = 1
    nodata: Nodata = "auto"  # auto: believe the file's tag; none: ignore it, the value is real; a number: this value
    crs: str | None = None  # only for a file that names none, e.g. EPSG:3035
    registration: Pair = (0.0, 0.0)  # CRS units added to the file's origin (x, y)
    licence: str = ""
    attribution: str = ""

    def open(self) -> Raster:
        return Raster(self.path, self.band, self.nodata, self.crs, self.registration)


class Total(File):
    """The inventory: one sector and year of it."""

    sector: SafeName = "all"
    year: int
    unit: str | None = None  # per cell; without it the file's own unit tag is read
    missing: Literal["error", "zero", "unknown"] = "error"  # what a cell without a value means


class Covariate(File):
    """A fine predictor layer; several entries may share a name when their years differ."""

    name: SafeName
    kind: Literal["continuous", "share", "class", "total"]
    unit: str
    year: int | Literal["static"] = "static"
    classes: Annotated[tuple[int, ...], Field(strict=False)] = ()  # kind class: the codes wanted; none = all found
    allow_partial: bool = False  # True: cells without a value are masked and counted, not an error
    resample: bool = False  # True: a file whose cells lie off the grid's lines is meant to be resampled
    long_name: str | None = None


class Derived(Section):
    """A layer made of others, cell by cell."""

    name: SafeName
    sum: Annotated[tuple[SafeName, ...], Field(strict=False, min_length=1)]
    clip: Pair | None = None
    unit: str = "1"
    long_name: str | None = None


class Config(Section):
    """Which files make the cube."""

    variable: SafeName
    long_name: str = ""
    quantity: Literal["extensive", "flux"] = "extensive"
    factor: Annotated[int, Field(ge=2, le=100)] | None = None  # fine cells along a coarse cell; 10 when nothing is said
    fine_pixel: PositiveFloat | None = None  # instead of factor, in CRS units
    totals: Annotated[tuple[Total, ...], Field(strict=False, min_length=1)]
    covariates: Annotated[tuple[Covariate, ...], Field(strict=False)] = ()
    derived: Annotated[tuple[Derived, ...], Field(strict=False)] = ()
    allow_negative: bool = False  # True: negative totals are sinks, kept apart and spread evenly
    year_policy: Literal["exact", "nearest"] = "exact"  # for layers that have no file of a year of the totals

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.factor is not None and self.fine_pixel is not None:
            raise ValueError("give `factor` or `fine_pixel`, not both")
        pairs = [(total.sector, total.year) for total in self.totals]
        if twice := sorted({pair for pair in pairs if pairs.count(pair) > 1}):
            raise ValueError(f"sector and year given twice: {twice}")
        if holes := sorted({(sector, year) for sector in self.sectors for year in self.years} - set(pairs)):
            raise ValueError(f"every sector needs a total for every year; none for {holes}")
        entries = [(layer.name, layer.year) for layer in self.covariates]
        if twice := sorted({entry for entry in map(str, entries) if list(map(str, entries)).count(entry) > 1}):
            raise ValueError(f"layer and year given twice: {twice}")
        for name in {layer.name for layer in self.covariates}:
            same = [layer for layer in self.covariates if layer.name == name]
            if len({(layer.kind, layer.unit, layer.allow_partial) for layer in same}) > 1:
                raise ValueError(f"all years of layer {name!r} need the same kind, unit and allow_partial")
            if len(same) > 1 and any(layer.year == "static" for layer in same):
                raise ValueError(f"layer {name!r} is given as static and for a year")
        return self

    @property
    def sectors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(total.sector for total in self.totals))

    @property
    def years(self) -> tuple[int, ...]:
        return tuple(sorted({total.year for total in self.totals}))


@dataclass
class Source:
    """One declared file, opened and looked at."""

    declared: Total | Covariate
    raster: Raster
    scan: Scan
    sha256: str
    unit: Unit | None = None  # totals only

    @property
    def where(self) -> str:
        return f"{self.raster.name}, band {self.raster.band}"


@dataclass
class Sources:
    """All inputs of a cube, found to fit together."""

    totals: list[Source]
    covariates: list[Source]
    coarse: Grid
    factor: int
    resampling: dict[int, str] = field(default_factory=dict)  # by id of the covariate source
    blocky: dict[int, bool] = field(default_factory=dict)


def open_sources(config: Config) -> Sources:
    """Opens and judges every file.

    Raises: Fault or Faults (exit 3), all that is wrong in one go.
    """
    declared = [*config.totals, *config.covariates]
    faults: list[Fault] = []
    for path, band in dict.fromkeys((item.path, item.band) for item in declared):
        faults += inspect(path, band)
    raise_all(faults)
    opened = []
    for item in track(declared, "reading sources", len(declared), "files"):
        source, found = _open(item, config)
        faults += found
        if source:
            opened.append(source)
    raise_all(faults)
    totals = [source for source in opened if isinstance(source.declared, Total)]
    covariates = [source for source in opened if isinstance(source.declared, Covariate)]
    sources = _place(totals, covariates, config, faults)
    raise_all(faults)
    return sources


def sha256(path: str) -> str:
    """Content hash of a file, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(item: Total | Covariate, config: Config) -> tuple[Source | None, list[Fault]]:
    raster = item.open()
    where, faults = f"{raster.name}, band {item.band}", []
    if raster.crs is None:
        faults.append(InputFault(where, "no coordinate system", "a CRS in the file", "set `crs:` for this file, e.g. crs: EPSG:3035"))
    if not raster.has_transform:
        faults.append(
            InputFault(where, "no transform: pixels have no place on the ground", "an origin and a pixel size",
                       "export it with its georeferencing (gdal_translate -a_ullr ... sets it)")
        )  # fmt: skip
    unit = None
    if isinstance(item, Total):
        unit, fault = _unit(item, raster, config.quantity)
        faults += [fault] if fault else []
    try:
        counted = raster.scan(check_sentinels=item.nodata == "auto")
    except InputFault as fault:
        return None, [*faults, fault]
    faults += _values(item, where, counted, config)
    return Source(item, raster, counted, sha256(item.path), unit), faults


def _unit(item: Total, raster: Raster, quantity: str) -> tuple[Unit | None, Fault | None]:
    text = item.unit if item.unit is not None else raster.unit
    wanted = ACCEPTED_UNITS + (f", then {FLUX_SUFFIX}" if quantity == "flux" else "")
    found = "no unit" if not text else f"the unit {text!r}"
    if text:
        stem = text.strip()
        if quantity == "extensive" or stem.endswith(FLUX_SUFFIX):
            try:
                return parse_unit(stem.removesuffix(FLUX_SUFFIX).strip() if quantity == "flux" else stem), None
            except ValueError:
                pass  # told below, with the list of what is accepted
    return None, InputFault(f"{raster.name}, sector {item.sector}, {item.year}", found, wanted, "set `unit:` for this total")


def _values(item: Total | Covariate, where: str, counted: Scan, config: Config) -> list[Fault]:
    faults: list[Fault] = []
    gone = counted.nodata + counted.nans
    if gone == counted.cells:
        return [InputFault(where, "every cell is nodata", "values", "check `band:` and `nodata:`, or leave the layer out")]
    if counted.infinite and counted.first_infinite is not None:
        row, col = counted.first_infinite
        faults.append(
            InputFault(where, f"{counted.infinite} infinite value(s), the first at row {row}, column {col}", "finite numbers",
                       "correct the file")
        )  # fmt: skip
    for value, count in counted.sentinels.items():
        faults.append(
            InputFault(where, f"{count} cells ({count / counted.cells:.1%}) hold {value:g}, which is not declared as nodata",
                       "physical values", f"set `nodata: {value:g}` (or `nodata: none` if the value is real)")
        )  # fmt: skip
    if not isinstance(item, Total):
        return faults
    if gone and item.missing == "error":
        faults.append(
            InputFault(where, f"{gone} of {counted.cells} cells have no value ({counted.nodata} nodata, {counted.nans} NaN)",
                       "a total in every cell",
                       "set `nodata: none` if the nodata value is a true number, `missing: zero`, or `missing: unknown`")
        )  # fmt: skip
    if counted.negative and not counted.sentinels and not config.allow_negative:
        faults.append(
            InputFault(where, f"{counted.negative} negative total(s), the lowest {counted.low:g}", "totals of at least 0",
                       "correct the file, or set `ingest.allow_negative: true` to keep sinks apart")
        )  # fmt: skip
    return faults


def _place(totals: list[Source], covariates: list[Source], config: Config, faults: list[Fault]) -> Sources:
    first = totals[0].raster
    for source in totals:
        if source.raster.is_rotated:
            faults.append(
                InputFault(source.where, "a rotated or mirrored grid", "totals on a north-up grid",
                           "give the totals on their own regular grid; they are never resampled")
            )  # fmt: skip
    raise_all(faults)
    coarse = first.grid
    if coarse is None:
        raise InputFault(totals[0].where, "no place on the ground", "a georeferenced grid", "set `crs:`")
    for source in totals[1:]:
        if source.raster.grid is not None:
            faults += _same_grid(coarse, first.name, source.raster.grid, source.where)
    factor = _factor(config, coarse, totals[0].where, faults)
    sources = Sources(totals, covariates, coarse, factor)
    for source in covariates:
        _place_covariate(source, sources, faults)
    _years(config, covariates, faults)
    return sources


def _same_grid(coarse: Grid, name: str, other: Grid, where: str) -> list[Fault]:
    fix = "give all totals on one grid, or correct the origin with `registration: [x, y]`"
    if other.crs != coarse.crs:
        return [InputFault(where, "another coordinate system", f"that of {name}", "give all totals in one CRS; they are never resampled")]
    if other.shape != coarse.shape or abs(other.dx / coarse.dx - 1) > 1e-9 or abs(other.dy / coarse.dy - 1) > 1e-9:
        found = f"{other.rows} x {other.cols} cells of {other.dx:g} x {other.dy:g}"
        wanted = f"{coarse.rows} x {coarse.cols} cells of {coarse.dx:g} x {coarse.dy:g}, as in {name}"
        return [InputFault(where, found, wanted, fix)]
    across, down = (other.left - coarse.left) / coarse.dx, (coarse.top - other.top) / coarse.dy
    if max(abs(across), abs(down)) > NEST_TOLERANCE:
        found = f"shifted by {across * coarse.dx:g}, {-down * coarse.dy:g} CRS units ({across:g}, {down:g} cells)"
        return [InputFault(where, found, f"the grid of {name}", fix)]
    return []


def _factor(config: Config, coarse: Grid, where: str, faults: list[Fault]) -> int:
    if config.fine_pixel is None:
        return config.factor or 10
    ratio = coarse.dx / config.fine_pixel
    factor = max(round(ratio), 2)
    if abs(ratio - factor) > 1e-6:
        below, above = int(np.floor(ratio)), int(np.ceil(ratio))
        works = " or ".join(f"{coarse.dx / max(k, 2):g} (factor {max(k, 2)})" for k in (below, above))
        faults.append(
            InputFault(where, f"cells of {coarse.dx:g} are {ratio:g} fine cells of {config.fine_pixel:g}",
                       "a whole number of fine cells in a coarse cell", f"set `ingest.fine_pixel` to {works}")
        )  # fmt: skip
    return factor


def _place_covariate(source: Source, sources: Sources, faults: list[Fault]) -> None:
    declared, raster, coarse = source.declared, source.raster, sources.coarse
    assert isinstance(declared, Covariate)
    fine = coarse.refine(sources.factor)
    nest = nesting(raster.grid, fine)
    if raster.grid is not None and not declared.resample:
        faults += _off_the_lines(source, raster.grid, fine, coarse)
    if raster.crs is None:
        return
    height, width = raster.shape
    corners = [raster.transform @ (x, y) for x in (0, width) for y in (0, height)]
    xs, ys = zip(*corners, strict=True)
    bounds = transform_bounds(raster.crs.to_wkt(), coarse.crs, min(xs), min(ys), max(xs), max(ys), densify_pts=21)
    geographic = coarse.ellipsoid is not None
    shares = [_covered(coarse, bounds, shift) for shift in ((0.0, 360.0, -360.0) if geographic else (0.0,))]
    if max(shares) <= 0 and not any(not np.isfinite(edge) for edge in bounds):
        faults.append(
            InputFault(source.where, f"covers {_box(bounds)}", f"an overlap with the totals, {_box(coarse.bounds)}",
                       "check the CRS, the axis order (x, y) and whether this is the right file")
        )  # fmt: skip
        return
    finer = nest is None and is_finer(raster, fine)
    sources.resampling[id(source)] = method_name(declared.kind, nest, finer)
    span = transform_bounds(
        raster.crs.to_wkt(), coarse.crs,
        *_middle_pixel(source),
    )  # fmt: skip
    sources.blocky[id(source)] = max(abs(span[2] - span[0]) / coarse.dx, abs(span[3] - span[1]) / coarse.dy) >= BLOCKY


def _middle_pixel(source: Source) -> tuple[float, float, float, float]:
    height, width = source.raster.shape
    ends = [source.raster.transform @ (width // 2 + step, height // 2 + step) for step in (0, 1)]
    return min(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1]), max(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1])


def _off_the_lines(source: Source, grid: Grid, fine: Grid, coarse: Grid) -> list[Fault]:
    """A file in the grid's own CRS whose cells would nest but for their origin: most likely a half-cell slip.

    Cells larger than fine ones are held against the coarse grid: a 1 km census half a kilometre off nests
    in the fine grid all the same, and would be as wrong.
    """
    if grid.crs != fine.crs:
        return []
    lines, name = (coarse, "coarse") if grid.dx > fine.dx * 1.5 else (fine, "fine")
    small, large = (grid, lines) if grid.dx <= lines.dx else (lines, grid)
    ratio = large.dx / small.dx
    across, down = small.offset(large)
    if abs(ratio - round(ratio)) > 1e-6 * ratio or max(abs(across), abs(down)) <= NEST_TOLERANCE:
        return []
    return [
        InputFault(
            source.where,
            f"its cells lie {across * small.dx:g}, {down * small.dy:g} CRS units ({across:g}, {down:g} cells) "
            f"off the lines of the {name} grid",
            "cells that nest, since its CRS and cell size do",
            "shift it with `registration: [x, y]`, or set `resample: true` if the offset is real; "
            "when several layers say so, the totals are the ones shifted",
        )
    ]


def _covered(coarse: Grid, bounds: tuple[float, ...], shift: float) -> float:
    width = min(coarse.right, bounds[2] + shift) - max(coarse.left, bounds[0] + shift)
    height = min(coarse.top, bounds[3]) - max(coarse.bottom, bounds[1])
    return max(width, 0.0) * max(height, 0.0)


def _box(bounds: tuple[float, ...]) -> str:
    return "x {:.6g} to {:.6g}, y {:.6g} to {:.6g}".format(bounds[0], bounds[2], bounds[1], bounds[3])


def _years(config: Config, covariates: list[Source], faults: list[Fault]) -> None:
    names = dict.fromkeys(source.declared.name for source in covariates if isinstance(source.declared, Covariate))
    for name in names:
        years = [layer.year for layer in config.covariates if layer.name == name]
        lacking = [year for year in config.years if year not in years and "static" not in years]
        if lacking and config.year_policy == "exact":
            faults.append(
                InputFault(f"layer {name}", f"years {years}", f"a file for {lacking}",
                           "add the years, set `year: static`, or `ingest.year_policy: nearest`")
            )  # fmt: skip
        elif lacking:
            tell(f"layer {name}: no file for {lacking}; the nearest year is used", warning=True)


