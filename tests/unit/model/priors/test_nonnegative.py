"""Weights are never negative, find an exact sum, do not mind units, and are what independent solvers find."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from model.priors.nonnegative import least_squares_weights, poisson_weights
from tests.examples import examples

BOTH = pytest.mark.parametrize("fit", [poisson_weights, least_squares_weights])


def likelihood(columns, totals, weights):
    """Logarithm of the Poisson likelihood, up to what does not depend on the weights."""
    mean = columns @ weights
    return float((totals[totals > 0] * np.log(mean[totals > 0])).sum() - mean.sum())


@BOTH
def test_totals_that_are_a_sum_of_columns_give_its_weights(fit):
    columns = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [2.0, 0.0, 1.0]])
    np.testing.assert_allclose(fit(columns, columns @ [3.0, 0.5, 2.0]), [3.0, 0.5, 2.0], rtol=1e-3)


def test_a_column_that_only_a_negative_weight_could_use_gets_none():
    """y = x1 - x2: the best of the weights allowed leaves x2 out."""
    columns = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    weights = least_squares_weights(columns, columns @ [1.0, -1.0])
    assert weights[1] == 0.0
    assert weights[0] == pytest.approx((1 + 2 + 9 + 12) / (1 + 4 + 9 + 16))


def test_one_column_explains_by_poisson_what_its_sum_says():
    """The likelihood of one column is highest at sum of totals / sum of column, after a single round."""
    columns, totals = np.array([[1.0], [3.0]]), np.array([10.0, 2.0])
    assert poisson_weights(columns, totals, rounds=1) == pytest.approx(12.0 / 4.0)


def test_what_em_only_multiplies_away_ends_at_zero():
    """Totals rise with the first column alone; 600 halvings of the second would still not be zero."""
    columns = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    weights = poisson_weights(columns, np.array([1.0, 4.0, 9.0]))
    assert weights[1] == 0.0
    assert weights[0] == pytest.approx(14.0 / 6.0)


@BOTH
@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_units_of_layers_and_totals_change_nothing_but_the_weights_units(fit, unit):
    rng = np.random.default_rng(0)
    columns, totals = rng.random((50, 4)), rng.lognormal(size=50)
    units = np.array([1.0, unit, 1.0, 1.0 / unit])
    plain = fit(columns, totals)
    np.testing.assert_allclose(fit(columns * units, totals) * units, plain, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit(columns, totals * unit) / unit, plain, rtol=1e-9, atol=1e-12)


@BOTH
def test_empty_columns_and_empty_totals_give_weights_of_zero(fit):
    columns = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert fit(columns, np.array([2.0, 4.0]))[1] == 0.0
    assert not fit(columns, np.zeros(2)).any()
    assert not fit(np.zeros((0, 2)), np.zeros(0)).any()


@examples(60)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), count=st.integers(1, 9), twins=st.booleans())
def test_least_squares_are_those_of_scipy(seed, rows, count, twins):
    rng = np.random.default_rng(seed)
    columns = rng.random((rows, count)) * 10.0 ** rng.integers(-4, 5, count)
    if twins and count > 1:
        columns[:, 1] = 3.0 * columns[:, 0]
    totals = rng.normal(1.0, 1.0, rows)
    weights = least_squares_weights(columns, totals)
    scaled = columns / np.sqrt((columns**2).sum(0))
    _, best = nnls(scaled, totals)
    assert weights.min() >= 0.0
    assert np.linalg.norm(columns @ weights - totals) <= best * (1.0 + 1e-9) + 1e-9


@examples(30)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 30), count=st.integers(1, 6))
def test_every_round_raises_the_likelihood_and_keeps_the_sum(seed, rows, count):
    rng = np.random.default_rng(seed)
    columns, totals = rng.random((rows, count)), rng.lognormal(sigma=2.0, size=rows)
    found = [poisson_weights(columns, totals, rounds) for rounds in (1, 2, 5, 20, 100)]
    heights = [likelihood(columns, totals, weights) for weights in found]
    assert all(after >= before - 1e-9 * abs(before) for before, after in pairwise(heights))
    for weights in found:
        assert (columns @ weights).sum() == pytest.approx(totals.sum())
