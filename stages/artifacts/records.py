"""What artifacts say of themselves, as typed records: written once as JSON, read back into the same type.

Why pydantic: a record that was changed by hand is refused where it is read, with the key that is wrong. Keys without a
value are left out of the JSON, and keys that a later version added are passed over.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Plain facts that travel between files; never changed, only copied with changes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self) -> dict[str, Any]:
        """As JSON values; keys without a value are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_json(cls, plain: Any) -> Self:
        """The inverse of to_json.

        Raises: pydantic.ValidationError (a ValueError) for anything else.
        """
        return cls.model_validate(plain)

    def with_(self, **changes: Any) -> Self:
        """A copy in which some fields are others."""
        return self.model_copy(update=changes)


class FileRecord(Record):
    """A file that a layer was made of.

    Attributes:
      year: of its values; "static" where they hold for every year.
      band: which part of the file, in words.
      nodata_cells, nan_cells: without a value, by tag and by NaN.
      low, mean, high, sum: over the cells with a value, in the file's own unit.
      layer, where: of a vector file, what was chosen in it.
      features, features_of_another_type, features_without_geometry, outlines_mended: counts of a vector file.
    """

    source: str
    sha256: str
    year: int | str | None = None
    band: str | None = None
    notes: tuple[str, ...] | None = None
    crs: str = ""
    nodata_cells: int | None = None
    nan_cells: int | None = None
    low: float | None = None
    mean: float | None = None
    high: float | None = None
    sum: float | None = None
    layer: str | None = None
    where: str | None = None
    features: int | None = None
    features_of_another_type: int | None = None
    features_without_geometry: int | None = None
    outlines_mended: int | None = None


class LayerRecord(Record):
    """One covariate of a cube.

    Attributes:
      kind: continuous, share or total, as the cube holds it; declared_kind: as the configuration says.
      blocky: its own pixels are as coarse as a block.
      resampling: how it came to the fine grid, in words.
      fill: the number given to cells without a value; None where they are gaps.
      coverage: share of the ground with totals where it has a value.
      masked_cells, filled_cells: fine cells under totals without a value; those given `fill`.
      low, mean, high, sum: over the fine cells of the cube.
      thumbnail: a small PNG as a data address.
      offset: blocks across and down at which it fits the totals best, where that can be told.
    """

    name: str
    kind: str
    blocky: bool = False
    static: bool = True
    long_name: str = ""
    declared_kind: str = ""
    unit: str = ""
    resampling: str = ""
    allow_partial: bool = False
    fill: float | None = None
    files: tuple[FileRecord, ...] = ()
    licence: str = ""
    attribution: str = ""
    coverage: float | None = None
    masked_cells: int = 0
    filled_cells: int = 0
    low: float | None = None
    mean: float | None = None
    high: float | None = None
    sum: float | None = None
    thumbnail: str | None = None
    offset: tuple[float, float] | None = None

    @property
    def title(self) -> str:
        """The layer in words: name, kind, and whether it is as coarse as a block."""
        return f"{self.name} ({self.kind}{', as coarse as a block' if self.blocky else ''})"


class TotalRecord(Record):
    """The totals of one sector and step of time.

    Attributes:
      unit: of the file; sum, low, high: of the file, in that unit.
      missing: what cells without a value were taken for.
      mass: sum over the map, in the cube's unit.
    """

    sector: str
    year: int
    source: str
    sha256: str = ""
    band: str = ""
    notes: tuple[str, ...] = ()
    unit: str = ""
    crs: str = ""
    cells: int = 0
    missing: str = ""
    missing_cells: int = 0
    negative_cells: int = 0
    sum: float | None = None
    low: float | None = None
    high: float | None = None
    mass: float | None = None
    licence: str = ""
    attribution: str = ""


class FineFieldRecord(Record):
    """A field given on the fine grid."""

    source: str
    sha256: str = ""
    band: str = ""
    notes: tuple[str, ...] = ()


class PairRecord(FineFieldRecord):
    """A fine field of one sector and date to learn from; interpolated: made of a coarser one."""

    sector: str
    year: int
    unit: str = ""
    interpolated: bool = False


