"""The one door to GeoTIFFs given by users: named driver only, every oddity of a file told before it is read."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from model.fault import InputFault
from stages.store.band import STRIP, Band, equal


class Raster(Band):
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
        self._handles: dict[int, Any] = {}
        self.tag = self._data.nodatavals[band - 1]
        self._masked = MaskFlags.per_dataset in self._data.mask_flag_enums[band - 1]
        self.nodata = (
            self._data.nodatavals[band - 1]
            if nodata == "auto"
            else None
            if nodata == "none"
            else float(nodata)
        )

    @property
    def where(self) -> str:
        return f"{self.name}, band {self.band}"

    @property
    def _data(self) -> Any:
        """The open dataset of this thread: GDAL's handles must not be shared."""
        key = get_ident()
        if key not in self._handles:
            # Why no sidecars: what lies beside the file is in no fingerprint, so it must not change what is read.
            with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
                self._handles[key] = rasterio.open(self.path, driver="GTiff")
        return self._handles[key]

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()

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
        values[masked | equal(raw, self.nodata)] = np.nan
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
                usable = ~hidden & ~equal(raw, self.nodata)
                for value in counts:
                    counts[value] += int((equal(raw, value) & usable).sum())
        return {value: count for value, count in counts.items() if count}

    def count_nans(self) -> int:
        if np.dtype(self._data.dtypes[self.band - 1]).kind != "f":
            return 0
        declared, self.nodata = self.nodata, None
        try:
            return sum(int(np.isnan(values).sum()) for _, _, values in self.strips())
        finally:
            self.nodata = declared


def names_of_bands(path: str) -> list[str]:
    """The description of each band; "" where it has none."""
    with rasterio.open(path, driver="GTiff") as data:
        return [name or "" for name in data.descriptions]


def damaged(name: str, band: int, detail: str) -> InputFault:
    """A file that opens but cannot be read to its end."""
    return InputFault(
        f"{name}, band {band}",
        f"truncated or damaged ({detail})",
        "a whole GeoTIFF",
        "fetch or export the file again",
    )
