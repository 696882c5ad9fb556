"""Raking by turns (Deming, Stephan 1940): slow and simple, to test model/conservation/raking.py against."""

from dataclasses import dataclass

import numpy as np

from model.conservation.problem import Bools, Doubles
from model.conservation.raking import CLOSE, Groups

CYCLES = 1000


@dataclass(frozen=True)
class Raked:
    """Cells after raking.

    Attributes:
      mass: (cells,).
      missed: for each set of groups, (groups,) True = its total is not met.
      residuals: for each set of groups, (groups,) sum minus total.
      cycles: how many were needed.
    """

    mass: Doubles
    missed: tuple[Bools, ...]
    residuals: tuple[Doubles, ...]
    cycles: int


def rake(raw: Doubles, sets: tuple[Groups, ...], cycles: int = CYCLES, close: float = CLOSE) -> Raked:
    """Scales cells, one set of groups after another, until every total is met.

    Where the totals can all be met this tends to the field nearest to raw in the Kullback-Leibler sense. An
    empty cell stays empty. Where they contradict each other, or a group with a total has only empty cells, the
    groups that stay unmet are named in the answer, never hidden; the last set is met as well as it can be.

    Args:
      raw: (cells,) estimate p >= 0.
      sets: each may overlap itself (a grid that does not nest) and the others (districts over coarse cells).
      cycles: at most.
      close: the largest residual as a share of its total.
    """
    if not (np.isfinite(raw) & (raw >= 0)).all():
        raise ValueError("estimates are negative or not finite")
    mass, done = raw.astype(np.float64), 0
    while done < cycles and (done == 0 or any(_missed(mass, groups, close).any() for groups in sets)):
        for groups in sets:
            mass = _scaled(mass, groups)
        done += 1
    return Raked(
        mass,
        tuple(_missed(mass, groups, close) for groups in sets),
        tuple(groups.sums(mass) - groups.totals for groups in sets),
        done,
    )


def _scaled(mass: Doubles, groups: Groups) -> Doubles:
    """Multiplies each cell by the product over its groups of (S / current)^f."""
    current = groups.sums(mass)
    can = current > 0
    with np.errstate(divide="ignore"):  # a total of 0 empties its cells: exp(-inf) = 0
        pull = np.log(np.where(can, groups.totals, 1.0)) - np.log(np.where(can, current, 1.0))
    power = np.bincount(groups.cell, groups.share * pull[groups.group], minlength=len(mass))
    return mass * np.exp(power)


def _missed(mass: Doubles, groups: Groups, close: float) -> Bools:
    return np.abs(groups.sums(mass) - groups.totals) > close * groups.totals
