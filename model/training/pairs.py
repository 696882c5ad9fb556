"""Pairs to learn from: a fine field of one date, and the block sums a network is shown of it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread
from model.ground.scene import Bools, Masses, Scene
from model.priors.pycnophylactic import fill_unknown


@dataclass(frozen=True)
class Pair:
    """A window of one sector and date.

    Attributes:
      fine: (H, W) mass per fine cell as it truly was; 0 where it is not known.
      valid: (H, W) True = fine cell may hold mass.
      counted: (H, W) True = valid, of the learned ground, and its truth is known: it alone is learned from.
      totals: (h, w) mass per block as shown; 0 where not known.
      known: (h, w) True = the total is shown.
      factor: fine cells along a block.
    """

    fine: Masses
    valid: Bools
    counted: Bools
    totals: Masses
    known: Bools
    factor: int

    @classmethod
    def of(
        cls, fine: Masses, valid: Bools, learnable: Bools, factor: int, totals: Masses | None = None
    ) -> "Pair":
        """Of a fine field, NaN where not known; block sums are made of it unless they are given (NaN = not known).

        A block made of the field is shown only when its every valid cell is known and of the learned ground.
        """
        there = valid & np.isfinite(fine)
        counted = there & learnable
        if totals is None:
            known = (merge(counted, factor) == merge(valid, factor)) & (merge(valid, factor) > 0)
            totals = merge(np.where(there, fine, 0.0), factor)
        else:
            known = np.isfinite(totals)
        shown = np.where(known, totals, 0.0)
        counted = counted & spread(known, factor)
        return cls(np.where(there, fine, 0.0), valid, counted, shown, known, factor)

    def turned(self, quarters: int, mirrored: bool) -> "Pair":
        """The same rain from another side."""

        def turn(values: NDArray) -> NDArray:
            turned = np.rot90(values, quarters)
            return turned[:, ::-1] if mirrored else turned

        fine, valid, counted = turn(self.fine), turn(self.valid), turn(self.counted)
        return Pair(fine, valid, counted, turn(self.totals), turn(self.known), self.factor)

    def scene(self) -> Scene:
        """As a method sees it: nothing finer than the totals."""
        covariates = np.zeros((0, 1, *self.valid.shape), np.float32)
        return Scene(covariates, self.valid, self.totals[None, None], self.known[None, None], self.factor, ())


class PairSource(Protocol):
    """Where pairs come from."""

    def __len__(self) -> int:
        """Fields of the split."""

    def draw(self, rng: np.random.Generator, count: int) -> list[Pair]:
        """Windows of random fields, places and sides."""

    def whole(self, index: int) -> Pair:
        """One field with the totals of the run, for scores."""


def looks(scene: Scene) -> NDArray[np.float32]:
    """(sectors * time, 2, h, w): mass per valid fine cell of each block, and the share of its cells that is valid.

    Blocks of unknown total take the density their neighbours suggest.
    """
    cells = merge(scene.valid.astype(np.float64), scene.side)
    known = scene.known & (cells > 0)
    density = fill_unknown(np.where(known, scene.totals, 0.0) / np.maximum(cells, 1.0), known)
    share = np.broadcast_to(cells / scene.side**2, density.shape)
    stacked = np.stack([density, share], axis=2)
    return stacked.reshape(-1, *stacked.shape[2:]).astype(np.float32)


def squared_errors(estimate: NDArray, pair: Pair) -> tuple[float, int]:
    """Sum of squared errors of an estimate (H, W), and the number of cells it is over."""
    off = np.where(pair.counted, estimate - pair.fine, 0.0)
    return float((off**2).sum()), int(pair.counted.sum())
