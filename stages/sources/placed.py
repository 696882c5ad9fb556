"""Sees that totals share one grid and that every layer meets it; the totals are never resampled."""

from dataclasses import dataclass, field

import numpy as np

from model.fault import Fault, InputFault, raise_all
from model.grid import Grid
from stages.progress import tell, track
from stages.sources.declared import FACTOR, Config, Covariate, Total
from stages.sources.opened import Source, open_file
from stages.store.arrays import same_crs
from stages.store.rasters import inspect
from stages.store.resample import NEST_TOLERANCE, bounds_on, is_finer, method_name, nesting

BLOCKY = 0.5  # a layer whose own pixels span half a coarse cell tells nothing inside a block


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
    declared: list[Total | Covariate] = [*config.totals, *config.covariates]
    faults: list[Fault] = []
    for path, band in dict.fromkeys((item.path, item.band) for item in declared):
        faults += inspect(path, band)
    raise_all(faults)
    opened = []
    for item in track(declared, "reading sources", len(declared), "files"):
        source, found = open_file(item, config)
        faults += found
        if source:
            opened.append(source)
    raise_all(faults)
    totals = [source for source in opened if isinstance(source.declared, Total)]
    covariates = [source for source in opened if isinstance(source.declared, Covariate)]
    sources = _place(totals, covariates, config, faults)
    raise_all(faults)
    return sources


def _place(totals: list[Source], covariates: list[Source], config: Config, faults: list[Fault]) -> Sources:
    first = totals[0].raster
    for source in totals:
        if source.raster.is_rotated:
            faults.append(
                InputFault(
                    source.where,
                    "a rotated or mirrored grid",
                    "totals on a north-up grid",
                    "give the totals on their own regular grid; they are never resampled",
                )
            )
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
    if not same_crs(other.crs, coarse.crs):
        return [
            InputFault(
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
        return [InputFault(where, found, wanted, fix)]
    across, down = (other.left - coarse.left) / coarse.dx, (coarse.top - other.top) / coarse.dy
    if max(abs(across), abs(down)) > NEST_TOLERANCE:
        found = (
            f"shifted by {across * coarse.dx:g}, {-down * coarse.dy:g} CRS units ({across:g}, {down:g} cells)"
        )
        return [InputFault(where, found, f"the grid of {name}", fix)]
    return []


def _factor(config: Config, coarse: Grid, where: str, faults: list[Fault]) -> int:
    if config.fine_pixel is None:
        return config.factor or FACTOR
    ratio = coarse.dx / config.fine_pixel
    factor = max(round(ratio), 2)
    if abs(ratio - factor) > 1e-6:
        below, above = int(np.floor(ratio)), int(np.ceil(ratio))
        works = " or ".join(f"{coarse.dx / max(k, 2):g} (factor {max(k, 2)})" for k in (below, above))
        faults.append(
            InputFault(
                where,
                f"cells of {coarse.dx:g} are {ratio:g} fine cells of {config.fine_pixel:g}",
                "a whole number of fine cells in a coarse cell",
                f"set `ingest.fine_pixel` to {works}",
            )
        )
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
    bounds = bounds_on(coarse.crs, raster, 0, 0, *raster.shape)
    geographic = coarse.ellipsoid is not None
    shares = [_covered(coarse, bounds, shift) for shift in ((0.0, 360.0, -360.0) if geographic else (0.0,))]
    if max(shares) <= 0 and not any(not np.isfinite(edge) for edge in bounds):
        faults.append(
            InputFault(
                source.where,
                f"covers {_box(bounds)}",
                f"an overlap with the totals, {_box(coarse.bounds)}",
                "check the CRS, the axis order (x, y) and whether this is the right file",
            )
        )
        return
    finer = nest is None and is_finer(raster, fine)
    sources.resampling[id(source)] = method_name(declared.kind, nest, finer)
    row, col = raster.shape[0] // 2, raster.shape[1] // 2
    span = bounds_on(coarse.crs, raster, row, col, 1, 1)
    sources.blocky[id(source)] = (
        max(abs(span[2] - span[0]) / coarse.dx, abs(span[3] - span[1]) / coarse.dy) >= BLOCKY
    )


def _off_the_lines(source: Source, grid: Grid, fine: Grid, coarse: Grid) -> list[Fault]:
    """A file in the grid's own CRS whose cells would nest but for their origin: most likely a half-cell slip.

    Cells larger than fine ones are held against the coarse grid: a 1 km census half a kilometre off nests
    in the fine grid all the same, and would be as wrong.
    """
    if not same_crs(grid.crs, fine.crs):
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
    left, bottom, right, top = bounds
    return f"x {left:.6g} to {right:.6g}, y {bottom:.6g} to {top:.6g}"


def _years(config: Config, covariates: list[Source], faults: list[Fault]) -> None:
    names = dict.fromkeys(
        source.declared.name for source in covariates if isinstance(source.declared, Covariate)
    )
    for name in names:
        years = [layer.year for layer in config.covariates if layer.name == name]
        lacking = [year for year in config.years if year not in years and "static" not in years]
        if lacking and config.year_policy == "exact":
            faults.append(
                InputFault(
                    f"layer {name}",
                    f"years {years}",
                    f"a file for {lacking}",
                    "add the years, set `year: static`, or `ingest.year_policy: nearest`",
                )
            )
        elif lacking:
            tell(f"layer {name}: no file for {lacking}; the nearest year is used", warning=True)
