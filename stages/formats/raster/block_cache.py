"""Keeps pieces of bands in memory as they were stored, so that cells decoded to be judged need no second decoding."""

from itertools import product
from threading import Lock

import numpy as np
from numpy.typing import NDArray

KEPT_MB = 384


class CacheBudget:
    """A budget of memory that bands share.

    Why it changes no byte: a piece is what the file gives, whichever pieces found room.
    """

    def __init__(self, megabytes: int = KEPT_MB) -> None:
        self._left = megabytes << 20
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """True when there was room for so many bytes, which is then taken."""
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        return fits

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class BlockCache:
    """Pieces of one band, by the corner."""

    def __init__(self, keeper: CacheBudget, shape: tuple[int, int], side: int) -> None:
        """shape: rows and columns of the band; side: of a piece, but for the last of a row or column."""
        self._keeper, self._shape, self._side = keeper, shape, side
        self._pieces: dict[tuple[int, int], NDArray] = {}

    def offer(self, rows: slice, cols: slice, raw: NDArray) -> None:
        """Keeps a window that is a whole piece, if there is room for it.

        Args: raw: as stored, north-up; once kept it can no longer be written to.
        """
        side = self._side
        corner = rows.start // side, cols.start // side
        down = slice(corner[0] * side, min((corner[0] + 1) * side, self._shape[0]))
        across = slice(corner[1] * side, min((corner[1] + 1) * side, self._shape[1]))
        if (rows, cols) == (down, across) and corner not in self._pieces and self._keeper.take(raw.nbytes):
            raw.setflags(write=False)
            self._pieces[corner] = raw

    def window(self, rows: slice, cols: slice) -> NDArray | None:
        """(rows, cols) as stored, not to be written to; None where a piece is lacking.

        Args: rows, cols: a window of the band, which may lie across several pieces.
        """
        places = list(product(self._met(rows), self._met(cols)))
        if not self._pieces.keys() >= set(places):
            return None
        first = self._pieces[places[0]]
        if len(places) == 1:
            return first[self._shared(rows, places[0][0])[1], self._shared(cols, places[0][1])[1]]
        out = np.empty((rows.stop - rows.start, cols.stop - cols.start), first.dtype)
        for i, j in places:
            (to_rows, from_rows), (to_cols, from_cols) = self._shared(rows, i), self._shared(cols, j)
            out[to_rows, to_cols] = self._pieces[i, j][from_rows, from_cols]
        return out

    def drop(self) -> None:
        """Forgets all pieces and gives their memory back to the budget."""
        self._keeper.give_back(sum(piece.nbytes for piece in self._pieces.values()))
        self._pieces.clear()

    def _met(self, span: slice) -> range:
        """Indices of the pieces that a span of rows or columns meets."""
        return range(span.start // self._side, (span.stop - 1) // self._side + 1)

    def _shared(self, span: slice, index: int) -> tuple[slice, slice]:
        """What a span and a piece have in common, counted from the start of the span and of the piece."""
        begin = index * self._side
        first, last = max(span.start, begin), min(span.stop, begin + self._side)
        return slice(first - span.start, last - span.start), slice(first - begin, last - begin)
