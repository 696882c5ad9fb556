"""What a certificate says, as typed records: of each map, of point sources, of emissions and of NetCDF files."""

from pydantic import JsonValue

from stages.artifacts.netcdf_maps import NetcdfRecord
from stages.artifacts.records import EmissionRecord, Record

OF_SOME_RUNS = (
    "mean",
    "weights",
    "points",
    "emission",
    "netcdf",
)  # left out of the JSON where there are none


class WorstBlock(Record):
    """The block that is farthest from its total, relative to it.

    Attributes:
      row, col: of the coarse grid; x, y: its centre in the CRS.
      given, placed: in the unit of the map.
      file, unit: of its map, where it is the worst of several.
    """

    relative_residual: float
    row: int
    col: int
    x: float
    y: float
    given: float
    placed: float
    file: str | None = None
    unit: str | None = None


class MapRecord(Record):
    """One finished map against its totals; given = placed + outside - residual + rounded.

    Attributes:
      factors: of an emission, one for each sector in the map; none on a map of the activity.
      scale_factor: mass of a unit, where the map holds whole numbers.
      rounded: what whole numbers moved; exact: every block holds just what is due.
      fallback_levels: blocks by what placed them; none on a sum of sectors.
      holes: cells that may receive mass and hold no value, in blocks that placed some.
      negative_blocks: blocks with a cell below 0 under totals that are not.
    """

    file: str
    sector: str
    year: int
    is_sum: bool
    variable: str
    unit: str
    factors: tuple[float, ...]
    given: float
    placed: float
    outside: float
    residual: float
    scale_factor: float | None
    rounded: float
    exact: bool
    fallback_levels: dict[str, int]
    relative_residual: float
    blocks: int
    blocks_outside: int
    worst: WorstBlock
    smallest_cell: float
    cells: int
    holes: int
    negative_blocks: int
    block_file_agrees: bool
    passed: bool
    sha256: str
    blocks_file: str
    blocks_sha256: str


class PointPlace(Record):
    """A point source on the map: fine row and column, coordinates, mass placed."""

    row: int
    col: int
    x: float
    y: float
    mass: float


class PointMapRecord(Record):
    """Point sources of one map.

    Attributes:
      cells: that hold a point; short: of them, those that hold less than their points.
      placed_at: the heaviest; not_listed: how many more there are.
    """

    file: str
    sector: str
    year: int
    points: int
    given: float
    placed: float
    excess: float
    outside: float
    cells: int
    short: int
    not_listed: int
    placed_at: tuple[PointPlace, ...]


class PointCertificate(Record):
    """Point sources of all maps."""

    rule: str
    table: str
    passed: bool
    maps: tuple[PointMapRecord, ...]


class EmissionComparison(Record):
    """What was stored of a sector's emission against its factor times what was stored of its activity."""

    file: str
    sector: str
    year: int
    factor: float
    activity: float
    emission: float
    relative_difference: float
    passed: bool


class EmissionCertificate(EmissionRecord):
    """The factors, and the comparison of both sets of maps."""

    compared: tuple[EmissionComparison, ...]


class Certificate(Record):
    """All maps of a run, measured on the files as written.

    Attributes:
      limit: relative residual no block may exceed.
      rounded: mass that whole numbers moved, over all sectors.
      mean: True of a quantity that is a mean over the cell; weights: what its cells count by.
    """

    variable: str
    unit: str
    limit: float
    scale_factor: float | None
    rounded: float
    passed: bool
    blocks: int
    worst: WorstBlock
    maps: tuple[MapRecord, ...]
    mean: bool | None = None
    weights: str | None = None
    points: PointCertificate | None = None
    emission: EmissionCertificate | None = None
    netcdf: tuple[NetcdfRecord, ...] | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values, null where a value is not known.

        Returns: what only some runs have is left out where this one has none.
        """
        plain = self.model_dump(mode="json")
        for name in OF_SOME_RUNS:
            if plain[name] is None:
                del plain[name]
        return plain
