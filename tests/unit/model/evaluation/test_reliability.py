"""Reliability sums truth by what was estimated."""

import numpy as np
import pytest

from model.evaluation.reliability import Reliability


def test_each_bin_tells_the_mean_truth_of_its_cells():
    estimate, truth = np.array([[1.0, 1.1], [10.0, 0.0]]), np.array([[2.0, 4.0], [5.0, 9.0]])
    where = np.ones((2, 2), bool)
    low, high = Reliability.of(estimate, truth, where, 1.0).points()
    assert low == {"cells": 2.0, "estimate": pytest.approx(1.05), "truth": 3.0}  # one quarter of a decade
    assert high == {"cells": 1.0, "estimate": 10.0, "truth": 5.0}  # the cell estimated 0 is in no bin


def test_parts_add_up_to_the_whole_and_far_values_stay_in_the_last_bin():
    rng = np.random.default_rng(1)
    estimate, truth = rng.lognormal(0, 9, (2, 40))
    where = rng.random(40) < 0.8
    whole = Reliability.of(estimate, truth, where, 3.0)
    parts = Reliability.of(estimate[:9], truth[:9], where[:9], 3.0)
    parts = parts + Reliability.of(estimate[9:], truth[9:], where[9:], 3.0)
    np.testing.assert_allclose(parts.cells, whole.cells)
    np.testing.assert_allclose(parts.truth, whole.truth)
    assert whole.cells.sum() == where.sum()


@pytest.mark.parametrize(
    ("estimate", "place"),
    # Four bins a decade from a thousandth of the unit to a thousand of it, one below and one above: 26.
    [(1e-9, 0), (1.1e-3, 1), (1.7e-3, 1), (1.8e-3, 2), (1.1, 13), (990.0, 24), (1100.0, 25), (1e9, 25)],
)
def test_a_bin_is_a_quarter_of_a_decade_of_the_unit(estimate, place):
    unit = 7.0
    found = Reliability.of(np.array([estimate * unit]), np.array([5.0]), np.array([True]), unit)
    assert found.cells.tolist() == [float(bin_ == place) for bin_ in range(26)]