class ExtentRecord(Record):
    """The part of the totals that a run is about.

    Attributes:
      coarse_cells: kept; of: in the files of the totals.
      bounds: left, bottom, right, top in the CRS of the totals.
    """

    coarse_cells: int
    of: int
    bounds: tuple[float, ...]


class FuelRecord(Record):
    """One of the fuels behind an activity: its share, and its factor in the unit of the sector's factor."""

    share: float
    factor: float


class FactorRecord(Record):
    """An emission factor as it was declared; year None: of every year."""

    sector: str
    factor: float
    unit: str
    source: str
    year: int | None = None
    fuels: dict[str, FuelRecord] = {}


class EmissionRecord(Record):
    """What the activity emits.

    Attributes:
      factors: (sectors, years) canonical units of emission in one of activity.
      told: the factors as declared.
    """

    variable: str
    long_name: str
    unit: str
    substance: str = ""
    factors: tuple[tuple[float, ...], ...]
    told: tuple[FactorRecord, ...] = ()


class PointFileRecord(Record):
    """A file of point sources, and the sums of its amounts in the cube's unit.

    Attributes:
      given = placed + excess + outside: at their place; beyond what their block's total has room for; off the map or
        where no total is known.
    """

    source: str
    sector: str
    year: int
    unit: str
    points: int
    given: float
    placed: float
    excess: float
    outside: float
    sha256: str = ""
    licence: str = ""
    attribution: str = ""


class CubeRecord(Record):
    """All that a cube says of itself beside its grids and arrays.

    Attributes:
      unit: canonical, of amounts per cell or of the mean.
      quantity: extensive, flux or intensive.
      weights: of a mean, what cells of a block count by: area or cells.
      time_method: what a step of time is of the instants in it.
      cell_methods: of space, as CF writes it.
      scarce_blocks: means left out since too few of their cells are valid.
      valid: the field that says where a value may stand.
    """

    variable: str
    long_name: str
    unit: str
    quantity: str
    cell_methods: str
    attribution: str = ""
    weights: str = "cells"
    time_method: str = "sum"
    standard_name: str = ""
    substance: str | None = None
    days_per_year: float | None = None
    layers: tuple[LayerRecord, ...] = ()
    totals: tuple[TotalRecord, ...] = ()
    pairs: tuple[PairRecord, ...] = ()
    points: tuple[PointFileRecord, ...] = ()
    area: ExtentRecord | None = None
    valid: FineFieldRecord | None = None
    emission: EmissionRecord | None = None
    scarce_blocks: int = 0


class TrainingRecord(Record):
    """What is told of how a method learned; a method that learns nothing leaves all but `asked` out.

    Attributes:
      asked: the method the configuration names.
      fell_back: what was used instead; reason: why nothing was learned.
      transferred: the run whose checkpoint was applied here.
      pretrained: the run whose networks training began with; pretrained_left: why it began with none.
      folds: networks, each with another part of the ground held out; tiles: that they learned from.
      step, steps: of the states that are used; taken in all.
      score: on held-out ground; start_score: before anything was learned; rivals: of baselines on the same ground.
      beaten_by: the baseline that is as good or better.
      pairs, valid_pairs: fine fields learned from; held out.
      held_out_rmse, rival_rmse: on the dates held out.
    """

    asked: str | None = None
    fell_back: str | None = None
    reason: str | None = None
    transferred: str | None = None
    pretrained: str | None = None
    pretrained_left: str | None = None
    folds: int | None = None
    tiles: int | None = None
    step: int | None = None
    steps: int | None = None
    score: float | None = None
    start_score: float | None = None
    rivals: dict[str, float] | None = None
    beaten_by: str | None = None
    pairs: int | None = None
    valid_pairs: int | None = None
    held_out_rmse: float | None = None
    rival_rmse: dict[str, float] | None = None
    notes: tuple[str, ...] | None = None


class FallbackRecord(Record):
    """How many blocks of a sector and year each fallback level placed, by its name."""

    sector: str
    year: int
    fallback_levels: dict[str, int]


