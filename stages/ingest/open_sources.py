"""Opens every declared file and tells all that is wrong with its values and its unit."""

import re
from dataclasses import dataclass

import numpy as np

from model.ground import time_steps as when
from model.ground.errors import HectareError, InputError, UsageError
from model.ground.units import AmountUnit, Unit
from stages.contract.progress import tell
from stages.declare.inputs import Config, Covariate, Total
from stages.declare.units import unit_of
from stages.formats.raster.band import Band
from stages.formats.raster.block_cache import CacheBudget
from stages.formats.raster.block_means import Coarsened
from stages.formats.raster.statistics import Scan, scan

YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")

_ONE = np.ones(())


@dataclass
class Source:
    """One declared file, opened and looked at."""

    declared: Total | Covariate
    raster: Band
    scan: Scan
    sha256: str
    unit: Unit | None = None  # totals only

    @property
    def where(self) -> str:
        return self.raster.where


def amount_of(source: Source) -> Unit | None:
    """The unit of a total that is an amount; None where it is a mean."""
    return source.unit if isinstance(source.unit, Unit) else None


def describe(source: Source) -> str:
    """One line on what a file holds and where, for those who check before they run.

    Returns: its size, CRS and bounds in CRS units, the range and sum of its values, and what was assumed to read it.
    """
    raster, item, counted = source.raster, source.declared, source.scan
    name = f"total {item.sector} {item.year}" if isinstance(item, Total) else f"layer {item.name}"
    transform, (rows, cols) = raster.transform, raster.shape
    corners = [transform @ (col, row) for col in (0, cols) for row in (0, rows)]
    xs, ys = zip(*corners, strict=True)
    unit = source.unit.text if source.unit else item.unit or ""
    gone = counted.nodata + counted.nans
    return (
        f"{name}: {source.where}: {rows} x {cols} cells in {raster.crs.name if raster.crs else 'no CRS'}, "
        f"x {min(xs):.10g} to {max(xs):.10g}, y {min(ys):.10g} to {max(ys):.10g}; "
        f"{counted.low:.6g} to {counted.high:.6g}, sum {counted.total:.10g} {unit}"
        + (f"; {gone} cells without a value" if gone else "")
        + "".join(f"; {note}" for note in raster.notes)
    )


def open_file(
    item: Total | Covariate, config: Config, sha256: str, keeper: CacheBudget
) -> tuple[Source | None, list[HectareError]]:
    """The source a declaration means, and everything wrong with it; None when it cannot be read.

    Args:
      sha256: of the file.
      keeper: memory in which its decoded blocks may stay until the cube is filled.
    Returns: the source, counted over all its cells, and faults of exit code 3.
    """
    try:
        raster = item.open(nearest=isinstance(item, Covariate) and config.year_policy == "nearest")
        if isinstance(item, Total) and item.coarsen:
            factor = config.known_factor
            if factor is None:
                raise UsageError(
                    "ingest.totals", "`coarsen` with `fine_pixel`", "`factor`", "set `ingest.factor`"
                )
            raster = Coarsened(raster, factor, config.weights, config.least_valid)
    except HectareError as fault:
        return None, [fault]
    if bent := _curvilinear(item, raster):
        return None, [bent]
    where = raster.where
    faults: list[HectareError] = []
    if raster.crs is None:
        faults.append(
            InputError(
                where,
                "no coordinate system",
                "a CRS in the file",
                "set `crs:` for this file, e.g. crs: EPSG:3035",
            )
        )
    if not raster.has_transform:
        faults.append(
            InputError(
                where,
                "no transform: pixels have no place on the ground",
                "an origin and a pixel size",
                "export it with its georeferencing (gdal_translate -a_ullr ... sets it)",
            )
        )
    unit = None
    if isinstance(item, Total):
        unit, wrong = unit_of(item, raster, config)
        faults += [wrong] if wrong else []
        faults += _steps(raster, unit) if unit else []
    try:
        counted = scan(raster, tag_is_real=item.nodata == "none", keeper=keeper)
    except InputError as fault:
        return None, [*faults, fault]
    faults += _values(item, where, counted, config, unit)
    _compare_years(item, raster)
    if isinstance(item, Total) and item.year is not None and not when.is_year(item.year):
        raster.close()  # thousands of dates must not be open at once; a band opens itself again
    return Source(item, raster, counted, sha256, unit), faults


