"""Scores of an estimate against the truth that add up over tiles and are finished once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ground.quantiles import exact_quantiles

Array = NDArray[np.float64]
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
        """Args: read: yields the known truth, in parts, the same each time it is called; it is called five times.

        Returns: NaN in all three when no value exceeds tau. Exact quantiles, so a cut does not depend on how the
          truth is read.
        """

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
      log_guess, log_truth: means of log1p(q) and of log1p(y).
      log_guess_spread, log_truth_spread, log_shared: sums of their squared deviations, and of the products of both
        (merged likewise: sums of squares lose the correlation of values that hardly vary).
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
    log_guess: Numbers = 0.0
    log_truth: Numbers = 0.0
    log_guess_spread: Numbers = 0.0
    log_truth_spread: Numbers = 0.0
    log_shared: Numbers = 0.0
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
        place = None if labels is None else np.asarray(labels)[where]
        add = _adder(place, count)
        error, positive = np.abs(guess - real), real > tau
        cells = add(np.ones(real.size))

        def about_mean(values: Array) -> tuple[Numbers, Array]:
            mean = _ratio(add(values), cells, 0.0)
            return mean, values - (mean if place is None else np.asarray(mean)[place])

        mean, off = about_mean(real)
        log_guess, a = about_mean(np.log1p(np.maximum(guess, 0.0)))
        log_truth, b = about_mean(np.log1p(np.maximum(real, 0.0)))
        tops = real >= cuts.top_1, real >= cuts.top_5
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
            spread=add(off**2),
            log_guess=log_guess,
            log_truth=log_truth,
            log_guess_spread=add(a * a),
            log_truth_spread=add(b * b),
            log_shared=add(a * b),
            top_cells=_side_by_side(add(tops[0]), add(tops[1])),
            top_absolute=_side_by_side(add(error * tops[0]), add(error * tops[1])),
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
            guessed, real = where & (np.asarray(estimate) >= cut), where & (np.asarray(truth) >= cut)
        gaps, sizes = [], []
        for width in WIDTHS:
            around = np.maximum(_box(where, width), 1.0)
            p = (_box(guessed, width) / around)[core][counted]
            o = (_box(real, width) / around)[core][counted]
            gaps.append(add((p - o) ** 2))
            sizes.append(add(p**2 + o**2))
        return cls(gaps=_side_by_side(*gaps), sizes=_side_by_side(*sizes))

    def __add__(self, other: "Scores") -> "Scores":
        mine, theirs = vars(self), vars(other)
        share = _ratio(other.cells, np.add(self.cells, other.cells), 0.0)
        added, gaps = {}, {}
        for name in _SUMS:
            added[name] = mine[name] + theirs[name]
        for name in _MEANS:
            gaps[name] = theirs[name] - mine[name]
            added[name] = mine[name] + gaps[name] * share
        for name, (one, two) in _PRODUCTS.items():
            added[name] = mine[name] + theirs[name] + gaps[one] * gaps[two] * self.cells * share
        return Scores(**added)

    def weighted(self, weights: Array) -> "Scores":
        """Pools labelled sums, as if the cells of each label had been met that often.

        Why about the mean of each draw: a draw of labels that are alike, far from the mean of all, would lose its
        small deviations in a difference of large sums.

        Args:
          weights: (draws, labels).
        Returns: scores (draws,).
        """
        mine = vars(self)
        pooled, off = {}, {}
        for name in _SUMS:
            pooled[name] = _weigh(weights, mine[name])
        for name in _MEANS:
            pooled[name] = _ratio(weights @ (self.cells * mine[name]), pooled["cells"], 0.0)
            off[name] = mine[name] - pooled[name][:, None]
        for name, (one, two) in _PRODUCTS.items():
            between = (weights * self.cells * off[one] * off[two]).sum(axis=1)
            pooled[name] = weights @ mine[name] + between
        return Scores(**pooled)

    def pooled(self) -> "Scores":
        """Labelled sums as one set of numbers; sums without labels as they are.

        Means and squared deviations are merged about the pooled mean, so the result is that of all cells at once.
        """
        count = np.shape(self.cells)
        return self.weighted(np.ones((1, *count))).at(0) if count else self

    def at(self, index: int) -> "Scores":
        """The sums of one label or draw."""
        chosen = {}
        for name, value in vars(self).items():
            chosen[name] = value[index] if np.ndim(value) else value
        return Scores(**chosen)

    @property
    def total(self) -> Numbers:
        """Mass of the truth."""
        return self.mean * self.cells

    @property
    def misallocated_share(self) -> Numbers:
        """Share of the mass that lies in the wrong cell, 0 to 1 when both totals agree; NaN without mass.

        Half the sum of |q - y| over the mass: what is too much in one cell is missing in another, and would count
        twice.
        """
        return _ratio(0.5 * self.absolute, self.total)

    @property
    def nonzero_mae(self) -> Numbers:
        """Mean |q - y| over the cells whose truth is not zero; NaN when there is none.

        Why the empty cells are left out: on a map that is mostly zero they would make any estimate look good.
        """
        return _ratio(self.nonzero_absolute, self.nonzero)

    @property
    def relative_nonzero_mae(self) -> Numbers:
        """Nonzero-MAE over the mean non-zero truth: comparable between sectors; NaN without mass."""
        return _ratio(self.nonzero_absolute, self.nonzero_mass)

    @property
    def balanced_mae(self) -> Numbers:
        """Mean of the MAE over non-zero truth and the MAE over zero truth; NaN when either is missing.

        Empty and filled ground count half each, however rare one of them is. Same unit as the truth.
        """
        return 0.5 * (self.nonzero_mae + _ratio(self.zero_absolute, self.cells - self.nonzero))

    def top_mae(self, index: int) -> Numbers:
        """Mean |q - y| where truth reaches the 99 % (0) or 95 % (1) quantile of non-zero truth; NaN if nowhere.

        Args: index: column of `top_absolute`. The cuts come from the whole truth (Cuts), not from each tile.
        """
        return _ratio(_column(self.top_absolute, index), _column(self.top_cells, index))

    @property
    def r2(self) -> Numbers:
        """Share of the truth's variance explained; NaN when the truth varies by no more than rounding.

        1 - sum (q - y)^2 / sum (y - mean)^2, negative when worse than the mean. Rounding is taken as 1e-12 of the
        mean in every cell.
        """
        rounding = self.cells * (1e-12 * self.mean) ** 2
        return 1.0 - _ratio(self.squared, np.where(self.spread > rounding, self.spread, 0.0))

    @property
    def r_log1p(self) -> Numbers:
        """Correlation of log1p of estimate and truth; NaN when either does not vary. A weak score: uniform has 0.8.

        Pearson's, from -1 to 1, on the logarithm of 1 + mass; so it depends on the unit of the mass.
        """
        varies = _varies(self.log_guess_spread, self.log_guess, self.cells) & _varies(
            self.log_truth_spread, self.log_truth, self.cells
        )
        both = np.multiply(self.log_guess_spread, self.log_truth_spread)
        return _ratio(self.log_shared, np.sqrt(np.where(varies, both, 0.0)))

    @property
    def false_share(self) -> Numbers:
        """Share of the true zeros that received mass; NaN when there is none."""
        return _ratio(self.zeros_given, self.cells - self.nonzero)

    def fraction_skill(self, index: int) -> Numbers:
        """1 - sum (p - o)^2 / sum (p^2 + o^2) over WIDTHS[index]; 1 is perfect, NaN without any event.

        Args: index: of WIDTHS. p and o are the shares of cells at or above the cut around each cell, of estimate
          and truth (Roberts and Lean 2008); neighbourhoods end at the edge.
        """
        return 1.0 - _ratio(_column(self.gaps, index), _column(self.sizes, index))

    @property
    def distance(self) -> Numbers:
        """Earth mover's distance within blocks, in the unit of the distances: how far a unit of mass must move.

        Rubner et al. 2000. Blocks in which both maps agree cost nothing; NaN where no mass was compared.
        """
        return _ratio(self.work, self.moved)

    def finish(self) -> dict[str, Numbers]:
        """All scores by name.

        Returns: floats, or arrays with a number per label. NaN where a score is not defined, which is kept: a
          mean over maps must leave it out, not count it as 0.
        """
        scores: dict[str, Numbers] = {
            "misallocated_share": self.misallocated_share,
            "nonzero_mae": self.nonzero_mae,
            "balanced_mae": self.balanced_mae,
            "top_1_percent_mae": self.top_mae(0),
            "top_5_percent_mae": self.top_mae(1),
            "r2": self.r2,
            "r_log1p": self.r_log1p,
            "zeros_with_mass": self.false_share,
        }
        for index, width in enumerate(WIDTHS):
            scores[f"fss_{width}_cells"] = self.fraction_skill(index)
        scores["earth_movers_distance"] = self.distance
        scores["hot_spot_precision"] = _ratio(self.hot_found, self.hot_guessed)
        scores["hot_spot_recall"] = _ratio(self.hot_found, _column(self.top_cells, 0))
        return scores


_MEANS = ("mean", "log_guess", "log_truth")
# Sums of products of deviations, each of two of the means above.
_PRODUCTS = {
    "spread": ("mean", "mean"),
    "log_guess_spread": ("log_guess", "log_guess"),
    "log_truth_spread": ("log_truth", "log_truth"),
    "log_shared": ("log_guess", "log_truth"),
}
_SUMS = tuple(item.name for item in fields(Scores) if item.name not in (*_MEANS, *_PRODUCTS))


def _adder(labels: NDArray[np.int64] | None, count: int) -> Callable[[NDArray], Numbers]:
    """Sums values over everything, or by label."""
    if labels is None:
        return lambda values: float(values.sum(dtype=np.float64))
    return lambda values: np.bincount(labels, values, count).astype(np.float64)


def _side_by_side(*parts: Numbers) -> Array:
    return np.stack(np.broadcast_arrays(*parts), axis=-1).astype(np.float64)


def _column(values: Numbers, index: int) -> Numbers:
    """One of several numbers that stand side by side; NaN where nothing was counted."""
    array = np.asarray(values)
    return array[..., index] if array.ndim else float("nan")


def _varies(spread: Numbers, mean: Numbers, cells: Numbers) -> NDArray[np.bool_]:
    """By more than a millionth of the values' own size."""
    return np.asarray(spread > 1e-12 * (spread + cells * mean**2))


def _ratio(above: Numbers, below: Numbers, otherwise: float = float("nan")) -> Numbers:
    """above / below where below > 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    with np.errstate(over="ignore"):  # beside the smallest numbers a ratio may be beyond the largest
        out = np.divide(above, below, out=np.full(above.shape, otherwise), where=below > 0)
    return out if out.ndim else float(out)


def _weigh(weights: Array, sums: Numbers) -> Numbers:
    return weights @ sums if np.ndim(sums) else sums


def _box(values: NDArray, width: int) -> Array:
    """Sum over the width x width cells around each cell; nothing beyond the edge. An even width leans up and left."""
    before, after = width // 2, (width - 1) // 2
    table = np.pad(values.astype(np.float64), [(before + 1, after)] * 2).cumsum(axis=0).cumsum(axis=1)
    return table[width:, width:] - table[:-width, width:] - table[width:, :-width] + table[:-width, :-width]
