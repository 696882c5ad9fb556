"""Scores of an estimate against the truth that add up over tiles and are finished once."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TOP = 0.01  # the largest share of non-zero truth that Top-1 % looks at


@dataclass(frozen=True)
class Scores:
    """Sums from which every score follows; `Scores() + a + b` pools a and b, in any grouping.

    Attributes:
      cells, nonzero, zeros_given: numbers of cells: all, truth above tau, truth up to tau that received mass.
      absolute, nonzero_absolute, squared: sums of |q - y|, of the same over non-zero truth, and of (q - y)^2.
      mean, spread: of the truth: its mean and its sum of squared deviations (merged after Chan et al. 1979,
        because a difference of two large sums loses R2 on skewed maps).
      truths, errors: non-zero truth and |q - y| there; Top-1 % needs one quantile over the whole set.
    """

    cells: int = 0
    nonzero: int = 0
    zeros_given: int = 0
    absolute: float = 0.0
    nonzero_absolute: float = 0.0
    squared: float = 0.0
    mean: float = 0.0
    spread: float = 0.0
    truths: tuple[NDArray[np.float64], ...] = field(default=(), repr=False)
    errors: tuple[NDArray[np.float64], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, estimate: NDArray, truth: NDArray, where: NDArray[np.bool_], tau: float = 0.0) -> "Scores":
        """Compares the cells where `where` is True; all three have the same shape.

        Args:
          tau: truth up to this counts as zero, and so does an estimate.
        """
        guess = np.asarray(estimate)[where].astype(np.float64)
        real = np.asarray(truth)[where].astype(np.float64)
        if real.size == 0:
            return cls()
        error = np.abs(guess - real)
        positive = real > tau
        mean = float(real.mean())
        return cls(
            cells=real.size,
            nonzero=int(positive.sum()),
            zeros_given=int((~positive & (guess > tau)).sum()),
            absolute=float(error.sum()),
            nonzero_absolute=float(error[positive].sum()),
            squared=float((error**2).sum()),
            mean=mean,
            spread=float(((real - mean) ** 2).sum()),
            truths=(real[positive],),
            errors=(error[positive],),
        )

    def __add__(self, other: "Scores") -> "Scores":
        cells = self.cells + other.cells
        gap = other.mean - self.mean
        share = other.cells / cells if cells else 0.0
        return Scores(
            cells=cells,
            nonzero=self.nonzero + other.nonzero,
            zeros_given=self.zeros_given + other.zeros_given,
            absolute=self.absolute + other.absolute,
            nonzero_absolute=self.nonzero_absolute + other.nonzero_absolute,
            squared=self.squared + other.squared,
            mean=self.mean + gap * share,
            spread=self.spread + other.spread + gap**2 * self.cells * share,
            truths=self.truths + other.truths,
            errors=self.errors + other.errors,
        )

    @property
    def total(self) -> float:
        """Mass of the truth."""
        return self.mean * self.cells

    @property
    def misallocated_share(self) -> float:
        """Share of the mass that lies in the wrong cell, 0 to 1 when both totals agree; NaN without mass."""
        return 0.5 * self.absolute / self.total if self.total > 0 else float("nan")

    @property
    def nonzero_mae(self) -> float:
        """Mean |q - y| over the cells whose truth is not zero; NaN when there is none."""
        return self.nonzero_absolute / self.nonzero if self.nonzero else float("nan")

    @property
    def relative_nonzero_mae(self) -> float:
        """Nonzero-MAE over the mean non-zero truth: comparable between sectors; NaN without mass."""
        mass = sum(float(part.sum()) for part in self.truths)
        return self.nonzero_absolute / mass if mass > 0 else float("nan")

    @property
    def top_mae(self) -> float:
        """Mean |q - y| where truth reaches the 99 % quantile of non-zero truth; NaN when there is none."""
        if not self.nonzero:
            return float("nan")
        truths, errors = np.concatenate(self.truths), np.concatenate(self.errors)
        return float(errors[truths >= np.quantile(truths, 1.0 - TOP)].mean())

    @property
    def r2(self) -> float:
        """Share of the truth's variance explained; NaN when the truth varies by no more than rounding."""
        rounding = self.cells * (1e-12 * self.mean) ** 2
        return 1.0 - self.squared / self.spread if self.spread > rounding else float("nan")

    @property
    def false_share(self) -> float:
        """Share of the true zeros that received mass; NaN when there is none."""
        zeros = self.cells - self.nonzero
        return self.zeros_given / zeros if zeros else float("nan")

    def finish(self) -> dict[str, float]:
        """All scores by name."""
        return {
            "misallocated_share": self.misallocated_share,
            "nonzero_mae": self.nonzero_mae,
            "top_1_percent_mae": self.top_mae,
            "r2": self.r2,
            "zeros_with_mass": self.false_share,
        }
