"""Scores of an estimate against the truth that add up over tiles and are finished once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.quantiles import exact_quantiles

Numbers = Any  # a float, or an array with one number per label (or per draw)
WIDTHS = (1, 3, 10)  # cells along the neighbourhoods of the fractions skill score


@dataclass(frozen=True)
class Cuts:
    """Quantiles of the truth above tau, taken over the whole set before anything is scored.

    Attributes:
      median: an event of the fractions skill score holds at least this.
      top_5, top_1: the largest 5 % and 1 % of non-zero truth hold at least this.
    """

    median: float = float("nan")
    top_5: float = float("nan")
    top_1: float = float("nan")

    @classmethod
    def of(cls, read: Callable[[], Iterable[NDArray]], tau: float = 0.0) -> "Cuts":
        """Args: read: yields the known truth, in parts, the same each time it is called; it is called five times."""

        def positive() -> Iterable[NDArray[np.float64]]:
            for part in read():
                values = np.asarray(part, np.float64)
                yield values[values > tau]

        return cls(*exact_quantiles(positive, (0.5, 0.95, 0.99)))


@dataclass(frozen=True)
class Scores:
    """Sums from which every score follows; `Scores() + a + b` pools a and b, in any grouping.

    With labels every sum is an array with one number per label, and every score too; `weighted` pools them.

    Attributes:
      cells, nonzero, zeros_given: numbers of cells: all, truth above tau, truth up to tau that received mass.
      absolute, nonzero_absolute, zero_absolute, squared: sums of |q - y|, of the same over non-zero and over zero
        truth, and of (q - y)^2.
      nonzero_mass: sum of the truth above tau.
      mean, spread: of the truth: its mean and its sum of squared deviations (merged after Chan et al. 1979,
        because a difference of two large sums loses R2 on skewed maps).
      logs: (..., 5) sums of a = log1p(q), b = log1p(y), a^2, b^2 and ab.
      top_cells, top_absolute: (..., 2) number of cells with truth in the largest 1 % and 5 %, and |q - y| there.
      hot_guessed, hot_found: cells among the largest 1 % of the estimate; those that are so in the truth too.
      gaps, sizes: (..., 3) sums of (p - o)^2 and p^2 + o^2 over the neighbourhoods WIDTHS, with p and o the shares
        of the estimate's and the truth's events around a cell.
      work, moved: mass times distance within blocks, and the mass of the truth there.
    """

    cells: Numbers = 0.0
    nonzero: Numbers = 0.0
    zeros_given: Numbers = 0.0
    absolute: Numbers = 0.0
    nonzero_absolute: Numbers = 0.0
    zero_absolute: Numbers = 0.0
    squared: Numbers = 0.0
    nonzero_mass: Numbers = 0.0
    mean: Numbers = 0.0
    spread: Numbers = 0.0
    logs: Numbers = 0.0
    top_cells: Numbers = 0.0
    top_absolute: Numbers = 0.0
    hot_guessed: Numbers = 0.0
    hot_found: Numbers = 0.0
    gaps: Numbers = 0.0
    sizes: Numbers = 0.0
    work: Numbers = 0.0
    moved: Numbers = 0.0

    @classmethod
    def of(
        cls,
        estimate: NDArray,
        truth: NDArray,
        where: NDArray[np.bool_],
        tau: float = 0.0,
        cuts: Cuts | None = None,
        labels: NDArray[np.int64] | None = None,
        count: int = 0,
        hot: float | None = None,
    ) -> "Scores":
        """Compares the cells where `where` is True; all arrays have the same shape.

        Args:
          tau: truth up to this counts as zero, and so does an estimate.
          cuts: without them the scores of the largest cells stay undefined.
          labels: which of `count` groups a cell belongs to.
          hot: the largest 1 % of the estimate hold at least this; by default what those of the truth hold.
            Why its own: a smooth map reaches no peak of the truth, and may still know where they are.
        """
        guess = np.asarray(estimate)[where].astype(np.float64)
        real = np.asarray(truth)[where].astype(np.float64)
        if real.size == 0 and labels is None:
            return cls()
        cuts = cuts or Cuts()
        add = _adder(None if labels is None else np.asarray(labels)[where], count)
        error, positive = np.abs(guess - real), real > tau
        cells = add(np.ones(real.size))
        mean = _ratio(add(real), cells, 0.0)
        centre = mean if labels is None else mean[np.asarray(labels)[where]]
        a, b = np.log1p(np.maximum(guess, 0.0)), np.log1p(np.maximum(real, 0.0))
        tops = [real >= cut for cut in (cuts.top_1, cuts.top_5)]
        largest = guess >= (cuts.top_1 if hot is None else hot)
        return cls(
            cells=cells,
            nonzero=add(positive),
            zeros_given=add(~positive & (guess > tau)),
            absolute=add(error),
            nonzero_absolute=add(error * positive),
            zero_absolute=add(error * ~positive),
            squared=add(error**2),
            nonzero_mass=add(real * positive),
            mean=mean,
            spread=add((real - centre) ** 2),
            logs=_side_by_side(add(values) for values in (a, b, a * a, b * b, a * b)),
            top_cells=_side_by_side(add(top) for top in tops),
            top_absolute=_side_by_side(add(error * top) for top in tops),
            hot_guessed=add(largest),
            hot_found=add(largest & tops[0]),
        )

    @classmethod
    def of_fractions(
        cls,
        estimate: NDArray,
        truth: NDArray,
        where: NDArray[np.bool_],
        cut: float,
        core: slice,
        labels: NDArray[np.int64] | None = None,
        count: int = 0,
    ) -> "Scores":
        """Fractions of cells that reach the cut around each cell (Roberts and Lean 2008), rows `core` alone.

        Args:
          estimate, truth, where: (rows, cols) with a margin of WIDTHS[-1] rows around the core, where there are any.
          core: rows that count.
        """
        counted = where[core]
        add = _adder(None if labels is None else np.asarray(labels)[core][counted], count)
        with np.errstate(invalid="ignore"):
            events = (where & (np.asarray(estimate) >= cut), where & (np.asarray(truth) >= cut))
        gaps, sizes = [], []
        for width in WIDTHS:
            around = np.maximum(_box(where, width), 1.0)
            p, o = (((_box(event, width) / around)[core])[counted] for event in events)
            gaps.append(add((p - o) ** 2))
            sizes.append(add(p**2 + o**2))
        return cls(gaps=_side_by_side(gaps), sizes=_side_by_side(sizes))

    def __add__(self, other: "Scores") -> "Scores":
        cells = self.cells + other.cells
        gap = other.mean - self.mean
        share = _ratio(other.cells, cells, 0.0)
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Scores(
            **sums,
            mean=self.mean + gap * share,
            spread=self.spread + other.spread + gap**2 * self.cells * share,
        )

    def weighted(self, weights: NDArray[np.float64]) -> "Scores":
        """Pools labelled sums: weights (draws, labels) give scores (draws,).

        Why about the common mean: the deviations of labels from it are small numbers, their squares add up safely.
        """
        sums = {name: _weigh(weights, getattr(self, name)) for name in _SUMS}
        centre = _ratio((self.cells * self.mean).sum(), np.sum(self.cells), 0.0)
        off = self.mean - centre
        mean = _ratio(weights @ (self.cells * self.mean), sums["cells"], 0.0)
        spread = weights @ (self.spread + self.cells * off**2) - sums["cells"] * (mean - centre) ** 2
        return Scores(**sums, mean=mean, spread=np.maximum(spread, 0.0))

    def pooled(self) -> "Scores":
        """Labelled sums as one set of numbers."""
        count = np.shape(self.cells)
        return self.weighted(np.ones((1, *count))).at(0) if count else self

    def at(self, index: int) -> "Scores":
        """The sums of one label or draw."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Scores(**{name: value[index] if np.ndim(value) else value for name, value in values.items()})

    @property
    def total(self) -> Numbers:
        """Mass of the truth."""
        return self.mean * self.cells

    @property
    def misallocated_share(self) -> Numbers:
        """Share of the mass that lies in the wrong cell, 0 to 1 when both totals agree; NaN without mass."""
        return _ratio(0.5 * self.absolute, self.total)

    @property
    def nonzero_mae(self) -> Numbers:
        """Mean |q - y| over the cells whose truth is not zero; NaN when there is none."""
        return _ratio(self.nonzero_absolute, self.nonzero)

    @property
    def relative_nonzero_mae(self) -> Numbers:
        """Nonzero-MAE over the mean non-zero truth: comparable between sectors; NaN without mass."""
        return _ratio(self.nonzero_absolute, self.nonzero_mass)

    @property
    def balanced_mae(self) -> Numbers:
        """Mean of the MAE over non-zero truth and the MAE over zero truth; NaN when either is missing."""
        return 0.5 * (self.nonzero_mae + _ratio(self.zero_absolute, self.cells - self.nonzero))

    def top_mae(self, index: int) -> Numbers:
        """Mean |q - y| where truth reaches the 99 % (0) or 95 % (1) quantile of non-zero truth; NaN if nowhere."""
        if not np.ndim(self.top_cells):
            return float("nan")
        return _ratio(self.top_absolute[..., index], self.top_cells[..., index])

    @property
    def r2(self) -> Numbers:
        """Share of the truth's variance explained; NaN when the truth varies by no more than rounding."""
        rounding = self.cells * (1e-12 * self.mean) ** 2
        return 1.0 - _ratio(self.squared, np.where(self.spread > rounding, self.spread, 0.0))

    @property
    def r_log1p(self) -> Numbers:
        """Correlation of log1p of estimate and truth; NaN when either does not vary. A weak score: uniform has 0.8."""
        if not np.ndim(self.logs):
            return float("nan")
        a, b, aa, bb, ab = (self.logs[..., index] for index in range(5))
        ratio = _ratio(np.ones_like(a), self.cells, 0.0)
        own, other = aa - a * a * ratio, bb - b * b * ratio
        varies = (own > 1e-12 * aa) & (other > 1e-12 * bb)
        return _ratio(ab - a * b * ratio, np.sqrt(np.where(varies, own * other, 0.0)))

    @property
    def false_share(self) -> Numbers:
        """Share of the true zeros that received mass; NaN when there is none."""
        return _ratio(self.zeros_given, self.cells - self.nonzero)

    def fraction_skill(self, index: int) -> Numbers:
        """1 - sum (p - o)^2 / sum (p^2 + o^2) over WIDTHS[index]; 1 is perfect, NaN without any event."""
        if not np.ndim(self.sizes):
            return float("nan")
        return 1.0 - _ratio(self.gaps[..., index], self.sizes[..., index])

    @property
    def distance(self) -> Numbers:
        """Earth mover's distance within blocks, in the unit of the distances: how far a unit of mass must move."""
        return _ratio(self.work, self.moved)

    def finish(self) -> dict[str, Numbers]:
        """All scores by name."""
        hot = self.top_cells[..., 0] if np.ndim(self.top_cells) else 0.0
        return {
            "misallocated_share": self.misallocated_share,
            "nonzero_mae": self.nonzero_mae,
            "balanced_mae": self.balanced_mae,
            "top_1_percent_mae": self.top_mae(0),
            "top_5_percent_mae": self.top_mae(1),
            "r2": self.r2,
            "r_log1p": self.r_log1p,
            "zeros_with_mass": self.false_share,
            **{f"fss_{width}_cells": self.fraction_skill(index) for index, width in enumerate(WIDTHS)},
            "earth_movers_distance": self.distance,
            "hot_spot_precision": _ratio(self.hot_found, self.hot_guessed),
            "hot_spot_recall": _ratio(self.hot_found, hot),
        }


