"""Shares out pieces of work of a compiled loop among as many threads as torch may use."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def in_threads(work: Callable[..., None], pieces: Sequence[tuple[int, ...]]) -> None:
    """Calls work(*piece) for every piece; none may write where another does. What one raises is raised.

    Args:
      work: compiled code that lets go of Python's lock, or the threads wait for each other.
      pieces: the arguments of each call. With a single thread or piece it runs in the caller's own.
    """
    if (threads := min(torch.get_num_threads(), len(pieces))) == 1:
        for piece in pieces:
            work(*piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: work(*piece), pieces))
