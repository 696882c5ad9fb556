"""The whole map at the inventory's own scale, as a method is shown it once before it learns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Layer, Masses


@dataclass(frozen=True)
class Survey:
    """The whole map at the inventory's own scale, and what the training split says of each layer.

    Attributes:
      layers: one per covariate, in the cube's order.
      sectors: names.
      factor: fine cells along a coarse cell.
      totals: (sectors, time, h, w) mass; 0 where not known.
      known: same shape.
      sums: (layers, time, h, w) sum of each covariate over the valid fine cells of a block.
      cells: (h, w) number of valid fine cells.
      target: (h, w) True = coarse cell of the training split outside the buffer.
      zero_share, positive_median: (layers,) over valid fine cells of the training split.
      positive_sums: as sums, of values clipped at 0; None = no layer falls below 0, so the two are one.
    """

    layers: tuple[Layer, ...]
    sectors: tuple[str, ...]
    factor: int
    totals: Masses
    known: NDArray[np.bool_]
    sums: Masses
    cells: NDArray[np.int64]
    target: NDArray[np.bool_]
    zero_share: Masses
    positive_median: Masses
    positive_sums: Masses | None = None
