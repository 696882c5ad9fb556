"""Whether cells that are said to hold so much do hold it on average: sums of truth by what was estimated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PER_DECADE = 4
DECADES = (-3, 3)  # around the unit, the mean of the truth above zero
BINS = (DECADES[1] - DECADES[0]) * PER_DECADE + 2  # one below, one above


@dataclass(frozen=True)
class Reliability:
    """Sums by bins of the estimate, a quarter of a decade each; they add up over tiles.

    Attributes:
      unit: the estimate in the middle of the bins, mass per cell.
      cells, estimate, truth: (BINS,) number of cells, and sums of both over them.
    """

    unit: float
    cells: NDArray[np.float64]
    estimate: NDArray[np.float64]
    truth: NDArray[np.float64]

    @classmethod
    def of(cls, estimate: NDArray, truth: NDArray, where: NDArray[np.bool_], unit: float) -> "Reliability":
        """Counts cells where `where` is True and the estimate is above 0.

        Args:
          estimate, truth, where: of one shape.
          unit: mass per cell; bins span DECADES around it, and the outermost two take what lies beyond.
        """
        counted = where & (np.asarray(estimate) > 0)
        guess, real = estimate[counted].astype(np.float64), truth[counted].astype(np.float64)
        place = np.floor((np.log10(guess / unit) - DECADES[0]) * PER_DECADE).astype(np.int64) + 1
        place = np.clip(place, 0, BINS - 1)
        cells, *sums = (np.bincount(place, values, BINS) for values in (np.ones(guess.size), guess, real))
        return cls(unit, cells.astype(np.float64), sums[0].astype(np.float64), sums[1].astype(np.float64))

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(
            self.unit, self.cells + other.cells, self.estimate + other.estimate, self.truth + other.truth
        )

    def points(self) -> list[dict[str, float]]:
        """Per bin that holds cells: their number, mean estimate and mean truth.

        On a reliable map mean truth equals mean estimate in every bin. Bins come in rising order of the estimate.
        """
        return [
            {"cells": float(count), "estimate": float(guess / count), "truth": float(real / count)}
            for count, guess, real in zip(self.cells, self.estimate, self.truth, strict=True)
            if count > 0
        ]
