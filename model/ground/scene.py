"""What a method looks at: a tile as the cube holds it, and a scene with nothing finer than the totals shown."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.ground.blocks import merge, spread

Floats = NDArray[np.float32]
Masses = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One covariate as a method knows it.

    Attributes:
      name: as in the cube.
      kind: continuous, share, class or total.
      blocky: its own pixels are about as large as a block or larger, so inside a block it tells nothing.
    """

    name: str
    kind: str
    blocky: bool = False


@dataclass(frozen=True)
class Scene:
    """What may be seen when totals are known for blocks of `side` x `side` fine cells.

    Attributes:
      covariates: (layers, time, H, W) float32; 0 where not valid; blocky layers are averaged over the blocks.
      valid: (H, W) True = fine cell may receive mass.
      totals: (sectors, time, H/side, W/side) mass per block, float64; 0 where not known.
      known: same shape, True = the total is known.
      side: fine cells along a block.
      layers: one per covariate.
      rim: fine cells along each edge that only inform; nobody reads what is estimated there.
    """

    covariates: Floats
    valid: Bools
    totals: Masses
    known: Bools
    side: int
    layers: tuple[Layer, ...]
    rim: int = 0


@dataclass(frozen=True)
class Tile:
    """A window of the cube with the finest totals that are known (1 km).

    Attributes:
      covariates, valid, totals, known, layers: as in Scene, at the inventory's own scale.
      target: (h, w) True = coarse cell of the tile's own split, outside the buffer: it alone counts.
      factor: fine cells along a coarse cell.
      halo: coarse cells along each edge that only inform: none of them is a target cell.
    """

    covariates: Floats
    valid: Bools
    totals: Masses
    known: Bools
    target: Bools
    factor: int
    layers: tuple[Layer, ...]
    halo: int = 0

    def fitted(self, group: int) -> "Tile":
        """The tile with as much of its halo as makes whole groups; targets stay where they are.

        Args: group: coarse cells merged along each axis.
        Returns: a tile whose halo is the largest multiple of group that the old one holds, cut alike on all four
          sides.
        """
        cut = self.halo % group
        if not cut:
            return self
        coarse, fine = (slice(cut, -cut),) * 2, (slice(cut * self.factor, -cut * self.factor),) * 2
        return replace(
            self,
            covariates=self.covariates[..., *fine],
            valid=self.valid[fine],
            totals=self.totals[..., *coarse],
            known=self.known[..., *coarse],
            target=self.target[coarse],
            halo=self.halo - cut,
        )

    def scene(self, group: int = 1) -> Scene:
        """Shows the totals of group x group coarse cells merged, and nothing finer (design decision 9).

        A merged total is known when all its members are. The tile's side in coarse cells must be a multiple of group.
        """
        rows, cols = self.totals.shape[-2:]
        if rows % group or cols % group:
            raise ValueError(f"{rows} x {cols} blocks cannot be grouped by {group}")
        side = self.factor * group
        return Scene(
            _flatten_blocky(self.covariates, self.valid, self.layers, side),
            self.valid,
            merge(np.where(self.known, self.totals, 0.0), group),
            merge(self.known, group) == group * group,
            side,
            self.layers,
            self.halo * self.factor,
        )


def counted_groups(tile: Tile, group: int) -> Bools:
    """Groups of group x group coarse cells in which a score or a loss may be taken.

    Args:
      group: coarse cells along a group; must divide the tile's sides.
    Returns: (sectors, time, h/group, w/group) True = every member is a known target cell.
    """
    return merge(tile.known & tile.target, group) == group * group


def _flatten_blocky(covariates: Floats, valid: Bools, layers: tuple[Layer, ...], side: int) -> Floats:
    """Averages layers that are as coarse as a block over the valid cells of each block shown."""
    blocky = [index for index, layer in enumerate(layers) if layer.blocky]
    if not blocky:
        return covariates
    shown = covariates.copy()
    weight = np.maximum(merge(valid.astype(np.float64), side), 1.0)
    mean = merge(np.where(valid, covariates[blocky], 0.0).astype(np.float64), side) / weight
    shown[blocky] = np.where(valid, spread(mean, side), 0.0)
    return shown
