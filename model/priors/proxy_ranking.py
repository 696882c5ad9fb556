"""Ranks covariates as proxies: how well each tells block from block where only merged totals are shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread
from model.ground.scene import Bools, Masses
from model.ground.survey import Survey

PAIR = 2  # coarse cells merged along each axis


@dataclass(frozen=True)
class ProxyRanking:
    """What each covariate is worth as the proxy of one sector.

    Attributes:
      missed: by index of the layer, the misallocated share of the totals; layers that could not be judged are left out.
    """

    missed: dict[int, float]

    @property
    def best(self) -> int | None:
        """The layer that misplaces least mass, the first of equals; None where none could be judged.

        Dictionaries keep their order, and layers enter in the cube's: among equals the earlier layer wins.
        """
        return min(self.missed, key=lambda layer: self.missed[layer], default=None)


def rank_proxies(survey: Survey) -> tuple[ProxyRanking, ...]:
    """Merges the totals 2 x 2, shares them out by each layer, and measures what that misplaces.

    Layers as coarse as a block are left out: inside a block they tell nothing, here they would tell all.

    Args:
      survey: totals and block sums of the layers at the inventory's own scale.
    Returns: one ranking a sector, in the survey's order.
    """
    rankings = []
    for sector in range(len(survey.sectors)):
        missed: dict[int, float] = {}
        for index, layer in enumerate(survey.layers):
            share = float("nan") if layer.blocky else _misplaced(survey, sector, index)
            if np.isfinite(share):
                missed[index] = share
        rankings.append(ProxyRanking(missed))
    return tuple(rankings)


def _misplaced(survey: Survey, sector: int, layer: int) -> float:
    """Misallocated share of the totals when 2 x 2 merged ones are shared out by the layer's block sums."""
    counted = survey.known[sector] & survey.target
    if not counted.any():
        counted = survey.known[sector]
    wrong = mass = 0.0
    for row in range(PAIR):
        for col in range(PAIR):
            part = _whole_pairs(row, col, counted)
            full = merge(counted[part], PAIR) == PAIR**2
            truth = np.where(counted[part], survey.totals[sector][part], 0.0)
            proxy = np.maximum(survey.sums[layer][part], 0.0)
            guess = _shared(merge(truth, PAIR), proxy, survey.cells[part[1:]])
            wrong += float((0.5 * merge(np.abs(guess - truth), PAIR))[full].sum())
            mass += float(merge(truth, PAIR)[full].sum())
    return wrong / mass if mass > 0 else float("nan")


def _whole_pairs(row: int, col: int, counted: Bools) -> tuple[slice, slice, slice]:
    """All years, and the rows and columns that make whole pairs from (row, col) on."""
    rows = (counted.shape[-2] - row) // PAIR * PAIR
    cols = (counted.shape[-1] - col) // PAIR * PAIR
    return slice(None), slice(row, row + rows), slice(col, col + cols)


def _shared(groups: Masses, proxy: NDArray, cells: NDArray) -> Masses:
    """Group totals shared out by the proxy; evenly over valid cells where a whole group has none of it."""
    weight = proxy.astype(np.float64)
    bare = spread(merge(weight, PAIR) <= 0, PAIR)
    weight = np.where(bare, np.broadcast_to(cells, weight.shape), weight)
    sums = merge(weight, PAIR)
    scale = np.divide(groups, sums, out=np.zeros_like(groups), where=sums > 0)
    return weight * spread(scale, PAIR)
