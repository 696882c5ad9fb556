"""One band of a source: cells with a place, read window by window in physical values, whatever the file format."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from model.grid import Grid
from stages.store.arrays import make_grid

STRIP = 2048  # rows and columns read at a time when a file is scanned
# Written by tools that forgot to declare nodata; none is a plausible share, density or total.
SENTINELS = (
    -9999.0,
    -99999.0,
    -32768.0,
    -3.4028234663852886e38,
    -3.3999999521443642e38,
    1e20,
    9.969209968386869e36,
)


@dataclass(frozen=True)
class Scan:
    """What a band holds, counted once over the whole file.

    Attributes:
      cells: all of them; nodata: equal to the nodata value; nans: NaN beside it; infinite, negative: counts.
      first_infinite: (row, col); sentinels: {value: count} not declared as nodata.
      low, mean, high: over usable values, NaN when there is none; total: their sum.
      codes: distinct integer values, None when there are over 256 or they are no integers.
    """

    cells: int
    nodata: int
    nans: int
    infinite: int
    first_infinite: tuple[int, int] | None
    negative: int
    sentinels: dict[float, int]
    low: float
    mean: float
    high: float
    total: float
    codes: tuple[int, ...] | None


class Band(ABC):
    """Cells of one quantity, always read north-up.

    Attributes:
      name: of the file; where: the band in it, as faults name it.
      nodata: the stored number that means no value, None when there is none.
      tag: what the file itself says of that.
      notes: what was assumed or repaired to read it, in sentences.
      bent: why its cells are not those of the file; None when they are.
    """

    name: str
    nodata: float | None
    tag: float | None
    notes: tuple[str, ...] = ()
    bent: str | None = None

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

    @abstractmethod
    def read(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """Physical values of a window; NaN where nodata or outside the file.

        Raises: InputFault (exit 3) when the file is truncated or damaged.
        """

    @abstractmethod
    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        """How often each of some stored numbers occurs, those apart that are nodata or hidden."""

    @abstractmethod
    def count_nans(self) -> int:
        """NaN values beside the declared nodata value."""

    @abstractmethod
    def close(self) -> None: ...

    @property
    def is_rotated(self) -> bool:
        return self.transform.b != 0 or self.transform.d != 0 or self.transform.a < 0

    @cached_property
    def grid(self) -> Grid | None:
        """The file's cells as a grid; None when they are rotated or have no place."""
        if self.is_rotated or self.crs is None or not self.has_transform:
            return None
        rows, cols = self.shape
        place = self.transform
        return make_grid(rows, cols, place.c, place.f, place.a, -place.e, self.crs)

    def strips(self) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """The whole band piece by piece: (row, col, values)."""
        height, width = self.shape
        for row in range(0, height, STRIP):
            for col in range(0, width, STRIP):
                yield row, col, self.read(row, col, min(STRIP, height - row), min(STRIP, width - col))


def scan(raster: Band, *, tag_is_real: bool) -> Scan:
    """Reads the band and counts what could spoil a total.

    Args:
      tag_is_real: the file's own nodata value was declared to be a true number, so it is no sentinel.
    """
    cells = missing = infinite = negative = 0
    first: tuple[int, int] | None = None
    suspects = [value for value in SENTINELS if not (tag_is_real and value == raster.tag)]
    low, high, total, usable = np.inf, -np.inf, 0.0, 0
    codes: set[float] | None = set()
    for row, col, values in raster.strips():
        cells += values.size
        endless = np.isinf(values)
        if endless.any() and first is None:
            hit = np.argwhere(endless)[0]
            first = (row + int(hit[0]), col + int(hit[1]))
        infinite += int(endless.sum())
        good = values[np.isfinite(values)]
        missing += values.size - good.size - int(endless.sum())
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
            total, usable = total + float(good.sum()), usable + good.size
            negative += int((good < 0).sum())
        if codes is not None and good.size:
            codes = _more_codes(codes, good)
    nans = (
        raster.count_nans()
        if missing and raster.nodata is not None and not np.isnan(raster.nodata)
        else missing
    )
    found = None if codes is None else tuple(sorted(int(code) for code in codes))
    mean = total / usable if usable else np.nan
    edges = (low, high) if usable else (np.nan, np.nan)
    return Scan(
        cells,
        missing - nans,
        nans,
        infinite,
        first,
        negative,
        raster.count_raw(suspects),
        edges[0],
        mean,
        edges[1],
        total,
        found,
    )


def equal(raw: NDArray, nodata: float | None) -> NDArray[np.bool_]:
    """Where raw values are the nodata value, in the file's own type: -3.4e38 is not the same number in float32."""
    if nodata is None or np.isnan(nodata):
        return np.zeros(raw.shape, bool)
    if raw.dtype.kind in "iu":
        limits = np.iinfo(raw.dtype)
        if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
            return np.zeros(raw.shape, bool)
        return raw == int(nodata)
    return raw == raw.dtype.type(nodata)


def _more_codes(codes: set[float], values: NDArray[np.float64]) -> set[float] | None:
    """The codes with those among the values; None when a value is no integer or there are over 256."""
    if (
        values != np.floor(values)
    ).any():  # judged first: distinct values of a continuous layer fill the memory
        return None
    codes = codes | set(np.unique(values).tolist())
    return codes if len(codes) <= 256 else None
