"""Where tiles sit on a map, how their estimates are feathered, and how ground is split without a leak."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """The upper left corner of a tile, in coarse cells."""

    row: int
    col: int


def starts(length: int, side: int, stride: int) -> tuple[int, ...]:
    """Where windows of a side begin along an axis; the last one shifts inward, a short axis has one."""
    if length <= side:
        return (0,)
    regular = range(0, length - side + 1, stride)
    return (*regular, length - side) if regular[-1] != length - side else tuple(regular)


def lay_windows(rows: int, cols: int, side: int, stride: int) -> list[Window]:
    """Every window over a map of coarse cells, row by row."""
    return [Window(row, col) for row in starts(rows, side, stride) for col in starts(cols, side, stride)]


def feather(side: int, overlap: int) -> NDArray[np.float64]:
    """(side, side) blending weights: 1 in the middle, falling linearly over the overlap, never 0.

    Two neighbours that share `overlap` cells sum to 1 there.
    """
    ramp = (np.arange(side) + 0.5) / overlap if overlap else np.ones(side)
    edge = np.minimum(1.0, np.minimum(ramp, ramp[::-1]))
    return edge[:, None] * edge[None, :]


class Split(IntEnum):
    """Which purpose a coarse cell serves."""

    TRAIN = 0
    VALID = 1
    TEST = 2
    BUFFER = 3  # too near to ground of another split: counts for none
    NOTHING = 255  # total unknown in some year or sector, or no valid fine cell


def split_map(
    mass: NDArray[np.float64],
    usable: NDArray[np.bool_],
    block: int,
    buffer: int,
    valid_share: float,
    test_share: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Gives spatial blocks of coarse cells to splits so that shares of mass come near the wanted ones.

    Args:
      mass: (h, w) what balances the splits, summed over sectors and years.
      usable: (h, w) True = the cell may serve at all.
      block: coarse cells along a spatial block.
      buffer: cells of the training split (then of the validation split) within this distance of another
        split serve none. 0 = no buffer.
    Returns: (h, w) of Split values. All years and sectors of a place share its split by construction.
    """
    rows, cols = mass.shape
    down, across = np.arange(rows) // block, np.arange(cols) // block
    label = down[:, None] * (across[-1] + 1) + across[None, :]
    weight = np.bincount(label.ravel(), np.where(usable, np.abs(mass), 0.0).ravel()).astype(np.float64)
    of_block = _deal(weight, valid_share, test_share, rng)
    out = of_block[label]
    near_test = _near(out == Split.TEST, buffer)
    near_any = _near((out == Split.TEST) | (out == Split.VALID), buffer)
    out = np.where((out == Split.VALID) & near_test, Split.BUFFER, out)
    out = np.where((out == Split.TRAIN) & near_any, Split.BUFFER, out)
    return np.where(usable, out, Split.NOTHING).astype(np.uint8)


def _deal(
    weight: NDArray[np.float64], valid_share: float, test_share: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Deals blocks out in random order to the split that lacks most of its share of mass.

    Why by mass and not by count: half of a map may be empty, and one block may hold the city.
    """
    wanted = np.array([1.0 - valid_share - test_share, valid_share, test_share])
    got, out = np.zeros(3), np.zeros(weight.size, np.uint8)
    order = rng.permutation(weight.size)
    for index in order[np.argsort(-weight[order], kind="stable")]:
        with np.errstate(divide="ignore", invalid="ignore"):
            filled = np.where(
                wanted > 0, (got + weight[index] / 2) / np.where(wanted > 0, wanted, 1.0), np.inf
            )
        split = int(np.argmin(filled)) if weight[index] > 0 else int(rng.choice(3, p=wanted))
        out[index] = split
        got[split] += weight[index]
    return out


def _near(cells: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Cells within a square distance of a marked one."""
    out = cells.copy()
    for _ in range(distance):
        padded = np.pad(out, 1)
        rows, cols = out.shape
        out = np.logical_or.reduce([padded[i : i + rows, j : j + cols] for i in range(3) for j in range(3)])
    return out
