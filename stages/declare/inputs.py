"""How totals and layers are declared in the configuration."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain, product
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from model.ground import time_steps as when
from model.ground.quantity import EXTENSIVE, QUANTITIES, Quantity
from model.ground.units import spelled
from model.options import SourcePath
from stages.contract.section import Renamed, SafeName, Section, lacking
from stages.declare.dates import Dates, file_of, is_pattern
from stages.declare.derived_layers import Derived
from stages.declare.emission_factors import Emission
from stages.declare.extent import Area
from stages.declare.point_sources import Facilities
from stages.declare.types import CrsText, Pair
from stages.declare.vector_layers import VectorLayer
from stages.formats.netcdf.untrusted import is_gridded
from stages.formats.raster.band import Band
from stages.formats.raster.geotiff import Raster

RESERVED = {
    *("x", "y", "x_coarse", "y_coarse", "time", "time_bounds", "sector", "bounds"),
    *("valid", "fine_fields", "longitude", "latitude", "spatial_ref", "zarr.json"),
}
Entry = TypeVar("Entry", str, tuple[str, int | None])
FACTOR = 10  # when nothing is said
Nodata = float | Literal["auto", "none"]
Sectors = Annotated[tuple[SafeName, ...], Field(strict=False)] | dict[SafeName, str]


def _known_substance(text: str) -> str:
    if (name := spelled(text)) is None:
        raise ValueError(f"no substance is called {text!r}; write e.g. CO2, CH4 or C")
    return name


Substance = Annotated[str, AfterValidator(_known_substance)]


def _refuse_reserved(names: list[str]) -> None:
    if taken := sorted(set(names) & RESERVED):
        raise ValueError(f"the cube keeps these names for itself: {taken}; choose others")


def _listed(pairs: Iterable[tuple[str, int | None]]) -> str:
    return ", ".join(f"{sector} {year}" for sector, year in pairs)


def _twice(entries: Iterable[Entry]) -> list[Entry]:
    """Those that stand more than once, each once, in order."""
    counts = Counter(entries)
    return sorted(entry for entry in counts if counts[entry] > 1)


def _names(items: "Iterable[Covariate | VectorLayer | Derived]") -> list[str]:
    return [item.name for item in items]


class File(Section):
    """One band of one GeoTIFF, or one variable of a NetCDF file or Zarr store, and how to read it."""

    path: SourcePath
    band: PositiveInt = 1
    variable: str | None = None  # NetCDF and Zarr: which one; needless when there is one alone
    # NetCDF and Zarr: a value along each axis beside x, y and time
    select: Annotated[dict[str, str | float], Field(default_factory=dict)]
    cell_methods: str | None = None  # how steps within a year become one: "time: sum" or "time: mean"
    nodata: Nodata = "auto"  # auto: believe the file's tag; none: the value is real; or the value itself
    crs: CrsText | None = None  # only for a file that names none, e.g. EPSG:3035
    registration: Pair = (0.0, 0.0)  # CRS units added to the file's origin (x, y)
    # NetCDF and Zarr without a CRS: its rows and columns are a plane grid of their own, cells this wide [m]
    index_grid: PositiveFloat | None = None
    # nodes: a number holds at the point its coordinates name; it is taken for the cell around that point, and said
    values_at: Literal["cells", "nodes"] = "cells"
    licence: str = ""
    attribution: str = ""

    @model_validator(mode="after")
    def _fits_the_format(self) -> "File":
        if is_gridded(self.path):
            if self.band != 1:
                raise ValueError("NetCDF and Zarr have no bands: set `variable:` and `select:`")
        elif self.variable or self.select or self.cell_methods or self.index_grid:
            raise ValueError(
                "`variable`, `select`, `cell_methods` and `index_grid` are for NetCDF and Zarr, by their suffix"
            )
        return self

    @property
    def step(self) -> int | None:
        """The year, or shorter step, that is read; None for all there are together."""
        return None

    @property
    def gaps_are_zero(self) -> bool:
        """True when a cell without a value in one of several steps counts as 0 there."""
        return False

    def open(self, *, nearest: bool = False) -> Band:
        """The band it means; nearest: a year may stand for another.

        Raises: HectareError when the file does not hold it.
        """
        if not is_gridded(self.path):
            return Raster(self.path, self.band, self.nodata, self.crs, self.registration)
        from stages.formats.netcdf.variable import Variable  # xarray takes half a second

        band = Variable(
            self.path,
            self.variable,
            self.select,
            self.step,
            nodata=self.nodata,
            crs=self.crs,
            registration=self.registration,
            cell_methods=self.cell_methods,
            nearest=nearest,
            index_grid=self.index_grid,
            gaps_are_zero=self.gaps_are_zero,
        )
        if self.values_at == "nodes":
            band.notes = (
                *band.notes,
                "its numbers hold at nodes; each was taken for the cell around its node",
            )
        return band


class Fine(File):
    """Fields on the fine grid of a sector and some dates, to learn from."""

    sector: SafeName = "all"
    # True: the file is coarse and is interpolated. Then interpolation is what is learned: a smoke test, no skill.
    interpolated: bool = False
    dates: Dates | None = None
    year: int | None = None
    unit: str | None = None  # without it the file's own unit tag is read
    ignore_unit_tag: bool = False  # True: `unit` is right and the different unit in the file is wrong

    @model_validator(mode="after")
    def _when(self) -> "Fine":
        if (self.year is None) == (self.dates is None):
            raise lacking("a `year`, or `dates`", "year", "dates")
        return self

    @property
    def step(self) -> int | None:
        return self.year

    def singles(self) -> "Iterator[Fine]":
        """One declaration for each date.

        In a path with parts of a date those of the date stand in their place.
        """
        for label in self.dates.labels if self.dates else (self.year,):
            path = file_of(self.path, label) if label is not None else self.path
            yield self.model_copy(update={"year": label, "dates": None, "path": path})


class Total(File):
    """The inventory: one sector and year of it, or several of one NetCDF file or Zarr store."""

    sector: SafeName = "all"
    year: int | None = None
    years: Annotated[
        tuple[int, ...], Field(strict=False)
    ] = ()  # instead of year: several along the time axis
    # Instead of year: steps shorter than a year. In the path, %Y, %m, %d, %H then name the file of each.
    dates: Dates | None = None
    # True: the file lies on the fine grid, and the means of its blocks over their valid cells are the totals
    coarsen: bool = False
    sectors: Sectors = ()  # instead of sector: names along an axis, or variables; or {our name: its name}
    along: str | None = None  # the axis of the sectors; without it they are variables
    unit: str | None = None  # per cell or per area; without it the file's own unit tag is read
    ignore_unit_tag: bool = False  # True: `unit` is right and the different unit in the file is wrong
    missing: Literal["error", "zero", "unknown"] = "error"  # what a cell without a value means

    @model_validator(mode="after")
    def _one_way(self) -> "Total":
        if [self.year is not None, bool(self.years), self.dates is not None].count(True) != 1:
            raise lacking(
                "a `year` (or `years`, for several in one file, or `dates`)", "year", "years", "dates"
            )
        if is_pattern(self.path) and self.dates is None:
            raise ValueError("parts of a date in `path` need `dates:`")
        if (self.years or self.sectors) and not is_gridded(self.path):
            raise ValueError(
                "`years` and `sectors` are for NetCDF and Zarr; give each band an entry of its own"
            )
        if self.along and not self.sectors:
            raise ValueError("`along` needs `sectors`: which of them are wanted")
        return self

    @property
    def step(self) -> int | None:
        return self.year

    @property
    def gaps_are_zero(self) -> bool:
        return self.missing == "zero"

    def singles(self) -> "Iterator[Total]":
        """One declaration for each sector and year.

        A sector is a place along the axis `along`, or a variable of its own where there is no such axis.
        """
        named = (
            self.sectors
            if isinstance(self.sectors, dict)
            else dict(zip(self.sectors, self.sectors, strict=True))
        )
        for sector, inside in named.items() or ((self.sector, ""),):
            chosen: dict[str, Any] = {"sector": sector, "sectors": (), "along": None, "years": ()}
            if named and self.along:
                chosen["select"] = {**self.select, self.along: inside}
            elif named:
                chosen["variable"] = inside
            for year in (self.dates.labels if self.dates else self.years) or (self.year,):
                path = self.path if year is None else file_of(self.path, year)
                yield self.model_copy(update={**chosen, "year": year, "dates": None, "path": path})


class Covariate(File):
    """A fine predictor layer; several entries may share a name when their years differ."""

    name: SafeName
    kind: Literal["continuous", "share", "class", "total"]
    unit: str
    year: int | Literal["static"] = "static"
    years: Annotated[
        tuple[int, ...], Field(strict=False)
    ] = ()  # instead of year: several along the time axis
    # kind class: the codes wanted, or {name: codes that count as one}; none = all found
    classes: (
        Annotated[tuple[int, ...], Field(strict=False)]
        | dict[SafeName, Annotated[tuple[int, ...], Field(strict=False, min_length=1)]]
    ) = ()
    allow_partial: bool = False  # True: cells without a value are masked and counted, not an error
    fill: float | None = (
        None  # instead: what cells without a value are, in the layer's unit; counted and told
    )
    resample: bool = False  # True: a file whose cells lie off the grid's lines is meant to be resampled
    long_name: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Covariate":
        if self.years and (self.year != "static" or not is_gridded(self.path)):
            raise ValueError("`years` is for NetCDF and Zarr, instead of `year`")
        if self.fill is not None and self.allow_partial:
            raise ValueError(
                "give `fill` or `allow_partial`: cells without a value are either filled or masked"
            )
        if self.classes and self.kind != "class":
            raise ValueError("`classes` are for `kind: class`")
        if self.fill and self.kind == "class":
            raise ValueError("`fill` of classes can only be 0: no share of any of them")
        return self

    @property
    def step(self) -> int | None:
        return None if self.year == "static" else self.year

    def singles(self) -> "Iterator[Covariate]":
        """One declaration for each year."""
        for year in self.years or (self.year,):
            yield self.model_copy(update={"year": year, "years": ()})


class Config(Section):
    """Which files make the cube."""

    RENAMED: ClassVar[Mapping[str, Renamed]] = {"leave_out": Renamed("exclude")}

    variable: SafeName
    long_name: str = ""
    standard_name: str | None = None  # of CF's list, for NetCDF
    # auto: the units tell extensive from flux; intensive: a mean over the cell, such as a depth or a temperature
    quantity: Literal["auto", "extensive", "flux", "intensive"] = "auto"
    weights: Literal["area", "cells"] = "area"  # intensive: what a cell counts for in the mean of its block
    # intensive: share of a block's cells that must be valid; a mean of fewer stands for nothing and is left out
    least_valid: Annotated[float, Field(gt=0, le=1)] = 0.1
    valid: File | None = None  # a field on the fine grid that has a value wherever the result may have one
    pairs: Annotated[tuple[Fine, ...], Field(strict=False)] = ()  # fine fields of some dates, to learn from
    substance: Substance | None = None  # what masses are kept as; carbon becomes CO2 only when this says so
    molar_mass: PositiveFloat | None = None  # g/mol, for totals in moles of a substance we do not know
    factor: Annotated[int, Field(ge=2, le=100)] | None = (
        None  # fine cells along a coarse cell; 10 when nothing is said
    )
    fine_pixel: PositiveFloat | None = None  # instead of factor, in CRS units
    totals: Annotated[tuple[Total, ...], Field(strict=False)]
    covariates: Annotated[tuple[Covariate, ...], Field(strict=False)] = ()
    area: Area | None = None  # the part of the totals that the run is about, in whole coarse cells
    emission: Emission | None = None  # factors that turn the activity into a second set of maps
    points: Annotated[tuple[Facilities, ...], Field(strict=False)] = ()  # sources with a place of their own
    vectors: Annotated[tuple[VectorLayer, ...], Field(strict=False)] = ()
    derived: Annotated[tuple[Derived, ...], Field(strict=False)] = ()
    exclude: Annotated[tuple[SafeName, ...], Field(strict=False)] = ()  # layers declared but not used
    allow_negative: bool = False  # True: negative totals are sinks, kept apart and spread evenly
    year_policy: Literal["exact", "nearest"] = "exact"  # for layers that have no file of a year of the totals

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if not self.totals:
            raise ValueError("give at least one entry in `totals`")
        if self.factor is not None and self.fine_pixel is not None:
            raise ValueError("give `factor` or `fine_pixel`, not both")
        self._fit_the_quantity()
        if len({len(str(label)) for label in self.years}) > 1:
            raise ValueError("steps of time of one length: years, months, days or hours")
        if astray := sorted(
            {item.year for item in self.every_pair if item.year is not None} - set(self.years)
        ):
            told = ", ".join(map(when.spelled, astray[:10]))
            raise ValueError(f"`pairs` of dates that have no total: {told}; one of a pair is missing")
        _refuse_reserved(
            [
                self.variable,
                *_names((*self.covariates, *self.vectors, *self.derived)),
            ]
        )
        if len(self.sectors) > 1 and "all" in self.sectors:
            raise ValueError("no sector may be called `all` beside others: the name is kept for their sum")
        pairs = [(total.sector, total.year) for total in self.every_total]
        if twice := _twice(pairs):
            raise ValueError("each sector and year once; given twice: " + _listed(twice))
        if holes := sorted(set(product(self.sectors, self.years)) - set(pairs)):
            raise ValueError("a total of every sector for every year; there is none for " + _listed(holes))
        self._agree_over_years()
        return self

    def _agree_over_years(self) -> None:
        """Raises ValueError for years of a layer that do not go together."""
        if again := _twice(f"{layer.name} {layer.year}" for layer in self.every_layer):
            raise ValueError(f"layer and year given twice: {again}")
        by_name: dict[str, list[Covariate]] = {}
        for layer in self.every_layer:
            by_name.setdefault(layer.name, []).append(layer)
        for name, same in by_name.items():
            if len({(layer.kind, layer.unit, layer.allow_partial, layer.fill) for layer in same}) > 1:
                raise ValueError(
                    f"all years of layer {name!r} need the same kind, unit, allow_partial and fill"
                )
            if len(same) > 1 and any(layer.year == "static" for layer in same):
                raise ValueError(f"layer {name!r} is given as static and for a year")

    @model_validator(mode="after")
    def _leave_out(self) -> "Config":
        names = self.layer_names
        if unknown := sorted(set(self.exclude) - set(names)):
            raise ValueError(f"exclude names no layer: {unknown}; there are {', '.join(names)}")
        gone = set(self.exclude)
        used = {
            "covariates": tuple(layer for layer in self.covariates if layer.name not in gone),
            "derived": tuple(layer for layer in self.derived if layer.name not in gone),
        }
        return self.model_copy(update=used) if gone else self

    def _fit_the_quantity(self) -> None:
        """Raises ValueError for what has no meaning for a mean, or for an amount."""
        given = {"points": self.points, "emission": self.emission, "substance": self.substance}
        if not self.kind.adds_up:
            if amounts := [name for name, value in given.items() if value]:
                raise ValueError(
                    f"{' and '.join(amounts)}: only amounts have that, and `quantity` is intensive"
                )
        elif self.pairs or any(total.coarsen for total in self.totals):
            raise ValueError("`pairs` and `coarsen` are for `quantity: intensive`")

    @property
    def kind(self) -> Quantity:
        """The quantity as declared; an amount where the units are to tell extensive from flux."""
        return QUANTITIES.get(self.quantity, EXTENSIVE)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Every layer that is used, as it is declared.

        Vector layers are not among them: they cannot be left out by name.
        """
        return tuple(dict.fromkeys(_names((*self.covariates, *self.derived))))

    @cached_property
    def every_pair(self) -> tuple[Fine, ...]:
        """One declaration for each fine field."""
        return tuple(chain.from_iterable(map(Fine.singles, self.pairs)))

    @cached_property
    def every_total(self) -> tuple[Total, ...]:
        """One declaration for each sector and year."""
        return tuple(chain.from_iterable(map(Total.singles, self.totals)))

    @property
    def every_layer(self) -> tuple[Covariate, ...]:
        """One declaration for each layer and year."""
        return tuple(chain.from_iterable(map(Covariate.singles, self.covariates)))

    @property
    def known_factor(self) -> int | None:
        """Fine cells along a coarse cell, where the configuration alone tells."""
        return None if self.fine_pixel is not None else self.factor or FACTOR

    @cached_property
    def sectors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(total.sector for total in self.every_total))

    @cached_property
    def years(self) -> tuple[int, ...]:
        return tuple(sorted({total.year for total in self.every_total if total.year is not None}))
