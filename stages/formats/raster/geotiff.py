"""The one door to GeoTIFFs given by users: named driver only, every oddity of a file told before it is read."""

import os
from collections.abc import Iterable, Iterator
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

from model.ground.errors import InputError
from model.ground.grid import Region
from stages.contract.execution import spread, workers
from stages.formats.raster.band import STRIP, Band, equal, lies_between
from stages.formats.raster.block_cache import BlockCache, CacheBudget

CACHE_MB = "128"  # of decoded blocks, for all files; GDAL's own choice is a twentieth of the machine
CLOSE = 64  # rows of a piece converted and looked at together


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
        self._kept: BlockCache | None = None
        self.tag = self._data.nodatavals[band - 1]
        self._scale, self._offset = self._data.scales[band - 1], self._data.offsets[band - 1]
        self._masked = MaskFlags.per_dataset in self._data.mask_flag_enums[band - 1]
        self.nodata = self.tag if nodata == "auto" else None if nodata == "none" else float(nodata)

    @property
    def where(self) -> str:
        return f"{self.name}, band {self.band}"

    @property
    def _data(self) -> Any:
        """The open dataset of this thread: GDAL's handles must not be shared."""
        key = get_ident()
        if key not in self._handles:
            os.environ.setdefault("GDAL_CACHEMAX", CACHE_MB)  # GDAL looks once, before the first block
            # Why no sidecars: what lies beside the file is in no fingerprint, so it must not change what is read.
            with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
                self._handles[key] = rasterio.open(self.path, driver="GTiff")
        return self._handles[key]

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        if self._kept is not None:
            self._kept.drop()

    def keep(self, keeper: CacheBudget) -> None:
        if not self._masked:  # what the mask hides is in no piece
            self._kept = BlockCache(keeper, self.shape, STRIP)

    def rest(self) -> None:
        for key in [key for key in self._handles if key != get_ident()]:
            self._handles.pop(key).close()

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
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

    @cached_property
    def _south_up(self) -> bool:
        return self._data.transform.b == 0 and self._data.transform.e > 0

    def physical(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        return self._values(*self._raw(rows, cols))

    def parts(self, piece: Region) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
        raw, hidden = self._raw(*piece.slices)
        for row in range(0, piece.rows, CLOSE):
            rows = slice(row, row + CLOSE)
            yield (
                piece.row + row,
                piece.col,
                self._values(raw[rows], None if hidden is None else hidden[rows]),
            )

    def _values(self, raw: NDArray, hidden: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        values = raw.astype(np.float64)
        if (gone := self._gone(raw, hidden)) is not None:
            values[gone] = np.nan
        if self._scale != 1.0:
            values *= self._scale
        if self._offset != 0.0:
            values += self._offset
        return values

    def _raw(self, rows: slice, cols: slice) -> tuple[NDArray, NDArray[np.bool_] | None]:
        """Numbers as stored, not to be written to, and where the file's own mask hides them; north-up."""
        if self._kept is not None and (kept := self._kept.window(rows, cols)) is not None:
            return kept, None
        raw, hidden = self._stored(rows, cols)
        if self._south_up:
            raw, hidden = raw[::-1], None if hidden is None else hidden[::-1]
        if self._kept is not None:
            self._kept.offer(rows, cols, raw)
        return raw, hidden

    def _stored(self, rows: slice, cols: slice) -> tuple[NDArray, NDArray[np.bool_] | None]:
        """As _raw, from the file and in its order of rows."""
        first = self.shape[0] - rows.stop if self._south_up else rows.start
        window = Window(cols.start, first, cols.stop - cols.start, rows.stop - rows.start)
        try:
            raw = self._data.read(self.band, window=window)
            hidden = self._data.read_masks(self.band, window=window) == 0 if self._masked else None
        except RasterioError as error:
            raise damaged(self.name, self.band, str(error)) from error
        return raw, hidden

    def _gone(self, raw: NDArray, hidden: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Where stored numbers are no values, NaN beside; None when that is nowhere."""
        if self.nodata is None or np.isnan(self.nodata):
            return hidden
        gone = equal(raw, self.nodata)
        return gone if hidden is None else gone | hidden

    def may_hold(self, stored: float, low: float, high: float) -> bool:
        return lies_between(stored * self._scale + self._offset, low, high)

    def count_raw(self, values: Iterable[float]) -> dict[float, int]:
        wanted = list(values)

        def count(piece: Region) -> NDArray[np.int64]:
            raw, hidden = self._raw(*piece.slices)
            gone = self._gone(raw, hidden)
            hits = np.zeros(len(wanted), np.int64)
            for place, value in enumerate(wanted):
                hit = equal(raw, value)
                hits[place] = np.count_nonzero(hit if gone is None else hit & ~gone)
            return hits

        summed = sum(spread(count, self.pieces(), workers()), np.zeros(len(wanted), np.int64))
        found = dict(zip(wanted, summed.tolist(), strict=True))
        return {value: hits for value, hits in found.items() if hits}

    def count_nans(self) -> int:
        if np.dtype(self._data.dtypes[self.band - 1]).kind != "f":
            return 0

        def count(piece: Region) -> int:
            return int(np.count_nonzero(np.isnan(self._raw(*piece.slices)[0])))

        return sum(spread(count, self.pieces(), workers()))


def names_of_bands(path: str) -> list[str]:
    """The description of each band; "" where it has none."""
    with rasterio.open(path, driver="GTiff") as data:
        return [name or "" for name in data.descriptions]


def damaged(name: str, band: int, detail: str) -> InputError:
    """A file that opens but cannot be read to its end."""
    return InputError(
        f"{name}, band {band}",
        f"truncated or damaged ({detail})",
        "a whole GeoTIFF",
        "fetch or export the file again",
    )
