"""Pairs of the cube: windows drawn from the fine fields of a split's dates, and whole fields for scores."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import spread
from model.training.pairs import Pair
from stages.artifacts.cube import Cube
from stages.artifacts.tiles import Samples, read_plan

CACHE_BYTES = 1_000_000_000  # fine fields kept in memory once read
WHOLE = 1_000_000  # fine cells of a field scored at once; of a larger one the middle
TRIES = 20  # draws of a place before one without ground to learn from is taken


class PairSamples:
    """The fine fields of one split.

    Args:
      cube, tiles: artifact folders.
      split: train or valid, by date; ground held out by tile.test_share is in neither.
      shift: True: blocks are laid anew at each draw, and their sums made of the fine field; else they are the run's.
    """

    def __init__(self, cube: Path, tiles: Path, split: str, *, shift: bool = True) -> None:
        self._cube = Cube.open(cube)
        plan = read_plan(tiles)
        assert plan.pairs is not None, "the cube has pairs, so its plan has dates of pairs"
        dates = plan.pairs.train if split == "train" else plan.pairs.valid
        self._fields: list[tuple[int, int]] = []  # sector, time
        for sector, time in np.argwhere(self._cube.paired()):
            if self._cube.years[time] in dates:
                self._fields.append((int(sector), int(time)))
        self._shift, self._side = shift, plan.side
        factor, fine = self._cube.factor, self._cube.fine
        learnable = Samples(cube, tiles, "all", 1).target_map
        self._valid = self._cube.valid(0, 0, *fine.shape)
        self._learnable = spread(learnable, factor) & self._valid
        self._totals = np.where(self._cube.known(), self._cube.totals(), np.nan)
        self._cache: dict[tuple[int, int], NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._fields)

    def draw(self, rng: np.random.Generator, count: int) -> list[Pair]:
        """Windows of random fields, places and sides."""
        return [self._draw(rng) for _ in range(count)]

    def _draw(self, rng: np.random.Generator) -> Pair:
        factor, (rows, cols) = self._cube.factor, self._cube.fine.shape
        sector, time = self._fields[int(rng.integers(len(self._fields)))]
        size = [min(self._side * factor, length // factor * factor) for length in (rows, cols)]
        step = 1 if self._shift else factor
        row = col = 0
        for _ in range(TRIES):
            row, col = (
                int(rng.integers((length - part) // step + 1)) * step
                for length, part in zip((rows, cols), size, strict=True)
            )
            if self._learnable[row : row + size[0], col : col + size[1]].mean() > 0.2:
                break
        aligned = row % factor == 0 and col % factor == 0
        totals = None
        if not self._shift or (aligned and rng.random() < 0.5):
            totals = self._totals[
                sector,
                time,
                row // factor : (row + size[0]) // factor,
                col // factor : (col + size[1]) // factor,
            ]
        pair = self._pair(sector, time, row, col, size[0], size[1], totals)
        quarters = int(rng.integers(4)) if size[0] == size[1] else 2 * int(rng.integers(2))
        return pair.turned(quarters, bool(rng.integers(2)))

    def whole(self, index: int) -> Pair:
        """One field with the totals of the run; the middle of it where it is too large."""
        factor, (rows, cols) = self._cube.factor, self._cube.fine.shape
        sector, time = self._fields[index]
        side = max(1, int(np.sqrt(WHOLE)) // factor)
        height, width = min(rows // factor, side), min(cols // factor, side)
        row, col = (rows // factor - height) // 2, (cols // factor - width) // 2
        totals = self._totals[sector, time, row : row + height, col : col + width]
        return self._pair(sector, time, row * factor, col * factor, height * factor, width * factor, totals)

    def _pair(
        self,
        sector: int,
        time: int,
        row: int,
        col: int,
        rows: int,
        cols: int,
        totals: NDArray[np.float64] | None,
    ) -> Pair:
        part = (slice(row, row + rows), slice(col, col + cols))
        fine = self._field(sector, time, row, col, rows, cols)
        return Pair.of(fine, self._valid[part], self._learnable[part], self._cube.factor, totals)

    def _field(self, sector: int, time: int, row: int, col: int, rows: int, cols: int) -> NDArray[np.float64]:
        """A window of a fine field; whole fields are kept while there is room."""
        whole = self._cube.fine.rows * self._cube.fine.cols * 4
        if whole * len(self._fields) > CACHE_BYTES:
            return self._cube.pair(sector, time, row, col, rows, cols)
        if (sector, time) not in self._cache:
            self._cache[sector, time] = self._cube.pair(sector, time, 0, 0, *self._cube.fine.shape).astype(
                np.float32
            )
        return self._cache[sector, time][row : row + rows, col : col + cols].astype(np.float64)
