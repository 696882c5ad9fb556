"""Counts once over a whole band what could spoil a total: missing, endless, negative and suspicious numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.contract.execution import spread, workers
from stages.formats.raster.band import Band
from stages.formats.raster.block_cache import Keeper

Floats = NDArray[np.float64]
MOST_CODES = 256
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


@dataclass(frozen=True)
class _Look:
    """What one window holds; gone: without a value; codes as in Scan."""

    gone: int
    infinite: int
    first_infinite: tuple[int, int] | None
    negative: int
    usable: int
    low: float
    high: float
    total: float
    codes: frozenset[int] | None


def scan(raster: Band, *, tag_is_real: bool, keeper: Keeper | None = None) -> Scan:
    """Reads the band and counts, in threads; sums are added in the order of the windows, so none changes a bit.

    Args:
      keeper: what of the band may stay in memory, for those who read it next.
      tag_is_real: the file's own nodata value was declared to be a true number, so it is no sentinel.
    """
    if keeper is not None:
        raster.keep(keeper)
    try:
        found = spread(
            lambda piece: [_look(*part) for part in raster.parts(piece)], raster.pieces(), workers()
        )
        looks = [look for piece in found for look in piece]
        low, high = min(look.low for look in looks), max(look.high for look in looks)
        gone, usable = sum(look.gone for look in looks), sum(look.usable for look in looks)
        suspects = [
            value
            for value in SENTINELS
            if not (tag_is_real and value == raster.tag) and raster.may_hold(value, low, high)
        ]
        is_declared = raster.nodata is not None and not np.isnan(raster.nodata)
        nans = raster.count_nans() if gone and is_declared else gone
        sentinels = raster.count_raw(suspects) if suspects else {}
    finally:
        raster.rest()
    total = sum(look.total for look in looks)
    return Scan(
        cells=raster.shape[0] * raster.shape[1],
        nodata=gone - nans,
        nans=nans,
        infinite=sum(look.infinite for look in looks),
        first_infinite=next((look.first_infinite for look in looks if look.first_infinite), None),
        negative=sum(look.negative for look in looks),
        sentinels=sentinels,
        low=low if usable else np.nan,
        mean=total / usable if usable else np.nan,
        high=high if usable else np.nan,
        total=total,
        codes=_all_codes(looks),
    )


def _look(top: int, left: int, values: Floats) -> _Look:
    gone = infinite = 0
    first: tuple[int, int] | None = None
    good = values.ravel()
    with np.errstate(invalid="ignore"):
        is_plain = bool(np.isfinite(values.sum()))
    if not is_plain:
        endless = np.isinf(values)
        infinite = int(endless.sum())
        if infinite:
            row, col = np.argwhere(endless)[0]
            first = top + int(row), left + int(col)
        good = values[np.isfinite(values)]
        gone = values.size - good.size - infinite
    if not good.size:
        return _Look(gone, infinite, first, 0, 0, np.inf, -np.inf, 0.0, frozenset())
    low, high = float(good.min()), float(good.max())
    negative = int((good < 0).sum()) if low < 0 else 0
    return _Look(
        gone, infinite, first, negative, good.size, low, high, float(good.sum()), _codes(good, low, high)
    )


def _codes(values: Floats, low: float, high: float) -> frozenset[int] | None:
    """The distinct values; None when one is no integer or there are over MOST_CODES."""
    for some in (values[:1000], values):  # a continuous layer tells by its first values
        if (some != np.floor(some)).any():
            return None
    if high - low < 1 << 16:
        found = np.flatnonzero(np.bincount((values - low).astype(np.int64))) + int(low)
    else:
        found = np.unique(values)
    return frozenset(map(int, found.tolist())) if found.size <= MOST_CODES else None


def _all_codes(looks: list[_Look]) -> tuple[int, ...] | None:
    found: set[int] = set()
    for look in looks:
        if look.codes is None:
            return None
        found |= look.codes
    return tuple(sorted(found)) if len(found) <= MOST_CODES else None
