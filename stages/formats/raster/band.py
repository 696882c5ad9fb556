"""One band of a source: cells with a place, read window by window in physical values, whatever the file format."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.ground.grid import Grid, Region, regions_of
from stages.formats.raster.block_cache import CacheBudget
from stages.formats.zarr_groups import make_grid

STRIP = 1024  # rows and columns read at a time when a file is scanned


class Band(ABC):
    """Cells of one quantity, always read north-up.

    Attributes:
      name: of the file; where: the band in it, as faults name it.
      nodata: the stored number that means no value, None when there is none.
      tag: what the file itself says of that.
      notes: what was assumed or repaired to read it, in sentences.
      bent: why its cells are not those of the file; None when they are.
      year: of its values, where the file tells; None where it does not.
    """

    name: str
    nodata: float | None
    tag: float | None
    notes: tuple[str, ...] = ()
    bent: str | None = None
    year: int | None = None

    @property
    @abstractmethod
    def where(self) -> str: ...

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]: ...

    @property
    @abstractmethod
    def unit(self) -> str | None: ...

    @property
    @abstractmethod
    def has_transform(self) -> bool: ...

    @cached_property
    @abstractmethod
    def crs(self) -> CRS | None: ...

    @cached_property
    @abstractmethod
    def transform(self) -> Affine:
        """Of the north-up reading; still sheared when the file is."""

    @property
    def steps(self) -> int:
        """How many steps of time make the band."""
        return 1

    @property
    def method(self) -> str:
        """sum or mean: how they make it."""
        return "mean"

    @cached_property
    def degrees(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Longitudes and latitudes, north-up, (rows, cols) each; None when it has none for each cell."""
        return None

    @abstractmethod
    def physical(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Physical values of a window that lies in the file; NaN where nodata.

        Raises: InputError (exit 3) when the file is truncated or damaged.
        """

    @abstractmethod
    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        """How often each of some stored numbers occurs, those apart that are nodata or hidden.

        Returns: counts by number; those that do not occur are left out.
        """

    @abstractmethod
    def count_nans(self) -> int:
        """NaN values beside the declared nodata value."""

    @abstractmethod
    def close(self) -> None: ...

    def may_hold(self, stored: float, low: float, high: float) -> bool:
        """False when a stored number cannot occur, since physical values lie between low and high."""
        return True

    def keep(self, keeper: CacheBudget) -> None:  # noqa: B027 - most bands are read from memory or in their own way
        """Lets whole pieces stay in memory as they are read, while the budget has room.

        Args: keeper: the budget, which several bands share.
        """

    def rest(self) -> None:  # noqa: B027 - most bands open nothing for a thread
        """Gives back what other threads opened; they may open it again."""

    def read(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """Physical values of a window; NaN where nodata or outside the file.

        Raises: InputError (exit 3) when the file is truncated or damaged.
        """
        height, width = self.shape
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + rows, height), min(col + cols, width)
        if top >= bottom or left >= right:
            return np.full((rows, cols), np.nan)
        values = self.physical(slice(top, bottom), slice(left, right))
        if values.shape == (rows, cols):
            return values
        out = np.full((rows, cols), np.nan)
        out[top - row : bottom - row, left - col : right - col] = values
        return out

    def parts(self, piece: Region) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """A piece in windows (row, col, values) that the processor holds close to it, where that costs no reading.

        Args: piece: one of pieces().
        """
        yield piece.row, piece.col, self.read(*piece)

    @cached_property
    def turn(self) -> float:
        """Columns around the globe; 0 where x is no longitude."""
        return 360.0 / self.transform.a if self.crs is not None and self.crs.is_geographic else 0.0

    @cached_property
    def wkt(self) -> str:
        """Its reference system as text; empty when it has none."""
        return self.crs.to_wkt() if self.crs else ""

    @property
    def is_rotated(self) -> bool:
        return self.transform.b != 0 or self.transform.d != 0 or self.transform.a < 0

    @cached_property
    def grid(self) -> Grid | None:
        """The file's cells as a grid; None when they are rotated or have no place.

        Rows run from the north whatever their order in the file.
        """
        if self.is_rotated or self.crs is None or not self.has_transform:
            return None
        rows, cols = self.shape
        place = self.transform
        return make_grid(rows, cols, place.c, place.f, place.a, -place.e, self.crs)

    def pieces(self) -> list[Region]:
        """The regions that make up the whole band, in the order in which it is read and counted."""
        return regions_of(self.shape, STRIP)

    def strips(self) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """The whole band piece by piece: (row, col, values)."""
        for piece in self.pieces():
            yield piece.row, piece.col, self.read(*piece)


def lies_between(value: float, low: float, high: float) -> bool:
    """True when a value, as far as single precision can tell, lies between two others."""
    slack = 1e-6 * abs(value)
    return low - slack <= value <= high + slack


def equal(raw: NDArray, nodata: float | None) -> NDArray[np.bool_]:
    """Where raw values are the nodata value, in the file's own type: -3.4e38 is not the same number in float32.

    Args: raw: as stored; nodata: None or NaN is nowhere, since NaN stands for itself.
    Returns: True = equal, in the shape of raw.
    """
    if nodata is None or np.isnan(nodata):
        return np.zeros(raw.shape, bool)
    if raw.dtype.kind in "iu":
        limits = np.iinfo(raw.dtype)
        if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
            return np.zeros(raw.shape, bool)
        return raw == int(nodata)
    return raw == raw.dtype.type(nodata)
