"""What a report says beside the certificate, as typed records: where the maps lie and how they were made."""

from dataclasses import asdict

from pydantic import JsonValue, field_validator

from model.ground.grid import Grid
from stages.artifacts.maps import MapSpec
from stages.artifacts.records import (
    EmissionRecord,
    LayerRecord,
    PointFileRecord,
    Record,
    TotalRecord,
    TrainingRecord,
    ZonalSumsRecord,
)
from stages.report.qgis_style import Legend


class PlaceRecord(Record):
    """The grids in words.

    Attributes:
      crs, code: name of the coordinate reference system; its authority and number, empty where it has none.
      axis_unit: of the coordinates.
      coarse_cell, fine_cell, extent: lengths on the ground.
      bounds: left, bottom, right, top in the CRS.
      coarse_shape, fine_shape: rows, columns.
    """

    crs: str
    code: str
    axis_unit: str
    coarse_cell: str
    fine_cell: str
    extent: str
    bounds: tuple[float, ...]
    coarse_shape: tuple[int, int]
    fine_shape: tuple[int, int]


class DrawnMapRecord(Record):
    """One map of the set and its colours; the rest as in stages.artifacts.maps.MapSpec."""

    name: str
    sector: str
    year: int
    members: tuple[int, ...]
    time: int
    unit: str = ""
    long_name: str = ""
    factors: tuple[float, ...] = ()
    legend: Legend

    @classmethod
    def of(cls, sheet: MapSpec, legend: Legend) -> "DrawnMapRecord":
        """A map as it is told in the report.

        Args:
          legend: its colours, of all its cells.
        """
        return cls(**asdict(sheet), legend=legend)

    @property
    def sheet(self) -> MapSpec:
        """The map as the readers of finished maps know it."""
        return MapSpec(
            self.name,
            self.sector,
            self.year,
            self.members,
            self.time,
            self.unit,
            self.long_name,
            self.factors,
        )


class FallbackShare(Record):
    """Blocks that one fallback level placed, and what they were given, in the unit of the maps."""

    blocks: int
    mass: float


class FallbackSharesRecord(Record):
    """Who placed the blocks of one sector and year; by the number of the fallback level."""

    sector: str
    year: int
    counts: dict[str, FallbackShare]


class ReportRecord(Record):
    """Every fact of the page that is not in the certificate, without times.

    Attributes:
      quantity: extensive, flux or intensive.
      coarse: the grid of the totals; factor: fine cells along a cell of it.
      laws: misallocated share of merged totals by each law that was compared.
      describe: what the method says of itself, by words a reader sees.
      fallback_levels: who placed the blocks, for each sector and year.
      notes: what was filled, masked or fell back, in sentences.
      uncertainty: none is given yet.
      page_width: pixels along a picture, at most.
    """

    variable: str
    long_name: str
    unit: str
    quantity: str
    sectors: tuple[str, ...]
    years: tuple[int, ...]
    factor: int
    coarse: Grid
    place: PlaceRecord
    method: str
    law: str
    laws: dict[str, float]
    describe: dict[str, JsonValue]
    training: TrainingRecord
    proxy: str | None
    not_finite: int
    maps: tuple[DrawnMapRecord, ...]
    fallback_levels: tuple[FallbackSharesRecord, ...]
    emission: EmissionRecord | None
    points: tuple[PointFileRecord, ...]
    layers: tuple[LayerRecord, ...]
    totals: tuple[TotalRecord, ...]
    attribution: str
    notes: tuple[str, ...]
    uncertainty: None = None
    page_width: int
    zones: ZonalSumsRecord | None = None

    @field_validator("emission", mode="before")
    @classmethod
    def _none_is_empty(cls, given: object) -> object:
        """A run without emissions is told as {}."""
        return given or None

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values, every key in its place.

        Returns: what this run has none of is null, and of emissions an empty mapping, as earlier versions wrote it.
        """
        told = super().to_json()
        told |= {"coarse": asdict(self.coarse), "describe": self.describe}
        told.setdefault("emission", {})
        return {name: told.get(name) for name in type(self).model_fields}
