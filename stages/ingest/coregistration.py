"""Warns of layers that seem to lie beside the totals: half a cell off, or on the ground of another datum."""

from collections.abc import Callable
from itertools import product, starmap

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid, Region
from model.ground.registration import shift_between
from stages.contract.progress import tell
from stages.ingest.layer_plan import LayerPlan

SIDE = 64  # blocks along the ground that is compared: where most of the mass is
SHIFT = 0.3  # blocks; half a cell off is 0.5, and a layer that explains something errs by 0.1
STRENGTH = 12.0  # standard deviations; honest layers reach 12 to 90, a spurious peak of a sparse one 9


def warn(
    plan: list[LayerPlan],
    totals: NDArray[np.float64],
    coarse: Grid,
    factor: int,
    read: Callable[[LayerPlan, Region], NDArray[np.float64]],
) -> None:
    """Compares every layer that has an inner pattern with the sum of the sectors, and tells what lies beside it.

    Args:
      totals: (sectors, years, h, w); NaN where not known.
      read: (rows, cols) of a layer on a region of the fine grid.
    """
    mass = np.nan_to_num(totals[:, -1]).sum(axis=0)
    heaviest = _heaviest(mass)
    ground = mass[heaviest.slices]
    for layer in plan:
        if layer.record.blocky or layer.derived is not None:
            continue
        values = read(layer, heaviest.refined(factor))
        shift = shift_between(np.nan_to_num(values), ground, factor)
        if shift is None or shift.strength < STRENGTH:
            continue
        layer.record = layer.record.with_(offset=(round(shift.across, 3), round(shift.down, 3)))
        if shift.size >= SHIFT:
            x, y = shift.across * coarse.dx, -shift.down * coarse.dy
            tell(
                f"layer {layer.name} fits the totals best when it is moved by {-x:g}, {-y:g} CRS units "
                f"({-shift.across:.2g}, {shift.down:.2g} coarse cells): is its place right, or that of the totals?",
                warning=True,
            )


def _heaviest(mass: NDArray[np.float64]) -> Region:
    """The square of blocks, on a lattice of half its side, with most of the mass."""
    rows, cols = min(SIDE, mass.shape[0]), min(SIDE, mass.shape[1])
    down = sorted({*range(0, mass.shape[0] - rows + 1, max(rows // 2, 1)), mass.shape[0] - rows})
    across = sorted({*range(0, mass.shape[1] - cols + 1, max(cols // 2, 1)), mass.shape[1] - cols})
    squares = list(starmap(Region, product(down, across, (rows,), (cols,))))
    return max(squares, key=lambda square: float(np.abs(mass[square.slices]).sum()))
