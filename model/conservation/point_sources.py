"""Point sources within their blocks: what of them a total allows, and what is left of the total to be shared out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.conservation.problem import SMALLEST_NORMAL

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settled:
    """What became of each point source; placed + excess + outside is its mass.

    Attributes:
      placed: put at its own place.
      excess: what its block's total has no room for.
      outside: off the map, or in a block whose total is not known.
    """

    placed: Floats
    excess: Floats
    outside: Floats


def settle(mass: Floats, block: NDArray[np.int64], totals: Floats, known: NDArray[np.bool_]) -> Settled:
    """Shares each block's total between its point sources and the rest.

    The total rules: where the sources of a block add up to more than it, all of them shrink by the same factor and
    fill it exactly, and what they lose is the excess. A total below zero has no room for sources, nor has one that
    is subnormal, alone or as a share of them (model/conservation/problem.py tells why).

    Args:
      mass: (n,) of at least 0.
      block: (n,) index into totals; -1 off the map.
      totals, known: (blocks,).
    """
    there = (block >= 0) & known[np.maximum(block, 0)]
    index = np.where(there, block, 0)
    asked = np.bincount(index, np.where(there, mass, 0.0), totals.size)
    room = np.where(totals >= SMALLEST_NORMAL, totals, 0.0)
    share = np.divide(room, asked, out=np.ones_like(room), where=asked > room)
    share = np.where(share >= SMALLEST_NORMAL, share, 0.0)
    placed = np.where(there, mass * share[index], 0.0)
    return Settled(placed, np.where(there, mass - placed, 0.0), np.where(there, 0.0, mass))


def remainder(totals: Floats, placed: Floats) -> Floats:
    """What is left of each total after the mass placed at points; what only rounding left is 0.

    Args: totals, placed: (blocks,) in one unit. Rounding is 1e-12 of the total; a block without sources keeps its
      total bit for bit.
    """
    left = totals - placed
    return np.where((placed > 0) & (np.abs(left) <= 1e-12 * np.abs(totals)), 0.0, left)
