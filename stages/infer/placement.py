"""Makes the estimate of a region meet the totals of its blocks, point sources included."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.conservation.fallback import FallbackLevel, place
from model.conservation.laws import Law
from model.ground.blocks import from_blocks, to_blocks
from model.ground.grid import Region
from stages.artifacts.cube import Cube


@dataclass(frozen=True)
class PlacedRegion:
    """What came of a region.

    Attributes:
      mass: (sectors, years, fine rows, fine cols) in the cube's unit; every block sums to its total.
      fallback_levels: (sectors, years, rows, cols) uint8, which fallback level placed each block.
      not_finite: estimates that were no number, where a fallback took over.
    """

    mass: NDArray[np.float64]
    fallback_levels: NDArray[np.uint8]
    not_finite: int


@dataclass(frozen=True)
class Placement:
    """Meets the totals of any region of a cube; regions are independent of each other.

    Args:
      law: shares a block's total out over its cells.
      proxy: name of the layer that takes over where the estimate sees nothing in a block; None: none.
    """

    cube: Cube
    law: Law
    proxy: str | None = None

    @cached_property
    def _totals(self) -> NDArray[np.float64]:
        """(sectors, years, h, w) what is left to place when point sources have their part."""
        return self.cube.remainder()

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        return self.cube.known()

    def place(self, raw: NDArray[np.float64], blocks: Region) -> PlacedRegion:
        """Every sector and year of a region alone.

        Args:
          raw: (sectors, years, fine rows, fine cols) the estimate; may hold NaN.
          blocks: the region in coarse cells.
        """
        cells = blocks.refined(self.cube.factor)
        rows, cols = blocks.slices
        totals, known = self._totals[..., rows, cols], self._known[..., rows, cols]
        valid = to_blocks(self.cube.valid(*cells), self.cube.factor)
        proxies = self._proxies(cells, valid)
        mass, fallback_levels, not_finite = np.empty_like(raw), np.empty(totals.shape, np.uint8), 0
        for here in np.ndindex(totals.shape[:2]):
            estimate = to_blocks(raw[here], self.cube.factor)
            placed = place(
                estimate, totals[here].ravel(), known[here].ravel(), valid, proxies[here[1]], self.law
            )
            mass[here] = from_blocks(placed.mass, *blocks.shape, self.cube.factor)
            fallback_levels[here] = placed.fallback_levels.reshape(blocks.shape)
            not_finite += placed.not_finite
        return self._with_points(mass, fallback_levels, not_finite, blocks)

    def _proxies(self, cells: Region, valid: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
        """Per year (blocks, cells) the proxy's values; zeros without one, so that its level places nothing."""
        years = len(self.cube.years)
        if self.proxy is None:
            return [np.zeros(valid.shape)] * years
        index = [layer.name for layer in self.cube.layers].index(self.proxy)
        layer = self.cube.covariates(*cells)[index].astype(np.float64)
        return [to_blocks(layer[year], self.cube.factor) for year in range(years)]

    def _with_points(
        self, mass: NDArray[np.float64], fallback_levels: NDArray[np.uint8], not_finite: int, blocks: Region
    ) -> PlacedRegion:
        """Adds point sources at their places, valid or not: a plant on an island stands where it stands."""
        if self.cube.points is None:
            return PlacedRegion(mass, fallback_levels, not_finite)
        there = self.cube.points.on_window(mass.shape[:2], *blocks.refined(self.cube.factor))
        rows, cols = blocks.slices
        held = self.cube.point_mass[..., rows, cols]
        mass = np.where(there > 0, np.nan_to_num(mass, nan=0.0) + there, mass)
        alone = (held > 0) & (fallback_levels == FallbackLevel.NOTHING)
        return PlacedRegion(
            mass, np.where(alone, FallbackLevel.POINT, fallback_levels).astype(np.uint8), not_finite
        )
