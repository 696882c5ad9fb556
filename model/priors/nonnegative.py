"""Non-negative weights that explain totals as a sum of columns: by Poisson likelihood and by least squares."""

import numpy as np
from numpy.typing import NDArray

from model.ground.scene import Masses

ROUNDS = 600  # of EM; it creeps at the end, and stopping early also holds near-twins together
NOTHING = 1e-9  # of all mass: what a column explains when EM, which only multiplies, means to leave it out
ROUNDING = 100.0 * float(np.finfo(np.float64).eps)


def poisson_weights(columns: Masses, totals: Masses, rounds: int = ROUNDS) -> NDArray[np.float64]:
    """Weights a >= 0 that raise the likelihood of totals ~ Poisson(columns @ a), by EM.

    Each round multiplies every weight by how much more, on the whole, the totals hold than is explained
    (Richardson 1972, Lucy 1974; as EM for Poisson means: Shepp and Vardi 1982). No round lowers the likelihood,
    none needs a step length, and the units of a column or of the totals change nothing but rounding.

    Args:
      columns: (rows, k), not negative. totals: (rows,), not negative; need not be whole numbers.
    Returns: (k,); 0 for an empty column and for one that explains next to nothing. Where a total is above 0 some
      column should be.
    """
    size = columns.sum(axis=0)
    usable = size > 0.0
    share = np.where(usable, columns / np.where(usable, size, 1.0), 0.0)
    mass = np.where(usable, totals.sum() / max(usable.sum(), 1), 0.0)  # what each column stands for
    for _ in range(rounds):
        explained = share @ mass
        ratio = np.divide(totals, explained, out=np.zeros_like(explained), where=explained > 0.0)
        mass = mass * (ratio @ share)
    mass = np.where(mass > NOTHING * mass.sum(), mass, 0.0)
    return np.divide(mass, size, out=np.zeros_like(mass), where=usable)


def least_squares_weights(columns: Masses, totals: Masses) -> NDArray[np.float64]:
    """Weights a >= 0 with the smallest sum of (columns @ a - totals)^2, by the active set method.

    Lawson and Hanson (1974), chapter 23, on the triangle of a QR decomposition: the rows, however many, are
    read once. Columns enter at length one, so that their units do not matter.

    Args:
      columns: (rows, k). totals: (rows,).
    Returns: (k,); 0 for an empty column.
    """
    length = np.sqrt((columns**2).sum(axis=0))
    size = float(np.sqrt((totals**2).sum()))
    if size == 0.0:
        return np.zeros(columns.shape[1])
    scaled = np.divide(columns, length, out=np.zeros_like(columns), where=length > 0.0)
    triangle = np.asarray(np.linalg.qr(np.column_stack([scaled, totals / size]), mode="r"))
    solution = _active_set(triangle[:, :-1], triangle[:, -1])
    return np.divide(solution * size, length, out=np.zeros_like(length), where=length > 0.0)


def _active_set(matrix: Masses, wanted: Masses) -> NDArray[np.float64]:
    """min |matrix x - wanted|, x >= 0; the columns have length one or zero."""
    count = matrix.shape[1]
    solution, free = np.zeros(count), np.zeros(count, dtype=bool)
    refused = np.zeros(count, dtype=bool)  # entered and left at once: rounding, not a way down
    for _ in range(10 * count):
        slope = matrix.T @ (wanted - matrix @ solution)
        offered = ~free & ~refused & (slope > ROUNDING)
        if not offered.any():
            break
        entering = int(np.argmax(np.where(offered, slope, -np.inf)))
        free[entering] = True
        trial = _solved(matrix, wanted, free)
        if trial[entering] <= 0.0:
            free[entering], refused[entering] = False, True
            continue
        while (trial[free] <= 0.0).any():
            falling = free & (trial <= 0.0)
            reach = solution[falling] / (solution[falling] - trial[falling])
            solution = solution + reach.min() * (trial - solution)
            leaving = np.flatnonzero(falling)[reach <= reach.min()]
            solution[leaving], free[leaving] = 0.0, False
            trial = _solved(matrix, wanted, free)
        solution, refused = trial, np.zeros(count, dtype=bool)
    return solution


def _solved(matrix: Masses, wanted: Masses, free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Least squares over the free columns alone; 0 elsewhere."""
    out = np.zeros(free.size)
    out[free] = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)[0]
    return out
