"""What lies around a cell, in metres on the ground: distance to the nearest, mean within a circle, smooth density.

Arrays are wider than what is returned by a margin on every side, so that a cell at the edge sees as far as any
other. What is not known is never taken for zero.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from model.ground.grid import Grid

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CUT = 3.0  # standard deviations at which a Gaussian ends; 1.1 % of its mass lies beyond


def cell_sizes(grid: Grid) -> tuple[Floats, Floats]:
    """Width and height of a cell in each row [m], both (rows, 1).

    On an ellipsoid from the radii of curvature at the row's middle (Snyder 1987, eqs. 4-18 and 4-20).
    """
    ones = np.ones((grid.rows, 1))
    if grid.ellipsoid is None:
        return ones * grid.dx * grid.metre, ones * grid.dy * grid.metre
    semi_major, flattening = grid.ellipsoid
    latitude = np.radians(np.clip(grid.y, -90.0, 90.0))[:, None]
    squared = flattening * (2.0 - flattening)
    bent = 1.0 - squared * np.sin(latitude) ** 2
    across = semi_major / np.sqrt(bent) * np.maximum(np.cos(latitude), 1e-9)
    down = semi_major * (1.0 - squared) / bent**1.5
    return np.radians(grid.dx) * across, np.radians(grid.dy) * down


def margin_of(grid: Grid, metres: float) -> int:
    """Cells around a window that must be known to see so far; the same for every window of the grid.

    Args: metres: how far to see. Why by the smallest cell of the grid: in lat/lon cells narrow towards the poles,
      and one margin for all windows keeps their results the same.
    """
    width, height = cell_sizes(grid)
    return ceil(metres / float(min(width.min(), height.min())) - 1e-9)


def distance(near: Bools, unknown: Bools, grid: Grid, margin: int, reach: float) -> Floats:
    """Metres from each cell's middle to that of the nearest one that is near, at most `reach`.

    NaN where a cell that is not known lies closer than the nearest found: it might be the nearest.

    Args:
      near, unknown: (rows + 2 margin, cols + 2 margin).
      grid: of that size.
    """
    found = np.minimum(_nearest(near, grid, margin), reach)
    hidden = _nearest(unknown, grid, margin) if unknown.any() else np.full(found.shape, np.inf)
    return np.where(hidden < found, np.nan, found)


def _nearest(there: Bools, grid: Grid, margin: int) -> Floats:
    """Exact distance in two passes, down the columns and then along the rows (Saito and Toriwaki 1994)."""
    width, height = cell_sizes(grid)
    place = np.cumsum(height, axis=0) - height / 2
    above = np.maximum.accumulate(np.where(there, place, -np.inf), axis=0)
    below = np.minimum.accumulate(np.where(there, place, np.inf)[::-1], axis=0)[::-1]
    core = slice(margin, there.shape[0] - margin)
    down = np.minimum(place - above, below - place)[core] ** 2
    cols = there.shape[1] - 2 * margin
    best = np.full((down.shape[0], cols), np.inf)
    for step in range(-margin, margin + 1):
        start = margin + step
        np.minimum(best, down[:, start : start + cols] + (step * width[core]) ** 2, out=best)
    return np.sqrt(best)


def focal_mean(values: Floats, grid: Grid, margin: int, radius: float) -> Floats:
    """Mean of the known cells whose middle lies within the radius [m]; NaN where the cell itself is not known.

    Args: values: (rows + 2 margin, cols + 2 margin), NaN where not known; grid: of that size.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    # Why a third sum: a running sum leaves rounding where nothing is; where every cell is 0 the mean is 0.
    layers = list(map(_running, (filled, known.astype(float), (filled != 0).astype(float))))
    width, height = cell_sizes(grid)
    place = np.cumsum(height, axis=0) - height / 2
    rows, cols = values.shape[0] - 2 * margin, values.shape[1] - 2 * margin
    here = np.arange(rows) + margin
    sums = np.zeros((3, rows, cols))
    across = np.arange(cols)[None, :] + margin
    for step in range(-margin, margin + 1):
        rise = np.abs(place[here + step] - place[here])
        half = np.sqrt(np.maximum(radius**2 - rise**2, 0.0)) / width[here]
        reach = np.minimum(np.floor(half + 1e-9), margin).astype(np.int64)
        inside = rise <= radius * (1 + 1e-12)
        for index, layer in enumerate(layers):
            part = (
                layer[(here + step)[:, None], across + reach + 1]
                - layer[(here + step)[:, None], across - reach]
            )
            sums[index] += np.where(inside, part, 0.0)
    total, count, occupied = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(occupied > 0.5, total / count, 0.0)
    core = (slice(margin, margin + rows), slice(margin, margin + cols))
    return np.where(known[core], mean, np.nan)


def _running(values: Floats) -> Floats:
    """Sums along rows from the left, one column more than the values."""
    return np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))


def density(mass: Floats, grid: Grid, margin: int, sigma: float) -> Floats:
    """Mass per km2 of the known ground around, weighted by a Gaussian; NaN where the cell itself is not known.

    Args: mass: (rows + 2 margin, cols + 2 margin) per cell, NaN where not known; sigma: standard deviation [m].
    """
    known = ~np.isnan(mass)
    area = np.broadcast_to(grid.cell_areas(), mass.shape)
    mass_around = _smooth(np.where(known, mass, 0.0), grid, margin, sigma)
    ground_around = _smooth(np.where(known, area, 0.0), grid, margin, sigma)
    core = (slice(margin, mass.shape[0] - margin), slice(margin, mass.shape[1] - margin))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known[core], mass_around / ground_around * 1e6, np.nan)


def _smooth(values: Floats, grid: Grid, margin: int, sigma: float) -> Floats:
    """Sum of the values around, weighted by a Gaussian of the distance along either axis, cut at CUT sigma."""
    width, height = cell_sizes(grid)
    place = np.cumsum(height, axis=0) - height / 2
    rows, cols = values.shape[0] - 2 * margin, values.shape[1] - 2 * margin
    here = np.arange(rows) + margin
    down = np.zeros((rows, values.shape[1]))
    for step in range(-margin, margin + 1):
        down += _weight(place[here + step] - place[here], sigma) * values[here + step]
    out = np.zeros((rows, cols))
    for step in range(-margin, margin + 1):
        out += _weight(step * width[here], sigma) * down[:, margin + step : margin + step + cols]
    return out


def _weight(metres: Floats, sigma: float) -> Floats:
    return np.where(np.abs(metres) <= CUT * sigma, np.exp(-0.5 * (metres / sigma) ** 2), 0.0)
