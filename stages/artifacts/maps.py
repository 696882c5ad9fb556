"""The one door to finished maps: GeoTIFFs filled by row bands, published whole, read back block by block."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from model.ground.errors import ArtifactError, ResourceError, UsageError, remake
from model.ground.grid import Grid
from stages.artifacts.cube import Cube
from stages.formats.atomic import take_name

ALL = "all"
TILE = 256
BAND_ROWS = 240  # fine rows in memory at once, rounded to whole blocks; the field's chunks are as high
NO_UNITS = -(2**31)  # no value, in a map of whole numbers
_CACHE = 64 << 20  # bytes GDAL may keep of decoded tiles; its own default is a twentieth of the machine


@dataclass(frozen=True)
class MapSpec:
    """One map of the set: a sector in a year, or the sum over all sectors.

    Attributes:
      members: indices of the sectors it adds up.
      time: index of the year.
      unit, long_name: of what it holds.
      factors: what a unit of each member's activity emits; none on a map of the activity itself.
    """

    name: str
    sector: str
    year: int
    members: tuple[int, ...]
    time: int
    unit: str = ""
    long_name: str = ""
    factors: tuple[float, ...] = ()

    @property
    def stem(self) -> str:
        return f"{self.name}_{self.sector}_{self.year}"

    @property
    def map_file(self) -> str:
        return f"{self.stem}.tif"

    @property
    def blocks_file(self) -> str:
        return f"{self.stem}_blocks.tif"

    @property
    def is_emission(self) -> bool:
        return bool(self.factors)

    def weigh(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(members, ...) of the activity as what this map holds."""
        if not self.factors:
            return values
        return values * np.reshape(self.factors, (-1, *[1] * (values.ndim - 1)))

    @property
    def is_sum(self) -> bool:
        return len(self.members) > 1


def sheets(cube: Cube) -> list[MapSpec]:
    """Every map a cube leads to, sectors first; the sum is made only where there is something to add.

    Raises: UsageError (exit 2) when a sector bears the name kept for the sum.
    """
    count = len(cube.sectors)
    if count > 1 and ALL in cube.sectors:
        raise UsageError(
            f"sector {ALL!r}",
            "a sector of this name",
            "another name: it is kept for the sum",
            "rename the sector",
        )
    found = []
    for time in range(len(cube.years)):
        adds_up = count > 1 and cube.quantity.adds_up
        groups = [(index,) for index in range(count)] + ([tuple(range(count))] if adds_up else [])
        found += [_sheet(cube, members, time) for members in groups]
        if cube.emission:
            found += [_emitted(cube, members, time) for members in groups]
    return found


def _sheet(cube: Cube, members: tuple[int, ...], time: int) -> MapSpec:
    sector = cube.sectors[members[0]] if len(members) == 1 else ALL
    return MapSpec(cube.name, sector, cube.years[time], members, time, cube.unit, cube.long_name)


def _emitted(cube: Cube, members: tuple[int, ...], time: int) -> MapSpec:
    """What a map's activity emits."""
    told = cube.emission
    assert told is not None
    factors = tuple(told.factors[index][time] for index in members)
    sheet = _sheet(cube, members, time)
    return replace(sheet, name=told.variable, unit=told.unit, long_name=told.long_name, factors=factors)


