"""One map against one truth, read band by band: labelled sums of every score, never the whole map at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluation.bootstrap import spatial_blocks
from model.evaluation.reliability import Reliability
from model.evaluation.scores import WIDTHS, Cuts, Scores
from model.evaluation.transport import centre_distances, least_work
from model.ground.blocks import merge, to_blocks

BAND = 240  # fine rows at a time, rounded to whole blocks
FLOWS = 10_000_000  # flows between cells of blocks in memory at once, 8 bytes each
CELLS = 100  # of a block; larger ones take a smaller sample, because exact transport grows with their fourth power
LEAST = 20  # blocks of the sample, however large they are
MARGIN = WIDTHS[-1]  # rows read around a band for neighbourhoods
Rows = Callable[
    [int, int], NDArray
]  # (first row, number of rows) -> (rows, cols), NaN where there is no value


@dataclass(frozen=True)
class Ground:
    """Where cells are and which spatial block each belongs to.

    Attributes:
      shape: (rows, cols) of blocks of mass.
      factor: cells along a block.
      cell: (height, width) of a cell in metres.
      labels: shape -> spatial block for the bootstrap.
      count: number of spatial blocks.
      counted: shape, True = cells of the block are scored.
    """

    shape: tuple[int, int]
    factor: int
    cell: tuple[float, float]
    labels: NDArray[np.int64]
    count: int
    counted: NDArray[np.bool_]

    @classmethod
    def of(cls, shape: tuple[int, int], factor: int, cell: tuple[float, float], side: int) -> "Ground":
        """Ground on which everything counts.

        Args:
          shape: (rows, cols) of blocks of mass.
          factor: cells along a block; cell: (height, width) of one [m].
          side: blocks of mass along a spatial block.
        """
        labels, count = spatial_blocks(*shape, side)
        return cls(shape, factor, cell, labels, count, np.ones(shape, bool))

    def bands(self) -> Iterator[tuple[int, int]]:
        """(first block row, number of block rows)."""
        step = max(1, BAND // self.factor)
        for row in range(0, self.shape[0], step):
            yield row, min(step, self.shape[0] - row)

    def spread(self, values: NDArray, row: int, rows: int) -> NDArray:
        """Values of blocks as those of their cells.

        Args:
          values: (h, w) of all blocks.
          row, rows: first fine row and number of them; they need not begin with a block.
        Returns: (rows, w * factor).
        """
        down = np.arange(row, row + rows) // self.factor
        return np.repeat(values[down], self.factor, axis=1)


@dataclass(frozen=True)
class Answer:
    """The truth of one sector and year, and what must be known of it before a map is scored.

    Attributes:
      rows: reads it.
      cuts: quantiles of its non-zero cells.
      unit: mean of its non-zero cells, mass per cell.
      sums: (blocks) of mass, where every cell of the block is known; NaN elsewhere.
      sample: flat indices of the blocks whose earth mover's distance is taken.
    """

    rows: Rows
    cuts: Cuts
    unit: float
    sums: NDArray[np.float64]
    sample: NDArray[np.int64]


def look_at(rows: Rows, ground: Ground, sample: int, rng: np.random.Generator) -> Answer:
    """Reads a truth several times, band by band, for its quantiles and block sums.

    Args:
      sample: most blocks whose earth mover's distance is taken, drawn evenly from those that hold mass; fewer where
        a block has more than CELLS cells.
    """
    cuts = Cuts.of(lambda: _counted(rows, ground))
    mass = cells = 0.0
    sums = np.full(ground.shape, np.nan)
    for row, count in ground.bands():
        part = rows(row * ground.factor, count * ground.factor)
        sums[row : row + count] = merge(part.astype(np.float64), ground.factor)
        mass, cells = mass + float(np.nansum(part)), cells + float((part > 0).sum())
    able = np.flatnonzero((np.nan_to_num(sums, nan=0.0) > 0) & ground.counted)
    shrunk = int(sample * min(1.0, CELLS / ground.factor**2) ** 2)
    count = min(max(shrunk, min(LEAST, sample)), able.size)
    chosen = rng.choice(able, size=count, replace=False)
    return Answer(rows, cuts, mass / cells if cells else 1.0, sums, np.sort(chosen))


def measure(
    estimate: Rows, answer: Answer, ground: Ground, whole: Ground | None = None
) -> tuple[Scores, Reliability, float]:
    """Scores of a map by spatial block, its reliability, and the share of its cells that was scored.

    Args:
      whole: the ground over which the largest 1 % of the estimate are found; by default the one that is scored.
    """
    scores = Scores.of(*_nothing(), labels=np.zeros(0, np.int64), count=ground.count)
    reliability = Reliability.of(*_nothing(), answer.unit)
    own = Cuts.of(lambda: _counted(estimate, whole or ground))
    valid, chosen = 0, []
    last = ground.shape[0] * ground.factor
    for row, count in ground.bands():
        first, rows = row * ground.factor, count * ground.factor
        above, below = min(MARGIN, first), min(MARGIN, last - first - rows)
        guess = estimate(first - above, rows + above + below)
        real = answer.rows(first - above, rows + above + below)
        where = np.isfinite(guess) & np.isfinite(real)
        where &= ground.spread(ground.counted, first - above, guess.shape[0])
        labels = ground.spread(ground.labels, first - above, guess.shape[0])
        core = slice(above, above + rows)
        scores = scores + Scores.of(
            guess[core], real[core], where[core], 0.0, answer.cuts, labels[core], ground.count, own.top_1
        )
        scores = scores + Scores.of_fractions(
            guess, real, where, answer.cuts.median, core, labels, ground.count
        )
        chosen.append(_surplus(guess[core], real[core], where[core], answer, ground, row))
        reliability = reliability + Reliability.of(guess[core], real[core], where[core], answer.unit)
        valid += int(np.isfinite(guess[core]).sum())
    scored = float(np.sum(scores.cells))
    scores = scores + _transport(chosen, answer, ground)
    return scores, reliability, scored / valid if valid else 0.0


def _counted(rows: Rows, ground: Ground) -> Iterator[NDArray]:
    """Values of the cells that count, band by band."""
    for row, count in ground.bands():
        part = rows(row * ground.factor, count * ground.factor)
        yield part[np.isfinite(part) & ground.spread(ground.counted, row * ground.factor, part.shape[0])]


def _nothing() -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    return np.zeros(0), np.zeros(0), np.zeros(0, bool)


def _surplus(
    guess: NDArray, real: NDArray, where: NDArray[np.bool_], answer: Answer, ground: Ground, row: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate minus truth within the sampled blocks of a band, and the mass there; the estimate is scaled first.

    Cells that are not scored hold nothing: mass neither comes from them nor goes there.
    """
    cols = ground.shape[1]
    inside = (answer.sample >= row * cols) & (answer.sample < (row + guess.shape[0] // ground.factor) * cols)
    chosen = answer.sample[inside] - row * cols
    blocks = [
        to_blocks(np.where(where, values, 0.0).astype(np.float64), ground.factor)[chosen]
        for values in (np.maximum(guess, 0.0), real)
    ]
    sums = [block.sum(axis=1) for block in blocks]
    both = (sums[0] > 0) & (sums[1] > 0)
    surplus = np.zeros_like(blocks[0])
    surplus[both] = blocks[0][both] * (sums[1][both] / sums[0][both])[:, None] - blocks[1][both]
    return surplus, np.where(both, sums[1], 0.0)


def _transport(
    chosen: list[tuple[NDArray[np.float64], NDArray[np.float64]]], answer: Answer, ground: Ground
) -> Scores:
    """Work within all sampled blocks at once, as many as memory allows: one search then serves many blocks."""
    if not answer.sample.size:
        return Scores()
    surplus, mass = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
    distance = centre_distances(ground.factor, ground.factor, *ground.cell)
    step = max(1, FLOWS // distance.size)
    starts = range(0, len(surplus), step)
    work = np.concatenate([least_work(surplus[first : first + step], distance) for first in starts])
    labels = ground.labels.ravel()[answer.sample]
    return Scores(work=np.bincount(labels, work, ground.count), moved=np.bincount(labels, mass, ground.count))
