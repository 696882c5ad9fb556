"""The one door to GeoTIFFs given by users: named driver only, every oddity of a file told before it is read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from model.fault import InputFault
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


class Raster:
    """One band of an opened GeoTIFF, always read north-up and in physical values.

    Args:
      nodata: "auto" believes the file's tag, "none" ignores it (the value is a real number), a number declares it.
      registration: CRS units added to the file's origin (x, y).
    """

    def __init__(
        self,
        path: str,
        band: int = 1,
        nodata: float | str = "auto",
        crs: str | None = None,
        registration: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.path, self.band, self.name = path, band, Path(path).name
        self._registration = registration
        self._given_crs = crs
        # Why no sidecars: what lies beside the file is in no fingerprint, so it must not change what is read.
        with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            self._data = rasterio.open(path, driver="GTiff")
        self.tag = self._data.nodatavals[band - 1]
        self._masked = MaskFlags.per_dataset in self._data.mask_flag_enums[band - 1]
        self.nodata = (
            self._data.nodatavals[band - 1]
            if nodata == "auto"
            else None
            if nodata == "none"
            else float(nodata)
        )

    def close(self) -> None:
        self._data.close()

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shape(self) -> tuple[int, int]:
        return self._data.height, self._data.width

    @property
    def unit(self) -> str | None:
        return self._data.units[self.band - 1]

    @property
    def has_transform(self) -> bool:
        return self._data.transform != Affine.identity()

    @cached_property
    def crs(self) -> CRS | None:
        given = self._given_crs or (self._data.crs.to_wkt() if self._data.crs else None)
        return CRS.from_user_input(given) if given else None

    @cached_property
    def transform(self) -> Affine:
        """Of the north-up reading; still sheared when the file is."""
        dx, dy = self._registration
        moved = Affine.translation(dx, dy) @ self._data.transform
        if not self._south_up:
            return moved
        return moved @ Affine.translation(0, self._data.height) @ Affine.scale(1, -1)

    @property
    def _south_up(self) -> bool:
        return self._data.transform.b == 0 and self._data.transform.e > 0

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

    def read(self, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """Physical values of a window; NaN where nodata or outside the file.

        Raises: InputFault (exit 3) when the file is truncated or damaged.
        """
        out = np.full((rows, cols), np.nan)
        height, width = self.shape
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + rows, height), min(col + cols, width)
        if top >= bottom or left >= right:
            return out
        raw, masked = self._raw(top, left, bottom - top, right - left)
        values = raw.astype(np.float64)
        values[masked | _equal(raw, self.nodata)] = np.nan
        values = values * self._data.scales[self.band - 1] + self._data.offsets[self.band - 1]
        out[top - row : bottom - row, left - col : right - col] = values[::-1] if self._south_up else values
        return out

    def _raw(self, row: int, col: int, rows: int, cols: int) -> tuple[NDArray, NDArray[np.bool_]]:
        """Numbers as stored, and where the file's own mask hides them; rows from the north of a north-up file."""
        first = self.shape[0] - row - rows if self._south_up else row
        window = Window(col, first, cols, rows)
        try:
            raw = self._data.read(self.band, window=window)
            hidden = self._data.read_masks(self.band, window=window) == 0 if self._masked else None
        except RasterioError as error:
            raise damaged(self.name, self.band, str(error)) from error
        return raw, np.zeros(raw.shape, bool) if hidden is None else hidden

    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        """How often each of some stored numbers occurs, those apart that are nodata or hidden."""
        counts = dict.fromkeys(values, 0)
        height, width = self.shape
        for row in range(0, height, STRIP):
            for col in range(0, width, STRIP):
                raw, hidden = self._raw(row, col, min(STRIP, height - row), min(STRIP, width - col))
                usable = ~hidden & ~_equal(raw, self.nodata)
                for value in counts:
                    counts[value] += int((_equal(raw, value) & usable).sum())
        return {value: count for value, count in counts.items() if count}

    def strips(self) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        """The whole band piece by piece: (row, col, values)."""
        height, width = self.shape
        for row in range(0, height, STRIP):
            for col in range(0, width, STRIP):
                yield row, col, self.read(row, col, min(STRIP, height - row), min(STRIP, width - col))


def scan(raster: Raster, *, tag_is_real: bool) -> Scan:
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
            codes |= set(np.unique(good).tolist())
            if len(codes) > 256 or any(code != int(code) for code in codes):
                codes = None
    nans = (
        _count_nans(raster)
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


def _count_nans(raster: Raster) -> int:
    """NaN values of a band that also declares another nodata value."""
    if np.dtype(raster._data.dtypes[raster.band - 1]).kind != "f":
        return 0
    declared, raster.nodata = raster.nodata, None
    try:
        return sum(int(np.isnan(values).sum()) for _, _, values in raster.strips())
    finally:
        raster.nodata = declared


def _equal(raw: NDArray, nodata: float | None) -> NDArray[np.bool_]:
    """Where raw values are the nodata value, in the file's own type: -3.4e38 is not the same number in float32."""
    if nodata is None or np.isnan(nodata):
        return np.zeros(raw.shape, bool)
    if raw.dtype.kind in "iu":
        limits = np.iinfo(raw.dtype)
        if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
            return np.zeros(raw.shape, bool)
        return raw == int(nodata)
    return raw == raw.dtype.type(nodata)


def damaged(name: str, band: int, detail: str) -> InputFault:
    """A file that opens but cannot be read to its end."""
    return InputFault(
        f"{name}, band {band}",
        f"truncated or damaged ({detail})",
        "a whole GeoTIFF",
        "fetch or export the file again",
    )
