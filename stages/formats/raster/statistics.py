"""Counts once over a whole band what could spoil a total: missing, endless, negative and suspicious numbers."""

from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from stages.contract.execution import spread, workers
from stages.formats.raster.band import Band
from stages.formats.raster.block_cache import CacheBudget

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


def scan(raster: Band, *, tag_is_real: bool, keeper: CacheBudget | None = None) -> Scan:
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
        looks = list(chain.from_iterable(found))
        whole = reduce(_both, looks)
        total = float(sum(map(attrgetter("total"), looks)))
        suspects = []
        for value in SENTINELS:
            if not (tag_is_real and value == raster.tag) and raster.may_hold(value, whole.low, whole.high):
                suspects.append(value)
        is_declared = raster.nodata is not None and not np.isnan(raster.nodata)
        nans = raster.count_nans() if whole.gone and is_declared else whole.gone
        sentinels = raster.count_raw(suspects) if suspects else {}
    finally:
        raster.rest()
    return Scan(
        cells=raster.shape[0] * raster.shape[1],
        nodata=whole.gone - nans,
        nans=nans,
        infinite=whole.infinite,
        first_infinite=whole.first_infinite,
        negative=whole.negative,
        sentinels=sentinels,
        low=whole.low if whole.usable else np.nan,
        mean=total / whole.usable if whole.usable else np.nan,
        high=whole.high if whole.usable else np.nan,
        total=total,
        codes=None if whole.codes is None else tuple(sorted(whole.codes)),
    )


def _both(one: _Look, other: _Look) -> _Look:
    """What two windows hold together; the first is the one that was read before."""
    return _Look(
        gone=one.gone + other.gone,
        infinite=one.infinite + other.infinite,
        first_infinite=one.first_infinite or other.first_infinite,
        negative=one.negative + other.negative,
        usable=one.usable + other.usable,
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        total=one.total + other.total,
        codes=_all_codes(one.codes, other.codes),
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


def _all_codes(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    """The codes of both; None where one has none, or they are over MOST_CODES together."""
    if one is None or other is None:
        return None
    found = one | other
    return found if len(found) <= MOST_CODES else None
