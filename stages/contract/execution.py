"""Shares work on pieces of data out over threads, results in a fixed order or as they come."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
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


def spread_runs(
    work: Callable[[Piece], Result], runs: Sequence[Sequence[Piece]], threads: int
) -> Iterator[tuple[Piece, Result]]:
    """Pieces with their results, as they come; a run stays in one thread, which so reads on where it has read.

    A failure, or an end of asking, stops what is not begun.
    """
    done: SimpleQueue[tuple[Piece, Result] | BaseException] = SimpleQueue()
    stopped = Event()

    def follow(run: Sequence[Piece]) -> None:
        for piece in run:
            if stopped.is_set():
                return
            try:
                done.put((piece, work(piece)))
            except BaseException as error:
                done.put(error)
                return

    with ThreadPoolExecutor(threads) as pool:
        try:
            for run in runs:
                pool.submit(follow, run)
            for _ in range(sum(map(len, runs))):
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            stopped.set()