def bands(coarse: Grid, factor: int) -> list[tuple[int, int]]:
    """(first block row, number of block rows) of each band, north to south."""
    step = max(1, BAND_ROWS // factor)
    return [(row, min(step, coarse.rows - row)) for row in range(0, coarse.rows, step)]


@contextmanager
def small_gdal_cache() -> Iterator[None]:
    """Keeps GDAL's cache small, so that memory is bounded by the band and not by the machine."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failed write into a fault that tells the room left.

    Raises: ResourceError (exit 6).
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError) as error:
        free = shutil.disk_usage(path.parent).free
        raise ResourceError(
            path.name,
            f"not written ({error}); {free} bytes are free",
            "room on the disk and leave to write",
            "free some space, or move the workspace with --workspace DIR",
        ) from error


def start_draft(
    path: Path,
    grid: Grid,
    tags: Mapping[str, str],
    description: str,
    unit: str,
    scale_factor: float | None = None,
) -> Any:
    """Lays out an empty map of one band to be filled by `write_band`; returns the open dataset.

    It holds float32 mass, or whole numbers of a scale_factor: int32 with the scale_factor as the band's scale.

    Why strips and no compression: bands of whole blocks then fall on whole strips, each written once. Tiles
    and compression come with the one pass in `publish`.
    """
    if scale_factor is None:
        return _create(path, grid, "float32", tags, [(description, unit)])
    draft = _create(path, grid, "int32", tags, [(description, unit)], nodata=NO_UNITS)
    draft.scales = (scale_factor,)
    return draft


def write_band(draft: Any, first_row: int, cells: NDArray[np.float32] | NDArray[np.int32]) -> None:
    """Writes rows of a draft from first_row on, full width, in the draft's own type."""
    draft.write(cells, 1, window=Window(0, first_row, cells.shape[1], cells.shape[0]))


def write_blocks(
    path: Path, grid: Grid, tags: Mapping[str, str], columns: Sequence[tuple[str, str, NDArray[np.float64]]]
) -> None:
    """Writes a whole float64 draft on the coarse grid; columns are (description, unit, (h, w) values)."""
    with _create(path, grid, "float64", tags, [column[:2] for column in columns]) as draft:
        for band, (_, _, values) in enumerate(columns, start=1):
            draft.write(values, band)


def publish(draft: Path, final: Path, *, overviews: bool, resampling: str) -> None:
    """Turns a finished draft into a Cloud-Optimised GeoTIFF that appears under its name only when whole."""
    _insist_on_length(draft)
    cog = draft.with_suffix(".cog.tif")
    with rasterio.open(draft, driver="GTiff") as dataset:
        whole = np.dtype(dataset.dtypes[0]).kind == "i"
    rasterio.shutil.copy(
        draft, cog, driver="COG", COMPRESS="DEFLATE", PREDICTOR="STANDARD" if whole else "FLOATING_POINT", LEVEL="6",
        BLOCKSIZE=str(TILE), OVERVIEWS="AUTO" if overviews else "NONE", OVERVIEW_RESAMPLING=resampling,
        BIGTIFF="IF_SAFER",
    )  # fmt: skip
    take_name(cog, final)
    draft.unlink()


def _insist_on_length(draft: Path) -> None:
    """A full disk is not told when a dataset closes: the strips that are missing would read as zero."""
    with rasterio.open(draft, driver="GTiff") as dataset:
        wanted = dataset.width * dataset.height * sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
    if draft.stat().st_size < wanted:
        raise OSError(f"only {draft.stat().st_size} of {wanted} bytes arrived")


def read_bands(
    path: Path, grid: Grid, factor: int, coarse: Grid, *, in_units: bool = False
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Reads a finished map from the file, band by band: (first block row, (rows, cols) cells).

    Args:
      in_units: a map of whole numbers is given as those, so that sums over it are exact.
    Raises: ArtifactError (exit 4) when the file is missing, damaged or lies on another grid.
    """
    with _opened(path, grid) as dataset:
        for row, count in bands(coarse, factor):
            cells = _mass(dataset, window=Window(0, row * factor, grid.cols, count * factor))
            yield row, cells if in_units else cells * (scale_factor_in(dataset) or 1)


def read_blocks(path: Path, grid: Grid) -> NDArray[np.float64]:
    """(bands, h, w) of a finished block file.

    Raises: ArtifactError (exit 4) as read_bands.
    """
    with _opened(path, grid) as dataset:
        return dataset.read()


def read_overview(path: Path, grid: Grid, step: int) -> NDArray[np.floating]:
    """A finished map in cells step times as wide: means of cells with a value, NaN where none has one."""
    shape = (-(-grid.rows // step), -(-grid.cols // step))
    with _opened(path, grid) as dataset:
        cells = _mass(dataset, out_shape=shape, resampling=rasterio.enums.Resampling.average)
        return cells * (scale_factor_in(dataset) or 1)


def read_part(path: Path, grid: Grid, row: int, col: int, rows: int, cols: int) -> NDArray[np.floating]:
    """A window of a finished map in full detail."""
    with _opened(path, grid) as dataset:
        return _mass(dataset, window=Window(col, row, cols, rows)) * (scale_factor_in(dataset) or 1)


def read_scale_factor(path: Path, grid: Grid) -> float | None:
    """Mass of one unit of a map of whole numbers; None for a map of float32."""
    with _opened(path, grid) as dataset:
        return scale_factor_in(dataset)


def scale_factor_in(dataset: Any) -> float | None:
    """The same of an open map."""
    return float(dataset.scales[0]) if np.dtype(dataset.dtypes[0]).kind == "i" else None


def _mass(dataset: Any, **how: Any) -> NDArray[np.floating]:
    """Cells as stored: float32, or whole numbers in float64; NaN where there is no value."""
    cells: NDArray = dataset.read(1, **how)
    if scale_factor_in(dataset) is None:
        return cells
    return np.where(cells == NO_UNITS, np.nan, cells.astype(np.float64))


def _create(
    path: Path,
    grid: Grid,
    dtype: str,
    tags: Mapping[str, str],
    columns: Sequence[tuple[str, str]],
    nodata: float = np.nan,
) -> Any:
    dataset = rasterio.open(
        path, "w", driver="GTiff", width=grid.cols, height=grid.rows, count=len(columns), dtype=dtype,
        crs=CRS.from_wkt(grid.crs), transform=Affine(*grid.transform), nodata=nodata, BIGTIFF="IF_SAFER",
    )  # fmt: skip
    dataset.update_tags(AREA_OR_POINT="Area", **tags)
    for band, (description, unit) in enumerate(columns, start=1):
        dataset.set_band_description(band, description)
        dataset.set_band_unit(band, unit)
    return dataset


@contextmanager
def _opened(path: Path, grid: Grid) -> Iterator[Any]:
    """A GeoTIFF and nothing else: naming the driver keeps GDAL from following a VRT in disguise."""
    fix = remake("mosaic")
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            same_place = Affine(*grid.transform).almost_equals(
                dataset.transform, precision=1e-9 * max(grid.dx, grid.dy)
            )
            if dataset.shape != grid.shape or not same_place:
                raise ArtifactError(
                    path.name, f"{dataset.shape} cells at {tuple(dataset.transform)[:6]}",
                    f"{grid.shape} cells at {grid.transform}, the cube's grid", fix,
                )  # fmt: skip
            yield dataset
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise ArtifactError(
            path.name, f"missing or damaged ({error})", "the map as it was written", fix
        ) from error
