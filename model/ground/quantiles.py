"""Exact quantiles of values too many to hold: they are read again and again, and only counts are kept."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_STEP = 16  # bits settled by one reading: 65,536 counts a rank, four readings in all


def exact_quantiles(
    read: Callable[[], Iterable[NDArray[np.float64]]], levels: Sequence[float]
) -> list[float]:
    """Quantiles of positive values, linear between two ranks as numpy.quantile; NaN when there is no value.

    Args:
      read: yields the same values each time it is called, in parts of any size.
    Why it is exact: the bits of a positive float64, read as an integer, sort as the number does; each reading
    settles 16 of them (radix selection).
    """
    count = sum(part.size for part in read())
    if not count:
        return [float("nan")] * len(levels)
    places = np.asarray(levels, np.float64) * (count - 1)
    below, above = np.floor(places).astype(np.int64), np.ceil(places).astype(np.int64)
    ranks = np.union1d(below, above)
    found = np.array(_select(read, ranks.tolist()))
    low, high = found[np.searchsorted(ranks, below)], found[np.searchsorted(ranks, above)]
    quantiles: list[float] = (low + (places - below) * (high - low)).tolist()
    return quantiles


def _select(read: Callable[[], Iterable[NDArray[np.float64]]], ranks: Sequence[int]) -> list[float]:
    """The values at the ranks, smallest first."""
    heads, rests = [0] * len(ranks), list(ranks)  # bits settled, and the rank among values that share them
    for shift in range(64 - _STEP, -1, -_STEP):
        counts = {head: np.zeros(1 << _STEP, np.int64) for head in heads}
        for part in read():
            bits = np.ascontiguousarray(part, np.float64).view(np.uint64)
            above = bits >> np.uint64(shift + _STEP) if shift + _STEP < 64 else np.zeros_like(bits)
            digit = ((bits >> np.uint64(shift)) & np.uint64((1 << _STEP) - 1)).astype(np.int64)
            for head, counted in counts.items():
                counted += np.bincount(digit[above == head], minlength=1 << _STEP)
        for index, (head, rest) in enumerate(zip(heads, rests, strict=True)):
            until = counts[head].cumsum()
            chosen = int(np.searchsorted(until, rest, side="right"))
            heads[index] = (head << _STEP) | chosen
            rests[index] = rest - (int(until[chosen - 1]) if chosen else 0)
    values: list[float] = np.array(heads, np.uint64).view(np.float64).tolist()
    return values