_SUMS = tuple(item.name for item in fields(Scores) if item.name not in ("mean", "spread"))


def _adder(labels: NDArray[np.int64] | None, count: int) -> Callable[[NDArray], Numbers]:
    """Sums values over everything, or by label."""
    if labels is None:
        return lambda values: float(values.sum(dtype=np.float64))
    return lambda values: np.bincount(labels, values, count).astype(np.float64)


def _side_by_side(parts: Iterable[Numbers]) -> NDArray[np.float64]:
    return np.stack([np.asarray(part, np.float64) for part in parts], axis=-1)


def _ratio(above: Numbers, below: Numbers, otherwise: float = float("nan")) -> Numbers:
    """above / below where below > 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    with np.errstate(over="ignore"):  # beside the smallest numbers a ratio may be beyond the largest
        out = np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0)
    return out if out.ndim else float(out)


def _weigh(weights: NDArray[np.float64], sums: Numbers) -> Numbers:
    return weights @ sums if np.ndim(sums) else sums


def _box(values: NDArray, width: int) -> NDArray[np.float64]:
    """Sum over the width x width cells around each cell; nothing beyond the edge. An even width leans up and left."""
    before, after = width // 2, (width - 1) // 2
    table = np.pad(values.astype(np.float64), [(before + 1, after)] * 2).cumsum(axis=0).cumsum(axis=1)
    return table[width:, width:] - table[:-width, width:] - table[width:, :-width] + table[:-width, :-width]
