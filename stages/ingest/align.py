"""Sees that totals share one grid and that every layer meets it; the totals are never resampled."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.ground.errors import HectareError, HectareErrors, InputError, raise_together
from model.ground.grid import Grid
from stages.artifacts.records import EmissionRecord
from stages.contract.execution import spread, workers
from stages.contract.progress import tell, track
from stages.declare.derived_layers import margins
from stages.declare.emission_factors import resolve
from stages.declare.extent import Clipped, clip
from stages.declare.fine_fields import FineFields, open_fine_fields
from stages.declare.inputs import FACTOR, Config, Covariate, Total
from stages.declare.vector_layers import GriddedVector, open_drawn
from stages.formats.content_hash import sha256_of
from stages.formats.preflight import inspect
from stages.formats.raster.block_cache import CacheBudget
from stages.formats.zarr_groups import same_crs
from stages.ingest.open_sources import Source, amount_of, open_file
from stages.regrid.dispatch import (
    NEST_TOLERANCE,
    bounds_of,
    cells_across,
    is_finer,
    meets,
    method_name,
    nesting,
)

BLOCKY = 0.75  # a layer whose own pixels span as much of a coarse cell tells next to nothing inside it


@dataclass
class Sources:
    """All inputs of a cube, found to fit together."""

    totals: list[Source]
    covariates: list[Source]
    coarse: Grid
    factor: int
    clipped: Clipped
    resampling: dict[int, str] = field(default_factory=dict)  # by id of the covariate source
    blocky: dict[int, bool] = field(default_factory=dict)
    drawn: dict[str, GriddedVector] = field(default_factory=dict)  # vector layers by name
    emission: EmissionRecord | None = None  # factors by sector and year
    fine: FineFields = field(default_factory=lambda: FineFields(None, {}))  # given on the fine grid


def open_sources(config: Config, folder: Path | None = None) -> Sources:
    """Opens and judges every file; folder: where shapes of vector layers go that do not fit in memory.

    Raises: HectareError or HectareErrors (exit 3), all that is wrong in one go.
    """
    sources, faults = align_sources(config, folder)
    raise_together(faults)
    assert sources is not None
    return sources


def align_sources(config: Config, folder: Path | None = None) -> tuple[Sources | None, list[HectareError]]:
    """Opens every file that can be opened and tells everything that is wrong.

    Returns: the sources, None when the totals say no place; and all faults.
    """
    declared: list[Total | Covariate] = [*config.every_total, *config.every_layer]
    faults: list[HectareError] = []
    broken: set[tuple[str, int]] = set()
    for path, band in dict.fromkeys(map(_band_of, declared)):
        if wrong := inspect(path, band):
            faults += wrong
            broken.add((path, band))
    whole = [item for item in declared if _band_of(item) not in broken]
    paths = list(dict.fromkeys(item.path for item in whole))
    hashes = dict(zip(paths, spread(sha256_of, paths, workers()), strict=True))
    opened, keeper = [], CacheBudget()
    for item in track(whole, "reading sources", len(whole), "files"):
        source, found = open_file(item, config, hashes[item.path], keeper)
        faults += found
        if source:
            opened.append(source)
    _tell_notes(opened)
    totals: list[Source] = []
    covariates: list[Source] = []
    for source in opened:
        (totals if isinstance(source.declared, Total) else covariates).append(source)
    placed = [source for source in totals if source.raster.grid is not None]
    faults += _rotated(totals)
    if not placed:
        return None, faults
    sources, faults = _place(placed, covariates, config, faults)
    try:
        sources.emission = resolve(
            config.emission, amount_of(totals[0]), config.variable, config.sectors, config.years
        )
        fine = sources.coarse.refine(sources.factor)
        sources.fine, wrong = open_fine_fields(config, fine)
        faults += wrong
        sources.drawn = open_drawn(config.vectors, fine, margins(config.derived, fine), folder)
    except HectareError as fault:
        faults.append(fault)
    except HectareErrors as several:
        faults += several.faults
    return sources, faults


def _band_of(item: Total | Covariate) -> tuple[str, int]:
    return item.path, item.band


def _tell_notes(opened: list[Source]) -> None:
    """Says what was assumed to read each file, once for all its bands and dates."""
    notes: dict[str, None] = {}
    for source in opened:
        for note in source.raster.notes:
            notes[f"{source.raster.name}: {note}"] = None
    for text in notes:
        tell(text)


def _rotated(totals: list[Source]) -> list[HectareError]:
    faults: list[HectareError] = []
    for source in totals:
        if source.raster.is_rotated:
            faults.append(
                InputError(
                    source.where,
                    "a rotated or mirrored grid",
                    "totals on a north-up grid",
                    "give the totals on their own regular grid; they are never resampled",
                )
            )
    return faults


def _place(
    totals: list[Source], covariates: list[Source], config: Config, faults: list[HectareError]
) -> tuple[Sources, list[HectareError]]:
    first = totals[0].raster
    _one_kind_of_unit(totals, faults)
    coarse = first.grid
    assert coarse is not None
    for source in totals[1:]:
        if source.raster.grid is not None:
            faults += _same_grid(coarse, first.name, source.raster.grid, source.where)
    factor = _factor(config, coarse, totals[0].where, faults)
    try:
        clipped = clip(coarse, config.area)
    except HectareError as fault:
        faults.append(fault)
        clipped = clip(coarse, None)
    sources = Sources(totals, covariates, clipped.grid, factor, clipped)
    for source in covariates:
        _place_covariate(source, sources, faults)
    _years(config, covariates, faults)
    return sources, faults


def _one_kind_of_unit(totals: list[Source], faults: list[HectareError]) -> None:
    first = totals[0].unit
    for source in totals[1:]:
        if first and source.unit and not source.unit.is_of_one_kind_with(first):
            faults.append(
                InputError(
                    source.where,
                    f"the unit {source.unit.text!r}",
                    f"a unit of the same kind as {first.text!r}: sectors are added up",
                    "give the sector in that kind of unit, or run it on its own",
                )
            )


def _same_grid(coarse: Grid, name: str, other: Grid, where: str) -> list[HectareError]:
    fix = "give all totals on one grid, or correct the origin with `registration: [x, y]`"
    if not same_crs(other.crs, coarse.crs):
        return [
            InputError(
                where,
                "another coordinate system",
                f"that of {name}",
                "give all totals in one CRS; they are never resampled",
            )
        ]
    if (
        other.shape != coarse.shape
        or abs(other.dx / coarse.dx - 1) > 1e-9
        or abs(other.dy / coarse.dy - 1) > 1e-9
    ):
        found = f"{other.rows} x {other.cols} cells of {other.dx:g} x {other.dy:g}"
        wanted = f"{coarse.rows} x {coarse.cols} cells of {coarse.dx:g} x {coarse.dy:g}, as in {name}"
        return [InputError(where, found, wanted, fix)]
    across, down = (other.left - coarse.left) / coarse.dx, (coarse.top - other.top) / coarse.dy
    if max(abs(across), abs(down)) > NEST_TOLERANCE:
        found = (
            f"shifted by {across * coarse.dx:g}, {-down * coarse.dy:g} CRS units ({across:g}, {down:g} cells)"
        )
        return [InputError(where, found, f"the grid of {name}", fix)]
    return []


def _factor(config: Config, coarse: Grid, where: str, faults: list[HectareError]) -> int:
    if config.fine_pixel is None:
        return config.factor or FACTOR
    ratio = coarse.dx / config.fine_pixel
    factor = max(round(ratio), 2)
    if abs(ratio - factor) > 1e-6:
        below, above = int(np.floor(ratio)), int(np.ceil(ratio))
        works = " or ".join(f"{coarse.dx / max(k, 2):g} (factor {max(k, 2)})" for k in (below, above))
        faults.append(
            InputError(
                where,
                f"cells of {coarse.dx:g} are {ratio:g} fine cells of {config.fine_pixel:g}",
                "a whole number of fine cells in a coarse cell",
                f"set `ingest.fine_pixel` to {works}",
            )
        )
    return factor


def _place_covariate(source: Source, sources: Sources, faults: list[HectareError]) -> None:
    declared, raster, coarse = source.declared, source.raster, sources.coarse
    assert isinstance(declared, Covariate)
    fine = coarse.refine(sources.factor)
    nest = nesting(raster.grid, fine)
    if raster.grid is not None and not declared.resample:
        faults += _off_the_lines(source, raster.grid, fine, coarse)
    if raster.crs is None:
        return
    if not meets(raster, coarse):
        faults.append(
            InputError(
                source.where,
                f"covers {_box(bounds_of(raster))} in its own coordinates",
                f"an overlap with the totals, there {_box(bounds_of(raster, coarse))}",
                "check the CRS, the axis order (x, y) and whether this is the right file",
            )
        )
        return
    finer = nest is None and is_finer(raster, fine)
    sources.resampling[id(source)] = method_name(declared.kind, nest, finer)
    sources.blocky[id(source)] = cells_across(raster, coarse) >= BLOCKY


def _off_the_lines(source: Source, grid: Grid, fine: Grid, coarse: Grid) -> list[HectareError]:
    """A file in the grid's own CRS whose cells would nest but for their origin: most likely a half-cell slip.

    Cells larger than fine ones are held against the coarse grid: a 1 km census half a kilometre off nests
    in the fine grid all the same, and would be as wrong.
    """
    if not same_crs(grid.crs, fine.crs):
        return []
    lines, name = (coarse, "coarse") if grid.dx > fine.dx * 1.5 else (fine, "fine")
    if slipped := _slipped(source, grid, coarse):
        return slipped
    small, large = (grid, lines) if grid.dx <= lines.dx else (lines, grid)
    ratio = large.dx / small.dx
    across, down = small.offset(large)
    if abs(ratio - round(ratio)) > 1e-6 * ratio or max(abs(across), abs(down)) <= NEST_TOLERANCE:
        return []
    return [
        InputError(
            source.where,
            f"its cells lie {across * small.dx:g}, {down * small.dy:g} CRS units ({across:g}, {down:g} cells) "
            f"off the lines of the {name} grid",
            "cells that nest, since its CRS and cell size do",
            "shift it with `registration: [x, y]`, or set `resample: true` if the offset is real; "
            "when several layers say so, the totals are the ones shifted",
        )
    ]


def _slipped(source: Source, grid: Grid, coarse: Grid) -> list[HectareError]:
    """A layer cut to lines of the coarse cells, as most are, tells when the totals lie beside those lines.

    Why not caught by nesting: half a kilometre is five whole cells of 100 m.
    """
    size = (grid.cols * grid.dx / coarse.dx, grid.rows * grid.dy / coarse.dy)
    if any(abs(side - round(side)) > 1e-6 for side in size):
        return []
    across, down = (grid.left - coarse.left) / coarse.dx, (coarse.top - grid.top) / coarse.dy
    slip = across - round(across), down - round(down)
    if max(map(abs, slip)) <= NEST_TOLERANCE:
        return []
    found = (
        f"{slip[0] * coarse.dx:g}, {slip[1] * coarse.dy:g} CRS units ({slip[0]:g}, {slip[1]:g} coarse cells)"
    )
    if (round(size[0]), round(size[1])) != (coarse.cols, coarse.rows):
        tell(
            f"{source.where}: its edges lie {found} off the coarse cells; are the totals shifted?",
            warning=True,
        )
        return []
    return [
        InputError(
            source.where,
            f"as large as the totals, but shifted by {found}",
            "edges that coincide",
            "correct the file that is wrong with `registration: [x, y]`, or set `resample: true` here",
        )
    ]


def _box(bounds: tuple[float, ...]) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def _years(config: Config, covariates: list[Source], faults: list[HectareError]) -> None:
    names = dict.fromkeys(
        source.declared.name for source in covariates if isinstance(source.declared, Covariate)
    )
    for name in names:
        years = [layer.year for layer in config.every_layer if layer.name == name]
        lacking = [year for year in config.years if year not in years and "static" not in years]
        if lacking and config.year_policy == "exact":
            faults.append(
                InputError(
                    f"layer {name}",
                    f"years {years}",
                    f"a file for {lacking}",
                    "add the years, set `year: static`, or `ingest.year_policy: nearest`",
                )
            )
        elif lacking:
            tell(f"layer {name}: no file for {lacking}; the nearest year is used", warning=True)
