"""The least work is exact: by hand where it can be seen, by linear programming where it cannot."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist

from model.evaluation.transport import centre_distances, least_work


def by_linear_programming(surplus, distance):
    """The same problem as a textbook states it: flows from givers to takers that clear both."""
    givers, takers = np.flatnonzero(surplus > 0), np.flatnonzero(surplus < 0)
    out = np.kron(np.eye(givers.size), np.ones(takers.size))
    into = np.kron(np.ones(givers.size), np.eye(takers.size))
    clears = np.concatenate([surplus[givers], -surplus[takers]])
    cost = distance[np.ix_(givers, takers)].ravel()
    return linprog(cost, A_eq=np.vstack([out, into])[:-1], b_eq=clears[:-1], method="highs").fun


def test_three_tonnes_one_cell_to_the_right_are_three_times_a_hundred_metres():
    distance = centre_distances(1, 3, 100.0, 100.0)
    surplus = np.array([[3.0, -3.0, 0.0], [2.0, 1.0, -3.0], [0.0, 0.0, 0.0]])
    assert least_work(surplus, distance).tolist() == [300.0, 2 * 200.0 + 1 * 100.0, 0.0]


def test_distances_lie_between_cell_centres():
    rows, cols = np.divmod(np.arange(12), 4)
    places = np.column_stack([rows * 30.0, cols * 20.0])
    np.testing.assert_allclose(centre_distances(3, 4, 30.0, 20.0), cdist(places, places))


def test_it_finds_what_linear_programming_finds():
    rng = np.random.default_rng(11)
    truth = rng.lognormal(3.0, 1.5, (24, 36)) * (rng.random((24, 36)) < 0.5)
    guess = rng.lognormal(3.0, 1.5, (24, 36)) * (rng.random((24, 36)) < 0.5)
    surplus = guess * (truth.sum(1) / guess.sum(1))[:, None] - truth
    distance = centre_distances(6, 6, 100.0, 70.0)
    found = least_work(surplus, distance)
    wanted = [by_linear_programming(row, distance) for row in surplus]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_a_detour_is_taken_back_when_a_cheaper_plan_needs_the_cell():
    """Nearest first sends the first cell's mass to the middle; the best plan sends it on to the end."""
    distance = centre_distances(1, 4, 1.0, 1.0)
    surplus = np.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    assert least_work(surplus, distance) == pytest.approx([2.0, 4.0])