def _curvilinear(item: Total | Covariate, raster: Band) -> HectareError | None:
    """Amounts need cells that are rectangles of their own: what is read on a lattice cannot be conserved."""
    if raster.bent is None or not (isinstance(item, Total) or item.kind == "total"):
        return None
    return InputError(
        raster.where,
        f"{'totals' if isinstance(item, Total) else 'counts'}, but {raster.bent}",
        "amounts on regular cells, which can be divided without loss",
        "make densities of amounts per cell (`cdo -div in.nc -gridarea in.nc density.nc`), regrid those conservatively "
        "onto a regular grid (`cdo remapcon,grid.txt density.nc out.nc`), and give out.nc with its unit per m2"
        + ("" if isinstance(item, Total) else "; or give a density here with `kind: continuous`"),
    )


def _compare_years(item: Total | Covariate, raster: Band) -> None:
    """Tells when the file's name speaks of another year alone; the declaration is believed."""
    named = {int(year) for year in YEAR.findall(raster.name)}
    if (
        isinstance(item.year, int)
        and when.is_year(item.year)
        and len(named) == 1
        and item.year not in named
        and raster.year is None
    ):
        tell(f"{raster.name}: declared for {item.year}, but its name says {named.pop()}", warning=True)


def _steps(raster: Band, unit: Unit) -> list[HectareError]:
    """Steps of a year that add up must be amounts; those that average must be rates or states."""
    steps, method = raster.steps, raster.method
    if steps == 1 or not unit.timed:
        return []
    if method == "sum":
        fix = 'leave the time out of `unit:` if each step is an amount, or set `cell_methods: "time: mean"`'
    elif isinstance(unit, AmountUnit) and unit.periods == 12.0:
        fix = 'leave "per month" out of `unit:` and set `cell_methods: "time: sum"`: months differ in length'
    else:
        return []
    return [
        InputError(raster.where, f"{method} of {steps} steps in {unit.text!r}", "amounts that add up", fix)
    ]


def _values(
    item: Total | Covariate, where: str, counted: Scan, config: Config, unit: Unit | None
) -> list[HectareError]:
    faults: list[HectareError] = []
    gone = counted.nodata + counted.nans
    if gone == counted.cells:
        return [
            InputError(
                where, "every cell is nodata", "values", "check `band:` and `nodata:`, or leave the layer out"
            )
        ]
    if counted.infinite and counted.first_infinite is not None:
        row, col = counted.first_infinite
        faults.append(
            InputError(
                where,
                f"{counted.infinite} infinite value(s), the first at row {row}, column {col}",
                "finite numbers",
                "correct the file",
            )
        )
    for value, count in counted.sentinels.items():
        faults.append(
            InputError(
                where,
                f"{count} cells ({count / counted.cells:.1%}) hold {value:g}, which is not declared as nodata",
                "physical values",
                f"set `nodata: {value:g}` (or `nodata: none` if the value is real)",
            )
        )
    if isinstance(item, Covariate):
        if item.kind == "share" and counted.low < 0 and not counted.sentinels:
            faults.append(
                InputError(
                    where,
                    f"shares down to {counted.low:g}",
                    "shares of at least 0",
                    "set `kind: continuous`, or declare `nodata:`",
                )
            )
        return faults
    if gone and item.missing == "error":
        faults.append(
            InputError(
                where,
                f"{gone} of {counted.cells} cells have no value ({counted.nodata} nodata, {counted.nans} NaN)",
                "a total in every cell",
                "set `nodata: none` if the nodata value is a true number, `missing: zero`, or `missing: unknown`",
            )
        )
    below = counted.negative and (unit is None or unit.to_mass(np.array(counted.low), _ONE) < 0)
    if below and not counted.sentinels and not config.allow_negative:
        faults.append(
            InputError(
                where,
                f"{counted.negative} negative total(s), the lowest {counted.low:g}",
                "totals of at least 0",
                "correct the file, or set `ingest.allow_negative: true` to keep sinks apart",
            )
        )
    return faults
