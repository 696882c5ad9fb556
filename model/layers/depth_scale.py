"""Depths on a scale that networks like: log1p, or the ranks of what the training dates held; both start at 0."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KNOTS = 129  # levels of the quantile transform
HIGHEST = 1e-4  # share above the last knot; beyond it the last slope goes on
MOST = 15.0  # of the log scale: 3 million times the unit; exp stays finite whatever a network says


class DepthScaleRecord(TypedDict):
    """A depth scale as a checkpoint keeps it."""

    unit: float
    values: list[float]
    scores: list[float]


@dataclass(frozen=True)
class DepthScale:
    """y = log1p(v / unit), or piecewise linear through knots; 0 stays 0, order stays.

    Attributes:
      unit: mass per fine cell that counts as one.
      values, scores: (knots,) of the quantile transform; empty for log1p.
    """

    unit: float
    values: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, kind: str, values: NDArray[np.float64]) -> "DepthScale":
        """Fitted to values of the training dates.

        The score of a quantile p is -log(1 - p), that of an exponential law, so that rare depths lie far apart.
        """
        positive = values[values > 0]
        if not positive.size:
            return cls(1.0)
        unit = float(positive.mean())
        if kind == "log1p":
            return cls(unit)
        levels = 1.0 - np.exp(-np.linspace(0.0, -np.log(HIGHEST), KNOTS)[1:])
        knots, kept = np.unique(np.quantile(positive, levels), return_index=True)
        scores = -np.log1p(-levels)[kept]
        return cls(unit, (0.0, *knots.tolist()), (0.0, *scores.tolist()))

    def to(self, depth: Tensor) -> Tensor:
        """Depth -> scale.

        Args:
          depth: any shape, mass per fine cell, 0 or more.
        Returns: same shape and precision, no unit; beyond the highest knot the last slope goes on.
        """
        if not self.values:
            return torch.log1p(depth / self.unit)
        return _through(depth, self.values, self.scores)

    def back(self, scaled: Tensor) -> Tensor:
        """Scale -> depth.

        Args:
          scaled: any shape; on the log scale it is cut at MOST, so that exp stays finite.
        Returns: mass per fine cell. It may be below 0 where `scaled` is.
        """
        if not self.values:
            return torch.expm1(scaled.clamp(max=MOST)) * self.unit
        return _through(scaled, self.scores, self.values)

    def plain(self) -> DepthScaleRecord:
        """As JSON values."""
        return {"unit": self.unit, "values": list(self.values), "scores": list(self.scores)}

    @classmethod
    def from_json(cls, plain: DepthScaleRecord) -> "DepthScale":
        """The inverse of plain()."""
        return cls(float(plain["unit"]), tuple(plain["values"]), tuple(plain["scores"]))


def _through(x: Tensor, given: tuple[float, ...], wanted: tuple[float, ...]) -> Tensor:
    """Piecewise linear; the last slope goes on."""
    here, there = torch.tensor(given).to(x), torch.tensor(wanted).to(x)
    place = torch.searchsorted(here, x.detach().contiguous(), right=True).clamp(1, len(given) - 1)
    slope = (there[place] - there[place - 1]) / (here[place] - here[place - 1])
    return there[place - 1] + (x - here[place - 1]) * slope
