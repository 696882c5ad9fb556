"""How far an estimate is from the totals it was not shown; made of tensor methods, so it loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from model.ground.blocks import merge, spread
from model.ground.scene import Masses, Tile, counted_groups

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-6  # a share below this costs no more: a cell without any estimate cannot be learned away


@dataclass(frozen=True)
class Groups:
    """What is asked of one tile when group x group totals were shown merged.

    Attributes:
      truth: (sectors, time, h, w) share of each cell in its group's mass.
      mass: (sectors, time, h/group, w/group) group mass; 0 where a member is unknown or not a target cell.
      group: coarse cells along a group.
      factor: fine cells along a coarse cell.
    """

    truth: Masses
    mass: Masses
    group: int
    factor: int

    @classmethod
    def of(cls, tile: Tile, group: int) -> "Groups":
        """Only groups all of whose members are known target cells count."""
        counted = counted_groups(tile, group)
        mass = np.where(counted, merge(np.where(tile.known, tile.totals, 0.0), group), 0.0)
        whole = spread(mass, group)
        truth = np.divide(tile.totals, whole, out=np.zeros_like(whole), where=whole > 0)
        return cls(truth, mass, group, tile.factor)


def groups_of(coarsen: Sequence[int], rows: int, cols: int) -> tuple[int, ...]:
    """How many coarse cells are merged along each axis, for windows of rows x cols coarse cells.

    Where a factor does not divide the window, its smallest proper group stands in. Empty when the window cannot be
    grouped at all.
    """
    size = gcd(rows, cols)
    stand_in = next((group for group in range(2, size + 1) if size % group == 0), None)
    fitting = {group if size % group == 0 else stand_in for group in coarsen}
    return tuple(sorted(group for group in fitting if group))


def share_loss(estimates: "Sequence[Tensor]", asked: list[Groups]) -> "Tensor":
    """Half misallocated share, half cross-entropy inside each group, weighted by mass; mean over the sectors.

    Args:
      estimates: one per tile, (sectors, time, H, W) mass per fine cell; only shares inside a group matter.
      asked: one per tile.
    """
    lost, mass = [], []
    for estimate, groups in zip(estimates, asked, strict=True):
        weight = estimate.new_tensor(groups.mass)
        truth = estimate.new_tensor(groups.truth)
        cells = merge(estimate, groups.factor)
        whole = merge(cells, groups.group).clamp_min(1e-30)
        # Why transposed: gradients then add up along rows first, as they did when shipped weights were trained.
        share = cells / spread(whole.mT, groups.group).mT
        wrong = 0.5 * (share - truth).abs()
        surprise = -truth * share.clamp_min(TINY).log()
        each = merge(0.5 * wrong + 0.5 * surprise, groups.group)
        lost.append((weight * each).sum(dim=(1, 2, 3)))
        mass.append(weight.sum(dim=(1, 2, 3)))
    return (sum(lost[1:], lost[0]) / sum(mass[1:], mass[0]).clamp_min(1e-30)).mean()
