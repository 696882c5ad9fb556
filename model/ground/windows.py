"""Where tiles sit on a map, how their estimates are feathered, and how ground is split without a leak."""

from dataclasses import dataclass
from enum import IntEnum
from itertools import product, starmap

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """The upper left corner of a tile, in coarse cells."""

    row: int
    col: int


def starts(length: int, side: int, stride: int) -> tuple[int, ...]:
    """Where windows of a side begin along an axis; the last one shifts inward, a short axis has one.

    Args: length, side, stride: in coarse cells.
    Returns: at least one start; every cell is covered when stride <= side. The last may overlap its neighbour by
      more.
    """
    if length <= side:
        return (0,)
    regular = range(0, length - side + 1, stride)
    return (*regular, length - side) if regular[-1] != length - side else tuple(regular)


def lay_windows(rows: int, cols: int, side: int, stride: int) -> list[Window]:
    """Every window over a map of coarse cells, row by row.

    Args:
      rows, cols: of the map; side: of a window; stride: from one start to the next; all in coarse cells.
    Returns: upper left corners, each row of windows from west to east.
    """
    corners = product(starts(rows, side, stride), starts(cols, side, stride))
    return list(starmap(Window, corners))


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


def deal_ground(
    mass: NDArray[np.float64],
    block: int,
    folds: int,
    test_share: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Gives spatial blocks of coarse cells to folds of equal mass, and some to the test.

    Args:
      mass: (h, w) what balances the folds, summed over sectors and years.
      block: coarse cells along a spatial block.
      folds: parts of the ground that are held out in turn.
      test_share: of mass, held out of all of them.
    Returns: (h, w) number of the fold; -1 = test. All years and sectors of a place share it by construction.
    """
    rows, cols = mass.shape
    down, across = np.arange(rows) // block, np.arange(cols) // block
    label = down[:, None] * (across[-1] + 1) + across[None, :]
    weight = np.bincount(label.ravel(), np.abs(mass).ravel()).astype(np.float64)
    wanted = np.array([test_share, *[(1.0 - test_share) / folds] * folds])
    return _deal(weight, wanted, rng)[label] - 1


def split_map(
    ground: NDArray[np.int64], usable: NDArray[np.bool_], buffer: int, held_out: int | None
) -> NDArray[np.uint8]:
    """Which purpose each coarse cell serves while one fold is held out.

    Args:
      ground: as deal_ground gives it.
      usable: (h, w) True = the cell may serve at all.
      buffer: cells of the training split (then of the validation split) within this distance of another
        split serve none. 0 = no buffer.
      held_out: the fold that validates; None = all folds train.
    Returns: (h, w) of Split values.
    """
    out = np.full(ground.shape, Split.TRAIN, np.uint8)
    if held_out is not None:
        out[ground == held_out] = Split.VALID
    out[ground < 0] = Split.TEST
    near_test = _near(out == Split.TEST, buffer)
    near_any = _near((out == Split.TEST) | (out == Split.VALID), buffer)
    out = np.where((out == Split.VALID) & near_test, Split.BUFFER, out)
    out = np.where((out == Split.TRAIN) & near_any, Split.BUFFER, out)
    return np.where(usable, out, Split.NOTHING).astype(np.uint8)


def _deal(
    weight: NDArray[np.float64], wanted: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deals blocks out, heavy ones first, to the part that lacks most of its wanted share of mass.

    Why by mass and not by count: half of a map may be empty, and one block may hold the city.
    """
    got, out = np.zeros(wanted.size), np.zeros(weight.size, np.int64)
    order = rng.permutation(weight.size)
    for index in order[np.argsort(-weight[order], kind="stable")]:
        with np.errstate(divide="ignore", invalid="ignore"):
            filled = np.where(
                wanted > 0, (got + weight[index] / 2) / np.where(wanted > 0, wanted, 1.0), np.inf
            )
        part = int(np.argmin(filled)) if weight[index] > 0 else int(rng.choice(wanted.size, p=wanted))
        out[index] = part
        got[part] += weight[index]
    return out


def _near(cells: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Cells within a square distance of a marked one."""
    out = cells.copy()
    for _ in range(distance):
        padded = np.pad(out, 1)
        tall = padded[:-2] | padded[1:-1] | padded[2:]
        out = tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
    return out
