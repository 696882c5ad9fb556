"""Work on pieces of data shared out over threads: how many, and results in the order of the pieces."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")
MOST = 8  # few enough that memory stays bounded


def workers() -> int:
    """Pieces worked on at once: one for each processor this process may use."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST
    )


def spread(work: Callable[[Piece], Result], pieces: Sequence[Piece], threads: int) -> Iterator[Result]:
    """Results in the order of the pieces, whichever is finished first; a failure stops those not begun."""
    if len(pieces) <= 1 or threads == 1:
        yield from map(work, pieces)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(work, pieces)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what was asked to stop must not do the rest first
            raise