class ZoneRecord(Record):
    """A total of a zone beside those of the blocks.

    Attributes:
      residual: what its cells hold beyond it, in the cube's unit; met: it is no more than rounding.
    """

    zone: str
    name: str
    sector: str
    year: int
    total: float
    residual: float
    met: bool


class FieldRecord(Record):
    """How a field was made.

    Attributes:
      law: by which blocks meet their totals; laws: misallocated share of merged totals by each law compared.
      describe: what the method says of itself, by words a reader sees.
      proxy: the layer that places a total where the estimate is 0 everywhere.
      not_finite: estimates that were no number and counted as 0.
      reference: a sample of the ground the method learned from, see model/evaluation/applicability.py.
    """

    method: str = ""
    law: str = ""
    laws: dict[str, float] = {}
    describe: dict[str, Any] = {}
    training: TrainingRecord = TrainingRecord()
    proxy: str | None = None
    not_finite: int = 0
    counts: tuple[FallbackRecord, ...] = ()
    zones: tuple[ZoneRecord, ...] = ()
    reference: dict[str, Any] | None = None


class SheetRecord(Record):
    """One of the finished maps that zones were summed over; unit: of its masses."""

    variable: str
    unit: str
    sector: str
    year: int
    file: str


class ZoneSumRecord(Record):
    """What lies in one zone.

    Attributes:
      fine_cells: in it; a cell that its border cuts counts by its share.
      mass: of each map, in the map's unit.
    """

    zone: str
    name: str
    fine_cells: float
    mass: tuple[float, ...]


class ZonalSumsRecord(Record):
    """Sums of finished maps by zone; outside + the zones = whole, for each map.

    Attributes:
      rule: how a cell that a border cuts is shared out, in words.
      outside, whole: of each map, in the map's unit: beyond every zone; everywhere.
      sheets: the maps, in the order of the masses.
    """

    rule: str
    zones: tuple[ZoneSumRecord, ...]
    outside: tuple[float, ...]
    whole: tuple[float, ...]
    sheets: tuple[SheetRecord, ...]


class SplitSums(Record):
    """A sum over the ground of each split: of coarse cells, or of mass in the cube's unit."""

    train: float
    valid: float
    test: float
    buffer: float
    nothing: float


class YearStatistics(Record):
    """Totals of one year on the ground learned from; cv_log: standard deviation over mean of log(1 + total)."""

    zeros: int
    nonzeros: int
    cv_log: float | None


class LayerStatistics(Record):
    """Each layer over the valid cells of the ground learned from, (layers,) each.

    Attributes:
      zero_share: 0 to 1; positive_median: of the values above 0.
    """

    zero_share: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    positive_median: tuple[float, ...]


class TileStatistics(Record):
    """What the ground learned from holds; nonzero_cells: coarse cells with mass."""

    years: dict[str, YearStatistics]
    layers: LayerStatistics
    nonzero_cells: int


class PairDates(Record):
    """Dates of pairs to learn from, those that validate, and dates with totals alone."""

    train: tuple[int, ...]
    valid: tuple[int, ...]
    unpaired: tuple[int, ...]


class TileRecord(Record):
    """One tile of the plan.

    Attributes:
      split: all, test, train or valid; fold: that is held out, -1 for none.
      row, col: of its upper left coarse cell.
      mass: in the cells that count; target: their flat indices in the tile.
    """

    id: str
    split: str
    fold: int
    row: int
    col: int
    mass: float
    target: tuple[int, ...]


class TilePlan(Record):
    """How a map is cut and split.

    Attributes:
      size, stride: fine cells along a tile, and from one training tile to the next.
      side, halo: coarse cells along a tile, and read around it.
      block, buffer: coarse cells along a spatial block; between splits.
      cells, mass: by split while each fold is held out.
      dropped: windows left out, by reason.
      pairs: None where the cube has no fine fields.
    """

    size: int
    side: int
    stride: int
    halo: int
    block: int
    buffer: int
    folds: int
    cells: tuple[SplitSums, ...]
    mass: tuple[SplitSums, ...]
    dropped: dict[str, int]
    statistics: TileStatistics
    pairs: PairDates | None = None
    windows: tuple[TileRecord, ...]
