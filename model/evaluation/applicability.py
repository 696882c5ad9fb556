"""How unlike a cell's covariates are to those a method learned from: the dissimilarity index."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
CHUNK = 20_000  # cells compared at once
DIGITS = 6  # that count, of what is kept: the index needs no more


class ReferenceRecord(TypedDict):
    """The training ground as it lies beside a checkpoint."""

    layers: list[str]
    scale: float
    threshold: float
    mean: list[float]
    std: list[float]
    points: list[list[float]]


@dataclass(frozen=True)
class Reference:
    """A sample of the training ground in standardised covariate space.

    Attributes:
      layers: names, in the order of the columns; those that did not vary are left out.
      mean, std: (layers,) of the sample.
      points: (n, layers) standardised.
      scale: mean distance between two points: an index of 1 is as far as two training cells are on average.
      threshold: index beyond which a cell is unlike anything learned from.

    Source: Meyer and Pebesma 2021 (Methods Ecol. Evol. 12:1620), with equal weights, because not every method tells
    how much each layer counts.
    """

    layers: tuple[str, ...]
    mean: Points
    std: Points
    points: Points
    scale: float
    threshold: float

    @classmethod
    def of(cls, values: Points, names: tuple[str, ...], folds: NDArray[np.int64]) -> "Reference | None":
        """Measures a sample; None when nothing varies in it.

        Args:
          values: (n, layers).
          folds: (n,) spatial block of each point: the threshold is what points of other blocks are away, the upper
            quartile plus 1.5 times the distance between quartiles, at most the largest.
        """
        std = values.std(axis=0) if len(values) else np.zeros(len(names))
        kept = np.flatnonzero(std > 1e-9 * (np.abs(values).max(axis=0) if len(values) else 1.0))
        if not kept.size or len(np.unique(folds)) < 2:
            return None
        mean, std = values[:, kept].mean(axis=0), std[kept]
        points = _rounded((values[:, kept] - mean) / std)
        distances = _distances(points, points)
        scale = float(distances.sum() / (len(points) * (len(points) - 1)))
        if scale == 0.0:
            return None
        apart = np.where(folds[:, None] == folds, np.inf, distances).min(axis=1) / scale
        low, high = np.quantile(apart, (0.25, 0.75))
        threshold = min(float(apart.max()), float(high + 1.5 * (high - low)))
        chosen = tuple(names[index] for index in kept)
        return cls(chosen, _rounded(mean), _rounded(std), points, scale, threshold)

    def dissimilarity(self, values: Points) -> NDArray[np.float32]:
        """(n,) distance of cells, (n, layers) as they are, to the nearest training point over `scale`.

        Args: values: float64, the columns in the order of `layers`.
        Returns: 0 at a training point; 1 is as far as two training points are on average. NaN where a value is.
        """
        unlike = np.empty(len(values), np.float32)
        # Why unique: most cells of a map share their covariates with many others, bare ground above all.
        for first in range(0, len(values), CHUNK):
            cells, back = np.unique(values[first : first + CHUNK], axis=0, return_inverse=True)
            nearest = _distances((cells - self.mean) / self.std, self.points).min(axis=1)
            unlike[first : first + CHUNK] = (nearest / self.scale)[back.ravel()]
        return unlike

    def plain(self) -> ReferenceRecord:
        """As JSON values."""
        return {
            "layers": list(self.layers),
            "scale": self.scale,
            "threshold": self.threshold,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "points": self.points.tolist(),
        }

    @classmethod
    def from_json(cls, plain: ReferenceRecord) -> "Reference":
        """The inverse of plain()."""
        mean, std = np.array(plain["mean"], np.float64), np.array(plain["std"], np.float64)
        points = np.array(plain["points"], np.float64)
        return cls(tuple(plain["layers"]), mean, std, points, plain["scale"], plain["threshold"])


def _distances(one: Points, other: Points) -> Points:
    """(n, m) Euclidean distances; rounding below zero is cut."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2.0 * one @ other.T
    far = np.sqrt(np.maximum(squared, 0.0))
    # Why: the shortcut above loses what is near; equal points must be exactly 0 apart.
    return np.where(squared < 1e-9 * (one**2).sum(axis=1)[:, None], 0.0, far)


def _rounded(values: Points) -> Points:
    """To DIGITS digits that count."""
    with np.errstate(divide="ignore"):
        power = np.where(values == 0, 0.0, np.floor(np.log10(np.abs(values))))
    step = 10.0 ** (power - DIGITS + 1)
    return np.round(values / step) * step
