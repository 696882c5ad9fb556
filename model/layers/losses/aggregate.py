"""Losses on sums over blocks, all that is known where only totals are: the published v3.0 form and two of ours."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST = 1e-6  # mean non-zero totals added to an estimate whose power is taken; a true zero then costs 0.004


@dataclass(frozen=True)
class ZeroStatistics:
    """How rare and how uneven mass is in the training split, by sector and year.

    Attributes:
      zero_ratio: (sectors, years) coarse cells without mass for each with mass.
      log_spread: (sectors, years) standard deviation of log1p over mean of log1p, over cells with mass.
      unit: (sectors,) mean total of the cells with mass [mass per coarse cell]; totals enter in these units.
    """

    zero_ratio: NDArray[np.float64]
    log_spread: NDArray[np.float64]
    unit: NDArray[np.float64]

    @classmethod
    def of(cls, totals: NDArray[np.float64], counted: NDArray[np.bool_]) -> "ZeroStatistics":
        """totals, counted: (sectors, years, h, w); True = known, and of the training split.

        A sector without any such mass gets unit 1. A year in which no cell of a sector has mass counts as having
        one in its ratio, and has spread 1, so every weight stays finite.
        """
        source = counted & (totals > 0)
        mass = np.where(source, totals, 0.0)
        unit = mass.sum((1, 2, 3)) / np.maximum(source.sum((1, 2, 3)), 1)
        unit = np.where(unit > 0, unit, 1.0)
        count = np.maximum(source.sum((2, 3)), 1)
        log = np.log1p(mass / unit[:, None, None, None])
        mean = log.sum((2, 3)) / count
        spread = np.sqrt((np.where(source, log - mean[..., None, None], 0.0) ** 2).sum((2, 3)) / count)
        zeros = (counted & ~source).sum((2, 3))
        return cls(zeros / count, np.divide(spread, mean, out=np.ones_like(mean), where=mean > 0), unit)


def macro_micro_weights(totals: Tensor, statistics: ZeroStatistics) -> Tensor:
    """What an error in a coarse cell counts: 1 without mass, else clip(log(Nz/Nnz) (1 + log1p(y)) CV_log, 1, 20).

    Args:
      totals: (..., sectors, years, h, w) mass per coarse cell; y is in units of the mean non-zero total.
    """
    unit = totals.new_tensor(statistics.unit)[:, None, None, None]
    rare = totals.new_tensor(np.log(np.maximum(statistics.zero_ratio, 1e-12)))[..., None, None]
    uneven = totals.new_tensor(statistics.log_spread)[..., None, None]
    weight = (rare * (1 + torch.log1p(totals / unit)) * uneven).clamp(1.0, 20.0)
    return torch.where(totals > 0, weight, torch.ones_like(weight))


def macro_micro_loss(sums: Tensor, totals: Tensor, counted: Tensor, statistics: ZeroStatistics) -> Tensor:
    """sum w |log1p(sum) - log1p(total)| / sum w over the counted coarse cells, 0 or more, no unit.

    Args:
      sums, totals: (..., sectors, years, h, w) mass per coarse cell, of the estimate and known.
      counted: same shape.
    """
    weight = macro_micro_weights(totals, statistics) * counted
    return (weight * log_error(sums, totals, statistics)).sum() / weight.sum().clamp_min(1e-12)


def log_sum_loss(sums: Tensor, totals: Tensor, counted: Tensor, statistics: ZeroStatistics) -> Tensor:
    """Mean |log1p(sum) - log1p(total)| over the counted coarse cells, every cell alike; shapes as above.

    Args: counted: True = known, and of the split that is asked.
    Returns: scalar, no unit; 0 when every counted sum meets its total, and when none is counted.
    """
    return (log_error(sums, totals, statistics) * counted).sum() / counted.sum().clamp_min(1)


def log_error(sums: Tensor, totals: Tensor, statistics: ZeroStatistics) -> Tensor:
    """|log1p(sum) - log1p(total)|, both in units of the mean non-zero total.

    Args:
      sums, totals: (..., sectors, years, h, w) mass per coarse cell, 0 or more.
    Returns: same shape, no unit; near zero an absolute error, at large totals the logarithm of a ratio.
    """
    unit = totals.new_tensor(statistics.unit)[:, None, None, None]
    return (torch.log1p(sums / unit) - torch.log1p(totals / unit)).abs()


def tweedie_loss(
    sums: Tensor, totals: Tensor, counted: Tensor, statistics: ZeroStatistics, power: float = 1.5
) -> Tensor:
    """Mean unit deviance of a Tweedie law, 0 or more, least at the totals; shapes as above.

    For 1 < power < 2 it is a Poisson number of gamma-distributed sources: exact zeros have a probability, and
    a large total may miss by more than a small one (Jorgensen 1987). Totals enter in units of the mean
    non-zero one.
    """
    unit = totals.new_tensor(statistics.unit)[:, None, None, None]
    y, mean = totals / unit, sums / unit + LEAST
    first, second = 1 - power, 2 - power
    deviance = 2 * (y**second / (first * second) - y * mean**first / first + mean**second / second)
    return (deviance * counted).sum() / counted.sum().clamp_min(1)
